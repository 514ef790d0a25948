"""How many files this process may have open."""

from __future__ import annotations

import resource


def allow_many_files() -> None:
    """Every followed file stays open: use what the system allows this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
