"""Kafka headers that producer, consumers and tools agree on."""

from __future__ import annotations

# On a record that was sent again on purpose; the value names the run that did it.
REPLAY_HEADER = "replay"
# Beside it, on a record that one consumer group alone is to take; the value names the group. Others pass it over.
REPLAY_FOR_HEADER = "replay-for"
