"""One run of a producer: a log appears in a folder, and the clock runs until the topic holds every line of it."""

from __future__ import annotations

from collections.abc import Mapping

from bench.child import Child, Meter, memory_bytes
from bench.errors import BenchmarkFailed
from bench.stage import Stage, Topics

READY_TIMEOUT_S = 60.0
DELIVERY_TIMEOUT_S = 180.0
LOG_NAME = "access.log"


def deliver(stage: Stage, module: str, line_count: int, settings: Mapping[str, str] | None = None) -> dict[str, float]:
    """Run the producer in `module`. Raises BenchmarkFailed when the topic does not hold every line exactly once."""
    log = stage.log(line_count)
    with stage.topics() as topics:
        return deliver_to(stage, module, line_count, topics, str(log), settings)


def deliver_to(
    stage: Stage, module: str, line_count: int, topics: Topics, log: str, own_settings: Mapping[str, str] | None = None
) -> dict[str, float]:
    """The same, into topics that the caller made."""
    with stage.job_folder() as folder:
        settings = stage.service_settings(topics, "producer")
        settings |= {
            "LOG_FILES": str(folder / LOG_NAME),
            "CHECKPOINT_FILE": str(folder / "checkpoint.json"),
            **(own_settings or {}),
        }
        with Child.start(module, settings, folder) as child:
            child.wait_until_ready(int(settings["HTTP_PORT"]), READY_TIMEOUT_S)
            # With exactly-once, the beginning of the session has left a marker in each partition.
            already = stage.offset_count(topics.records)
            meter = Meter(stage.broker.pid, child.pid)
            (folder / LOG_NAME).hardlink_to(log)
            child.wait_until(
                lambda: stage.offset_count(topics.records) - already >= line_count,
                f"{line_count} records in the topic",
                DELIVERY_TIMEOUT_S,
            )
            used = meter.stop()
            peak_bytes = memory_bytes("VmHWM", child.pid)
            child.terminate()
    found = stage.offset_count(topics.records) - already
    if found != line_count:
        raise BenchmarkFailed(f"{module}: {line_count} lines became {found} offsets")
    return {
        "thousand_per_s": line_count / used["elapsed_s"] / 1e3,
        "cpu_us": used["cpu_s"] / line_count * 1e6,
        "broker_cpu_us": used["broker_cpu_s"] / line_count * 1e6,
        "peak_rss_mb": peak_bytes / 1e6,
        "foreign_cores": used["foreign_cores"],
    }
