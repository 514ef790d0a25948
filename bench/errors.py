"""What ends a benchmark early."""


class BenchmarkFailed(Exception):
    """A contender did not do its work, or not in time; the figures would mean nothing."""
