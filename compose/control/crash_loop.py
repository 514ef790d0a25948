"""Whether a replica ends again and again instead of becoming ready. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from compose.control.stack import Replica

# Enough for one that lost a race at its start, few enough to end while a person still looks.
MAX_STARTS = 3
HAPPENED = f"ends again and again: it was started {MAX_STARTS} times and did not become ready"


class Starts:
    """Counts the starts of each replica for as long as it is waited for."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, set[str]] = defaultdict(set)

    def looping(self, waiting: Iterable[Replica]) -> Replica | None:
        """Note when those that are not ready were started; the first of them that was so MAX_STARTS times."""
        for replica in waiting:
            if replica.started_at is not None:
                self._seen[replica.name].add(replica.started_at)
            if len(self._seen[replica.name]) >= MAX_STARTS:
                return replica
        return None
