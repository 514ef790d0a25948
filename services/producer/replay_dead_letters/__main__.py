"""`python -m services.producer.replay_dead_letters`: dead letters of lines that are records now become records."""

from __future__ import annotations

import argparse
import sys

from services.producer.replay_dead_letters.app import replay_dead_letters
from services.producer.replay_dead_letters.letters import REASONS, parse_reasons
from services.producer.settings import ProducerSettings
from services.producer.tools import command
from shared.errors import InvalidSettings

USAGE = """
After a change of LOG_FORMAT or of the parser: parses the dead letters of this host's lines anew and publishes those
that are records now, each with its marker in the dead-letter topic in one transaction. However often it runs, is killed
or runs twice at a time, a line becomes one committed record. Records keep their source and get the header `replay`.

Exit code: 0 done, 2 a wrong setting or argument, 3 it could not be finished; then run it again.
"""


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.producer.replay_dead_letters",
        description=USAGE,
        epilog=command.SETTINGS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--reason", help=f"only these, comma-separated, of: {', '.join(REASONS)}; without: all of them")
    wanted = parser.parse_args()

    async def work(settings: ProducerSettings) -> int:
        try:
            reasons = parse_reasons(wanted.reason)
        except ValueError:
            raise InvalidSettings(f"REASON={wanted.reason!r} is not allowed; use {', '.join(REASONS)}") from None
        report = await replay_dead_letters(settings, reasons)
        print(command.harmless("\n".join(report.lines())))
        return command.DONE

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
