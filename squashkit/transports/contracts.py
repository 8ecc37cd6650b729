"""Where images go, as a protocol: blobs in any order, and last the documents that make them an image.

Nothing that was there before changes until `commit`; without it nothing new has a name. The modules named
*_sink.py keep the promise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from squashkit.oci.digests import DiffID, Digest, sha256
from squashkit.oci.documents import Descriptor
from squashkit.oci.media import REF_NAME
from squashkit.oci.names import ImageName, name_annotations
from squashkit.transports.blobs import Container
from squashkit.transports.room import Room
from squashkit.values import frozen


@frozen
class Tag:
    """A name that an image gets. `verbatim` is the ref.name that was asked for as it stands."""

    name: str
    verbatim: str | None = None

    def annotations(self) -> dict[str, str]:
        if self.verbatim is None:
            return name_annotations(ImageName.parse(self.name))
        is_full = ":" in self.verbatim or "/" in self.verbatim
        name = ImageName.of(self.verbatim) if is_full else None  # a ref.name need not be an image's name
        return {REF_NAME: self.verbatim} if name is None else name_annotations(name, self.verbatim)


@frozen
class WrittenImage:
    """An image whose blobs are stored: its manifest's descriptor, its config and its layers."""

    manifest: Descriptor
    config: Digest
    layers: Sequence[Digest]
    diff_ids: Sequence[DiffID]


@frozen
class Written:
    """What the documents need that make stored blobs an image with names: the descriptor of its manifest,
    or of an index of several, and the images that are meant."""

    root: Descriptor
    images: Sequence[WrittenImage]
    tags: Sequence[Tag]
    repo_tags: Sequence[str]
    needs: Sequence[Digest] = ()
    """Blobs of layers that are not stored: the archive is a delta."""


Check = Callable[[Container], None]
"""Reads back what was written, before it has a name. Raises where it is not right."""


class Slot(Protocol):
    """A place for one blob. `write` appends, `seal` ends it; then `finish` names it or `discard` gives it
    up, the last place first."""

    def write(self, data: bytes | memoryview) -> None: ...

    def seal(self) -> None: ...

    def finish(self, digest: Digest) -> None: ...

    def discard(self) -> None: ...


@dataclass(slots=True)
class Loading:
    """What a store was sent, in bytes, and by what it knows the result."""

    sent: int = 0
    left_out: int = 0
    """Of blobs that it has, and was not sent."""
    proof: int = 0
    """That it gave out to show that it has them."""
    id: str = ""
    """Empty until it has the result."""


class Sink(Protocol):
    """A destination. Blobs that it `has` need not be written."""

    parallel: bool
    """Whether slots of known size may be written side by side."""
    title: str

    @property
    def room(self) -> Room | None:
        """Where its blobs are kept on this machine; None where they do not stay here."""

    @property
    def loading(self) -> Loading | None:
        """What a store was sent, and makes of it; None where it is none."""

    @property
    def notes(self) -> Sequence[str]:
        """What people should know of the names that it will give."""

    def has(self, digest: Digest, size: int) -> bool: ...

    def verify(self, digest: Digest) -> None:
        """Read a blob that was there before and check its digest. Raises InvalidImage."""

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot:
        """A place for a blob of this size; None takes the place after all others. Where the digest is
        known beforehand, a pipe sends the blob at once."""

    def manifest(self, media_type: str, data: bytes) -> Digest:
        """Store a manifest or an index."""

    def commit(self, written: Sequence[Written], check: Check | None = None) -> None:
        """Give what was written its names, once `check` has nothing against it. Only archives and layouts
        take more than one at a time."""

    def close(self) -> None:
        """Drop whatever was not committed."""


class Blobs(Protocol):
    """What takes blobs."""

    def has(self, digest: Digest, size: int) -> bool: ...

    def slot(self, size: int | None, digest: Digest | None = None) -> Slot: ...


def put(sink: Blobs, data: bytes) -> Digest:
    """Store a small blob."""
    digest = sha256(data)
    if not sink.has(digest, len(data)):
        slot = sink.slot(len(data), digest)
        slot.write(data)
        slot.seal()
        slot.finish(digest)
    return digest


def descriptors(written: Sequence[Written]) -> list[dict[str, Any]]:
    """One descriptor a tag, one without a name where there is none."""
    return [
        Descriptor(one.root.media_type, one.root.digest, one.root.size, names, one.root.platform).json()
        for one in written
        for names in [tag.annotations() for tag in one.tags] or [{}]
    ]
