"""What the follower tells of files. The pipeline logs and counts; the follower only says."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FileEvent:
    """`name` is one of docs/events.md, `level` its level in the log, `details` its fields besides the path."""

    name: str
    path: str
    level: str = "info"
    details: dict[str, object] = field(default_factory=dict)


def file_followed(path: str, position: int, size: int) -> FileEvent:
    return FileEvent("file_followed", path, details={"position": position, "size": size})


def file_rotated(path: str, unread_bytes: int) -> FileEvent:
    return FileEvent("file_rotated", path, details={"unread_bytes": unread_bytes})


def file_truncated(path: str, position: int, size: int) -> FileEvent:
    return FileEvent("file_truncated", path, "warning", {"position": position, "size": size})


def file_finished(path: str, position: int) -> FileEvent:
    return FileEvent("file_finished", path, details={"position": position})


def file_refused(path: str, reason: str) -> FileEvent:
    return FileEvent("file_refused", path, "warning", {"reason": reason})


def file_unreadable(path: str, reason: str) -> FileEvent:
    return FileEvent("file_unreadable", path, "warning", {"reason": reason})


def no_files(pattern: str) -> FileEvent:
    hint = "nothing matches LOG_FILES yet; it is looked for again until something does"
    return FileEvent("no_files", pattern, "warning", {"hint": hint})
