"""The life of a tool: settings, event loop, exit code. Its result goes to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

import uvloop

from services.producer.settings import ProducerSettings
from shared.errors import InvalidSettings, PipelineError
from shared.runtime.lifecycle import tune_collector
from shared.runtime.settings import load_settings

DONE = 0
DIFFERENT = 1
WRONG_USAGE = 2
COULD_NOT_RUN = 3
INTERRUPTED = 130

SETTINGS_HELP = "It takes the producer's settings from the environment; see: python -m services.producer --help"


def run(work: Callable[[ProducerSettings], Awaitable[int]]) -> int:
    """Run a tool to its exit code: that of `work`, 2 for a wrong setting or argument, 3 when it could not be done."""
    # What the Kafka client remarks is no news to an operator; its errors come back as exceptions.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        settings = load_settings(ProducerSettings)
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


async def _awaited(work: Callable[[ProducerSettings], Awaitable[int]], settings: ProducerSettings) -> int:
    return await work(settings)


def say(line: str) -> None:
    """One line to the person, apart from the result."""
    print(harmless(line), file=sys.stderr, flush=True)


def harmless(text: str) -> str:
    """The text without characters that steer a terminal: names of files and lines of logs are anybody's choice."""
    return "".join(each if each.isprintable() or each == "\n" else f"\\x{ord(each):02x}" for each in text)
