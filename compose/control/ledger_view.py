"""The producer's /status for people: a row for each file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
GENERATION_COLUMN = "generation"
COLUMNS = ("file", "size", "read", "confirmed", "dead-lettered", "skipped", "in flight", "abandoned", "state")


def columns(document: Document) -> tuple[str, ...]:
    """COLUMNS, and the generation where paths alone do not tell the files apart, as after a rotation."""
    paths = [file["path"] for file in document["files"]]
    return COLUMNS if len(set(paths)) == len(paths) else (COLUMNS[0], GENERATION_COLUMN, *COLUMNS[1:])


def rows(document: Document) -> Iterator[tuple[str, ...]]:
    """The cells of `columns`: sizes in bytes, what became of lines in lines, what was never read in bytes."""
    with_generation = GENERATION_COLUMN in columns(document)
    for file in document["files"]:
        lines = file["lines"]
        yield (
            escaped(file["path"]),
            *((file["generation"] or "-",) if with_generation else ()),
            size(file["size"]),
            percent(file["position"], file["size"]),
            *(f"{lines[name]:,}" for name in ("confirmed", "dead_lettered", "skipped", "in_flight")),
            size(file["bytes"]["abandoned"]),
            _state(file),
        )


def stuck_count(document: Document) -> int:
    """How many of the files do not move. Stuck ones come first, so that they are among those that are shown."""
    return sum(file["stuck"] is not None for file in document["files"])


def summary(document: Document) -> str:
    """One line on all files."""
    totals, session = document["totals"], document["session"]
    way = f"connected since {session['since']}" if session["connected"] else f"not connected: {session['because']}"
    if totals is None:
        return f"{document['delivery']}, {escaped(way)}. No file is looked at yet."
    in_bytes, lines = totals["bytes"], totals["lines"]
    return (
        f"{document['delivery']}, {escaped(way)}. Since its start: {lines['read']:,} lines read = "
        f"{lines['confirmed']:,} confirmed + {lines['dead_lettered']:,} dead-lettered + {lines['skipped']:,} skipped "
        f"({lines['skipped_blank']:,} blank, {lines['skipped_already_delivered']:,} in the topic already) + "
        f"{lines['in_flight']:,} in flight; {in_bytes['abandoned']:,} bytes abandoned."
    )


def _state(file: Document) -> str:
    stuck = file["stuck"]
    if stuck is not None:
        return f"stuck at byte {stuck['at_byte']:,} for {duration(stuck['for_s'])}: {escaped(stuck['because'])}"
    if file["position"] < file["size"] or file["lines"]["in_flight"]:
        return "moving"
    return "all done"


def percent(part: int, whole: int) -> str:
    """Whole percents; 100 only when it is all, and none of nothing."""
    return f"{min(100, part * 100 // whole)} %" if whole else "-"


def size(count: int) -> str:
    """Bytes in the largest unit of which there is one."""
    if count < 1_000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1_000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1_000:.1f} TB"


def duration(seconds: float) -> str:
    """In the largest unit of which there are two."""
    for unit_s, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def escaped(text: str) -> str:
    """The name of a file is anybody's choice: what is not printable must not steer the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
