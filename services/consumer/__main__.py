"""`python -m services.consumer`: read a group's share of the topic and hand it to a sink."""

from __future__ import annotations

import sys

from services.consumer.app import check_files, serve
from services.consumer.settings import ConsumerSettings
from shared.runtime.lifecycle import main

USAGE = """
Reads the records of nginx's access logs from Kafka and hands them to a sink. Replicas with one SERVICE_NAME share the
partitions; every other SERVICE_NAME gets all records again. Each record arrives at least once: offsets are committed
after the sink has it. WHERE and SAMPLE_RATIO take only some of them.

  SERVICE_NAME=watcher python -m services.consumer                          prints every record
  SERVICE_NAME=archiver SINK=archive ARCHIVE_DIR=./archive python -m services.consumer
  SERVICE_NAME=errors SINK=kafka KAFKA_SINK_TOPIC=nginx_errors TRANSFORM=errors python -m services.consumer
  SERVICE_NAME=mine HANDLER=my_handler:handle python -m services.consumer   calls your function:

      async def handle(records: Sequence[AccessRecord]) -> None: ...

  SERVICE_NAME=alerts SINK=alerts ALERTS_DIR=./alerts python -m services.consumer   raises alarms

An example is services/consumer/examples/errors_only.py. SIGTERM finishes what is in flight, commits and exits with 0;
a second one ends at once. Exit code 2: a setting is wrong; 1: the work cannot go on, and nothing was lost.
"""

if __name__ == "__main__":
    sys.exit(main(ConsumerSettings, USAGE, serve, check_files))
