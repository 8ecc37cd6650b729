"""Archives to write: a file, whose blobs are written side by side, and a pipe, which goes in order.

Both are an OCI layout in a tar, with a manifest.json where docker is to load it. Blobs come in the order
in which they are stored, kept ones first: so each is hashed as it is written and written once.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from squashkit.errors import Cancelled, UsageError, show_path
from squashkit.layers import tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.entry import REGULAR
from squashkit.layers.headers import header
from squashkit.oci.digests import Digest
from squashkit.oci.documents import dump_json
from squashkit.oci.media import DELTA_NEEDS
from squashkit.transports.archive.docker import MANIFEST, manifest_json
from squashkit.transports.archive.reader import Archive
from squashkit.transports.atomic import FORCE, AtomicFile, refuse_special, remove_leftovers
from squashkit.transports.blobs import open_unnamed, write_all
from squashkit.transports.contracts import Check, Loading, Slot, Written, descriptors, put
from squashkit.transports.layout.index import INDEX, LAYOUT, LAYOUT_CONTENT, blob_name, index_json
from squashkit.transports.room import Room


def _documents(written: Sequence[Written], *, docker: bool) -> list[tuple[str, bytes]]:
    """The members of an archive that make its blobs images."""
    needs = [digest for one in written for digest in one.needs]
    said = {"annotations": {DELTA_NEEDS: ",".join(needs)}} if needs else {}
    documents = [(INDEX, dump_json(index_json(descriptors(written), said)))]
    if docker:
        entries = []
        for one in written:
            (image,) = one.images
            layers = [blob_name(digest) for digest in image.layers]
            entries += manifest_json(blob_name(image.config), list(one.repo_tags), layers)
        documents.append((MANIFEST, dump_json(entries)))
    documents.append((LAYOUT, LAYOUT_CONTENT))
    return documents


def _member(name: str, size: int) -> bytes:
    return header(name.encode(), REGULAR, mode=0o644, size=size)


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def check_free(path: Path, *, force: bool) -> None:
    """Raises UsageError where something is there that must not be overwritten: with `force` all but a
    file."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; an archive is a file")
    refuse_special(path)
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists; ", FORCE, " replaces it")


class ArchiveWriter:
    """An archive in an open file. Blobs of known size are written side by side, each at its own place."""

    parallel = True
    loading: Loading | None = None

    def __init__(self, fd: int, room: Room, *, docker: bool) -> None:
        self.fd = fd
        self.room = room
        self._docker = docker
        self._end = 0
        self._last: _ArchiveSlot | None = None
        """The place that was given out last, though it may not have an end yet."""
        self._places = threading.RLock()
        """Held while places are given out, end, or are given up."""
        self._digests: set[Digest] = set()

    def has(self, digest: Digest, size: int) -> bool:
        return digest in self._digests

    def verify(self, digest: Digest) -> None:
        """Nothing was there before."""

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        with self._places:
            start = self._end
            if size is not None:
                self._end += BLOCK + size + len(_padding(size))
            self._last = _ArchiveSlot(self, start, size, self._last)
            return self._last

    def manifest(self, media_type: str, data: bytes) -> Digest:
        return put(self, data)

    def end(self, written: Sequence[Written]) -> int:
        """Write the documents behind all blobs; the whole archive's size in bytes. More blobs may come,
        and another end."""
        at = self._end
        for name, data in _documents(written, docker=self._docker):
            member = _member(name, len(data)) + data + _padding(len(data))
            self._write_at(at, member)
            at += len(member)
        self._write_at(at, tar.END_OF_ARCHIVE)
        size = at + len(tar.END_OF_ARCHIVE)
        os.ftruncate(self.fd, size)
        return size

    def _write_at(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self.fd, view, offset)
            view, offset = view[count:], offset + count


class ArchiveFile(ArchiveWriter):
    """A new archive with a name."""

    def __init__(self, path: Path, *, docker: bool, force: bool, room: Room | None = None) -> None:
        """Without a room the file may take what is free where it lies."""
        check_free(path, force=force)
        self.title = show_path(os.fsencode(path))
        self.notes: Sequence[str] = ()
        self.path = path
        self._force = force
        remove_leftovers(path)
        self._file = AtomicFile(path)
        super().__init__(self._file.fd, room or Room.of(path.parent), docker=docker)

    def commit(self, written: Sequence[Written], check: Check | None = None) -> None:
        size = self.end(written)
        if check is not None:
            with closing(Archive(os.dup(self.fd), size)) as archive:
                check(archive)
        self._file.publish_output(force=self._force)

    def close(self) -> None:
        self._file.close()


class _ArchiveSlot:
    def __init__(
        self, archive: ArchiveWriter, start: int, size: int | None, before: _ArchiveSlot | None
    ) -> None:
        self._archive = archive
        self._before = before
        self._start = start
        self._size = size
        self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        at = self._start + BLOCK + self._written
        self._archive.room.keep(len(data), "the output")
        self._written += len(data)
        self._archive._write_at(at, data)

    @property
    def _stop(self) -> int:
        return self._start + BLOCK + self._written + len(_padding(self._written))

    def seal(self) -> None:
        if self._size is None:
            self._archive._end = self._stop
        elif self._size != self._written:
            raise AssertionError(f"{self._written} bytes in a place for {self._size}")

    def finish(self, digest: Digest) -> None:
        archive = self._archive
        with archive._places:
            if digest in archive._digests and archive._last is self:
                self.discard()  # the same blob again, and nothing behind it
                return
            archive._digests.add(digest)
        archive._write_at(self._start, _member(blob_name(digest), self._written))

    def discard(self) -> None:
        with self._archive._places:
            assert self._archive._last is self, "places are given up from the last on"
            self._archive._end = self._start
            self._archive._last = self._before
            self._archive.room.give_back(self._written)


class Pipe:
    """An archive on standard output, in order. A blob whose digest is not known before it is whole
    waits in a file without a name."""

    parallel = False
    title = "standard output"
    room = None
    loading: Loading | None = None
    notes: Sequence[str] = ()

    def __init__(self, tmp_dir: Room, *, docker: bool, cancelled: threading.Event) -> None:
        self._tmp_dir = tmp_dir
        self._docker = docker
        self._digests: set[Digest] = set()
        self._cancelled = cancelled
        self._fd = _open_for_itself(sys.stdout.fileno())
        self._room = select.poll()
        self._room.register(self._fd, select.POLLOUT)

    def has(self, digest: Digest, size: int) -> bool:
        return digest in self._digests

    def verify(self, digest: Digest) -> None:
        """Nothing was there before."""

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        if digest is not None and size is not None:
            self._digests.add(digest)
            self._write(_member(blob_name(digest), size))
            return _SentSlot(self._write, size)
        return _SpooledSlot(self, self._tmp_dir)

    def manifest(self, media_type: str, data: bytes) -> Digest:
        return put(self, data)

    def commit(self, written: Sequence[Written], check: Check | None = None) -> None:
        assert check is None, "a pipe cannot be read back"
        for name, data in _documents(written, docker=self._docker):
            self._write(_member(name, len(data)) + data + _padding(len(data)))
        self._write(tar.END_OF_ARCHIVE)

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                self._room.poll(100)  # milliseconds
                if self._cancelled.is_set():
                    raise Cancelled from None
            except OSError as error:
                error.filename = self.title
                raise


def _open_for_itself(fd: int) -> int:
    """The same pipe by a descriptor of its own, on which a write does not wait: a thread that waits in
    the kernel could not be stopped. Where the system has no way to get one, or it is no pipe, the same
    descriptor again, which waits."""
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        # Linux opens the pipe anew here; elsewhere such paths are the same open file, whose flags are
        # not squashkit's to change.
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.dup(fd)


class _SentSlot:
    def __init__(self, send: Callable[[bytes | memoryview], None], size: int) -> None:
        self._send = send
        self._size = size

    def write(self, data: bytes | memoryview) -> None:
        self._send(data)

    def seal(self) -> None:
        pass

    def finish(self, digest: Digest) -> None:
        self._send(_padding(self._size))

    def discard(self) -> None:
        raise AssertionError("what was sent cannot be taken back")


class _SpooledSlot:
    def __init__(self, pipe: Pipe, tmp_dir: Room) -> None:
        self._pipe = pipe
        self._room = tmp_dir
        self._fd = open_unnamed(tmp_dir.folder)
        self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        self._room.keep(len(data), "the output")
        self._written += len(data)
        write_all(self._fd, data)

    def seal(self) -> None:
        pass

    def finish(self, digest: Digest) -> None:
        size = os.fstat(self._fd).st_size
        if not self._pipe.has(digest, size):
            sent = self._pipe.slot(size, digest)
            os.lseek(self._fd, 0, os.SEEK_SET)
            while block := os.read(self._fd, 1 << 20):
                sent.write(block)
            sent.finish(digest)
        self.discard()

    def discard(self) -> None:
        os.close(self._fd)
        self._room.give_back(self._written)
