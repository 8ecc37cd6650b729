"""A new gzip layer from the deflate blocks of old ones, inflated again before anybody believes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from squashkit.engine.layers import LayerStore
from squashkit.engine.stream import gather, pump, read_padded
from squashkit.errors import CheckFailed, DigestMismatch, InvalidImage
from squashkit.layers import tar
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.graph import Layer, StoredLayer
from squashkit.oci.media import Codec
from squashkit.transports.blobs import read_into
from squashkit.transports.codecs import decompress
from squashkit.transports.contracts import Slot
from squashkit.wording import Option

if TYPE_CHECKING:
    from squashkit.transports.deflate.splice import Part


def find_parts(layers: LayerStore, sources: Sequence[Layer], pieces: Sequence[Piece]) -> list[Part]:
    """What a new layer can be made of: blocks where a source layer is gzip, was read to be spliced and is
    well deflated. Empty where there are none to copy."""
    copied = sorted({piece.layer for piece in pieces if isinstance(piece, Copy)})
    deflated = {layer: known for layer in copied if (known := layers.deflated(sources[layer])) is not None}
    if not deflated:
        return []
    from squashkit.transports.deflate.index import Run  # other layers have no use for it
    from squashkit.transports.deflate.splice import is_well_deflated, splice

    indexes = {
        layer: known.blocks
        for layer, known in deflated.items()
        if is_well_deflated(known.blocks, partial(_plain, layers, sources[layer]))
    }
    parts = list(splice((*pieces, tar.END_OF_ARCHIVE), indexes)) if indexes else []
    return parts if any(isinstance(part, Run) for part in parts) else []


def write_spliced(
    layers: LayerStore,
    sources: Sequence[Layer],
    pieces: Sequence[Piece],
    parts: Sequence[Part],
    compression: Compression,
    slot: Slot,
) -> StoredLayer:
    """Write a new layer's parts, and seal its place. Every byte is inflated again on its way out, and held
    against the plain bytes that the layer was planned of, whose digest is the diff_id.

    Raises CheckFailed where they differ.
    """
    from squashkit.transports.deflate.write import write

    stored = hashlib.sha256()
    size = 0

    def passed(blocks: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal size
        for block in blocks:
            stored.update(block)
            slot.write(block)
            size += len(block)
            yield block

    def plain(layer: int, start: int, end: int) -> bytes:
        return _plain(layers, sources[layer], start, end)

    def deflated(layer: int, start: int, end: int) -> bytes:
        known = layers.deflated(sources[layer])
        assert known is not None
        data = bytearray(end - start)
        read_into(known.stored.fd, known.stored.offset + start, memoryview(data), sources[layer].where)
        return bytes(data)

    written = write(parts, plain, deflated, compression.level, layers.session.jobs)
    with closing(written):
        again = _Comparison(decompress(Codec.GZIP, passed(written), "the new layer"))
        _, diff_id = pump(layers.session, gather(layers, sources, pieces), again.compare)
        again.finish()
    slot.seal()
    digest = Digest(f"sha256:{stored.hexdigest()}")
    return StoredLayer(DiffID(diff_id), digest, size, Codec.GZIP)


def _plain(layers: LayerStore, layer: Layer, start: int, end: int) -> bytes:
    """Bytes of a layer's plain tar."""
    data = bytearray(end - start)
    read_padded(layers.bytes_of(layer), start, memoryview(data), layer.where)
    return bytes(data)


class _Comparison:
    """Holds a stream against blocks that it must consist of."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def compare(self, block: memoryview) -> None:
        """The stream goes on with this block. Raises CheckFailed where it does not."""
        while block:
            piece = self._piece or memoryview(self._next())
            size = min(len(block), len(piece))
            # Views are compared item by item, bytes at once.
            if not size or bytes(piece[:size]) != bytes(block[:size]):
                raise _different()
            block, self._piece = block[size:], piece[size:]

    def finish(self) -> None:
        """The stream ends here. Raises CheckFailed where it goes on."""
        if self._piece or self._next():
            raise _different()

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except DigestMismatch:
            raise  # a source ended too early
        except InvalidImage as error:
            raise _different() from error


def _different() -> CheckFailed:
    return CheckFailed(
        "a new gzip layer inflates to other bytes than it was made of, and nothing was written: a source"
        " was changed meanwhile, or squashkit is at fault; ",
        Option("Write.compress", "gzip:6"),
        " deflates all anew",
    )
