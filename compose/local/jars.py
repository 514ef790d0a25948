"""The broker's jars: pinned by a lock file, fetched by jgo, believed only after their sha256 was seen.

The lock names every jar, so nothing is resolved at run time. Downloads go to a staging folder and enter the cache by a
rename once their checksum is right: a cache that was interrupted or damaged heals on the next call, and two programs
may fill it at the same time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from compose.errors import OperatorError

HERE = Path(__file__).parent
SPECIFICATION_FILE = HERE / "kafka.toml"
LOCK_FILE = HERE / "kafka.lock.toml"
PARALLEL_DOWNLOADS = 6
ATTEMPTS_PER_JAR = 3
ATTEMPT_PAUSE_S = 2.0

Progress = Callable[[int, int, str], None]
"""Called with (jars done, jars in all, name of the last one)."""


@dataclass(frozen=True)
class LockedJar:
    """One artifact of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def default_cache_directory() -> Path:
    """Where downloads are kept between runs: the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nginx-kafka-pipeline"


def read_lock(lock_file: Path = LOCK_FILE) -> tuple[LockedJar, ...]:
    """The jars that the lock names, in class path order."""
    entries = tomllib.loads(lock_file.read_text())["dependencies"]
    return tuple(
        LockedJar(entry["groupId"], entry["artifactId"], entry["version"], entry["sha256"]) for entry in entries
    )


def sha256_of(path: Path) -> str | None:
    """Hex digest of a file; None where there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def ensure_jars(
    cache_directory: Path, progress: Progress | None = None, lock_file: Path = LOCK_FILE
) -> tuple[Path, ...]:
    """Every jar of the lock in the cache, its checksum verified on each call; fetches what is missing or damaged.

    Raises OperatorError when a jar cannot be had, or is not the one that the lock names.
    """
    jars = read_lock(lock_file)
    folder = cache_directory / "jars"
    paths = {jar: folder / jar.file_name for jar in jars}
    missing = [jar for jar in jars if sha256_of(paths[jar]) != jar.sha256]
    if missing:
        _fetch_all(missing, folder, progress or (lambda *_: None))
    return tuple(paths[jar] for jar in jars)


def _fetch_all(jars: Sequence[LockedJar], folder: Path, progress: Progress) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="staging-", dir=folder.parent) as staging,
            ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
        ):
            waiting = {pool.submit(_fetch, jar, Path(staging), folder): jar for jar in jars}
            try:
                for done, future in enumerate(as_completed(waiting), start=1):
                    future.result()
                    progress(done, len(jars), waiting[future].file_name)
            finally:
                pool.shutdown(cancel_futures=True)
    except OSError as error:
        raise OperatorError(
            f"The broker's jars could not be stored in {folder}: {error}",
            "Free some space (60 MB are needed), or choose another cache folder with XDG_CACHE_HOME.",
        ) from error


def _fetch(jar: LockedJar, staging: Path, folder: Path) -> None:
    """One jar through staging into the cache; tries again after a failed connection, never after a wrong checksum."""
    fetched = _download(jar, staging)
    found = sha256_of(fetched)
    if found != jar.sha256:
        raise OperatorError(
            f"{jar.file_name} is not the file that the lock names: sha256 {found}, expected {jar.sha256}.",
            "Something between here and the repository altered it. Nothing was kept; check your proxy and try again.",
        )
    fetched.replace(folder / jar.file_name)


def _download(jar: LockedJar, staging: Path) -> Path:
    from jgo.maven import MavenContext  # slow to import, and only needed when the cache is not complete

    artifact = MavenContext(repo_cache=staging).project(jar.group, jar.artifact).at_version(jar.version).artifact()
    last_error: Exception | None = None
    for attempt in range(ATTEMPTS_PER_JAR):
        if attempt:
            time.sleep(ATTEMPT_PAUSE_S * attempt)
        try:
            return artifact.resolve()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo says "not found" by RuntimeError
            last_error = error
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(missing_ok=True)
    raise OperatorError(
        f"{jar.file_name} could not be downloaded: {last_error}",
        "Check the network (HTTPS_PROXY is honoured), then run the same command again: it goes on where it stopped.",
    ) from last_error


def write_lock(lock_file: Path = LOCK_FILE, specification_file: Path = SPECIFICATION_FILE) -> int:
    """Resolve the specification anew and write the lock; returns the number of jars. For the maintainers."""
    from jgo.env import LockFile
    from jgo.maven import MavenContext
    from jgo.parse import Coordinate

    wanted = tomllib.loads(specification_file.read_text())
    with tempfile.TemporaryDirectory() as staging:
        context = MavenContext(repo_cache=Path(staging))
        inputs = [
            context.create_dependency(replace(Coordinate.parse(text), scope="compile", raw=True))
            for text in wanted["coordinates"]
        ]
        direct, transitive = context.resolver.resolve(inputs)
        runtime = [*direct, *(each for each in transitive if each.scope in ("compile", "runtime"))]
        lock = LockFile.from_resolved_dependencies(runtime, environment_name=wanted["name"])
        draft = Path(staging) / lock_file.name
        lock.save(draft)
        # It bears the time of its making: a lock that names the same jars stays as it is.
        if not lock_file.exists() or read_lock(draft) != read_lock(lock_file):
            lock_file.write_bytes(draft.read_bytes())
        return len(read_lock(lock_file))
