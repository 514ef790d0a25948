"""One look at the names of a whole archive, for what has to be known before the first record comes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.consumer.archive.layout import hour_named, span_named


@dataclass(slots=True)
class Found:
    """`archived_to` is behind the highest archived offset; `mergeable` are the hours with several files, and when their
    folder changed last, in seconds since 1970.
    """

    archived_to: int = 0
    mergeable: dict[int, float] = field(default_factory=dict)


def survey(topic_folder: Path, partitions: Collection[int]) -> Mapping[int, Found]:
    """What there is of each of these partitions. Raises OSError."""
    found = {partition: Found() for partition in partitions}
    for hour, folder in hour_folders(topic_folder):
        names = [path.name for path in folder.iterdir()]
        for partition, one in found.items():
            spans = [span for name in names if (span := span_named(name, partition))]
            one.archived_to = max([one.archived_to, *(span.last + 1 for span in spans)])
            if len(spans) > 1:
                one.mergeable[hour] = folder.stat().st_mtime
    return found


def hour_folders(topic_folder: Path) -> Iterator[tuple[int, Path]]:
    """The folders of hours, with their hours. Strangers are left out."""
    for folder in topic_folder.glob("date=*/hour=*"):
        hour = hour_named(folder.parent.name, folder.name)
        if hour is not None:
            yield hour, folder
