"""Sends a range of a file again on purpose, each record marked as a replay."""
