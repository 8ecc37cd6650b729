"""What a result needs of file systems, and whether it is there."""

from __future__ import annotations

import os
from collections.abc import Sequence

from squashkit.amounts import size as show_size
from squashkit.engine.layers import LayerStore
from squashkit.oci.graph import Layer
from squashkit.oci.media import Codec
from squashkit.transports.contracts import Sink
from squashkit.transports.room import Room
from squashkit.transports.stored import codec_of, is_here, is_remote, nearest, size_of
from squashkit.values import frozen


@frozen
class Need:
    """Bytes that a room must have."""

    room: Room
    size: int

    @property
    def free(self) -> int:
        """Bytes that are free there now."""
        there = os.statvfs(self.room.folder)
        return there.f_bavail * there.f_frsize

    def __str__(self) -> str:
        return f"Needs {show_size(self.size)} in {self.room.folder}; {show_size(self.free)} are free."

    def require(self) -> None:
        """Raises TooLarge where there is not so much."""
        self.room.check(self.size)


def needs_before(
    layers: LayerStore, sink: Sink | None, squashed: Sequence[Layer], kept: int, *, splice: bool
) -> list[Need]:
    """What is needed before anything is read: for inflated layers, with `splice` for gzip layers that must
    be fetched as well, and for `kept`, the bytes of blobs that are to be carried over."""
    room = layers.session.room
    inflating = [layer for layer in squashed if not layers.is_inflated(layer)]
    spool = inflated_size(inflating, certain=room.limit is not None)
    if splice:
        fetched = [one for one in inflating if is_remote(one) and not is_here(one)]
        spool += sum(size_of(one) for one in fetched if codec_of(one) is Codec.GZIP)
    if sink is None or sink.room is None:
        return [Need(room, spool)]
    if sink.room is room:
        return [Need(room, spool + kept)]
    return [Need(sink.room, kept), Need(room, spool)]


def needs_after(layers: LayerStore, sink: Sink, new: int) -> list[Need]:
    """What is needed once the plan stands, for so many bytes of new layers: kept blobs are being written
    then."""
    return [Need(sink.room or layers.session.room, new)]


def inflated_size(layers: Sequence[Layer], *, certain: bool = False) -> int:
    """About how many bytes of temporary space the inflated layers take: gzip's own size field says it
    for one member (modulo 4 GiB); zstd, and what lies elsewhere, is taken to be a quarter. Where it must be
    `certain`, the least that can be."""
    total, ratio = 0, 1 if certain else 4
    for layer in layers:
        codec = codec_of(layer)
        if layer.blobs and not is_here(layer):
            total += size_of(layer) * (1 if codec is Codec.NONE else ratio)
        elif codec is Codec.GZIP:
            blob = nearest(layer).open()
            field = blob.read_at(max(0, blob.size - 4), 4)
            total += max(int.from_bytes(field, "little"), 0 if certain else 2 * blob.size)
        elif codec is Codec.ZSTD:
            total += ratio * size_of(layer)
    return total
