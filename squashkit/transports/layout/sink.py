"""An OCI layout folder to write into, new or there already. What is there is never altered."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from squashkit.errors import InvalidImage, UsageError, show_path
from squashkit.oci.digests import Digest
from squashkit.oci.documents import dump_json, parse_index
from squashkit.oci.gojson import load_json
from squashkit.oci.media import CONTAINERD_NAME, REF_NAME
from squashkit.oci.names import same_name
from squashkit.transports.atomic import FORCE, AtomicFile, remove_leftovers
from squashkit.transports.blobs import Blob, write_all
from squashkit.transports.contracts import Check, Loading, Slot, Tag, Written, descriptors, put
from squashkit.transports.layout.folder import Folder
from squashkit.transports.layout.index import INDEX, LAYOUT, LAYOUT_CONTENT, blob_name, index_json
from squashkit.transports.room import Room
from squashkit.transports.tags import TagGuard, is_foreign, whole_platforms


class Layout:
    """An OCI layout folder, new or there already. Blobs and tags that are there are never altered."""

    parallel = True
    loading: Loading | None = None

    def __init__(
        self,
        path: Path,
        *,
        force: bool,
        tags: Sequence[Tag],
        guard: TagGuard,
        room: Room | None = None,
    ) -> None:
        """Without a room the blobs may take what is free where the folder lies."""
        self.title = show_path(os.fsencode(path))
        self.path = path
        self._force = force
        self._guard = guard
        self.notes: list[str] = []
        self._new: list[AtomicFile] = []
        self._finished: dict[Digest, AtomicFile] = {}
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; an OCI layout is a folder")
        # Another run may be making it at this moment, or was killed while it did.
        beginnings = ("blobs", LAYOUT, *(leftover.name for leftover in _leftovers(path)))
        foreign = path.is_dir() and any(entry.name not in beginnings for entry in path.iterdir())
        if foreign and not (path / INDEX).exists():
            raise UsageError(f"{path} is a folder that is no OCI layout")
        self._check_tags(self._read_index(), tags)
        self._refuse_links()
        self._made: list[Path] = []
        """Folders that this run made, with its first blob: a sink that nobody has opened leaves nothing."""
        self.room = room or Room.of(next(one for one in (path, *path.absolute().parents) if one.is_dir()))
        for leftover in [*_leftovers(path), *(path / "blobs/sha256").glob(".*.squashkit-*")]:
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

    def verify(self, digest: Digest) -> None:
        if digest in self._finished:  # hashed on its way here
            return
        with (self.path / blob_name(digest)).open("rb") as blob:
            actual = f"sha256:{hashlib.file_digest(blob, 'sha256').hexdigest()}"
        if actual != digest:
            raise InvalidImage(
                f"the blob {digest} there holds other bytes ({actual}); remove it", where=self.title
            )

    def _make_folders(self) -> None:
        """Another run that had made them, and failed, may have taken them away again."""
        self._refuse_links()
        blobs = self.path / "blobs/sha256"
        if not blobs.is_dir():
            self._made += [folder for folder in (*reversed(blobs.parents), blobs) if not folder.exists()]
            blobs.mkdir(parents=True, exist_ok=True)

    def _refuse_links(self) -> None:
        """Raises UsageError where blobs would go elsewhere: whoever names a layout gives leave to write in
        it, and not wherever a link in it leads."""
        blobs = self.path / "blobs/sha256"
        there = os.path.realpath(blobs)
        if not there.startswith(os.path.realpath(self.path) + os.sep):
            raise UsageError(f"{blobs} leads out of the layout, to {there}; nothing is written there")

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        self._make_folders()
        file = AtomicFile(self.path / "blobs/sha256/new")
        self._new.append(file)
        return _LayoutSlot(self, file)

    def manifest(self, media_type: str, data: bytes) -> Digest:
        return put(self, data)

    def commit(self, written: Sequence[Written], check: Check | None = None) -> None:
        if check is not None:
            self._check(written, check)
        self._make_folders()
        try:
            self._commit(written)
        except OSError as error:
            error.add_note(f"no tag of {self.title} was moved; blobs that no tag names may be there")
            raise

    def _commit(self, written: Sequence[Written]) -> None:
        for digest, file in self._finished.items():
            file.target = self.path / blob_name(digest)
            with suppress(FileExistsError):
                file.publish(replace=False, sync=True)
        self._publish(LAYOUT, LAYOUT_CONTENT, replace=False)
        lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:  # two runs into one layout must not lose each other's tags
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read_index()
            kept = self._check_tags(before, [tag for one in written for tag in one.tags])
            index = index_json(kept + descriptors(written), before)
            self._publish(INDEX, dump_json(index), replace=True)
        finally:
            os.close(lock)

    def _check(self, written: Sequence[Written], check: Check) -> None:
        """Show the layout as it will be, new blobs without names among those that are there."""
        new = {blob_name(digest): file.fd for digest, file in self._finished.items()}
        documents = {INDEX: dump_json(index_json(descriptors(written), None))}
        container = _Preview(self.path, new, documents)
        try:
            check(container)
        finally:
            container.close()

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
            with suppress(FileExistsError):  # another run was first, with the same bytes
                file.publish(replace=replace, sync=True)
        finally:
            file.close()

    def _read_index(self) -> dict[str, Any] | None:
        where = f"{self.title}/{INDEX}"
        try:
            data = (self.path / INDEX).read_bytes()
        except FileNotFoundError:
            return None
        parse_index(data, where)
        value = load_json(data, where)
        assert isinstance(value, dict)
        return value

    def _check_tags(self, index: dict[str, Any] | None, tags: Sequence[Tag]) -> list[dict[str, Any]]:
        """The descriptors that stay. Raises UsageError where a tag is there already, without force, or
        would lose platforms."""
        there = (index or {}).get("manifests", [])
        taken = [tag for tag in tags if any(_is_named(one, tag) for one in there)]
        if taken and not self._force:
            name = taken[0].verbatim or taken[0].name
            raise UsageError(f"{self.path} has the tag {name} already; ", FORCE, " moves it")
        self.notes = _lost(self.path, there, taken, self._guard)
        return [one for one in there if not any(_is_named(one, tag) for tag in taken)]


def lost_in_layout(path: Path, tags: Sequence[Tag], guard: TagGuard) -> list[str]:
    """What tags of a layout that is there would lose. Raises UsageError where nobody chose that. It only
    reads."""
    if not (path / INDEX).is_file():
        return []
    there = load_json((path / INDEX).read_bytes(), f"{path}/{INDEX}").get("manifests", [])
    return _lost(path, there, tags, guard)


def _lost(path: Path, there: Sequence[dict[str, Any]], tags: Sequence[Tag], guard: TagGuard) -> list[str]:
    """What each tag loses that means something now, by the descriptors of a layout."""
    lost = []
    for tag in tags:
        named = [one for one in there if _is_named(one, tag)]
        container = _Preview(path, {}, {INDEX: dump_json(index_json(named, None))})
        try:
            means = whole_platforms(container, lambda layer: bool(layer.blobs) or is_foreign(layer))
        finally:
            container.close()
        lost.append(guard.check(tag.name, means))
    return [one for one in lost if one is not None]


def _is_named(descriptor: dict[str, Any], tag: Tag) -> bool:
    return _same_tag(descriptor.get("annotations") or {}, tag.annotations())


def _leftovers(path: Path) -> list[Path]:
    """Documents of a layout that have no name yet, or never will."""
    return [found for name in (INDEX, LAYOUT) for found in path.glob(f".{name}.squashkit-*")]


def _same_tag(there: dict[str, str], new: dict[str, str]) -> bool:
    """Whether two descriptors have one name: the full ones count where both have one, as one tag alone may
    stand for images of several names."""
    names = there.get(CONTAINERD_NAME), new.get(CONTAINERD_NAME)
    if None in names:
        return there.get(REF_NAME) == new.get(REF_NAME)
    return same_name(str(names[0]), str(names[1]))


class _Preview(Folder):
    """A layout folder with blobs and documents that are not in it yet."""

    def __init__(self, path: Path, new: Mapping[str, int], documents: Mapping[str, bytes]) -> None:
        super().__init__(path)
        self._new = new
        self._documents = documents

    def get(self, name: str) -> Blob | None:
        fd = self._new.get(name)
        return super().get(name) if fd is None else Blob(fd, 0, os.fstat(fd).st_size)

    def has(self, name: str) -> bool:
        return name in self._new or name in self._documents or super().has(name)

    def read(self, name: str) -> bytes | None:
        if name in self._documents:
            return self._documents[name]
        fd = self._new.get(name)
        return super().read(name) if fd is None else os.pread(fd, os.fstat(fd).st_size, 0)


class _LayoutSlot:
    def __init__(self, layout: Layout, file: AtomicFile) -> None:
        self._layout = layout
        self._file = file
        self._written = 0

    def write(self, data: bytes | memoryview) -> None:
        self._layout.room.keep(len(data), "the output")
        self._written += len(data)
        write_all(self._file.fd, data)

    def seal(self) -> None:
        pass

    def finish(self, digest: Digest) -> None:
        if self._layout.has(digest, self._written):
            self._layout.verify(digest)
            self.discard()
        else:
            self._layout._finished[digest] = self._file

    def discard(self) -> None:
        self._file.close()
        self._layout.room.give_back(self._written)
