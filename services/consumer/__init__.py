"""Reads a consumer group's share of the topic, validates it and hands it to a sink."""
