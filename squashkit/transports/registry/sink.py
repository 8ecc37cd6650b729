"""A repository of a registry to write into. Blobs that are there, or in a repository beside it, are not
moved; tags move last, and not those that mean an image that was read."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress

from squashkit.errors import (
    Interrupted,
    InvalidImage,
    SquashkitError,
    TransportError,
    Unauthorized,
    Unavailable,
    UnsupportedImage,
    UsageError,
)
from squashkit.oci.digests import Digest, sha256
from squashkit.oci.documents import Descriptor, Platform
from squashkit.oci.graph import Image, Layer
from squashkit.oci.names import ImageName
from squashkit.transports.contracts import Check, Loading, Slot, Written
from squashkit.transports.registry.access import Registries
from squashkit.transports.registry.patience import ONCE
from squashkit.transports.registry.repository import Repository
from squashkit.transports.registry.source import RegistryImages
from squashkit.transports.registry.upload import Upload
from squashkit.transports.room import Room
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import StoredBlob
from squashkit.transports.tags import TagGuard, is_foreign, is_index, whole_platforms
from squashkit.transports.target import Target
from squashkit.wording import Option


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
        self.repository = Repository(self.registry, name.repository, push=True)
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
        self._slots: list[Upload] = []
        self._lock = threading.Lock()
        self._check_tags()
        self.repository.claim()

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
        """Whether a blob is there, or was beside it and is now here too. Where that cannot be found out it
        is sent."""
        with self._lock:
            if digest not in self._stored:
                there = False
                with suppress(Unavailable, Unauthorized, InvalidImage):
                    there = self.repository.has(digest, size, ONCE)
                if not there and digest in self._mountable:
                    there = self.repository.mount(digest, self._mountable[digest])
                self._stored[digest] = there
            return self._stored[digest]

    def verify(self, digest: Digest) -> None:
        """A registry knows its blobs by their digests; reading them back would move them."""

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        upload = Upload(self.repository, self, self._tmp_dir)
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
                self._put(digest, media_type, data)
        if check is not None:
            self._check(root, check)
        self._check_tags()
        media_type, data = self._manifests[root.digest]
        for number, tag in enumerate(self._tags):
            try:
                self._put(tag, media_type, data)
            except KeyboardInterrupt:
                raise Interrupted(
                    f"interrupted while the tag {tag} of {self.name.full_repository} was moved; it may mean"
                    " the result already",
                    reference=self.title,
                ) from None
            except SquashkitError as error:
                done = ", ".join(self._tags[:number])
                error.add_note(f"{self._where_it_stands(tag, data)}" + (f", {done} was" if done else ""))
                raise

    def _put(self, reference: str, media_type: str, data: bytes) -> None:
        """Store a manifest. Where the answer was lost on the way, or said that it is there and must not
        change, what is there counts."""
        try:
            self.repository.put_manifest(reference, media_type, data)
        except TransportError:
            with suppress(TransportError, InvalidImage):
                if self.repository.meaning(reference) == data:
                    return
            raise

    def _where_it_stands(self, tag: str, data: bytes) -> str:
        """Words for a tag that could not be moved."""
        try:
            moved = self.repository.meaning(tag) == data
        except (SquashkitError, OSError):
            return f"whether the tag {tag} was moved is not known"
        return f"the tag {tag} was {'' if moved else 'not '}moved"

    def _check(self, root: Descriptor, check: Check) -> None:
        stored = self.name.with_digest(root.digest)
        with closing(RegistryImages(stored, self._registries, self._tmp_dir)) as images:
            check(images)

    def close(self) -> None:
        for upload in self._slots:
            upload.discard()
        self.repository.close()

    def stored(self, digest: Digest) -> None:
        with self._lock:
            self._stored[digest] = True


def claim_repository(session: Session, name: ImageName) -> None:
    """Begin to write into a repository, before anything is read that goes there. Raises Unauthorized."""
    session.keep(closing(Repository(session.registries.get(name), name.repository, push=True))).claim()


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
