"""An archive that is read: one tar, whose members are spans of a file. Nothing is unpacked.

One that is compressed, or comes from a pipe, is first written to a file without a name.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain

from squashkit.errors import InvalidImage, InvalidLayer, TransportError, show_path, why
from squashkit.layers import tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.entry import HARD_LINK, REGULAR, SYMLINK, Entry, stored_spans
from squashkit.oci.media import Codec
from squashkit.transports.blobs import (
    READ_SIZE,
    Blob,
    check_document,
    clean_name,
    jumping_window,
    open_unnamed,
    read_stream,
    write_all,
)
from squashkit.transports.codecs import MAGIC_SIZE, decompress, detect
from squashkit.transports.room import Room

_HOPS = 40


class Archive:
    """The members of one tar, found by their headers. Symlinks and hard links between members are
    followed, as `docker save` writes a repeated layer and `tar` a repeated file. A sparse member, as
    `tar -S` writes it, is written out to a file without a name when it is asked for."""

    def __init__(self, fd: int, size: int, room: Room | None = None) -> None:
        self._fd = fd
        self.size = size
        self._room = room or Room.of(None)
        self._sparse: dict[Blob, Entry] = {}
        self._expanded: dict[Blob, Blob] = {}
        self._lock = threading.Lock()
        self.identity: tuple[int, int] | None = None
        """Device and inode of the file that was opened."""
        self._members: dict[str, Blob] = {}
        self._links: dict[str, tuple[str, bytes]] = {}
        """Where a link leads, and what it says."""
        self._earlier: dict[str, Blob] = {}
        """Members under whose name another one follows."""
        for entry in tar.scan(jumping_window(Blob(fd, 0, size))):
            name = clean_name(entry.name)
            if entry.typeflag == REGULAR:
                self._forget(name)
                self._members[name] = blob = Blob(fd, entry.data, entry.size)
                if entry.sparse is not None:
                    self._sparse[blob] = entry
                self._links.pop(name, None)
            elif entry.typeflag == SYMLINK:
                folder = posixpath.dirname(name)
                self._links[name] = _link_target(entry.linkname, folder), entry.linkname
                self._forget(name)
            elif entry.typeflag == HARD_LINK:
                self._links[name] = clean_name(entry.linkname), entry.linkname
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
        wanted = name = clean_name(os.fsencode(name))
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
        entry = self._sparse.get(found)
        check_document(name, found.size if entry is None else entry.realsize)
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


def _expand(fd: int, entry: Entry, room: Room) -> Blob:
    """A sparse member's content in a file without a name, in which holes stay holes. Raises InvalidImage
    where no file may be as long as it says, TooLarge."""
    room.keep(entry.size, show_path(entry.name))
    spool = open_unnamed(room.folder)
    try:
        os.ftruncate(spool, entry.realsize)
        at = 0
        for offset, size in stored_spans(entry):
            for done in range(0, size if offset is not None else 0, READ_SIZE):
                assert offset is not None
                piece = os.pread(fd, min(READ_SIZE, size - done), offset + done)
                os.lseek(spool, at + done, os.SEEK_SET)
                write_all(spool, piece)
            at += size
    except BaseException as error:
        os.close(spool)
        if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.EINVAL):
            message = f"a sparse member of {entry.realsize:,} bytes, which no file here may have"
            raise InvalidImage(message, where=show_path(entry.name)) from error
        raise
    return Blob(spool, 0, entry.realsize)


def _same_bytes(one: Blob, other: Blob) -> bool:
    return one.size == other.size and all(
        one.read_at(at, READ_SIZE) == other.read_at(at, READ_SIZE) for at in range(0, one.size, READ_SIZE)
    )


def _link_target(target: bytes, folder: str) -> str:
    """Where a symlink in a folder of the archive leads: an absolute one from the archive's root, and none
    beyond that."""
    return clean_name(posixpath.join(b"/", os.fsencode(folder), target))


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
    _refuse_no_tar(os.pread(fd, BLOCK, 0), codec, where)
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
    if len(block) < BLOCK:
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
        first, rest = _begin(decompress(codec, chain([head], rest), where), BLOCK)
        _refuse_no_tar(first[:BLOCK], codec, where)
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
