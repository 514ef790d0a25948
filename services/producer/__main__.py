"""`python -m services.producer`: follow access logs and publish them until SIGTERM."""

from __future__ import annotations

import sys

from services.producer.app import serve
from services.producer.settings import ProducerSettings
from shared.runtime.lifecycle import main

USAGE = """
Follows nginx access logs and publishes every line as a typed record to Kafka, confirmed by the broker. Lines that are
no records go to the dead-letter topic. Stops on SIGTERM after what was read is confirmed; a second signal stops at
once. Nothing is lost either way: the next start goes on from the last confirmed byte.

  LOG_FILES='/var/log/nginx/*access*.log' KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 python -m services.producer
"""

if __name__ == "__main__":
    sys.exit(main(ProducerSettings, USAGE, serve))
