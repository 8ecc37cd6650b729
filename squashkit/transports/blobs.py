"""Stored bytes: spans of open files, the containers that they lie in, and how they are read in blocks."""

from __future__ import annotations

import mmap
import os
import posixpath
import select
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from squashkit.errors import (
    Cancelled,
    DigestMismatch,
    InvalidImage,
    show_path,
)
from squashkit.layers.blocks import Window
from squashkit.oci.digests import Digest
from squashkit.oci.media import Codec
from squashkit.transports.codecs import MAGIC_SIZE, detect
from squashkit.values import frozen

READ_SIZE = 1 << 20  # what a processor has just read is still in its cache to hash and to write
_STREAM = 1 << 20
MAX_DOCUMENT = 32 << 20  # a manifest or a config; registries stop at 4 MiB
WINDOW = 64 << 10
"""Bytes that one reading of what lies close together takes in."""


@frozen
class Blob:
    """Stored bytes: a span of an open file."""

    fd: int
    offset: int
    size: int

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes of the blob from an offset on; fewer where it ends."""
        size = min(size, self.size - offset)
        return os.pread(self.fd, size, self.offset + offset) if size > 0 else b""

    def codec(self) -> Codec:
        return detect(self.read_at(0, MAGIC_SIZE))


class Container(Protocol):
    """Blobs by name."""

    @abstractmethod
    def has(self, name: str) -> bool: ...

    @abstractmethod
    def get(self, name: str) -> Blob | None:
        """Where a blob lies, None where it is not there. Valid until the container is closed."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A JSON document, None where it is not there. Raises InvalidImage over MAX_DOCUMENT bytes."""

    @abstractmethod
    def names(self) -> Iterable[str]:
        """What it holds: the names of its files."""

    @abstractmethod
    def close(self) -> None: ...


class Remote(Container):
    """A container over the network, as those say that inherit from it. `get` fetches a whole blob, once, to
    a file without a name."""

    root: Digest
    """What its reference means: a manifest or an index."""

    @abstractmethod
    def is_here(self, name: str) -> bool:
        """Whether a blob has been fetched."""

    @abstractmethod
    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        """A blob's bytes as they come, verified and not kept."""

    @abstractmethod
    def interrupt(self) -> None:
        """End all waiting for the network, with Cancelled, and ask nothing more."""

    @abstractmethod
    def resume(self) -> None:
        """Work begins (anew)."""


def check_document(name: str, size: int) -> None:
    if size > MAX_DOCUMENT:
        raise InvalidImage(f"a document of {size} bytes; the limit is {MAX_DOCUMENT}", where=name)


def clean_name(name: bytes) -> str:
    """A member's name as a clean path below the archive's root. An absolute one begins there too, and `..`
    at the root stays there, as docker and podman have it; a relative one may not lead out."""
    path = posixpath.normpath(os.fsdecode(name))
    if path == ".." or path.startswith("../"):
        raise InvalidImage(f"the member name {show_path(name)} leads out of the archive")
    return path.lstrip("/") or "."


def jumping_window(blob: Blob, size: int = WINDOW) -> Window:
    """A window for `tar.scan` that jumps over data. One reading of `size` bytes takes in the headers of
    several small files: a system call costs as much as 16 KiB."""
    buffer = new_buffer(min(size, max(blob.size, 1)))

    def window(at: int) -> tuple[memoryview, int]:
        if at >= blob.size:
            return buffer[:0], min(at, blob.size)
        count = os.preadv(blob.fd, [buffer[: blob.size - at]], blob.offset + at)
        return buffer[:count], at

    return window


def read_blocks(
    blob: Blob, cancelled: threading.Event, where: str, size: int = READ_SIZE
) -> Iterator[memoryview]:
    """A blob's bytes in blocks of `size`, the last one shorter. A block is overwritten by the one after
    the next. Raises DigestMismatch where the file ends early."""
    buffers = [new_buffer(min(size, max(blob.size, 1))) for _ in range(2)]
    at = 0
    while at < blob.size:
        if cancelled.is_set():
            raise Cancelled
        buffers.reverse()
        view = buffers[0][: min(size, blob.size - at)]
        read_into(blob.fd, blob.offset + at, view, where)
        yield view
        at += len(view)


def read_into(fd: int, offset: int, view: memoryview, where: str) -> None:
    """Fill a buffer from a file. Raises DigestMismatch where the file ends early."""
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            raise DigestMismatch(
                where, expected=f"{len(view) - done} more bytes", actual="the end of the file"
            )
        done += count


def fill_blocks(pieces: Iterable[bytes], size: int = READ_SIZE) -> Iterator[memoryview]:
    """Pieces of any length as blocks of `size`, the last one shorter. A block is overwritten by the one
    after the next."""
    buffers = [new_buffer(size) for _ in range(2)]
    used = 0
    for piece in pieces:
        view = memoryview(piece)
        while view:
            part = view[: size - used]
            buffers[0][used : used + len(part)] = part
            used += len(part)
            view = view[len(part) :]
            if used == size:
                yield buffers[0]
                buffers.reverse()
                used = 0
    if used:
        yield buffers[0][:used]


def new_buffer(size: int) -> memoryview:
    """A buffer that begins on a page: the kernel fills it more than twice as fast as a bytearray's."""
    return memoryview(mmap.mmap(-1, size))


def read_stream(fd: int, progress: Callable[[int], None]) -> Iterator[bytes]:
    """A stream's bytes. An interrupt that comes just before a read begins would not be seen until that
    read is done, so the waiting is done in short turns."""
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    while True:
        while not ready.poll(100):  # milliseconds
            pass
        block = os.read(fd, _STREAM)
        if not block:
            return
        progress(len(block))
        yield block


def open_unnamed(folder: Path) -> int:
    """A new file that has no name and vanishes when it is closed."""
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # not every file system has it
    path = folder / f".squashkit-{os.urandom(6).hex()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    path.unlink()
    return fd


def write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
