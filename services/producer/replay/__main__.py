"""`python -m services.producer.replay`: send a range of a file again, marked as a replay."""

from __future__ import annotations

import argparse
import sys

from services.producer.replay.app import Request, replay
from services.producer.settings import ProducerSettings
from services.producer.tools import SETTINGS_HELP
from shared.tools import command

USAGE = """
Sends a range of a followed file again on purpose. Each record keeps its source and gets the headers `replay` (the id of
the run) and `replay-time`. Only what is confirmed can be sent again. It says what it would send and asks.

Exit code: 0 sent and confirmed, 1 the answer was no, 2 a wrong setting or argument, 3 it could not be sent whole.
"""


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.producer.replay",
        description=USAGE,
        epilog=SETTINGS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", required=True, help="path of the file, or the generation in its records")
    parser.add_argument(
        "--from", dest="start", metavar="BYTE|TIME", help="first byte of a line, or ISO time; without: 0"
    )
    parser.add_argument(
        "--to", dest="end", metavar="BYTE|TIME", help="end, not included; without: all that is confirmed"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    wanted = parser.parse_args()

    async def work(settings: ProducerSettings) -> int:
        sent = await replay(settings, Request(wanted.file, wanted.start, wanted.end, wanted.yes))
        if sent is None:
            command.say("Nothing was sent.")
            return command.DIFFERENT
        print("\n".join(sent.lines()))
        return command.DONE

    return command.run(ProducerSettings, work)


if __name__ == "__main__":
    sys.exit(main())
