"""The stored bytes of layers, wherever they lie: how they are compressed, how many, and the bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import field

from squashkit.errors import InvalidImage
from squashkit.oci.digests import ChainID, DiffID, Digest
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import BlobRef, Layer, StoredLayer
from squashkit.oci.media import Codec
from squashkit.transports.blobs import Blob, Container, Remote, read_blocks
from squashkit.values import frozen


@frozen
class StoredBlob:
    """A blob by its name in an open container, and what is stated of it."""

    container: Container
    name: str
    descriptor: Descriptor | None = field(default=None, compare=False)

    @classmethod
    def find(
        cls, container: Container, name: str, descriptor: Descriptor | None = None
    ) -> StoredBlob | None:
        """None where the container has no such blob."""
        return cls(container, name, descriptor) if container.has(name) else None

    @property
    def is_remote(self) -> bool:
        """Whether it lies in a registry."""
        return isinstance(self.container, Remote)

    @property
    def is_here(self) -> bool:
        """Whether its bytes are on this machine, and need not be fetched."""
        return not isinstance(self.container, Remote) or self.container.is_here(self.name)

    @property
    def codec(self) -> Codec:
        """How it is compressed: by its first bytes, or where it is elsewhere by its descriptor."""
        if self.descriptor is not None and not self.is_here:
            return self.descriptor.codec
        return self.open().codec()

    @property
    def size(self) -> int:
        """Bytes, as they are stated, or as it lies here."""
        return self.descriptor.size if self.descriptor is not None else self.open().size

    def open(self) -> Blob:
        """The blob on this machine; one that is elsewhere is fetched. Raises InvalidImage where it is no
        longer there, TransportError."""
        blob = self.container.get(self.name)
        if blob is None:
            raise InvalidImage("the blob is no longer there", where=self.name)
        return blob

    def blocks(self, cancelled: threading.Event, where: str) -> Iterator[memoryview]:
        """Its bytes, in order. What lies elsewhere is not kept, and verified as it comes.

        Raises DigestMismatch where it ends early, TransportError where it cannot be fetched.
        """
        if isinstance(self.container, Remote) and not self.is_here:
            return self.container.blocks(self.name, cancelled)
        return read_blocks(self.open(), cancelled, where)


def nearest(layer: Layer) -> StoredBlob:
    """Where to read a layer. Raises InvalidImage where its bytes are nowhere."""
    for blob in layer.blobs:
        assert isinstance(blob, StoredBlob)
        return blob
    digest = layer.descriptor.digest if layer.descriptor else layer.diff_id
    raise InvalidImage(f"the blob {digest} is not in {layer.source}", where=f"layer {layer.index}")


def is_here(layer: Layer) -> bool:
    """Whether a layer's bytes are on this machine, and need not be fetched."""
    return bool(layer.blobs) and nearest(layer).is_here


def lies_in_registry(blob: BlobRef) -> bool:
    """Whether a layer's bytes are in a registry there."""
    assert isinstance(blob, StoredBlob)
    return blob.is_remote


def is_remote(layer: Layer) -> bool:
    """Whether a layer is read from a registry."""
    return bool(layer.blobs) and nearest(layer).is_remote


def codec_of(layer: Layer) -> Codec:
    """How a layer is stored. Raises InvalidImage where it is nowhere and nothing is stated of it."""
    if layer.descriptor is not None and not is_here(layer):
        return layer.descriptor.codec
    return nearest(layer).codec


def size_of(layer: Layer) -> int:
    """Bytes of a layer's blob, as they are stated, or as it lies here."""
    return layer.descriptor.size if layer.descriptor is not None else nearest(layer).size


def digest_of(layer: Layer) -> Digest:
    """A blob's digest, as it is stated; a plain layer's is its diff_id. Empty where it is not known."""
    if layer.descriptor is not None:
        return layer.descriptor.digest
    return Digest(layer.diff_id if codec_of(layer) is Codec.NONE else "")


def stored_layer(layer: Layer) -> StoredLayer:
    """A layer as its source stores it."""
    return StoredLayer(layer.diff_id, digest_of(layer), size_of(layer), codec_of(layer), layer.descriptor)


def stacked_on_nothing(index: int, diff_id: DiffID, blob: StoredBlob, descriptor: Descriptor) -> Layer:
    """A layer for itself: what lies below it is not asked for."""
    return Layer(index, diff_id, ChainID(diff_id), None, (blob,), descriptor, "", "")
