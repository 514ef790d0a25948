"""`python -m services.producer.audit`: is every confirmed line of the files in the topic, once?"""

from __future__ import annotations

import argparse
import json
import sys

from services.producer.audit.app import audit
from services.producer.settings import ProducerSettings
from services.producer.tools import SETTINGS_HELP
from shared.tools import command

USAGE = """
Compares the followed files that still exist with the topics, by generation, byte offset and content, and says for each
file: all there, or which byte ranges are missing, doubled or different. What is not confirmed yet is in flight, not
missing. Reads only; may run beside the producer.

Exit code: 0 all there, 1 something differs, 2 a wrong setting or argument, 3 it could not be done, as when none of the
files with confirmed bytes can be seen.
"""


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.producer.audit",
        description=USAGE,
        epilog=SETTINGS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    wanted = parser.parse_args()

    async def work(settings: ProducerSettings) -> int:
        verdict = await audit(settings)
        print(json.dumps(verdict.as_json()) if wanted.json else command.harmless("\n".join(verdict.lines())))
        if verdict.proves_nothing:
            return command.COULD_NOT_RUN
        return command.DIFFERENT if verdict.differs else command.DONE

    return command.run(ProducerSettings, work)


if __name__ == "__main__":
    sys.exit(main())
