"""The containers that blobs lie in: one archive, whose members are spans of a file, or a folder.

Both answer `get(name)` with a `Blob`; nothing is unpacked. An archive that is compressed, or comes from a
pipe, is first written to a file without a name.
"""

from __future__ import annotations

import errno
import mmap
import os
import posixpath
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import gettempdir
from typing import Protocol, runtime_checkable

from squashkit.errors import (
    Cancelled,
    DigestMismatch,
    InvalidImage,
    InvalidLayer,
    TransportError,
    show_path,
    why,
)
from squashkit.layers import tar
from squashkit.oci.digests import Digest
from squashkit.oci.media import Codec
from squashkit.transports.codecs import MAGIC_SIZE, decompress, detect
from squashkit.transports.room import Room

READ_SIZE = 2 << 20  # what a processor has just read it still has at hand to hash and to write
_STREAM = 1 << 20
MAX_DOCUMENT = 32 << 20  # a manifest or a config; registries stop at 4 MiB
_HOPS = 40
_WINDOW = 64 << 10


@dataclass(frozen=True, slots=True)
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

    def has(self, name: str) -> bool: ...

    def get(self, name: str) -> Blob | None:
        """Where a blob lies, None where it is not there. Valid until the container is closed."""

    def read(self, name: str) -> bytes | None:
        """A JSON document, None where it is not there. Raises InvalidImage over MAX_DOCUMENT bytes."""

    def names(self) -> Iterable[str]:
        """What it holds: the names of its files."""

    def close(self) -> None: ...


@runtime_checkable
class Remote(Container, Protocol):
    """A container over the network. `get` fetches a whole blob, once, to a file without a name."""

    root: Digest
    """What its reference means: a manifest or an index."""

    def is_here(self, name: str) -> bool:
        """Whether a blob has been fetched."""

    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        """A blob's bytes as they come, verified and not kept."""

    def interrupt(self) -> None:
        """End all waiting for the network, with Cancelled, and ask nothing more."""

    def resume(self) -> None:
        """Work begins (anew)."""


class Archive:
    """The members of one tar, found by their headers. Symlinks and hard links between members are
    followed, as `docker save` writes a repeated layer and `tar` a repeated file. A sparse member, as
    `tar -S` writes it, is written out to a file without a name when it is asked for."""

    def __init__(self, fd: int, size: int, room: Room | None = None) -> None:
        self._fd = fd
        self.size = size
        self._room = room or Room.of(Path(gettempdir()))
        self._sparse: dict[Blob, tar.Record] = {}
        self._expanded: dict[Blob, Blob] = {}
        self._lock = threading.Lock()
        self.identity: tuple[int, int] | None = None
        """Device and inode of the file that was opened."""
        self._members: dict[str, Blob] = {}
        self._links: dict[str, tuple[str, bytes]] = {}
        """Where a link leads, and what it says."""
        self._earlier: dict[str, Blob] = {}
        """Members under whose name another one follows."""
        for record in tar.scan(jumping_window(Blob(fd, 0, size))):
            name = _member_name(record.name)
            if record.typeflag == tar.REGULAR:
                self._forget(name)
                self._members[name] = blob = Blob(fd, record.data, record.size)
                if record.sparse is not None:
                    self._sparse[blob] = record
                self._links.pop(name, None)
            elif record.typeflag == tar.SYMLINK:
                folder = posixpath.dirname(name)
                self._links[name] = _link_target(record.linkname, folder), record.linkname
                self._forget(name)
            elif record.typeflag == tar.HARD_LINK:
                self._links[name] = _member_name(record.linkname), record.linkname
                self._forget(name)

    def _forget(self, name: str) -> None:
        """Another member of this name follows."""
        if (blob := self._members.pop(name, None)) is not None:
            self._earlier.setdefault(name, blob)

    def get(self, name: str) -> Blob | None:
        blob = self._find(name)
        return None if blob is None else self._whole(blob)

    def _whole(self, blob: Blob) -> Blob:
        """A member's content, holes included."""
        if blob not in self._sparse:
            return blob
        with self._lock:
            if blob not in self._expanded:
                self._expanded[blob] = _expand(self._fd, self._sparse[blob], self._room)
            return self._expanded[blob]

    def _find(self, name: str) -> Blob | None:
        wanted = name = _member_name(os.fsencode(name))
        said = b""
        for _ in range(_HOPS):
            if name not in self._links:
                blob = self._members.get(name)
                if blob is None and name != wanted:
                    raise InvalidImage(f"a link to {show_path(said)}, which is not there", where=wanted)
                return blob
            name, said = self._links[name]
        raise InvalidImage("a loop of links between members", where=wanted)

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def read(self, name: str) -> bytes | None:
        found = self._find(name)
        if found is None:
            return None
        record = self._sparse.get(found)
        _check_document(name, found.size if record is None else record.realsize)
        blob = self._whole(found)
        return blob.read_at(0, blob.size)

    def replaced(self) -> list[str]:
        """The names under which members with other bytes stand before: podman reads those."""
        return [
            name
            for name, earlier in self._earlier.items()
            if name not in self._members
            or not _same_bytes(self._whole(earlier), self._whole(self._members[name]))
        ]

    def names(self) -> Iterable[str]:
        return self._members.keys()

    def close(self) -> None:
        os.close(self._fd)
        for blob in self._expanded.values():
            os.close(blob.fd)


def _expand(fd: int, record: tar.Record, room: Room) -> Blob:
    """A sparse member's content in a file without a name, in which holes stay holes. Raises InvalidImage
    where no file may be as long as it says, TooLarge."""
    room.keep(record.size, show_path(record.name))
    spool = open_unnamed(room.folder)
    try:
        os.ftruncate(spool, record.realsize)
        at = 0
        for offset, size in tar.stored_spans(record):
            for done in range(0, size if offset is not None else 0, READ_SIZE):
                assert offset is not None
                piece = os.pread(fd, min(READ_SIZE, size - done), offset + done)
                os.lseek(spool, at + done, os.SEEK_SET)
                write_all(spool, piece)
            at += size
    except BaseException as error:
        os.close(spool)
        if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.EINVAL):
            message = f"a sparse member of {record.realsize:,} bytes, which no file here may have"
            raise InvalidImage(message, where=show_path(record.name)) from error
        raise
    return Blob(spool, 0, record.realsize)


def _same_bytes(one: Blob, other: Blob) -> bool:
    return one.size == other.size and all(
        one.read_at(at, READ_SIZE) == other.read_at(at, READ_SIZE) for at in range(0, one.size, READ_SIZE)
    )


class Folder:
    """The files of a folder. A blob's file is opened once, when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, Blob] = {}

    def get(self, name: str) -> Blob | None:
        if name not in self._open:
            path = self.path / _member_name(os.fsencode(name))
            if not path.is_file():  # a pipe would wait for ever
                return None
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise TransportError(
                    f"cannot read {self.path / name}: {why(error)}", reference=str(self.path)
                ) from error
            self._open[name] = Blob(fd, 0, os.fstat(fd).st_size)
        return self._open[name]

    def has(self, name: str) -> bool:
        return (self.path / _member_name(os.fsencode(name))).is_file()

    def read(self, name: str) -> bytes | None:
        path = self.path / _member_name(os.fsencode(name))
        if not path.is_file():
            return None
        try:
            _check_document(name, path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise TransportError(
                f"cannot read {path}: {error.strerror}", reference=str(self.path)
            ) from error

    def names(self) -> Iterable[str]:
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in files)

    def close(self) -> None:
        for blob in self._open.values():
            os.close(blob.fd)
        self._open.clear()


def _check_document(name: str, size: int) -> None:
    if size > MAX_DOCUMENT:
        raise InvalidImage(f"a document of {size} bytes; the limit is {MAX_DOCUMENT}", where=name)


def _member_name(name: bytes) -> str:
    """A member's name as a clean path below the archive's root. An absolute one begins there too, and `..`
    at the root stays there, as docker and podman have it; a relative one may not lead out."""
    path = posixpath.normpath(os.fsdecode(name))
    if path == ".." or path.startswith("../"):
        raise InvalidImage(f"the member name {show_path(name)} leads out of the archive")
    return path.lstrip("/") or "."


def _link_target(target: bytes, folder: str) -> str:
    """Where a symlink in a folder of the archive leads: an absolute one from the archive's root, and none
    beyond that."""
    return _member_name(posixpath.join(b"/", os.fsencode(folder), target))


def jumping_window(blob: Blob) -> tar.Window:
    """A window for `tar.scan` that jumps over data. One reading takes in the headers of several small
    files: a system call costs as much as 16 KiB."""
    buffer = new_buffer(min(_WINDOW, max(blob.size, 1)))

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


def open_archive(path: str, tmp_dir: Room, progress: Callable[[int], None] = lambda read: None) -> Archive:
    """Open an image archive by path, or from standard input (`-`). `identity` of the result tells the
    file that was opened.

    Raises TransportError where it cannot be read, InvalidImage where it is no tar, TooLarge.
    """
    fd, regular = _open_input(path)
    there = os.fstat(fd)
    try:
        codec = Codec.NONE
        if regular:
            codec = detect(os.pread(fd, MAGIC_SIZE, 0))
        if not regular or codec is not Codec.NONE:
            stream, (fd, codec) = fd, _spool(read_stream(fd, progress), tmp_dir, _shown(path))
            os.close(stream)
        archive = _archive(fd, codec, _shown(path), tmp_dir)
        archive.identity = (there.st_dev, there.st_ino)
        return archive
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the temporary file's fault, not the input's
        raise TransportError(f"cannot read {_shown(path)}: {why(error)}", reference=path) from error
    except BaseException:
        os.close(fd)
        raise


def open_stream(blocks: Iterable[bytes], tmp_dir: Room, where: str) -> Archive:
    """An image archive that comes in blocks. Raises InvalidImage where it is no tar, TooLarge, and what
    `blocks` raises."""
    spool, codec = _spool(blocks, tmp_dir, where)
    try:
        return _archive(spool, codec, where, tmp_dir)
    except BaseException:
        os.close(spool)
        raise


def _archive(fd: int, codec: Codec, where: str, room: Room) -> Archive:
    """The archive in a file, which was in a stream of a codec. Raises InvalidImage that says where of it,
    and within what, a fault is."""
    size = os.fstat(fd).st_size
    _refuse_no_tar(os.pread(fd, tar.BLOCK, 0), codec, where)
    try:
        return Archive(fd, size, room)
    except InvalidLayer as error:
        raise InvalidImage(f"{_within(codec)}no readable image archive: {error}", where=where) from error


class _Header(Exception):
    """A block is a tar's first header, as far as can be seen by it alone."""


def _refuse_no_tar(block: bytes, codec: Codec, where: str) -> None:
    """Raises InvalidImage where a first block, which was in a stream of a codec, is no header of a tar."""
    if not block:
        raise InvalidImage(f"{_within(codec)}it is empty", where=where)
    inner = detect(block[:MAGIC_SIZE])
    if inner is not Codec.NONE:
        raise InvalidImage(
            f"{_within(codec)}no tar header, but another {inner.value} stream; unpack it once", where=where
        )
    if len(block) < tar.BLOCK:
        return  # what is so short is soon read

    def window(at: int) -> tuple[memoryview, int]:
        if at:
            raise _Header
        return memoryview(block), 0

    try:
        if not any(block):
            raise InvalidLayer("it begins with zeros")
        with suppress(_Header):
            next(tar.scan(window))
    except InvalidLayer as error:
        raise InvalidImage(f"{_within(codec)}no readable image archive: {error}", where=where) from error


def _within(codec: Codec) -> str:
    """Where a fault lies in what was compressed, for people."""
    return "" if codec is Codec.NONE else f"within the {codec.value} stream, "


def _shown(path: str) -> str:
    return "standard input" if path == "-" else show_path(os.fsencode(path))


def _open_input(path: str) -> tuple[int, bool]:
    try:
        if path == "-" and sys.stdin is None:
            raise TransportError("standard input is closed", reference=path)
        if path == "-":
            fd = os.dup(sys.stdin.fileno())
            start = 0 if not stat.S_ISREG(os.fstat(fd).st_mode) else os.lseek(fd, 0, os.SEEK_CUR)
            return fd, stat.S_ISREG(os.fstat(fd).st_mode) and start == 0
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        named = isinstance(error, FileNotFoundError) and "/" not in path and not path.endswith(".tar")
        hint = f" (for an image of a daemon: docker save {path} -o FILE first)" if named else ""
        raise TransportError(f"cannot read {_shown(path)}: {reason}{hint}", reference=path) from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        os.close(fd)
        raise TransportError(f"{path} is a folder, not an image archive", reference=path)
    return fd, stat.S_ISREG(mode)


def _spool(blocks: Iterable[bytes], tmp_dir: Room, where: str) -> tuple[int, Codec]:
    """Write a stream, uncompressed, to a file without a name; that, and what it was compressed by. Raises
    InvalidImage where it does not begin as a tar: it may have no end."""
    spool = open_unnamed(tmp_dir.folder)
    kept = 0
    try:
        head, rest = _begin(blocks, MAGIC_SIZE)
        codec = detect(head)
        first, rest = _begin(decompress(codec, chain([head], rest), where), tar.BLOCK)
        _refuse_no_tar(first[: tar.BLOCK], codec, where)
        for block in chain([first], rest):
            if codec is not Codec.NONE:
                tmp_dir.inflate(len(block), where)
            tmp_dir.keep(len(block), where)
            kept += len(block)
            write_all(spool, block)
    except BaseException:
        os.close(spool)
        tmp_dir.give_back(kept)
        raise
    return spool, codec


def _begin(blocks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes of a stream, at least so many where there are, and the rest."""
    rest = iter(blocks)
    head = b""
    for block in rest:
        head += block
        if len(head) >= size:
            break
    return head, rest


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
