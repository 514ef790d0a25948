"""One run of a consumer: a new group reads a topic that our producer has filled, from its beginning."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bench.child import Child, Meter
from bench.contender import Figures
from bench.producers.delivery import deliver_to
from bench.stage import Stage, Topics

READ_TIMEOUT_S = 180.0


def filled_topics(stage: Stage, record_count: int) -> Topics:
    """Topics with the records of the log of so many lines, in the batches that our producer makes. Kept for later."""
    if record_count not in stage.kept_topics:
        topics = stage.make_topics()
        deliver_to(stage, "services.producer", record_count, topics, str(stage.log(record_count)))
        stage.kept_topics[record_count] = topics
    return stage.kept_topics[record_count]


def read(stage: Stage, module: str, record_count: int, settings: Mapping[str, str] | None = None) -> Figures:
    """Run the consumer in `module` until it has all records as validated models. Raises BenchmarkFailed."""
    topics = filled_topics(stage, record_count)
    with stage.job_folder() as folder:
        result_file = folder / "result.json"
        environment = {
            **stage.service_settings(topics, f"group-{folder.name}"),
            "EXPECTED_RECORDS": str(record_count),
            "RESULT_FILE": str(result_file),
            **(settings or {}),
        }
        with Child.start(module, environment, folder) as child:
            meter = Meter(stage.broker.pid, child.pid)
            child.wait_until(result_file.exists, f"{record_count} records were read", READ_TIMEOUT_S)
            around = meter.stop()
            child.terminate()
        result = json.loads(result_file.read_text())
    return {
        "thousand_per_s": result["records"] / result["elapsed_s"] / 1e3,
        "cpu_us": result["cpu_s"] / result["records"] * 1e6,
        "peak_rss_mb": result["peak_rss_bytes"] / 1e6,
        "foreign_cores": around["foreign_cores"],
    }
