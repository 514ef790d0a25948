"""The demo site on this machine: the container's nginx.conf, made fit for an unprivileged instance on a free port."""

from __future__ import annotations

import shutil
from pathlib import Path

from compose.errors import OperatorError

WRAPPER = Path(__file__).parent / "nginx.sh"

# sbin is not on everyone's PATH.
SEARCHED = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/bin", "/opt/homebrew/bin")


def find_nginx() -> str | None:
    """The system's nginx, if there is one."""
    return shutil.which("nginx") or shutil.which("nginx", path=":".join(SEARCHED))


def local_configuration(text: str, directory: Path, log_directory: Path, port: int) -> str:
    """The container's configuration for this machine. Pure.

    Raises OperatorError when a line that must change is not in it any more.
    """
    replacements = {
        "user  nginx;": "daemon  off;",
        "/dev/stderr": "stderr",
        "/tmp/": f"{directory}/tmp/",  # noqa: S108  (the container's, replaced here)
        "/var/log/site/": f"{log_directory}/",
        "listen       8080 ": f"listen       127.0.0.1:{port} ",
    }
    for there, here in replacements.items():
        if there not in text:
            raise OperatorError(
                f"compose/nginx/nginx.conf holds no {there!r} any more.", "Change compose/local/site.py with it."
            )
        text = text.replace(there, here)
    return text


def command(nginx: str, directory: Path, log_file: Path, limit_bytes: str) -> tuple[str, ...]:
    """The command line of the instance whose files are in `directory`; its log is rotated above the limit."""
    instance = (nginx, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr")
    return ("/bin/sh", str(WRAPPER), str(log_file), limit_bytes, *instance)
