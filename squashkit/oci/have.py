"""Have-lists: which layers the other side has, as a text that travels well.

    store: containerd
    CHAIN_ID DIFF_ID DIGEST BYTES MEDIA_TYPE
    CHAIN_ID DIFF_ID -

The first line says what keeps the layers, each further one tells of one: its chain_id, its diff_id, and of
its stored blob the digest, the size in bytes and the media type, or `-` where the store does not tell them.
Pure: lines go in and out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum

from squashkit.errors import InvalidImage
from squashkit.oci.digests import ChainID, DiffID, Digest, is_digest
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import Layer
from squashkit.oci.media import DOCKER_LAYER, OCI_LAYER, Codec
from squashkit.values import frozen

FIRST = "store: "
"""How a have-list begins."""
_ENDINGS = {Codec.NONE: "", Codec.GZIP: "+gzip", Codec.ZSTD: "+zstd"}
"""How the media types of layers end, by what they are compressed with."""
_UNKNOWN = "-"
_SIZE = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_NAMEABLE = {
    *(OCI_LAYER + ending for ending in _ENDINGS.values()),
    *(DOCKER_LAYER + ending for ending in ("", ".gzip")),
}
"""The media types of layers that a manifest may name as they are: any tool knows what they hold."""


class Keeper(Enum):
    """What keeps layers, and so by what it knows them again."""

    GRAPHDRIVER = "graphdriver"
    """docker's own storage: by chain_id."""
    CONTAINERD = "containerd"
    """containerd's store, which docker may use: by the digest of the stored blob."""
    PODMAN = "podman"
    """podman's storage: by diff_id, and by the digest under which it took a layer in."""
    REGISTRY = "registry"
    FILES = "files"
    """Archives and layouts, from which hosts of any kind may have been filled."""

    @property
    def by_digest(self) -> bool:
        """Whether it knows layers by the digests of their blobs alone."""
        return self is Keeper.CONTAINERD


@frozen
class HeldLayer:
    """A layer that the other side has."""

    chain_id: ChainID
    diff_id: DiffID
    blob: Descriptor | None
    """Its stored blob; None where that is not told."""

    @classmethod
    def of(cls, layer: Layer, codec: Codec) -> HeldLayer:
        """A layer of an image, whose blob is compressed so."""
        blob, ending = layer.descriptor, _ENDINGS.get(codec)
        if blob is None or ending is None or blob.is_encrypted:
            return cls(layer.chain_id, layer.diff_id, None)
        return cls(layer.chain_id, layer.diff_id, Descriptor(OCI_LAYER + ending, blob.digest, blob.size))

    def __str__(self) -> str:
        """As a line tells it."""
        told = _UNKNOWN
        if self.blob is not None and _MEDIA_TYPE.fullmatch(self.blob.media_type):
            told = f"{self.blob.digest} {self.blob.size} {self.blob.media_type}"
        return f"{self.chain_id} {self.diff_id} {told}"

    @property
    def nameable(self) -> Descriptor | None:
        """Its blob, where a manifest may name that."""
        return self.blob if self.blob is not None and self.blob.media_type in _NAMEABLE else None


@frozen
class Have:
    """What the other side has."""

    keeper: Keeper
    """What keeps its layers."""
    layers: tuple[HeldLayer, ...]
    """Those that it has; one that is stored in several ways comes several times."""

    def __repr__(self) -> str:
        return f"<Have: {self.keeper.value}, {len(self.layers)} layers>"

    def lines(self) -> Iterator[str]:
        """The have-list, each layer once."""
        yield FIRST + self.keeper.value
        yield from dict.fromkeys(map(str, self.layers))


def parse_have(text: str, where: str) -> Have:
    """Read a have-list; `where` is how people call it. Raises InvalidImage that names the line at fault:
    nothing in a have-list is passed over, since what it says is not looked at again."""
    lines = text.split("\n")
    if lines.pop():
        raise InvalidImage("the last line has no end: it was cut off", where=where)
    first, *rest = lines or [""]
    keepers = {FIRST + keeper.value: keeper for keeper in Keeper}
    if first not in keepers:
        known = ", ".join(keeper.value for keeper in Keeper)
        raise InvalidImage(f"expected `{FIRST}` and one of {known}", where=f"{where}: line 1")
    layers = [_parse_line(line, f"{where}: line {number}") for number, line in enumerate(rest, 2)]
    _refuse_contradictions(layers, where)
    return Have(keepers[first], tuple(layers))


def _parse_line(line: str, where: str) -> HeldLayer:
    match line.split(" "):
        case [chain_id, diff_id, "-"] if is_digest(chain_id) and is_digest(diff_id):
            return HeldLayer(ChainID(chain_id), DiffID(diff_id), None)
        case [chain_id, diff_id, digest, size, media_type] if (
            all(map(is_digest, (chain_id, diff_id, digest)))
            and _SIZE.fullmatch(size)
            and _MEDIA_TYPE.fullmatch(media_type)
        ):
            blob = Descriptor(media_type, Digest(digest), int(size))
            return HeldLayer(ChainID(chain_id), DiffID(diff_id), blob)
    raise InvalidImage(
        "expected a chain_id, a diff_id, and a digest with bytes and media type, or -", where=where
    )


def _refuse_contradictions(layers: Iterable[HeldLayer], where: str) -> None:
    """Raises InvalidImage where two lines cannot both be true."""
    diff_ids: dict[ChainID, DiffID] = {}
    blobs: dict[Digest, tuple[DiffID, int]] = {}
    for number, layer in enumerate(layers, 2):
        place = f"{where}: line {number}"
        if diff_ids.setdefault(layer.chain_id, layer.diff_id) != layer.diff_id:
            raise InvalidImage("an earlier line has this chain_id with another diff_id", where=place)
        blob = layer.blob
        if blob is not None and blobs.setdefault(blob.digest, (layer.diff_id, blob.size)) != (
            layer.diff_id,
            blob.size,
        ):
            raise InvalidImage("an earlier line has this digest with another diff_id or size", where=place)
