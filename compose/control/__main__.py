"""`python -m compose.control VERB`: what `make VERB` calls."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import xmlrpc.client
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from dotenv import dotenv_values

from compose.control import develop, report, secured, verbs
from compose.control.choices import check_numbers, known_variables, not_taken, with_log_files, with_nginx_conf
from compose.control.docker_stack import DockerStack, engine_answers
from compose.control.flavours import FLAVOURS, SERVERS_VARIABLE, VARIABLE, choose_flavour, known_of, with_flavour
from compose.control.stack import Stack
from compose.control.state import Mode, StackState, StateFile, exclusive
from compose.control.topology import variable_names
from compose.errors import OperatorError
from shared.errors import PipelineError

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_LINES = 1000
DEFAULT_TAIL_LINES = 100
DEFAULT_INTERVAL_S = 2.0
MAX_INTERVAL_S = 60.0
INTERRUPTED = 130
# `up` alone listens to them.
OF_KAFKA = (VARIABLE, SERVERS_VARIABLE, secured.VARIABLE)
MODES: dict[str, Mode] = {"local": "local", "docker": "docker"}

GUIDE = (Path(__file__).parent / "help.txt").read_text()


def make_parser() -> argparse.ArgumentParser:
    """The command line; variables come from the environment, where make puts what was typed."""
    parser = argparse.ArgumentParser(
        prog="python -m compose.control", description=GUIDE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("help", "formats", *verbs.STACK_VERBS, *develop.VERBS), metavar="VERB")
    parser.add_argument("words", nargs="*", metavar="SERVICE=REPLICAS", help="for scale")
    return parser


def choose_mode(wanted: str, state: StackState | None) -> Mode:
    """The mode asked for, else that of the stack that runs or was stopped; without one, Docker if it answers.

    So `up` after `down` goes on with the same data, and `clean` removes what was stopped.
    """
    asked = MODES.get(wanted)
    if wanted and not asked:
        raise OperatorError(f"MODE={wanted} is not known.", "Use MODE=local or MODE=docker, or neither.")
    if state and state.running and asked not in (None, state.mode):
        raise OperatorError(f"The stack runs in {state.mode} mode.", f"Stop it first: make down MODE={state.mode}")
    if asked:
        return asked
    if state:
        return state.mode
    return "docker" if engine_answers() else "local"


def open_stack(root: Path, *, anew: bool = False) -> Stack:
    """The stack of this repository, in the mode that is asked for or runs.

    Its Kafka is the one that was started, whatever is typed now; `anew` lets what is typed choose.
    """
    state_file = StateFile(root / ".run")
    mode = choose_mode(os.environ.get("MODE", ""), state_file.load())
    own = state_file.load(mode) or StackState(mode=mode)
    files = [*(root / "compose").glob("**/*.yaml"), root / "compose.yaml"]
    names = frozenset[str]().union(*(variable_names(file.read_text()) for file in files))
    # What was typed at `up` holds for the verbs after it; .env may change in between and is read anew.
    typed, from_file = known_variables(names, os.environ), known_variables(names, dotenv_values(root / ".env"))
    is_chosen = bool(own.kafka) and not anew
    if is_chosen:
        typed = {name: value for name, value in typed.items() if name not in OF_KAFKA}
    check_numbers({**from_file, **typed})
    own = own.model_copy(update={"variables": {**own.variables, **typed}})
    variables = with_log_files({**from_file, **own.variables}, mode, Path.cwd())
    variables = with_nginx_conf(variables, Path.cwd())
    if is_chosen:
        variables = secured.with_choice({**variables, SERVERS_VARIABLE: own.servers}, is_secured=own.secured)
    flavour = FLAVOURS[own.kafka] if is_chosen else choose_flavour(variables)
    secured.check_flavour(variables, flavour)
    known = known_of(root, flavour)
    variables = with_flavour(variables, flavour, known)
    if mode == "docker":
        return DockerStack(root, variables, own, flavour)
    from compose.control.local_stack import LocalStack  # needs packages that Docker mode does not install

    return LocalStack(root, variables, own, flavour)


def options() -> verbs.Options:
    """What was typed behind the verb, from the environment."""
    return verbs.Options(
        service=os.environ.get("SERVICE") or None,
        follow=os.environ.get("FOLLOW") == "1",
        tail_lines=_count("TAIL", DEFAULT_TAIL_LINES),
        lines=_count("LINES", DEFAULT_LINES),
        yes=os.environ.get("YES") == "1",
        json=_as_json(os.environ.get("JSON") or "", os.environ.get("FORMAT") or ""),
        file=os.environ.get("FILE") or None,
        start=os.environ.get("FROM") or None,
        end=os.environ.get("TO") or None,
        reason=os.environ.get("REASON") or None,
        group=os.environ.get("GROUP") or None,
        partitions=os.environ.get("PARTITIONS") or None,
        interval_s=_seconds("INTERVAL_S", DEFAULT_INTERVAL_S),
        since=os.environ.get("SINCE") or None,
        samples=_samples(os.environ.get("SAMPLES") or ""),
        authority=os.environ.get("AUTHORITY") == "1",
    )


def _as_json(flag: str, wanted_format: str) -> bool:
    if wanted_format not in ("", "table", "json"):
        raise OperatorError(f"FORMAT={wanted_format} is not known.", "Use FORMAT=json, or leave it out for a table.")
    return flag == "1" or wanted_format == "json"


def _seconds(name: str, default_s: float) -> float:
    text = os.environ.get(name) or str(default_s)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_INTERVAL_S:
        raise OperatorError(f"{name}={text} is no number of seconds up to {MAX_INTERVAL_S:g}.", f"Try {name}=2.")
    return seconds


def _samples(text: str) -> int | None:
    if text and not text.isdecimal():
        raise OperatorError(f"SAMPLES={text} is no number.", "Try SAMPLES=3, or SAMPLES=0 for none.")
    return int(text) if text else None


def _count(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or int(text) == 0:
        raise OperatorError(f"{name}={text} is not a number above 0.", f"Try {name}={default}.")
    return int(text)


def _formats() -> int:
    """Files that are named now are looked at from here; else those of the stack, as its producer sees them."""
    if develop.files_named_now() or StateFile(ROOT / ".run").load() is None:
        return develop.formats(ROOT)
    return open_stack(ROOT).run_tool(verbs.PRODUCER, "services.producer.formats", develop.sample_options())


def _run(verb: str, words: Sequence[str]) -> int:
    if verb == "help":
        report.say(GUIDE)
        return 0
    if verb == "formats":
        return _formats()
    if verb in develop.VERBS:
        return develop.VERBS[verb](ROOT)
    for line in not_taken(os.environ) if verb in ("up", "scale") else ():
        report.bad(f"Note: {line}")
    alone = nullcontext() if verb in verbs.LOOKING_VERBS else exclusive(ROOT / ".run")
    with alone:
        return verbs.STACK_VERBS[verb](open_stack(ROOT, anew=verb == "up"), options(), words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code."""
    parsed = make_parser().parse_args(arguments)
    # Its remarks on coordinators that move are no news to an operator; errors come back as exceptions.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return _run(parsed.verb, parsed.words)
    except OperatorError as error:
        report.failure(error)
    except PipelineError as error:
        report.failure(OperatorError(str(error), "Look with: make status"))
    except xmlrpc.client.Error as error:
        report.failure(OperatorError(f"The process manager refused: {error}", "make down, then: make up"))
    except subprocess.TimeoutExpired as error:
        report.failure(OperatorError(f"No end after {error.timeout:g} s: {error.cmd[0]}", "Try again: make up"))
    except KeyboardInterrupt:
        report.say("\nInterrupted. What was started goes on; see: make status")
        return INTERRUPTED
    except BrokenPipeError:  # `make logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder of another user: the message names file and reason
        report.failure(OperatorError(f"The system refused: {error}", "Mend that, then run the same command again."))
    return 1


if __name__ == "__main__":
    sys.exit(main())
