"""One layer as it passes: its stored bytes hashed, inflated, hashed again, scanned for headers."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from squashkit.engine.entries import Recorder
from squashkit.errors import DigestMismatch, InvalidLayer
from squashkit.layers import tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.oci.graph import Layer
from squashkit.oci.media import Codec
from squashkit.progress import Progress
from squashkit.transports.blobs import fill_blocks, read_blocks
from squashkit.transports.codecs import MAGIC_SIZE, decompress, detect
from squashkit.transports.room import Room
from squashkit.transports.stored import StoredBlob
from squashkit.values import frozen

if TYPE_CHECKING:
    from squashkit.transports.deflate.index import BlockIndex

Taker = Callable[[memoryview], None]
"""Takes bytes, block by block."""


@frozen
class Keeping:
    """What is kept of a layer as it passes."""

    plain: Taker | None = None
    stored: Taker | None = None
    """Takes the blob as it lies in its source."""
    blocks: BlockIndex | None = None
    """Takes down the deflate blocks of a gzip layer."""


NOTHING = Keeping()


@frozen
class Inflation:
    """How layers are read. With `verify` False neither digests nor diff_ids are checked."""

    room: Room
    progress: Progress
    cancelled: threading.Event
    verify: bool

    def scan(self, layer: Layer, blob: StoredBlob, keep: Keeping, recorder: Recorder | None) -> Changeset:
        """Read a layer once and sort its headers, which `recorder` gets, too.

        Raises DigestMismatch where a digest or the diff_id is wrong, which is said before what is wrong
        with the tar (InvalidLayer); TooLarge.
        """
        stored = hashlib.sha256()
        window = _Stream(self._blocks(layer, blob, stored.update, keep), hashed=self.verify)
        try:
            records = tar.scan(window)
            changeset = parse_changeset(
                records if recorder is None else recorder.recorded(records, window.passed)
            )
        except InvalidLayer:
            window.drain()
            self._check_diff_id(layer, window)
            raise
        window.drain(changeset.end)
        self._check_diff_id(layer, window)
        self._check_stored(layer, blob, stored.hexdigest())
        return replace(changeset, diff_size=window.position, junk=window.junk)

    def check(self, layer: Layer, blob: StoredBlob, keep: Keeping = NOTHING) -> int:
        """The same without looking at headers: the bytes of the plain tar are counted."""
        stored = hashlib.sha256()
        stream = _Stream(self._blocks(layer, blob, stored.update, keep), hashed=self.verify)
        stream.drain()
        self._check_diff_id(layer, stream)
        self._check_stored(layer, blob, stored.hexdigest())
        return stream.position

    def _blocks(self, layer: Layer, blob: StoredBlob, hashed: Taker, keep: Keeping) -> Iterator[memoryview]:
        """The plain tar in blocks; each is overwritten by the one after the next."""
        where = layer.where

        def compressed() -> Iterator[memoryview]:
            for block in blob.blocks(self.cancelled, where):
                hashed(block)
                if keep.stored is not None:
                    keep.stored(block)
                self.progress.advance(len(block))
                yield block

        def inflated() -> Iterator[bytes]:
            rest = compressed()
            first = next(rest, memoryview(b""))
            codec = detect(bytes(first[:MAGIC_SIZE]))
            blocks = chain([first], rest)
            pieces = decompress(codec, blocks, where)
            if keep.blocks is not None and codec is Codec.GZIP:
                from squashkit.transports.deflate.read import inflate

                pieces = inflate(blocks, keep.blocks, where)
            for piece in pieces:
                if codec is not Codec.NONE:
                    self.room.inflate(len(piece), where)
                yield piece

        for block in fill_blocks(inflated()):
            if keep.plain is not None:
                keep.plain(block)
            yield block

    def _check_diff_id(self, layer: Layer, stream: _Stream) -> None:
        if self.verify:
            check_digest(layer, layer.diff_id, stream.digest())

    def _check_stored(self, layer: Layer, blob: StoredBlob, digest: str) -> None:
        if self.verify and blob.descriptor is not None:
            check_digest(layer, blob.descriptor.digest, f"sha256:{digest}")

    def check_plain(self, layer: Layer, blob: StoredBlob) -> None:
        """Hash a plain layer where it lies. Raises DigestMismatch."""
        digest = hashlib.sha256()
        for block in read_blocks(blob.open(), self.cancelled, layer.where):
            digest.update(block)
            self.progress.advance(len(block))
        actual = f"sha256:{digest.hexdigest()}"
        check_digest(layer, layer.diff_id, actual)
        if blob.descriptor is not None:
            check_digest(layer, blob.descriptor.digest, actual)


class _Stream:
    """A window for `tar.scan` over blocks that come one after another, hashed as they pass."""

    def __init__(self, blocks: Iterator[memoryview], *, hashed: bool) -> None:
        self._blocks = blocks
        self._hash = hashlib.sha256() if hashed else None
        self._block = self._before = memoryview(b"")
        self.position = 0
        """Bytes that have passed."""
        self.junk = False
        """Whether anything but zeros was drained."""

    def __call__(self, at: int) -> tuple[memoryview, int]:
        while self.position < at + BLOCK and self._next():
            pass
        return self._block, self.position - len(self._block)

    def passed(self, start: int, stop: int) -> bytes | None:
        """Bytes that have just passed: of the last two blocks; None where they are gone."""
        base = self.position - len(self._block)
        if start >= base:
            return bytes(self._block[start - base : stop - base])
        before = base - len(self._before)
        if start < before:
            return None
        return bytes(self._before[start - before :]) + bytes(self._block[: max(0, stop - base)])

    def drain(self, end: int | None = None) -> None:
        """Let the rest pass; what comes from `end` on should be zeros."""
        while True:
            if end is not None and self.position > end:
                start = max(0, end - (self.position - len(self._block)))
                self.junk = self.junk or is_junk(self._block[start:])
            if not self._next():
                return

    def digest(self) -> str:
        assert self._hash is not None
        return f"sha256:{self._hash.hexdigest()}"

    def _next(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        if self._hash is not None:
            self._hash.update(block)
        self._before, self._block = self._block, block
        self.position += len(block)
        return True


def is_junk(block: memoryview) -> bool:
    """Whether there is anything but zeros."""
    return bytes(block).count(0) != len(block)


def check_digest(layer: Layer, expected: str, actual: str) -> None:
    """Raises DigestMismatch."""
    if expected != actual:
        raise DigestMismatch(layer.where, expected=expected, actual=actual, diff_id=layer.diff_id)
