"""`python -m services.producer.replay_dead_letters`: dead letters of lines that are records now become records."""

from __future__ import annotations

import argparse
import sys

from services.producer.replay_dead_letters.app import replay_dead_letters
from services.producer.replay_dead_letters.letters import REASONS, parse_reasons
from services.producer.settings import ProducerSettings
from services.producer.tools import SETTINGS_HELP
from shared.errors import InvalidSettings
from shared.tools import command

USAGE = """
After a change of LOG_FORMAT or of the parser: parses the dead letters of this host's lines anew and publishes those
that are records now, each with its marker in the dead-letter topic in one transaction. However often it runs, is killed
or runs twice at a time, a line becomes one committed record. Records keep their source and get the header `replay`.
It says how many they are and asks first.

Exit code: 0 done, 1 there was nothing to do or the answer was no, 2 a wrong setting or argument,
3 it could not be finished; then run it again.
"""


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.producer.replay_dead_letters",
        description=USAGE,
        epilog=SETTINGS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--reason", help=f"only these, comma-separated, of: {', '.join(REASONS)}; without: all of them")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    wanted = parser.parse_args()

    async def work(settings: ProducerSettings) -> int:
        try:
            reasons = parse_reasons(wanted.reason)
        except ValueError:
            raise InvalidSettings(f"REASON={wanted.reason!r} is not allowed; use {', '.join(REASONS)}") from None
        report = await replay_dead_letters(settings, reasons, yes=wanted.yes)
        if report is None:
            command.say("Nothing was sent.")
            return command.DIFFERENT
        print(command.harmless("\n".join(report.lines())))
        return command.DONE

    return command.run(ProducerSettings, work)


if __name__ == "__main__":
    sys.exit(main())
