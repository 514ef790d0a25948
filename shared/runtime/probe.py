"""`python -m shared.runtime.probe URL`: the containers' health check, and `make files`, for images without curl.

Exit code 0 for an answer of 200 within the time limit, 1 for anything else; the answer is printed.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with urllib.request.urlopen(arguments[0], timeout=TIMEOUT_S) as answer:  # noqa: S310 -- the caller is the container
            print(answer.read(MAX_ANSWER_BYTES).decode(errors="replace"))
            return 0 if answer.status == 200 else 1
    except urllib.error.HTTPError as error:
        print(error.read(1000).decode(errors="replace"))
    except OSError as error:
        print(error)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
