"""The bytes of new layers on their way: gathered from old ones, and hashed while they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from squashkit.engine.layers import LayerStore
from squashkit.engine.pool import wait_all
from squashkit.errors import Cancelled
from squashkit.layers import tar
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.digests import Digest
from squashkit.oci.graph import Layer
from squashkit.transports.blobs import READ_SIZE, Blob, new_buffer, read_into
from squashkit.transports.session import Session


def pump(
    session: Session, blocks: Iterator[memoryview], write: Callable[[memoryview], None]
) -> tuple[int, Digest]:
    """Hash each block while it is written and the next one is read: hashing takes longest, and cannot be
    shared. How many bytes, and their digest."""
    digest = hashlib.sha256()
    size = 0

    def write_and_read(block: memoryview | None) -> memoryview | None:
        if block is not None:
            write(block)
        return next(blocks, None)

    with ThreadPoolExecutor(1) as pool:
        try:
            block = None
            while True:
                coming = pool.submit(write_and_read, block)
                if block is not None:
                    digest.update(block)
                    size += len(block)
                    session.progress.advance(len(block))
                wait_all([coming], session.cancelled)  # in turns, so that Ctrl-C is heard
                block = coming.result()
                if block is None:
                    break
        except BaseException:
            session.cancelled.set()  # the pool waits for a write that may wait for a server
            raise
    return size, Digest(f"sha256:{digest.hexdigest()}")


def gather(layers: LayerStore, sources: Sequence[Layer], pieces: Sequence[Piece]) -> Iterator[memoryview]:
    """A new tar from spans of an image's layers and new headers, in blocks that are overwritten by the
    one after the next."""
    buffers = [new_buffer(READ_SIZE) for _ in range(2)]
    used = 0
    blobs: dict[int, Blob] = {}
    for piece in (*pieces, tar.END_OF_ARCHIVE):
        blob = None
        if isinstance(piece, Copy):
            if piece.layer not in blobs:
                blobs[piece.layer] = layers.bytes_of(sources[piece.layer])
            blob = blobs[piece.layer]
        at, end = (piece.start, piece.end) if isinstance(piece, Copy) else (0, len(piece))
        while at < end:
            view = buffers[0][used : used + end - at]
            if isinstance(piece, bytes):
                view[:] = piece[at : at + len(view)]
            elif blob is not None:
                read_padded(blob, at, view, f"layer {piece.layer}")
            used += len(view)
            at += len(view)
            if used == READ_SIZE:
                yield buffers[0]
                if layers.session.cancelled.is_set():
                    raise Cancelled
                buffers.reverse()
                used = 0
    if used:
        yield buffers[0][:used]


def read_padded(blob: Blob, at: int, view: memoryview, where: str) -> None:
    """Fill a buffer; what is missing of the padding at a tar's very end counts as zeros."""
    there = min(len(view), blob.size - at)
    read_into(blob.fd, blob.offset + at, view[:there], where)
    view[there:] = bytes(len(view) - there)
