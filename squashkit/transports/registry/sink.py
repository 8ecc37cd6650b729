"""A repository of a registry to write into. Blobs that are there, or in a repository beside it, are not
moved; tags move last, and not those that mean an image that was read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from squashkit.errors import (
    Interrupted,
    InvalidImage,
    SquashkitError,
    Unavailable,
    UnsupportedImage,
    UsageError,
)
from squashkit.oci.digests import Digest, sha256
from squashkit.oci.documents import Descriptor, Platform
from squashkit.oci.graph import Image, Layer
from squashkit.oci.names import ImageName
from squashkit.transports.blobs import READ_SIZE, open_unnamed, write_all
from squashkit.transports.contracts import Check, Loading, Slot, Written
from squashkit.transports.registry.access import Registries
from squashkit.transports.registry.repository import CHUNK, Repository
from squashkit.transports.registry.source import RegistryImages
from squashkit.transports.room import Room
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import StoredBlob
from squashkit.transports.tags import TagGuard, is_foreign, is_index, whole_platforms
from squashkit.transports.target import Target
from squashkit.wording import Option

_TRIES = 4


def mountable(target: Target, images: Sequence[Image]) -> dict[Digest, str]:
    """Blobs of images that lie in the registry that is written to, and in which other repository."""
    there: dict[Digest, str] = {}
    to = target.in_registry
    assert to is not None
    for layer in (layer for image in images for layer in image.layers):
        for blob in layer.blobs:
            container = blob.container if isinstance(blob, StoredBlob) else None
            if not isinstance(container, RegistryImages) or blob.descriptor is None:
                continue
            name = container.name
            if name.host == to.host and name.repository != to.repository:
                there.setdefault(blob.descriptor.digest, name.repository)
    return there


def _read_tags(sources: Sequence[Source]) -> dict[str, Digest]:
    """Tags that were read (`team/app:1`, without their hosts, which may have several names), and what they
    meant."""
    return {
        f"{name.repository}:{name.tag}": source.root
        for source in sources
        if (name := source.reference.in_registry) is not None
        and not name.digest
        and source.root is not None
    }


class RegistrySink:
    """A repository. `mountable` says of blobs which other repository of the same registry has them. A tag
    that was read is not moved, unless it still means the manifest to replace."""

    parallel = True
    room = None
    loading: Loading | None = None

    def __init__(
        self,
        session: Session,
        target: Target,
        guard: TagGuard,
        mountable: Mapping[Digest, str],
    ) -> None:
        name = target.in_registry
        assert name is not None
        self.name = name
        self.notes: list[str] = []
        self.title = f"docker://{name.full_repository}"
        self.registry = session.registries.get(name)
        self.repository = Repository(self.registry, name.repository, push=True, also=mountable.values())
        self._mountable = mountable
        self._registries = session.registries
        self._tmp_dir = session.room
        self._tags = [ImageName.parse(tag.name).tag for tag in target.tags]
        """The names to give; none where the digest is to be the only one."""
        self._read_tags = _read_tags(session.sources)
        self._replace = target.replace
        self._guard = guard
        self._indexes: dict[Digest, list[Platform]] = {}
        """The platforms of indexes that tags meant."""
        self._stored: dict[Digest, bool] = {}
        self._manifests: dict[Digest, tuple[str, bytes]] = {}
        self._slots: list[_Upload] = []
        self._lock = threading.Lock()
        self._check_tags()

    def _check_tags(self) -> None:
        self.notes = self._lost()

    def _lost(self) -> list[str]:
        """Raises UsageError where a tag means an image that was read, or no longer the one to replace, or
        would lose platforms that nobody chose; what those lose that somebody did."""
        lost = []
        for tag in self._tags:
            name = self.name.with_tag(tag)
            read = self._read_tags.get(f"{name.repository}:{tag}")
            meaning = self.repository.meaning(tag)
            now = None if meaning is None else sha256(meaning)
            if meaning is not None and (read is None or read == self._replace):
                lost.append(self._guard.check(str(name), self._platforms(meaning)))
            if read is None:
                continue
            if now == read and read != self._replace:
                raise UsageError(
                    f"{name} was read, and is not moved; ",
                    Option("output"),
                    " or ",
                    Option("Write.tags"),
                    " gives another name, ",
                    Option("Write.replace"),
                    " moves the source's own",
                )
            if now != read and read == self._replace:
                raise UsageError(f"{name} no longer means what was read; nothing was replaced")
        return [one for one in lost if one is not None]

    def _platforms(self, meaning: bytes) -> list[Platform]:
        """The platforms of what a tag means, read once."""
        digest = sha256(meaning)
        if digest not in self._indexes:
            self._indexes[digest] = index_platforms(
                meaning, self.name, self.repository, self._registries, self._tmp_dir
            )
        return self._indexes[digest]

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a blob is there, or was beside it and is now here too."""
        with self._lock:
            if digest not in self._stored:
                there = self.repository.has(digest, size)
                if not there and digest in self._mountable:
                    there = self.repository.mount(digest, self._mountable[digest])
                self._stored[digest] = there
            return self._stored[digest]

    def verify(self, digest: Digest) -> None:
        """A registry knows its blobs by their digests; reading them back would move them."""

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        upload = _Upload(self, self._tmp_dir)
        with self._lock:
            self._slots.append(upload)
        return upload

    def manifest(self, media_type: str, data: bytes) -> Digest:
        digest = sha256(data)
        self._manifests[digest] = (media_type, data)
        return digest

    def commit(self, written: Sequence[Written], check: Check | None = None) -> None:
        (one,) = written
        root = one.root
        for digest, (media_type, data) in self._manifests.items():
            if digest != root.digest or check is not None or not self._tags:
                self.repository.put_manifest(digest, media_type, data)
        if check is not None:
            self._check(root, check)
        self._check_tags()
        media_type, data = self._manifests[root.digest]
        for number, tag in enumerate(self._tags):
            try:
                self.repository.put_manifest(tag, media_type, data)
            except KeyboardInterrupt:
                raise Interrupted(
                    f"interrupted while the tag {tag} of {self.name.full_repository} was moved; it may mean"
                    " the result already",
                    reference=self.title,
                ) from None
            except SquashkitError as error:
                done = ", ".join(self._tags[:number])
                error.add_note(f"the tag {tag} was not moved" + (f", {done} was" if done else ""))
                raise

    def _check(self, root: Descriptor, check: Check) -> None:
        stored = self.name.with_digest(root.digest)
        with closing(RegistryImages(stored, self._registries, self._tmp_dir)) as images:
            check(images)

    def close(self) -> None:
        for upload in self._slots:
            upload.discard()

    def stored(self, digest: Digest) -> None:
        with self._lock:
            self._stored[digest] = True


def lost_in_registry(session: Session, target: Target, guard: TagGuard) -> list[str]:
    """What tags of a registry would lose, without writing anything. Raises UsageError where nobody chose
    that."""
    name = target.in_registry
    assert name is not None
    repository = Repository(session.registries.get(name), name.repository)
    lost = []
    for tag in guard.results:
        meaning = repository.meaning(ImageName.parse(tag).tag)
        means = (
            index_platforms(meaning, name, repository, session.registries, session.room) if meaning else []
        )
        lost.append(guard.check(tag, means))
    return [one for one in lost if one is not None]


def index_platforms(
    meaning: bytes, name: ImageName, repository: Repository, registries: Registries, tmp_dir: Room
) -> list[Platform]:
    """The platforms of an index whose images are there; none of a single image, or of what cannot be
    read."""

    def is_there(layer: Layer) -> bool:
        blob = layer.descriptor
        with suppress(InvalidImage):  # it has another size
            return blob is not None and (is_foreign(layer) or repository.has(blob.digest, blob.size))
        return False

    if is_index(meaning):
        index = name.with_digest(sha256(meaning))
        with (
            suppress(InvalidImage, UnsupportedImage),
            closing(RegistryImages(index, registries, tmp_dir)) as images,
        ):
            return whole_platforms(images, is_there)
    return []


class _Upload:
    """A blob on its way up, in chunks. It stays in a file without a name until it is there, so that what
    breaks can be sent again, from where the registry has it or from the beginning."""

    def __init__(self, sink: RegistrySink, tmp_dir: Room) -> None:
        self._sink = sink
        self._repository = sink.repository
        self._room = tmp_dir
        self._fd = open_unnamed(tmp_dir.folder)
        self._size = 0
        self._sent = 0
        self._where: str | None = None
        self._chunked = True
        self._tries = 0

    def write(self, data: bytes | memoryview) -> None:
        self._room.keep(len(data), "a blob to upload")
        self._size += len(data)
        write_all(self._fd, data)
        while self._chunked and self._size - self._sent > CHUNK:
            self._send_chunk()

    def seal(self) -> None:
        pass

    def _send_chunk(self) -> None:
        """Send the next chunk. Where that breaks, go on from what the registry has, or where it has lost
        that, from the beginning."""
        if self._where is None:
            self._where, self._sent = self._repository.begin_upload(), 0
        chunk = os.pread(self._fd, min(CHUNK, self._size - self._sent), self._sent)
        onward = self._repository.upload_chunk(self._where, self._sent, chunk)
        if onward is not None:
            self._where, self._sent = onward, self._sent + len(chunk)
            return
        self._count_try()
        status = self._repository.upload_status(self._where)
        if status is None or not self._sent <= status[1] <= self._sent + len(chunk):
            self._drop()
            return
        if status[1] == self._sent and self._tries > 1:
            self._chunked = False  # it answers, and takes no chunks
        self._where, self._sent = status

    def _count_try(self) -> None:
        self._tries += 1
        if self._tries > _TRIES:
            raise Unavailable(
                f"the registry {self._repository.registry.host} takes no upload to {self._repository.path}:"
                " it broke off again and again",
                reference=self._repository.title,
            )

    def finish(self, digest: Digest) -> None:
        if self._sink.has(digest, self._size):
            self.discard()
            return
        while not self._finish(digest):
            self._count_try()
            if self._repository.has(digest, self._size):  # only the answer was lost
                break
        self._where = None
        self._close()
        self._sink.stored(digest)

    def _finish(self, digest: Digest) -> bool:
        """Send what is left and name it. False where that broke."""
        if self._size <= CHUNK or not self._chunked:
            return self._send_at_once(digest)
        while self._sent < self._size or self._where is None:
            self._send_chunk()
            if not self._chunked:
                return False
        if self._repository.finish_upload(self._where, digest):
            return True
        if self._repository.upload_status(self._where) is None:
            self._where = None
        return False

    def _send_at_once(self, digest: Digest) -> bool:
        self._drop()
        self._where = self._repository.begin_upload()
        body = _Body(self._fd, self._size) if self._size > CHUNK else os.pread(self._fd, self._size, 0)
        return self._repository.finish_upload(self._where, digest, body)

    def discard(self) -> None:
        self._close()
        self._drop()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._room.give_back(self._size)

    def _drop(self) -> None:
        where, self._where = self._where, None
        if where is not None:
            self._repository.drop_upload(where)


@dataclass(frozen=True, slots=True)
class _Body:
    """A file's bytes as the body of a request, whose length is known."""

    fd: int
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, self.size, READ_SIZE):
            yield os.pread(self.fd, READ_SIZE, at)
