"""What the follower tells of files. The pipeline logs and counts; the follower only says."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FileEvent:
    """`name` is one of docs/events.md, `level` its level in the log, `details` its fields besides the path.

    `lost_bytes` counts what is known to be lost, and `generation` says of what; both are in the details too.
    """

    name: str
    path: str
    level: str = "info"
    details: dict[str, object] = field(default_factory=dict)
    lost_bytes: int = 0
    generation: str | None = None


def file_followed(path: str, position: int, size: int) -> FileEvent:
    return FileEvent("file_followed", path, details={"position": position, "size": size})


def file_rotated(path: str, unread_bytes: int) -> FileEvent:
    return FileEvent("file_rotated", path, details={"unread_bytes": unread_bytes})


def file_truncated(path: str, position: int, size: int) -> FileEvent:
    return FileEvent("file_truncated", path, "warning", {"position": position, "size": size})


def bytes_lost(path: str, generation: str | None, position: int, lost_bytes: int) -> FileEvent:
    details: dict[str, object] = {"generation": generation, "position": position, "lost_bytes": lost_bytes}
    return FileEvent("bytes_lost", path, "warning", details, lost_bytes, generation)


def file_damaged(path: str, position: int, reason: str) -> FileEvent:
    return FileEvent("file_damaged", path, "warning", {"position": position, "reason": reason})


def file_finished(path: str, position: int) -> FileEvent:
    return FileEvent("file_finished", path, details={"position": position})


def file_refused(path: str, reason: str) -> FileEvent:
    return FileEvent("file_refused", path, "warning", {"reason": reason})


def file_unreadable(path: str, reason: str) -> FileEvent:
    return FileEvent("file_unreadable", path, "warning", {"reason": reason})


def too_many_files(path: str, limit: int) -> FileEvent:
    hint = "raise the limit of open files (ulimit -n) or narrow LOG_FILES; what is left out is tried again"
    return FileEvent("too_many_files", path, "warning", {"limit": limit, "hint": hint})


def no_files(pattern: str) -> FileEvent:
    hint = "nothing matches LOG_FILES yet; it is looked for again until something does"
    return FileEvent("no_files", pattern, "warning", {"hint": hint})
