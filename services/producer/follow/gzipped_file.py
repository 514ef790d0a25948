"""A rotated file that was compressed: read on inside the gzip, where its content had been read to.

Nothing is unpacked to disk, and each call does a bounded piece of the work.
"""

from __future__ import annotations

import os
import zlib

from services.producer.chunk import Chunk, ChunkKind, KnownFile, Seen
from services.producer.follow.identity import HEAD_BYTES, fits
from services.producer.follow.open_file import OpenFile, ReadLimits

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's number for: a gzip header, then the largest window
_READ_BYTES = 64 * 1024
# A call that only passes over what was sent before does so much of it.
_STEP_BYTES = 4 * 1024 * 1024
# No deflate stream grows by more when it is unpacked.
_LARGEST_RATIO = 1_032


class Inflater:
    """The bytes of a gzip file, one after the other; several members follow each other as one content."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self._between_members = False
        self._input = b""
        self._offset = 0
        self.problem: str | None = None  # what is wrong with the file; nothing comes behind it

    @property
    def consumed_bytes(self) -> int:
        """Compressed bytes that were taken so far."""
        return self._offset - len(self._input)

    @property
    def is_inside_a_member(self) -> bool:
        """Whether more must come for the file to be whole."""
        return not self._between_members

    def take(self, max_bytes: int) -> bytes:
        """The next bytes, fewer when the file ends, is damaged or is not written further yet. Raises OSError."""
        taken: list[bytes] = []
        wanted = max_bytes
        while wanted and self.problem is None:
            had_input = self._fill()
            piece = self._inflate(wanted)
            if not piece and not had_input:
                break
            taken.append(piece)
            wanted -= len(piece)
        return b"".join(taken)

    def _fill(self) -> bool:
        if not self._input:
            self._input = os.pread(self._descriptor, _READ_BYTES, self._offset)
            self._offset += len(self._input)
        if self._between_members:
            self._input = self._input.lstrip(b"\0")  # padding of block devices; gzip passes over it too
            if self._input:
                self._stream = zlib.decompressobj(_GZIP_WINDOW)
                self._between_members = False
        return bool(self._input)

    def _inflate(self, max_bytes: int) -> bytes:
        if self._between_members:
            return b""
        before = self._stream.copy()
        try:
            piece = self._stream.decompress(self._input, max_bytes)
        except zlib.error as error:
            self.problem = f"damaged: {error}"
            return _up_to_the_error(before, self._input)
        self._between_members = self._stream.eof
        self._input = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return piece


def _up_to_the_error(stream: zlib._Decompress, data: bytes) -> bytes:
    """What comes before the damage: a call that fails gives nothing of it, so it is asked for in small pieces.

    The last byte is missing: zlib writes it and looks on in the same call.
    """
    taken = bytearray()
    for step_bytes in (1_024, 1):
        try:
            while piece := (ahead := stream.copy()).decompress(data, step_bytes):
                taken += piece
                stream, data = ahead, ahead.unconsumed_tail
        except zlib.error:
            continue
    return bytes(taken)


def gzipped_head(descriptor: int) -> bytes:
    """The first HEAD_BYTES bytes of the content of a gzip file. Raises OSError."""
    return Inflater(descriptor).take(HEAD_BYTES)


def stated_bytes(descriptor: int) -> int:
    """How long the content is by the end of a gzip file: right below 4 GiB and for one member. Raises OSError."""
    return int.from_bytes(os.pread(descriptor, 4, max(0, os.fstat(descriptor).st_size - 4)), "little")


class GzippedFile(OpenFile):
    """`known` is what was sent of the content; None: nothing is known of it, all of it is read."""

    def __init__(
        self, descriptor: int, path: str, first_path: str, limits: ReadLimits, known: KnownFile | None
    ) -> None:
        super().__init__(descriptor, path, first_path, limits)
        self.refuted = False  # it begins as the known content does, and is another one
        self._tail = known.tail if known else None
        self._first_bytes = gzipped_head(descriptor)
        self._inflater = Inflater(descriptor)
        self._passed = 0  # bytes of the content that were unpacked
        self._buffer = b""  # the last of them, from the position on
        self._excerpt: bytes | None = None  # the beginning of a line that is too long, while its end is looked for
        self._may_give = True
        size = known.seen.size if known and known.seen else 0
        self.seen = Seen(size, self.seen.modified_ns)  # of the content, not of the file that holds it
        if known is not None:
            self.identity, self.position = known.identity, known.position

    @property
    def size(self) -> int:
        """As the end of the file states it where that can be true, else what was unpacked so far."""
        left = self._compressed_left
        if self._inflater.problem is not None or not left:
            return max(self._passed, self.position)
        return max(self._passed + 1, self.position, self._stated(left))

    @property
    def problem(self) -> str | None:
        """What is wrong with it, once that is known."""
        if self._inflater.is_inside_a_member and not self._may_give:
            return self._inflater.problem or "cut off"
        return self._inflater.problem

    @property
    def known(self) -> KnownFile | None:
        known = super().known
        if known is None or not (self._is_seeking or self.refuted):
            return known
        return KnownFile(known.identity, known.position, self._tail, known.seen)

    @property
    def has_unsearched_bytes(self) -> bool:
        return self._may_give and not self.refuted

    @property
    def is_looked_for(self) -> bool:
        return self._is_seeking

    @property
    def _is_seeking(self) -> bool:
        """The position was not reached yet: what comes before it was sent before."""
        return self._passed < self.position

    @property
    def _compressed_left(self) -> int:
        return os.fstat(self.descriptor).st_size - self._inflater.consumed_bytes

    def has_been_replaced(self) -> bool:
        """No: who compresses writes a new file. One that is still being written only grows."""
        return False

    def start_over(self) -> None:
        raise AssertionError("a compressed file is never replaced")

    def missing_bytes(self) -> int:
        """How many bytes behind the position are known to be lost, when nothing more comes."""
        stated = self._stated(self._compressed_left) if self._inflater.problem else 0
        return max(self.expected_bytes, stated, self.position) - self.position

    def read_chunk(self) -> Chunk | None:
        if self._is_seeking:
            self._seek()
            return None
        if b"\n" not in self._buffer:
            piece = self._inflater.take(self._limits.chunk_bytes)
            self._passed += len(piece)
            self._buffer += piece
            self._may_give = bool(piece)
        newline = self._buffer.find(b"\n")
        line_bytes = newline if newline >= 0 else len(self._buffer)
        if self._excerpt is not None or line_bytes > self._limits.max_line_bytes:
            return self._pass_over_long_line(newline)
        if newline < 0:
            return None
        end = self._limits.cut(self._buffer, 0, self._buffer.rfind(b"\n") + 1)
        return self._take(end, self._buffer[:end], ChunkKind.LINES)

    def read_unterminated(self) -> Chunk | None:
        if self._passed <= self.position:
            return None
        excerpt = self._buffer[: self._limits.excerpt_bytes] if self._excerpt is None else self._excerpt
        return self._take(len(self._buffer), excerpt, ChunkKind.UNTERMINATED)

    def _seek(self) -> None:
        """Pass over what was sent before; at the position, see whether it is the same content."""
        piece = self._inflater.take(min(_STEP_BYTES, self.position - self._passed))
        self._passed += len(piece)
        self._remember(piece)
        self._may_give = bool(piece)
        if not self._is_seeking:
            self.refuted = not fits(self._tail, self._before)
        elif not self._may_give and self.problem is None:
            self.refuted = True  # the content ends before the position

    def _pass_over_long_line(self, newline: int) -> Chunk | None:
        if self._excerpt is None:
            self._excerpt = self._buffer[: self._limits.excerpt_bytes]
        if newline >= 0:
            return self._take(newline + 1, self._excerpt, ChunkKind.TOO_LONG)
        self._remember(self._buffer)
        self._buffer = b""
        return None

    def _take(self, buffered_bytes: int, data: bytes, kind: ChunkKind) -> Chunk:
        """A chunk that ends behind so many bytes of the buffer."""
        start = self.position
        self._remember(self._buffer[:buffered_bytes])
        self._buffer = self._buffer[buffered_bytes:]
        self._excerpt = None
        self.position = self._passed - len(self._buffer)
        return self._chunk(start, data, kind)

    def _stated(self, compressed_left: int) -> int:
        stated = stated_bytes(self.descriptor)
        return stated if stated <= self._passed + compressed_left * _LARGEST_RATIO else 0

    def head(self) -> bytes:
        return self._first_bytes
