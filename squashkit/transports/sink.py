"""Where images go: an archive file, a pipe, or a layout folder.

A sink takes blobs in any order and, last, the documents that make them an image. Nothing that was there
before changes until `commit`; without it nothing new has a name.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from squashkit import tar
from squashkit.errors import InvalidImage, TransportError, UsageError
from squashkit.names import normalise_name
from squashkit.oci import CONTAINERD_NAME, REF_NAME, Descriptor, Digest, dump_json, sha256
from squashkit.transports.container import open_unnamed, write_all
from squashkit.transports.docker_archive import MANIFEST, manifest_json
from squashkit.transports.oci_layout import (
    INDEX,
    LAYOUT,
    LAYOUT_CONTENT,
    blob_name,
    index_json,
    name_annotations,
)


@dataclass(frozen=True, slots=True)
class Tag:
    """A name that an image gets. `verbatim` is the ref.name that was asked for as it stands."""

    name: str
    verbatim: str | None = None

    def annotations(self) -> dict[str, str]:
        if self.verbatim is None:
            return name_annotations(self.name)
        if ":" in self.verbatim or "/" in self.verbatim:
            return name_annotations(self.verbatim, self.verbatim)
        return {REF_NAME: self.verbatim}


@dataclass(frozen=True, slots=True)
class Written:
    """What the documents of an image need: its manifest's descriptor, config, layers and names."""

    manifest: Descriptor
    config: Digest
    layers: Sequence[Digest]
    tags: Sequence[Tag]
    repo_tags: Sequence[str]


class Slot(Protocol):
    """A place for one blob. `write` appends, `seal` ends it; then `finish` names it or `discard` gives it
    up, the last place first."""

    def write(self, data: bytes | memoryview) -> None: ...

    def seal(self) -> None: ...

    def finish(self, digest: Digest) -> None: ...

    def discard(self) -> None: ...


class Sink(Protocol):
    """A destination. Blobs that it `has` need not be written."""

    parallel: bool
    """Whether slots of known size may be written side by side."""
    title: str

    def has(self, digest: Digest, size: int) -> bool: ...

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        """A place for a blob of this size; None takes the place after all others. Where the digest is
        known beforehand, a pipe sends the blob at once."""

    def commit(self, written: Written) -> None: ...

    def close(self) -> None:
        """Drop whatever was not committed."""


def put(sink: Sink, data: bytes) -> Digest:
    """Store a small blob."""
    digest = sha256(data)
    if not sink.has(digest, len(data)):
        slot = sink.slot(len(data), digest)
        slot.write(data)
        slot.seal()
        slot.finish(digest)
    return digest


def _index(written: Written, before: dict[str, Any] | None = None) -> dict[str, Any]:
    return index_json(_descriptors(written), before)


def _descriptors(written: Written) -> list[dict[str, Any]]:
    """One descriptor a tag, one without a name where there is none."""
    manifest = written.manifest
    return [
        Descriptor(
            manifest.media_type, manifest.digest, manifest.size, names, manifest.platform
        ).json()
        for names in [tag.annotations() for tag in written.tags] or [{}]
    ]


def _documents(written: Written, *, docker: bool) -> list[tuple[str, bytes]]:
    """The members of an archive that make its blobs an image."""
    documents = [(INDEX, dump_json(_index(written)))]
    if docker:
        layers = [blob_name(digest) for digest in written.layers]
        entry = manifest_json(blob_name(written.config), list(written.repo_tags), layers)
        documents.append((MANIFEST, dump_json(entry)))
    documents.append((LAYOUT, LAYOUT_CONTENT))
    return documents


def _member(name: str, size: int) -> bytes:
    return tar.header(name.encode(), tar.REGULAR, mode=0o644, size=size)


def _padding(size: int) -> bytes:
    return bytes(-size % tar.BLOCK)


class AtomicFile:
    """A file that is written beside its target and gets the target's name only when it is whole."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._hidden: Path | None = None
        folder = target.parent
        try:
            self.fd = self._open(folder)
        except OSError as error:
            raise TransportError(
                f"cannot write in {folder}: {error.strerror}", reference=str(target)
            ) from error

    def _open(self, folder: Path) -> int:
        mode = 0o666 & ~_umask()
        if hasattr(os, "O_TMPFILE"):
            with suppress(OSError):  # not every file system has it
                return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
        self._hidden = _hidden_name(self.target)
        fd = os.open(self._hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def publish(self, *, replace: bool, sync: bool) -> None:
        """Give the file its name; an old file is replaced in one step. `sync` has the bytes on the disk
        before. Raises FileExistsError where there is an old file and `replace` is False."""
        if sync:
            os.fsync(self.fd)
        if self._hidden is None and not replace:
            self._link(self.target)
        else:
            if self._hidden is None:
                hidden = _hidden_name(self.target)
                self._link(hidden)
                self._hidden = hidden
            if replace:
                os.replace(self._hidden, self.target)
            else:
                os.link(self._hidden, self.target)
                os.unlink(self._hidden)
            self._hidden = None
        os.close(self.fd)
        self.fd = -1

    def _link(self, target: Path) -> None:
        here = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        try:  # a folder's descriptor makes Python use linkat(AT_SYMLINK_FOLLOW)
            os.link(f"/proc/self/fd/{self.fd}", os.path.abspath(target), src_dir_fd=here)
        finally:
            os.close(here)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._hidden is not None:
            with suppress(OSError):
                os.unlink(self._hidden)
            self._hidden = None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _hidden_name(target: Path) -> Path:
    return target.parent / f".{target.name}.squashkit-{secrets.token_hex(6)}"


def remove_leftovers(target: Path) -> list[Path]:
    """Remove hidden files that a killed run left beside the target; one that a process locks stays."""
    removed = []
    for path in target.parent.glob(f".{target.name}.squashkit-*"):
        with suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed.append(path)
            finally:
                os.close(fd)
    return removed


class ArchiveFile:
    """A new archive. Blobs of known size are written side by side, each at its own place."""

    parallel = True

    def __init__(self, path: Path, *, docker: bool, force: bool) -> None:
        if path.exists() and not force:
            raise UsageError(f"{path} exists; --force replaces it")
        if path.is_dir():
            raise UsageError(f"{path} is a folder")
        self.title = str(path)
        self._docker = docker
        self._force = force
        remove_leftovers(path)
        self._file = AtomicFile(path)
        self._end = 0
        self._digests: set[Digest] = set()

    def has(self, digest: Digest, size: int) -> bool:
        return digest in self._digests

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        start = self._end
        if size is not None:
            self._end += tar.BLOCK + size + len(_padding(size))
        return _ArchiveSlot(self, start, size)

    def commit(self, written: Written) -> None:
        for name, data in _documents(written, docker=self._docker):
            member = _member(name, len(data)) + data + _padding(len(data))
            self._write_at(self._end, member)
            self._end += len(member)
        self._write_at(self._end, tar.END_OF_ARCHIVE)
        os.ftruncate(self._file.fd, self._end + len(tar.END_OF_ARCHIVE))
        replace = self._force and self._file.target.exists()
        try:  # a good old file is only given up for bytes that are on the disk
            self._file.publish(replace=replace, sync=replace)
        except FileExistsError:
            raise UsageError(f"{self.title} appeared meanwhile; --force replaces it") from None

    def close(self) -> None:
        self._file.close()

    def _write_at(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._file.fd, view, offset)
            view, offset = view[count:], offset + count


class _ArchiveSlot:
    def __init__(self, archive: ArchiveFile, start: int, size: int | None) -> None:
        self._archive = archive
        self._start = start
        self._size = size
        self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        self._archive._write_at(self._start + tar.BLOCK + self._written, data)
        self._written += len(data)

    @property
    def _stop(self) -> int:
        return self._start + tar.BLOCK + self._written + len(_padding(self._written))

    def seal(self) -> None:
        if self._size is None:
            self._archive._end = self._stop
        elif self._size != self._written:
            raise AssertionError(f"{self._written} bytes in a place for {self._size}")

    def finish(self, digest: Digest) -> None:
        archive = self._archive
        if digest in archive._digests and archive._end == self._stop:
            self.discard()  # the same blob again, and nothing behind it
            return
        archive._digests.add(digest)
        archive._write_at(self._start, _member(blob_name(digest), self._written))

    def discard(self) -> None:
        assert self._archive._end == self._stop, "places are given up from the last on"
        self._archive._end = self._start


class Pipe:
    """An archive on standard output, in order. A blob whose digest is not known before it is whole
    waits in a file without a name."""

    parallel = False
    title = "standard output"

    def __init__(self, tmp_dir: Path, *, docker: bool) -> None:
        self._tmp_dir = tmp_dir
        self._docker = docker
        self._digests: set[Digest] = set()
        self._fd = sys.stdout.fileno()

    def has(self, digest: Digest, size: int) -> bool:
        return digest in self._digests

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        if digest is not None and size is not None:
            self._digests.add(digest)
            write_all(self._fd, _member(blob_name(digest), size))
            return _SentSlot(self._fd, size)
        return _SpooledSlot(self, open_unnamed(self._tmp_dir))

    def commit(self, written: Written) -> None:
        for name, data in _documents(written, docker=self._docker):
            write_all(self._fd, _member(name, len(data)) + data + _padding(len(data)))
        write_all(self._fd, tar.END_OF_ARCHIVE)

    def close(self) -> None:
        pass


class _SentSlot:
    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._fd, data)

    def seal(self) -> None:
        pass

    def finish(self, digest: Digest) -> None:
        write_all(self._fd, _padding(self._size))

    def discard(self) -> None:
        raise AssertionError("what was sent cannot be taken back")


class _SpooledSlot:
    def __init__(self, pipe: Pipe, fd: int) -> None:
        self._pipe = pipe
        self._fd = fd

    def write(self, data: bytes | memoryview) -> None:
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
        os.close(self._fd)

    def discard(self) -> None:
        os.close(self._fd)


class Layout:
    """An OCI layout folder, new or there already. Blobs and tags that are there are never altered."""

    parallel = True

    def __init__(self, path: Path, *, force: bool, tags: Sequence[Tag]) -> None:
        self.title = str(path)
        self.path = path
        self._force = force
        self._new: list[AtomicFile] = []
        self._finished: dict[Digest, AtomicFile] = {}
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; an OCI layout is a folder")
        if path.is_dir() and any(path.iterdir()) and not (path / INDEX).exists():
            raise UsageError(f"{path} is a folder that is no OCI layout")
        self._check_tags(self._read_index(), tags)
        self._made = [folder for folder in (path, path / "blobs", path / "blobs/sha256")
                      if not folder.exists()]  # fmt: skip
        (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        for leftover in (path / "blobs/sha256").glob(".*.squashkit-*"):
            remove_leftovers(leftover.parent / leftover.name[1:].rpartition(".squashkit-")[0])

    def has(self, digest: Digest, size: int) -> bool:
        if digest in self._finished:
            return True
        try:
            there = (self.path / blob_name(digest)).stat().st_size
        except FileNotFoundError:
            return False
        if there != size:
            raise InvalidImage(
                f"the blob {digest} there has {there} bytes instead of {size}; remove it",
                where=self.title,
            )
        return True

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        file = AtomicFile(self.path / "blobs/sha256/new")
        self._new.append(file)
        return _LayoutSlot(self, file)

    def commit(self, written: Written) -> None:
        for digest, file in self._finished.items():
            file.target = self.path / blob_name(digest)
            with suppress(FileExistsError):
                file.publish(replace=False, sync=True)
        self._publish(LAYOUT, LAYOUT_CONTENT, replace=False)
        lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:  # two runs into one layout must not lose each other's tags
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read_index()
            kept = self._check_tags(before, written.tags)
            index = index_json(kept + _descriptors(written), before)
            self._publish(INDEX, dump_json(index), replace=True)
        finally:
            os.close(lock)

    def close(self) -> None:
        for file in self._new:
            file.close()
        for folder in reversed(self._made):
            with suppress(OSError):  # not empty: it was committed
                folder.rmdir()

    def _publish(self, name: str, data: bytes, *, replace: bool) -> None:
        if not replace and (self.path / name).exists():
            return
        file = AtomicFile(self.path / name)
        try:
            write_all(file.fd, data)
            file.publish(replace=replace, sync=True)
        finally:
            file.close()

    def _read_index(self) -> dict[str, Any] | None:
        try:
            value = json.loads((self.path / INDEX).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InvalidImage(f"not JSON: {error}", where=str(self.path / INDEX)) from error
        if not isinstance(value, dict) or not isinstance(value.get("manifests", []), list):
            raise InvalidImage("not an index", where=str(self.path / INDEX))
        return value

    def _check_tags(
        self, index: dict[str, Any] | None, tags: Sequence[Tag]
    ) -> list[dict[str, Any]]:
        """The descriptors that stay. Raises UsageError where a tag is there already, without force."""
        kept = []
        for descriptor in (index or {}).get("manifests", []):
            there = descriptor.get("annotations") or {}
            taken = [tag for tag in tags if _same_tag(there, tag.annotations())]
            if taken and not self._force:
                raise UsageError(
                    f"{self.path} has the tag {taken[0].verbatim or taken[0].name} already; --force"
                    " moves it"
                )
            if not taken:
                kept.append(descriptor)
        return kept


def _same_tag(there: dict[str, str], new: dict[str, str]) -> bool:
    if there.get(REF_NAME) != new.get(REF_NAME):
        return False
    names = there.get(CONTAINERD_NAME), new.get(CONTAINERD_NAME)
    return None in names or normalise_name(str(names[0])) == normalise_name(str(names[1]))


class _LayoutSlot:
    def __init__(self, layout: Layout, file: AtomicFile) -> None:
        self._layout = layout
        self._file = file
        self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        write_all(self._file.fd, data)
        self._written += len(data)

    def seal(self) -> None:
        pass

    def finish(self, digest: Digest) -> None:
        if self._layout.has(digest, self._written):
            self.discard()
        else:
            self._layout._finished[digest] = self._file

    def discard(self) -> None:
        self._file.close()


def is_pipe_or_device(path: Path) -> bool:
    """Whether a path is something that cannot be replaced by a file (/dev/stdout, a fifo)."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
