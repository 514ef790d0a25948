"""How many files this process may have open."""

from __future__ import annotations

import resource

from services.producer.follow.open_file import MAX_OPEN_FILES

# Those that are not for followed files: connections, the checkpoint, watches, requests.
RESERVED_DESCRIPTORS = 64


def allow_many_files() -> None:
    """Every followed file stays open: use what the system allows this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_followed_files() -> int:
    """What the limit of open files leaves for them."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_OPEN_FILES
    return max(1, min(limit - RESERVED_DESCRIPTORS, MAX_OPEN_FILES))
