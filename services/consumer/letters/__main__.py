"""`python -m services.consumer.letters`: list dead letters, or send those of a group to it again."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime

from services.consumer.letters.app import replay, summarise
from services.consumer.letters.selection import Selection, parse_selection
from shared.errors import InvalidSettings
from shared.runtime.settings import KafkaSettings
from shared.tools import command

USAGE = """
list: dead letters by reason, service, group and exception, with times, places and samples. Reads only.
replay: sends a group's dead letters to the topic again, with their bytes and key and the header `replay-for`, by which
other groups pass them over; each once, however often it runs, is killed or runs twice at a time. It asks first.

Exit code: 0 done, 1 there was nothing to send or the answer was no, 2 a wrong setting or argument, 3 it could not be
done, or not to its end; then run it again.
"""
SETTINGS_HELP = "From the environment: SERVICE_NAME, KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC, KAFKA_DEAD_LETTER_TOPIC."
DEFAULT_SAMPLES = 3
MAX_SAMPLES = 100


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m services.consumer.letters",
        description=USAGE,
        epilog=SETTINGS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("work", choices=("list", "replay"))
    parser.add_argument("--reason", help="only these reasons, comma-separated")
    parser.add_argument("--group", help="only of this consumer group; needed for replay")
    parser.add_argument("--service", help="only of this service")
    parser.add_argument("--since", help="only those set aside since: an ISO time, or -2h, -30m, -7d")
    parser.add_argument("--samples", type=_sample_count, metavar="N", default=DEFAULT_SAMPLES)
    parser.add_argument("--json", action="store_true", help="list: one JSON object")
    parser.add_argument("--yes", action="store_true", help="replay: do not ask")
    return parser


def _sample_count(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_SAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {MAX_SAMPLES}")
    return int(text)


async def _list(settings: KafkaSettings, selection: Selection, samples: int, *, as_json: bool) -> int:
    summary = await summarise(settings, selection, samples)
    topic = settings.kafka_dead_letter_topic
    if as_json:
        print(json.dumps(summary.document(topic)))
    else:
        for line in summary.lines(topic):
            # Values come from anywhere: a line stays one line and steers no terminal.
            print(command.harmless(line.replace("\n", "\\n")))
    return command.DONE


async def _replay(settings: KafkaSettings, group: str, selection: Selection, *, yes: bool) -> int:
    report = await replay(settings, group, selection, yes=yes)
    if report is None:
        command.say("Nothing was sent.")
        return command.DIFFERENT
    print(command.harmless("\n".join(report.lines())))
    return command.DONE


def main() -> int:
    """Run the command line; the exit code."""
    wanted = make_parser().parse_args()

    async def work(settings: KafkaSettings) -> int:
        selection = parse_selection(wanted.reason, wanted.group, wanted.service, wanted.since, datetime.now(UTC))
        if wanted.work == "list":
            return await _list(settings, selection, wanted.samples, as_json=wanted.json)
        if not wanted.group:
            raise InvalidSettings("GROUP is not set (--group): whose dead letters are to be sent again?")
        return await _replay(settings, wanted.group, selection, yes=wanted.yes)

    return command.run(KafkaSettings, work)


if __name__ == "__main__":
    sys.exit(main())
