"""From `python -m …` to ready, and the memory of a service that has just begun."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.child import Child, memory_bytes
from bench.contender import Figures
from bench.stage import Stage

READY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class StartedService:
    """A service that answers /readyz. `{folder}` in a setting is the folder of the run."""

    name: str
    module: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, stage: Stage, size: int) -> Figures:
        """`size` means nothing here."""
        with stage.topics() as topics, stage.job_folder() as folder:
            environment = stage.service_settings(topics, f"{self.name}-{folder.name}")
            environment |= {name: value.format(folder=folder) for name, value in self.settings.items()}
            started_at = time.monotonic()
            with Child.start(self.module, environment, folder) as child:
                child.wait_until_ready(int(environment["HTTP_PORT"]), READY_TIMEOUT_S)
                figures = {
                    "ready_after_s": time.monotonic() - started_at,
                    "rss_mb": memory_bytes("VmRSS", child.pid) / 1e6,
                }
                child.terminate()
        return figures


class OneShotTopics:
    """`services.topics` on topics that are there already: from its start to its end."""

    name = "topics (one-shot)"

    def run(self, stage: Stage, size: int) -> Figures:
        with stage.topics() as topics, stage.job_folder() as folder:
            started_at = time.monotonic()
            with Child.start("services.topics", stage.service_settings(topics, "topics"), folder) as child:
                child.wait()
            return {"ready_after_s": time.monotonic() - started_at}


SERVICES = (
    StartedService(
        "producer",
        "services.producer",
        {"LOG_FILES": "{folder}/access.log", "CHECKPOINT_FILE": "{folder}/checkpoint.json"},
    ),
    StartedService("consumer", "services.consumer"),
    StartedService("archiver", "services.consumer", {"SINK": "archive", "ARCHIVE_DIR": "{folder}"}),
    OneShotTopics(),
)
