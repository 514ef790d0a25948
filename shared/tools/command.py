"""The life of a tool: settings, event loop, exit code. Its result goes to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

import uvloop

from shared.errors import InvalidSettings, PipelineError
from shared.runtime.lifecycle import tune_collector
from shared.runtime.settings import Settings, load_settings

DONE = 0
DIFFERENT = 1
WRONG_USAGE = 2
COULD_NOT_RUN = 3
INTERRUPTED = 130


def run(kind: type[Settings], work: Callable[[Settings], Awaitable[int]]) -> int:
    """Run a tool to its exit code: that of `work`, 2 for a wrong setting or argument, 3 when it could not be done."""
    # What the Kafka client remarks is no news to an operator; its errors come back as exceptions.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        settings = load_settings(kind)
        tune_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_awaited(work, settings))
    except InvalidSettings as error:
        say(str(error))
        return WRONG_USAGE
    except (PipelineError, OSError) as error:
        say(f"This could not be done: {error}")
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        say("Interrupted.")
        return INTERRUPTED


async def _awaited(work: Callable[[Settings], Awaitable[int]], settings: Settings) -> int:
    return await work(settings)


def require_terminal(*, yes: bool) -> None:
    """Before a work that asks at its end: raises InvalidSettings when nobody is there to answer."""
    if not yes and not sys.stdin.isatty():
        raise InvalidSettings("it asks first, and there is no terminal to answer on; say it by YES=1 (--yes)")


def confirmed(question: str) -> bool:
    """Ask the person; anything but `yes` is a no."""
    print(harmless(f"{question} Type yes: "), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def say(line: str) -> None:
    """One line to the person, apart from the result."""
    print(harmless(line), file=sys.stderr, flush=True)


def harmless(text: str) -> str:
    """The text without characters that steer a terminal: names of files and lines of logs are anybody's choice."""
    return "".join(each if each.isprintable() or each == "\n" else f"\\x{ord(each):02x}" for each in text)
