"""Kafka headers that producer, consumers and tools agree on."""

from __future__ import annotations

# On a record that was sent again on purpose; the value names the run that did it.
REPLAY_HEADER = "replay"
# On a record that was sent again for one consumer group, which the value names: every other one passes it over.
REPLAY_FOR_HEADER = "replay-for"
# On a record that SINK=kafka has sent on: where it was read.
ORIGINAL_TOPIC_HEADER = "original-topic"
ORIGINAL_PARTITION_HEADER = "original-partition"
ORIGINAL_OFFSET_HEADER = "original-offset"
