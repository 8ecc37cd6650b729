"""Layers and images: a layer stands on its parent, an image is a path of layers, many images are a trie.

Two layers with the same bytes on different parents are different layers here, as they are on a host:
the key is the chain_id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from squashkit.errors import InvalidImage, show_text
from squashkit.oci.digests import ChainID, DiffID, Digest, chain_ids
from squashkit.oci.documents import Descriptor, ImageConfig, Manifest, Platform
from squashkit.oci.media import OCI_MANIFEST, Codec
from squashkit.values import frozen

MAX_LAYERS = 125
"""The most that docker loads on its own storage; docs/layers.md has what else was tried."""


def crowded(number: int) -> str:
    """A warning where an image has more layers than docker loads, else empty."""
    if number <= MAX_LAYERS:
        return ""
    return f"{number:,} layers: docker takes at most {MAX_LAYERS} on its own storage (max depth exceeded)"


class BlobRef(Protocol):
    """Where a layer's bytes lie: a blob of an open container. Hashable; two are equal where they are the
    same place. What can be read there is the business of transports (stored.py)."""

    @property
    def descriptor(self) -> Descriptor | None:
        """What is stated of the blob; None where nothing is."""


@frozen
class Layer:
    """One layer of an image."""

    index: int
    """Counted from the base."""
    diff_id: DiffID
    """The digest of its plain tar."""
    chain_id: ChainID
    """What names it together with all layers below."""
    parent: ChainID | None
    """The layer below; None for the first."""
    blobs: tuple[BlobRef, ...]
    """Every place where its bytes are known to lie, the nearest first; none where they are nowhere."""
    descriptor: Descriptor | None
    """What the source states of its blob; None where that is nothing (an archive without manifests)."""
    created_by: str
    """The step that made it, as the history has it."""
    source: str
    """What the image was read from, as people call it."""

    def __repr__(self) -> str:
        return f"<Layer {self.index}: {self.diff_id[:19]}>"

    @property
    def where(self) -> str:
        """How errors name it."""
        return f"layer {self.index} ({self.diff_id[:19]})"


def stack_layers(
    config: ImageConfig,
    blobs: Sequence[BlobRef | None],
    descriptors: Sequence[Descriptor | None],
    where: str,
    source: str = "",
) -> tuple[Layer, ...]:
    """The layers that a config names, base first, with where each lies (None for nowhere) and what
    describes it.

    Raises InvalidImage where there are not as many as diff_ids.
    """
    if len(blobs) != len(config.diff_ids):
        raise InvalidImage(f"{len(blobs)} layers and {len(config.diff_ids)} diff_ids", where=where)
    chain = chain_ids(config.diff_ids)
    history = config.layer_history
    return tuple(
        Layer(
            index=i,
            diff_id=config.diff_ids[i],
            chain_id=chain[i],
            parent=chain[i - 1] if i else None,
            blobs=() if (blob := blobs[i]) is None else (blob,),
            descriptor=descriptors[i],
            created_by=history[i].created_by if history else "",
            source=source,
        )
        for i in range(len(blobs))
    )


def restack(config: ImageConfig, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Layers of any images on one another, as a config names them. Their bytes lie where they lay.

    The config has as many diff_ids as there are layers, and the same.
    """
    stacked = stack_layers(config, [None] * len(layers), [layer.descriptor for layer in layers], "")
    return tuple(
        replace(layer, blobs=own.blobs, source=own.source)
        for layer, own in zip(stacked, layers, strict=True)
    )


@frozen
class Image:
    """An image as its source states it. Nothing of its layers has been read yet."""

    names: tuple[str, ...]
    """As its source has them; none where it has none."""
    image_id: Digest
    """The digest of its config."""
    config: ImageConfig
    """Its config: settings, history, diff_ids."""
    layers: tuple[Layer, ...]
    """Base first."""
    manifest: Manifest | None
    """None where the source has none (a docker archive)."""
    manifest_descriptor: Descriptor | None
    """Its digest and size; None where the source has none."""
    index_annotations: tuple[tuple[str, str], ...] = ()
    """Names and texts of those of the index that lists it."""

    def __repr__(self) -> str:
        return f"<Image: {self.title:.60}, {self.platform}, {len(self.layers)} layers>"

    @property
    def platform(self) -> Platform:
        """What it runs on, as its config says."""
        return self.config.platform

    @property
    def diff_ids(self) -> tuple[DiffID, ...]:
        """Of its layers, base first."""
        return self.config.diff_ids

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from others: equal configs may have their layers stored in different ways."""
        return self.image_id, *(layer.blobs for layer in self.layers)

    def place(self, start: int, stop: int) -> RunPlace:
        """Where the run of layers [start, stop) lies. In all images that have it, it is the same."""
        return self.layers[start].parent, self.layers[stop - 1].chain_id

    def family(self, wanted: str | None) -> str:
        """The media type of a manifest to write: the one asked for, else the image's own, else OCI's."""
        return wanted or (self.manifest.media_type if self.manifest else OCI_MANIFEST)

    @property
    def is_whole(self) -> bool:
        """Whether the blobs of all layers are there."""
        return all(layer.blobs for layer in self.layers)

    @property
    def title(self) -> str:
        """Its first name, else its image_id shortened."""
        return show_text(self.names[0]) if self.names else self.image_id[:19]


@frozen
class StoredLayer:
    """A layer as it is stored: the digest and size of its blob, and what the blob holds."""

    diff_id: DiffID
    digest: Digest
    size: int
    codec: Codec
    source: Descriptor | None = None
    """The descriptor that the same blob has in the source."""
    is_uncounted: bool = False
    """Whether it is not known what it will take, as in a dry run, which compresses nothing: `size` is then
    that of what it is made of."""

    @property
    def is_plain(self) -> bool:
        """Whether its blob is, or will be, the plain tar."""
        return self.codec is Codec.NONE


RunPlace = tuple[ChainID | None, ChainID]
"""Where a run of layers lies: what is below it, and its uppermost layer on all that is."""


class LayerGraph:
    """Images over their shared layers: layers keyed by chain_id, each with a link to its parent."""

    def __init__(self, images: Iterable[Image] = ()) -> None:
        self.images: list[Image] = []
        self.layers: dict[ChainID, Layer] = {}
        for image in images:
            self.add(image)

    def __repr__(self) -> str:
        return f"<LayerGraph: {len(self.images)} images, {len(self.layers)} layers>"

    def add(self, image: Image) -> None:
        """Add an image, and the layers that were not there yet."""
        self.images.append(image)
        for layer in image.layers:
            self.layers.setdefault(layer.chain_id, layer)

    def bases_of(self, image: Image) -> list[Image]:
        """The images on whose layers this one stands, the one with the most layers first."""
        stack = {layer.chain_id for layer in image.layers[:-1]}
        bases = {
            other.image_id: other
            for other in self.images
            if other.layers and other.layers[-1].chain_id in stack
        }
        return sorted(bases.values(), key=lambda base: -len(base.layers))


def shared_prefix(a: Sequence[DiffID], b: Sequence[DiffID]) -> int:
    """How many layers two stacks have in common, counted from the base."""
    for count, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return count
    return min(len(a), len(b))
