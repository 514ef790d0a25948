"""`python -m services.demo visit --url http://nginx:8080 --rate 20` or `... write --file PATH --rate 20`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from services.demo.app import serve_lines, serve_visits
from services.demo.visit import Site
from shared.runtime.lifecycle import main as run_service
from shared.runtime.settings import ServiceSettings


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100_000:
        raise ValueError
    return value


def _site(text: str) -> Site:
    try:
        return Site.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def make_parser() -> argparse.ArgumentParser:
    """The two verbs and their options."""
    parser = argparse.ArgumentParser(prog="python -m services.demo", description=sys.modules[__package__].__doc__)
    verbs = parser.add_subparsers(required=True, metavar="visit|write")
    visit = verbs.add_parser("visit", help="send varied requests to a site until SIGTERM")
    visit.add_argument("--url", type=_site, required=True, help="http://HOST:PORT of the site")
    visit.set_defaults(serve=serve_visits)
    write = verbs.add_parser("write", help="append lines of an access log to a file until SIGTERM")
    write.add_argument("--file", type=Path, required=True, help="the file; it is made when it is not there")
    write.add_argument(
        "--limit-bytes", type=int, default=64 * 1024 * 1024, help="size at which FILE is renamed to FILE.1"
    )
    write.set_defaults(serve=serve_lines)
    for verb in (visit, write):
        verb.add_argument("--rate", type=_positive, default=20.0, help="requests or lines per second")
        verb.add_argument("--seed", type=int, default=1, help="the same seed makes the same traffic")
    return parser


def main() -> int:
    arguments = make_parser().parse_args()
    return run_service(ServiceSettings, __doc__ or "", partial(arguments.serve, arguments))


if __name__ == "__main__":
    sys.exit(main())
