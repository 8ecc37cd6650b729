"""Layers and images: a layer stands on its parent, an image is a path of layers, many images are a trie.

Two layers with the same bytes on different parents are different layers here, as they are on a host:
the key is the chain_id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from squashkit.errors import InvalidImage, show_text
from squashkit.oci.digests import ChainID, DiffID, Digest, chain_ids
from squashkit.oci.documents import Descriptor, ImageConfig, Manifest, Platform

MAX_LAYERS = 125
"""The most that docker loads on its own storage; docs/layers.md has what else was tried."""


def crowded(number: int) -> str:
    """A warning where an image has more layers than docker loads, else empty."""
    if number <= MAX_LAYERS:
        return ""
    return f"{number:,} layers: docker takes at most {MAX_LAYERS} on its own storage (max depth exceeded)"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image. `index` counts from the base.

    `member` is the name by which its source finds the blob, None where the blob is not there.
    `descriptor` is None where the source states none (an archive without manifests).
    """

    index: int
    diff_id: DiffID
    chain_id: ChainID
    parent: ChainID | None
    member: str | None
    descriptor: Descriptor | None
    created_by: str

    @property
    def where(self) -> str:
        """How errors name it."""
        return f"layer {self.index} ({self.diff_id[:19]})"


def stack_layers(
    config: ImageConfig,
    members: Sequence[str | None],
    descriptors: Sequence[Descriptor | None],
    where: str,
) -> tuple[Layer, ...]:
    """The layers that a config names, base first, each with its member and its descriptor.

    Raises InvalidImage where there are not as many as diff_ids.
    """
    if len(members) != len(config.diff_ids):
        raise InvalidImage(f"{len(members)} layers and {len(config.diff_ids)} diff_ids", where=where)
    chain = chain_ids(config.diff_ids)
    history = config.layer_history
    return tuple(
        Layer(
            index=i,
            diff_id=config.diff_ids[i],
            chain_id=chain[i],
            parent=chain[i - 1] if i else None,
            member=members[i],
            descriptor=descriptors[i],
            created_by=history[i].created_by if history else "",
        )
        for i in range(len(members))
    )


@dataclass(frozen=True, slots=True)
class Image:
    """An image as its source states it. Nothing of its layers has been read yet."""

    names: tuple[str, ...]
    image_id: Digest
    config: ImageConfig
    layers: tuple[Layer, ...]
    manifest: Manifest | None
    manifest_descriptor: Descriptor | None

    @property
    def platform(self) -> Platform:
        return self.config.platform

    @property
    def diff_ids(self) -> tuple[DiffID, ...]:
        return self.config.diff_ids

    @property
    def identity(self) -> tuple[object, ...]:
        """A key of the image as it is stored: equal configs may have their layers in different blobs."""
        return self.image_id, *(layer.member for layer in self.layers)

    def place(self, start: int, stop: int) -> RunPlace:
        """Where the run of layers [start, stop) lies. In all images that have it, it is the same."""
        return self.layers[start].parent, self.layers[stop - 1].chain_id

    @property
    def title(self) -> str:
        """Its first name, else its image_id shortened."""
        return show_text(self.names[0]) if self.names else self.image_id[:19]


RunPlace = tuple[ChainID | None, ChainID]
"""Where a run of layers lies: what is below it, and its uppermost layer on all that is."""


class LayerGraph:
    """Images over their shared layers: layers keyed by chain_id, each with a link to its parent."""

    def __init__(self, images: Iterable[Image] = ()) -> None:
        self.images: list[Image] = []
        self.layers: dict[ChainID, Layer] = {}
        for image in images:
            self.add(image)

    def add(self, image: Image) -> None:
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
