"""The verbs that look after the stack, the same for both modes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from compose.control import group_verbs, ledger_view, report, secured, verify
from compose.control.choices import check_nginx_conf, demo_wanted, parse_scale
from compose.control.health import READY
from compose.control.kafka_view import KafkaView
from compose.control.last_words import last_error
from compose.control.preflight import check_settings
from compose.control.secured import Secrets
from compose.control.stack import Output, Replica, Stack
from compose.errors import OperatorError
from compose.security.folder import BROKER_ID
from shared.errors import RetryableError

FIRST_RECORDS = 3
FIRST_RECORD_TIMEOUT_S = 60.0
# Own files may hold no new line at all.
OWN_RECORD_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.3
# Of the log of a replica that is not well.
LOOKED_AT_LINES = 50
KAFKA = "kafka"
PRODUCER = "producer"
CONSUMER = "consumer"
# A service without work of its own: tools that need nothing but Kafka run as it.
TOOLBOX = "toolbox"
LETTERS = "services.consumer.letters"
STATUS_PATH = "/status?limit=1000"


@dataclass(frozen=True)
class Options:
    """What may be said behind a verb."""

    service: str | None = None
    follow: bool = False
    tail_lines: int = 100
    lines: int = 1000
    yes: bool = False
    json: bool = False
    file: str | None = None
    start: str | None = None
    end: str | None = None
    reason: str | None = None
    group: str | None = None
    partitions: str | None = None
    interval_s: float = 2.0
    since: str | None = None
    samples: int | None = None
    authority: bool = False


Verb = Callable[[Stack, Options, Sequence[str]], int]


def up(stack: Stack, _options: Options, _words: Sequence[str]) -> int:
    """Start, mend, or say that there is nothing to do."""
    report.say(f"Starting in {stack.mode} mode, KAFKA={stack.flavour.name}: {stack.flavour.what}.")
    output = stack.open_output(CONSUMER)
    check_nginx_conf(stack.variables())
    check_settings(stack.services().values())
    changed = stack.up(report.say)
    if stack.secrets is not None and _show_certificate(stack, stack.secrets):
        report.say("The broker shows its new certificate.")
        changed = True
    replicas = stack.replicas()
    if not changed:
        report.good(f"Already up: {len(replicas)} processes or containers, all ready. Nothing to do.")
        return 0
    report.show_replicas(replicas)
    report.say(f"Kafka answers at {stack.bootstrap_servers}. Topics: {', '.join(_topics(stack))}.")
    if any(replica.service == CONSUMER for replica in replicas):
        _show_first_records(stack, output)
    else:
        report.say(f"No replica of {CONSUMER} runs, so nothing prints records. One does after: make scale {CONSUMER}=1")
    report.say(
        "Next: make verify   make status   make logs FOLLOW=1 SERVICE=consumer   make scale consumer=4   make down"
    )
    return 0


def _topics(stack: Stack) -> Sequence[str]:
    environment = stack.services()["producer"].environment
    return [environment[name] for name in ("KAFKA_TOPIC", "KAFKA_DEAD_LETTER_TOPIC")]


def _show_first_records(stack: Stack, output: Output) -> None:
    """Wait for the first records of the consumers; with own files there may be none, which is no failure."""
    timeout_s = FIRST_RECORD_TIMEOUT_S if demo_wanted(stack.variables()) else OWN_RECORD_TIMEOUT_S
    deadline = time.monotonic() + timeout_s
    records: list[str] = []
    while not records and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        records = [found for line in output.matching('"record"') if (found := report.record_summary(line))]
    if records:
        report.good("The first records that came out:")
        for record in records[:FIRST_RECORDS]:
            report.say(f"  {record}")
    elif demo_wanted(stack.variables()):
        report.bad(
            f"No record came out within {FIRST_RECORD_TIMEOUT_S:g} s. See: make status, make logs SERVICE=producer"
        )
    else:
        report.say("No record yet: the files hold no new line. See: make logs SERVICE=producer")


def down(stack: Stack, _options: Options, _words: Sequence[str]) -> int:
    """Drain and stop."""
    ran = bool(stack.replicas())
    stack.down(report.say)
    if not ran:
        report.say("Nothing ran.")
        return 0
    report.good("Stopped. Data and positions are kept; `make up` goes on from here, `make clean` removes them.")
    return 0


def restart(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Stop and start again; the brokers of a cluster one by one, so that it serves meanwhile."""
    if options.service == KAFKA and len(stack.flavour.brokers) > 1:
        for broker in stack.flavour.brokers:
            verify.wait_for_copies(stack, report.say)
            stack.restart(broker, report.say)
        verify.wait_for_copies(stack, report.say)
    else:
        stack.restart(options.service, report.say)
    report.good("Restarted, and ready.")
    return 0


def status(stack: Stack, _options: Options, _words: Sequence[str]) -> int:
    """Show everything; 1 when something is not well."""
    replicas = stack.replicas()
    if not replicas:
        report.say("Nothing runs. Start it: make up")
        return 1
    report.say(f"Mode: {stack.mode}. Kafka: {stack.flavour.name}, at {stack.bootstrap_servers}.")
    report.show_replicas(replicas)
    unwell = [replica for replica in replicas if replica.health != READY]
    for replica in unwell:
        if said := last_error(stack.last_lines(replica, LOOKED_AT_LINES)):
            report.bad(f"{replica.name} said last: {said}")
    names = tuple(verify.consumer_services(stack))
    topic = stack.services()["producer"].environment["KAFKA_TOPIC"]
    view = KafkaView(stack.bootstrap_servers, topic, stack.login())
    try:
        report.show_groups(view.describe(names), view.end_offsets())
    except RetryableError as error:
        report.bad(f"The groups are unknown: {error}")
        return 1
    _warn_of_certificate(stack)
    if unwell:
        report.bad(f"Not well: {', '.join(replica.name for replica in unwell)}. Mend it: make up")
    return 1 if unwell else 0


def files(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Show what became of every line, file by file; 1 when a file does not move."""
    producers = [replica for replica in stack.replicas() if replica.service == PRODUCER and replica.running]
    if not producers:
        raise OperatorError("No producer runs.", "Start it: make up")
    documents = {replica.name: _document(stack.ask(replica, STATUS_PATH), replica) for replica in producers}
    if options.json:
        sys.stdout.write(json.dumps(documents) + "\n")
    else:
        for name, document in documents.items():
            report.show_files(name, document)
    return 1 if any(map(ledger_view.stuck_count, documents.values())) else 0


def _document(answer: str, replica: Replica) -> ledger_view.Document:
    try:
        document: ledger_view.Document = json.loads(answer)
        error = document.get("error")
    except ValueError:
        error = "its answer is no JSON"
    if error:
        raise OperatorError(f"{replica.name} cannot tell of its files: {error}", "make down, then: make up")
    return document


def logs(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Print what the processes said."""
    for line in stack.logs(options.service, options.follow, options.tail_lines):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


def scale(stack: Stack, _options: Options, words: Sequence[str]) -> int:
    """So many replicas of a service."""
    scalable = [name for name, service in stack.services().items() if service.group_id]
    wanted = parse_scale(words, scalable)
    stack.scale(wanted, report.say)
    report.good("Running " + ", ".join(f"{count} of {name}" for name, count in wanted.items()) + ". See: make status")
    return 0


def clean(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Stop and remove the data, after a yes."""
    question = "This removes the archive and the producer's position; the topics of your Kafka stay."
    if stack.flavour.brokers:
        question = "This removes the broker's data, the archive and the producer's position."
    if not options.yes and not _confirmed("clean", question):
        report.say("Nothing was removed.")
        return 1
    stack.clean(report.say)
    report.good("Stopped, and its data removed.")
    return 0


def _confirmed(verb: str, question: str) -> bool:
    if not sys.stdin.isatty():
        raise OperatorError(
            f"{verb} asks first, and there is no terminal to answer on.",
            f"Say yes beforehand: the same `make {verb} …` with YES=1",
        )
    return input(f"{question} Type yes: ").strip().lower() == "yes"


def audit(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Compare the files with the topic."""
    return stack.run_tool(PRODUCER, "services.producer.audit", ["--json"] if options.json else [])


def replay(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Send a range of a file again."""
    if not options.file:
        raise OperatorError(
            "FILE is not set: which file is to be sent again?",
            "Try: make replay FILE=/var/log/nginx/access.log FROM=0 TO=2026-11-22T16:00. make audit lists the files.",
        )
    given = {"--file": options.file, "--from": options.start, "--to": options.end}
    arguments = [f"{name}={value}" for name, value in given.items() if value]
    return stack.run_tool(PRODUCER, "services.producer.replay", [*arguments, *_yes(options)])


def replay_dead_letters(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Parse dead letters anew."""
    arguments = [f"--reason={options.reason}"] if options.reason else []
    return stack.run_tool(PRODUCER, "services.producer.replay_dead_letters", [*arguments, *_yes(options)])


def _yes(options: Options) -> Sequence[str]:
    return ["--yes"] if options.yes else []


def dead_letters(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """List dead letters by what they have in common."""
    samples = [] if options.samples is None else [f"--samples={options.samples}"]
    as_json = ["--json"] if options.json else []
    return stack.run_tool(TOOLBOX, LETTERS, ["list", *_selection(options), *samples, *as_json])


def replay_to_group(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Send dead letters of a group to it again."""
    if not options.group:
        raise OperatorError(
            "GROUP is not set: whose dead letters are to be sent again?",
            "Try: make replay-to-group GROUP=consumer REASON=sink_failed. make dead-letters lists them.",
        )
    return stack.run_tool(TOOLBOX, LETTERS, ["replay", *_selection(options), *_yes(options)])


def _selection(options: Options) -> Sequence[str]:
    """Which dead letters are meant."""
    given = {"--reason": options.reason, "--group": options.group, "--service": options.service}
    return [f"{name}={value}" for name, value in {**given, "--since": options.since}.items() if value]


def certificates(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """A new certificate for the broker of a secured stack, under load as well."""
    secrets = stack.secrets
    if secrets is None or not any(replica.service == KAFKA and replica.running for replica in stack.replicas()):
        raise OperatorError("No broker with certificates of ours runs.", "Start one: make up SECURE=1")
    _show_certificate(stack, secrets)  # of an earlier time that was interrupted
    ends_at = secrets.folder.renew(authority=options.authority)
    _show_certificate(stack, secrets)
    report.good(
        f"New connections to {stack.bootstrap_servers} see the new certificate, which ends on {ends_at:%Y-%m-%d}."
    )
    return 0


def _show_certificate(stack: Stack, secrets: Secrets) -> bool:
    """Let the broker show the certificate that is in its file; whether it did not yet."""
    port = _broker_port(stack)
    served = secured.served_at(secrets.folder, port)
    if served == secured.shown_in(secrets.folder):
        return False
    if served is not None and secrets.folder.has_signed(served):
        topic = stack.services()[PRODUCER].environment["KAFKA_TOPIC"]
        view = KafkaView(stack.bootstrap_servers, topic, stack.login())
        files = (f"{secrets.broker_folder}/{name}.pem" for name in ("keystore", "truststore"))
        view.reload_certificates(BROKER_ID, secrets.listeners, *files)
    else:
        report.say("Another authority signs, so the broker is restarted. Its clients wait, and trust both authorities.")
        stack.restart(KAFKA, report.say)
    secured.wait_until_served(secrets.folder, port)
    return True


def _broker_port(stack: Stack) -> int:
    return int(stack.bootstrap_servers.rpartition(":")[2])


def _warn_of_certificate(stack: Stack) -> None:
    secrets = stack.secrets
    served = secured.served_at(secrets.folder, _broker_port(stack)) if secrets else None
    if secrets is None or served is None:  # a broker that does not answer is told of otherwise
        return
    if remark := secured.remark_on(served, secured.shown_in(secrets.folder), datetime.now(UTC)):
        report.bad(remark)


def groups(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Show who reads the topic, how far behind and how fast."""
    return group_verbs.groups(stack, options.group, options.interval_s, as_json=options.json)


def reset_group(stack: Stack, options: Options, _words: Sequence[str]) -> int:
    """Let a group go on from somewhere else."""
    wanted = group_verbs.Reset(options.group, options.end, options.partitions)
    return group_verbs.reset_group(stack, wanted, lambda question: options.yes or _confirmed("reset-group", question))


# They leave the stack as it is; the others hold it while they work.
LOOKING_VERBS = frozenset(
    {
        "status",
        "groups",
        "files",
        "logs",
        "verify",
        "audit",
        "replay",
        "replay-dead-letters",
        "dead-letters",
        "replay-to-group",
    }
)

STACK_VERBS: Mapping[str, Verb] = {
    "up": up,
    "down": down,
    "restart": restart,
    "status": status,
    "groups": groups,
    "reset-group": reset_group,
    "certificates": certificates,
    "files": files,
    "logs": logs,
    "scale": scale,
    "clean": clean,
    "audit": audit,
    "replay": replay,
    "replay-dead-letters": replay_dead_letters,
    "dead-letters": dead_letters,
    "replay-to-group": replay_to_group,
    "verify": lambda stack, options, _words: verify.verify(stack, options.lines, report.say),
    "fanout": lambda stack, options, _words: verify.fanout(stack, options.lines, report.say),
    "balance": lambda stack, options, _words: verify.balance(stack, options.lines, report.say),
}
