"""Reads nginx's configuration with everything that it includes."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from services.producer.nginx.syntax import ConfigurationError, Directive, Place, read_directives

MAX_FILES = 2_000
MAX_BYTES = 32 * 1024 * 1024


def load_directives(main_file: Path) -> Iterator[Directive]:
    """All directives, in the order in which nginx sees them. Raises ConfigurationError, which names file and line."""
    return _Loader(main_file.parent).load(main_file, (), ())


class _Loader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file_count = 0
        self._byte_count = 0

    def load(self, file: Path, blocks: tuple[str, ...], includers: tuple[Path, ...]) -> Iterator[Directive]:
        for directive in read_directives(self._read(file, includers), str(file), blocks):
            if directive.name != "include":
                yield directive
                continue
            for included in self._included(directive):
                if included.resolve() in (*includers, file.resolve()):
                    raise ConfigurationError(f"{directive.place}: {included} includes itself")
                yield from self.load(included, directive.blocks, (*includers, file.resolve()))

    def _included(self, directive: Directive) -> list[Path]:
        """Relative names start at the folder of the main file, as nginx has it. A pattern may match nothing."""
        if len(directive.arguments) != 1:
            raise ConfigurationError(f"{directive.place}: include takes one name")
        pattern = str(self._folder / directive.arguments[0])
        if not glob.has_magic(pattern):
            return [Path(pattern)]
        return [Path(name) for name in sorted(glob.glob(pattern))]

    def _read(self, file: Path, includers: tuple[Path, ...]) -> str:
        where = f"{includers[-1]}: include: " if includers else ""
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{where}{file} cannot be read: {error.strerror}") from error
        self._file_count += 1
        self._byte_count += len(raw)
        if self._file_count > MAX_FILES or self._byte_count > MAX_BYTES:
            raise ConfigurationError(f"{Place(str(file), 1)}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
        return raw.decode(errors="surrogateescape")
