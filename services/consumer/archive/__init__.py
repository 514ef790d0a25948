"""Parquet files of one topic: names, columns, locks, and what is written, found and merged."""
