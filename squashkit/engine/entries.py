"""The headers of layers that lie elsewhere, kept from one run to the next in the user's cache folder.

What is kept of a layer is what the tar scanner reads of it: its header blocks and where they stand. So what
comes from here goes through the same parser as what comes from the layer itself, and no result depends on
whence it came. A file is written whole or not at all, is checked by a digest of its own, and is thrown away
where it is bad.
"""

from __future__ import annotations

import hashlib
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from squashkit.errors import InvalidImage, TransportError
from squashkit.layers import tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.layers.entry import Entry
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID
from squashkit.oci.media import Codec
from squashkit.transports.atomic import AtomicFile
from squashkit.transports.blobs import write_all
from squashkit.transports.codecs import Compressor, decompress
from squashkit.values import frozen

_MAGIC = b"squashkit entries 2\n"
_SPAN = struct.Struct("<QI")
"""Where header blocks stand in the layer, and how many bytes of them follow."""
_LAST = 2**64 - 1
_END = struct.Struct("<Q?")
"""The layer's size, and whether there is junk behind its end."""
_CHECKSUM = 32
_LIMIT = 1 << 30
_COMPRESSION = Compression(Codec.ZSTD, 3)
_AT_ONCE = 1 << 20
"""Bytes that are compressed together."""


def cache_folder() -> Path:
    """Where a user's programs keep what they can make anew (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else home_folder() / ".cache"
    return base / "squashkit" / "entries"


def home_folder() -> Path:
    """The user's home. Who has none, as a bare number in a container without HOME, has the root, as docker
    has it."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


@frozen
class EntryCache:
    """Layers' entries by diff_id. A folder that cannot be written keeps nothing, and that is no error."""

    folder: Path

    def _path(self, diff_id: DiffID) -> Path:
        return self.folder / diff_id.removeprefix("sha256:")

    def has(self, diff_id: DiffID) -> bool:
        return os.path.isfile(self._path(diff_id))  # False, too, where it may not be looked for

    def get(self, diff_id: DiffID) -> Changeset | None:
        """A layer's changeset, None where it is not known."""
        path = self._path(diff_id)
        if not os.path.isfile(path):  # a pipe would wait for ever
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            changeset = _parse(data, diff_id)
        except (InvalidImage, ValueError, struct.error):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # what was used last goes last
        return changeset

    def recorder(self, diff_id: DiffID) -> Recorder | None:
        """Takes a layer in while it is scanned; None where it is known, or nothing can be kept."""
        if self.has(diff_id):
            return None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Recorder(self, AtomicFile(self._path(diff_id)), diff_id)
        except (OSError, TransportError):
            return None

    def trim(self) -> None:
        """Remove what was not used for longest until the rest is within the limit."""
        found = [(path.stat(), path) for path in self.folder.iterdir() if not path.name.startswith(".")]
        total = sum(stat.st_size for stat, _ in found)
        for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime):
            if total <= _LIMIT:
                return
            path.unlink()
            total -= stat.st_size


class Recorder:
    """Writes one layer's headers while they pass."""

    def __init__(self, cache: EntryCache, file: AtomicFile, diff_id: DiffID) -> None:
        self._cache = cache
        self._file = file
        self._checksum = hashlib.sha256()
        self._whole = True
        self._write(_MAGIC + diff_id.encode())
        self._compressor = Compressor(_COMPRESSION, self._write, 1)

    def _write(self, data: bytes) -> None:
        self._checksum.update(data)
        write_all(self._file.fd, data)

    def recorded(
        self, entries: Iterable[Entry], passed: Callable[[int, int], bytes | None]
    ) -> Iterator[Entry]:
        """The same entries. `passed` gives bytes of the layer that were just read: all that is no data,
        sparse maps that stand before the data included."""
        end = 0
        for entry in entries:
            blocks = passed(end, entry.headers_end) if self._whole else None
            if blocks is None:
                self._whole = False
            else:
                self._feed(_SPAN.pack(end, len(blocks)) + blocks)
            end = entry.end
            yield entry

    def _feed(self, data: bytes) -> None:
        try:
            self._compressor.feed(memoryview(data))
        except OSError:  # a full disk must not spoil the work for which this is an aid
            self._whole = False

    def finish(self, changeset: Changeset) -> None:
        """Keep what was recorded: the layer is what its diff_id says."""
        if not self._whole:
            return
        with suppress(OSError):
            end = _END.pack(changeset.diff_size, changeset.junk)
            self._compressor.feed(memoryview(_SPAN.pack(_LAST, len(end)) + end))
            self._compressor.close()
            write_all(self._file.fd, self._checksum.digest())
            self._file.publish(replace=True, sync=False)
            self._cache.trim()

    def close(self) -> None:
        """Drop what was not finished."""
        self._file.close()


def _parse(data: bytes, diff_id: DiffID) -> Changeset:
    """Raises InvalidImage, ValueError or struct.error for what is not whole."""
    head = _MAGIC + diff_id.encode()
    body, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    if not body.startswith(head) or hashlib.sha256(body).digest() != checksum:
        raise ValueError("not the entries of this layer")
    return unpack_headers(memoryview(body)[len(head) :])


def pack_headers(changeset: Changeset, read: Callable[[int, int], bytes]) -> bytes:
    """All of a layer that is no data, as `unpack_headers` takes it. `read` gives the bytes of its plain tar
    from one offset to another."""
    packed: list[bytes] = []
    compressor = Compressor(_COMPRESSION, packed.append, 1)
    spans = bytearray()

    def add(start: int, blocks: bytes) -> None:
        spans.extend(_SPAN.pack(start, len(blocks)) + blocks)
        if len(spans) >= _AT_ONCE:
            feed()

    def feed() -> None:
        compressor.feed(memoryview(bytes(spans)))
        spans.clear()

    end = 0
    for entry in changeset.members:
        add(end, read(end, entry.headers_end))
        end = entry.end
    if end < changeset.end:  # global headers behind the last member
        add(end, read(end, changeset.end))
    add(_LAST, _END.pack(changeset.diff_size, changeset.junk))
    feed()
    compressor.close()
    return b"".join(packed)


def unpack_headers(data: bytes | memoryview) -> Changeset:
    """The changeset of a layer of which there is all but the data. Raises InvalidImage, ValueError or
    struct.error for what is not whole."""
    spans = _Spans(decompress(Codec.ZSTD, [memoryview(data)]))
    changeset = parse_changeset(tar.scan(spans))
    diff_size, junk = spans.end()
    return replace(changeset, diff_size=diff_size, junk=junk)


class HeaderBlocks:
    """The header blocks of a layer, by where they stand in its plain tar."""

    def __init__(self, data: bytes) -> None:
        spans = _Spans(decompress(Codec.ZSTD, [memoryview(data)]))
        self._spans = list(spans.rest())
        self._starts = [start for start, _ in self._spans]

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from one offset of the tar to another, which are all of one member's headers."""
        at, blocks = self._spans[bisect_right(self._starts, start) - 1]
        return blocks[start - at : stop - at]


class _Spans:
    """A window for `tar.scan` over header blocks that come one span after the other."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = bytearray()
        self._at = 0
        self._next = self._read_span()

    def __call__(self, at: int) -> tuple[memoryview, int]:
        """The span that begins at `at`; zeros, as at a tar's end, where there is none."""
        start, blocks = self._next
        if start != at:
            return memoryview(bytes(2 * BLOCK)), at
        self._next = self._read_span()
        return memoryview(blocks), start

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """All spans that come yet."""
        while self._next[0] != _LAST:
            yield self._next
            self._next = self._read_span()

    def end(self) -> tuple[int, bool]:
        start, blocks = self._next
        if start != _LAST:
            raise ValueError("spans that are no headers")
        size, junk = _END.unpack(blocks)
        return size, junk

    def _read_span(self) -> tuple[int, bytes]:
        start, length = _SPAN.unpack(self._take(_SPAN.size))
        return start, self._take(length)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise ValueError("it ends too early")
            del self._buffer[: self._at]
            self._at = 0
            self._buffer += piece
        taken = bytes(self._buffer[self._at : self._at + size])
        self._at += size
        return taken
