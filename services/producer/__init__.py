"""Follows access logs and publishes every line, confirmed by the broker."""
