"""Compares files with the topic: first checksums per block, then, where they differ, line by line."""
