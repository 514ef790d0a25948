"""The brokers of a comparison, all running, each with its data in a folder of its own."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil

from bench.brokers.bounded import ENDING
from bench.brokers.broker import Broker, Candidate
from bench.errors import BenchmarkFailed
from compose.errors import OperatorError

ALL_AT_ONCE = 8
KILL_INTERVAL_S = 0.1
TROUBLE = (BenchmarkFailed, OperatorError, OSError, subprocess.SubprocessError)
"""What a broker raises that cannot be started here or stopped: its files are missing, or it says why, or nothing."""

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def run_together(work: Sequence[Callable[[], Result]]) -> list[Result]:
    """In threads. When this program is to end, what they wait for is killed, so that they end soon too."""
    with ThreadPoolExecutor(ALL_AT_ONCE) as pool:
        runs = [pool.submit(each) for each in work]
        try:
            return [run.result() for run in runs]
        except (KeyboardInterrupt, SystemExit):
            ENDING.set()
            pool.shutdown(wait=False, cancel_futures=True)
            while wait(runs, timeout=KILL_INTERVAL_S).not_done:
                _kill_children()
            raise


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


@dataclass(frozen=True)
class Stage:
    """`folder` is temporary."""

    folder: Path
    brokers: Mapping[str, Broker]
    absent: Mapping[str, str]
    """Those that could not be started, with how to get them and the first line of the reason."""

    @classmethod
    @contextmanager
    def open(cls, candidates: Sequence[Candidate]) -> Iterator[Stage]:
        """Start them together. They and their data are gone when the context is left, however it is left."""
        with ExitStack() as stack:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True))
            )
            made: list[tuple[Candidate, Broker]] = []
            stack.callback(_stop_all, made)
            starting = [
                partial(_start, candidate, folder / f"broker-{place}", made)
                for place, candidate in enumerate(candidates)
            ]
            started = dict(zip([candidate.name for candidate in candidates], run_together(starting), strict=True))
            yield cls(
                folder,
                brokers={name: found for name, found in started.items() if not isinstance(found, str)},
                absent={name: reason for name, reason in started.items() if isinstance(reason, str)},
            )

    @contextmanager
    def run_folder(self) -> Iterator[Path]:
        """An empty folder for one run."""
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextmanager
    def own_broker(self, candidate: Candidate) -> Iterator[Broker]:
        """One more, without data and without a past, that is still to be started."""
        with self.run_folder() as folder, ExitStack() as stack:
            broker = candidate.make_broker(folder / "broker")
            stack.callback(_stop, candidate, broker)
            yield broker

    @contextmanager
    def fresh_broker(self, candidate: Candidate) -> Iterator[Broker]:
        """The same, started."""
        with self.own_broker(candidate) as broker:
            broker.start()
            yield broker


def _start(candidate: Candidate, folder: Path, made: list[tuple[Candidate, Broker]]) -> Broker | str:
    """The broker, or why it is not there; what is to be stopped is in `made` in either case."""
    try:
        broker = candidate.make_broker(folder)
        made.append((candidate, broker))
        broker.start()
    except TROUBLE as error:
        log.warning("%s did not start: %s", candidate.name, error)
        return f"{candidate.how_to_get} ({_first_line(error)})"
    return broker


def _stop_all(made: Sequence[tuple[Candidate, Broker]]) -> None:
    run_together([partial(_stop, candidate, broker) for candidate, broker in made])


def _stop(candidate: Candidate, broker: Broker) -> None:
    """In order, or else by force; what was measured is worth more than how it ended."""
    try:
        broker.stop()
    except TROUBLE as error:
        log.warning("%s did not stop and is killed: %s", candidate.name, error)
        with suppress(*TROUBLE):
            broker.kill()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
