"""One run of the whole way: from a line that is written, through a producer and a consumer, to a handler."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from bench.child import Child, Meter, memory_bytes
from bench.contender import Figures
from bench.latency.writing import WARM_UP_LINES, write_lines
from bench.stage import Stage
from bench.summary import percentile

READY_TIMEOUT_S = 60.0
LATE_TIMEOUT_S = 60.0
IDLE_S = 10.0


def travel(
    stage: Stage, producer: str, consumer: str, line_count: int, producer_settings: Mapping[str, str] | None = None
) -> Figures:
    """Write the lines at their rate; then look at what both processes need while there is nothing to do."""
    with stage.topics() as topics, stage.job_folder() as folder:
        log, result_file = folder / "access.log", folder / "result.json"
        to_produce = stage.service_settings(topics, "producer")
        to_produce |= {"LOG_FILES": str(log), "CHECKPOINT_FILE": str(folder / "checkpoint.json")}
        to_produce |= producer_settings or {}
        to_consume = stage.service_settings(topics, f"group-{folder.name}")
        to_consume |= {
            "HANDLER": "bench.latency.timing:handle",
            "EXPECTED_RECORDS": str(line_count),
            "RESULT_FILE": str(result_file),
        }
        with (
            Child.start(producer, to_produce, folder) as producing,
            Child.start(consumer, to_consume, folder) as consuming,
        ):
            for child, settings in ((producing, to_produce), (consuming, to_consume)):
                child.wait_until_ready(int(settings["HTTP_PORT"]), READY_TIMEOUT_S)
            meters = [Meter(stage.broker.pid, child.pid) for child in (producing, consuming)]
            write_lines(log, line_count)
            consuming.wait_until(
                lambda: result_file.exists() or producing.has_ended, "every line had arrived", LATE_TIMEOUT_S
            )
            producing.require_running()
            busy = [meter.stop() for meter in meters]
            idle = _idle_figures(stage, producing, consuming)
            for child in (producing, consuming):
                child.terminate()
        ages_ms = sorted(json.loads(result_file.read_text()))
    written = line_count + WARM_UP_LINES
    return {
        "p50_ms": percentile(ages_ms, 0.50),
        "p99_ms": percentile(ages_ms, 0.99),
        "max_ms": ages_ms[-1],
        "producer_cpu_us": busy[0]["cpu_s"] / written * 1e6,
        "consumer_cpu_us": busy[1]["cpu_s"] / written * 1e6,
        **idle,
        # Each meter takes the other's process for a foreign one.
        "foreign_cores": max(0.0, busy[0]["foreign_cores"] - busy[1]["cpu_s"] / busy[1]["elapsed_s"]),
    }


def _idle_figures(stage: Stage, producing: Child, consuming: Child) -> dict[str, float]:
    children = {"producer": producing, "consumer": consuming}
    meters = {name: Meter(stage.broker.pid, child.pid) for name, child in children.items()}
    time.sleep(IDLE_S)
    used = {name: meter.stop() for name, meter in meters.items()}
    figures = {f"{name}_idle_percent": one["cpu_s"] / one["elapsed_s"] * 100 for name, one in used.items()}
    return figures | {f"{name}_rss_mb": memory_bytes("VmRSS", child.pid) / 1e6 for name, child in children.items()}
