"""Kept blobs on their way: carried over as they are while the planner still thinks."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import field, replace
from functools import partial
from typing import Any

from squashkit.engine.inflate import check_digest
from squashkit.engine.layers import LayerStore
from squashkit.engine.pool import FIRST
from squashkit.engine.stream import pump
from squashkit.engine.write import Stock, compress
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import Layer, StoredLayer
from squashkit.oci.media import Codec
from squashkit.transports.blobs import fill_blocks
from squashkit.transports.codecs import decompress
from squashkit.transports.contracts import Sink, Slot
from squashkit.transports.layout.folder import Folder
from squashkit.transports.layout.sink import Layout
from squashkit.transports.stored import StoredBlob
from squashkit.transports.target import Target
from squashkit.values import frozen, mutable


@frozen
class Carried:
    """A kept layer, and the blob that goes over: its own, or in a registry the one by which a registry has
    it already. Without a blob only the destination may have it."""

    layer: Layer
    blob: StoredBlob | None
    is_left_out: bool = False
    """Whether it stays out of a delta, since the other side has it."""

    @classmethod
    def to(cls, target: Target, layer: Layer, named: Descriptor | None = None) -> Carried:
        """A layer on its way to a target; `named` is the blob by which a delta names it that leaves it
        out."""
        blob = layer.blobs[-1 if target.is_registry else 0] if layer.blobs else None
        assert isinstance(blob, StoredBlob | None)
        one = cls(layer, blob)
        if named is None:
            return one
        if named == one.known:
            return cls(layer, blob, is_left_out=True)
        return cls(replace(layer, descriptor=named), None, is_left_out=True)

    @property
    def is_own(self) -> bool:
        """Whether the blob is the one that the image itself names."""
        return self.blob is None or self.blob == self.layer.blobs[0]

    @property
    def there(self) -> StoredBlob:
        assert self.blob is not None
        return self.blob

    @property
    def known(self) -> Descriptor | None:
        """What the destination may know the blob by. None where that is not known before it is read."""
        if self.blob is None:
            return self.layer.descriptor
        if self.blob.descriptor is not None:
            return self.blob.descriptor
        if self.blob.codec is Codec.NONE:
            return Descriptor("", Digest(self.layer.diff_id), self.blob.size)
        return None

    def is_in(self, sink: Sink) -> bool:
        """Whether the destination has the blob already, or the other side that a delta is for."""
        if self.is_left_out:
            return True
        known = self.known
        return known is not None and sink.has(known.digest, known.size)

    def lies_in(self, sink: Sink) -> bool:
        """Whether the destination is the very layout that the blob lies in."""
        container = self.blob.container if self.blob is not None else None
        if not isinstance(sink, Layout) or not isinstance(container, Folder):
            return False
        return container.path.samefile(sink.path)

    def codec_in(self, target: Target) -> Codec:
        """How the blob will be stored: a docker archive cannot hold zstd layers, and a registry holds no
        plain ones. What is left out stays as it is."""
        codec = self.there.codec
        if self.is_left_out:
            return codec
        if codec is Codec.ZSTD and target.format == "docker":
            return Codec.NONE
        return target.compression.codec if codec is Codec.NONE and target.is_registry else codec

    def stored(self, digest: Digest, size: int) -> StoredLayer:
        """The layer as it was carried over."""
        if self.blob is None:
            known = self.layer.descriptor
            return StoredLayer(
                self.layer.diff_id, digest, size, known.codec if known else Codec.NONE, known
            )
        return StoredLayer(self.layer.diff_id, digest, size, self.blob.codec, self.blob.descriptor)


@mutable
class Copies:
    """The kept layers of one image on their way into a sink."""

    layers: LayerStore
    sink: Sink
    target: Target
    stock: Stock
    stored: dict[DiffID, StoredLayer] = field(default_factory=dict)
    """Those that are there, by their diff_ids."""
    futures: list[Future[None]] = field(default_factory=list)
    """What is under way."""
    left_out: Mapping[DiffID, Descriptor] = field(default_factory=dict)
    """Layers that a delta leaves out, and by which blobs it names them."""
    _begun: set[DiffID] = field(default_factory=set)
    """Those that are there or under way."""
    _tail: Future[None] | None = None
    """Writes at the end of the sink, where nothing else may be written meanwhile."""
    _lock: Any = field(default_factory=threading.Lock)

    def leave_out(self, layers: Mapping[DiffID, Descriptor]) -> None:
        """Leave these layers out from now on, named by these blobs, unless they were begun with. What was
        left out before and is not any more has not begun."""
        self._begun -= self.left_out.keys() - layers.keys()
        self.left_out = layers

    def begin(self, layers: Sequence[Layer]) -> None:
        """Begin to carry these layers over. A blob that stands in the image twice goes once, and so does
        one that was begun with before.

        Blobs whose size is known get their places at once, so that these do not depend on which thread
        is first; those that must be unpacked follow, one after another.
        """
        pool = self.layers.pool
        kept = [
            Carried.to(self.target, layer, self.left_out.get(layer.diff_id))
            for layer in layers
            if layer.diff_id not in self._begun
        ]
        self._begun.update(layer.diff_id for layer in layers)
        unique = {one.layer.diff_id: one for one in kept}
        absent = [one for one in unique.values() if not one.is_in(self.sink)]
        # Only its own bytes say how a blob is compressed.
        pool.finish([pool.submit(one.there.open, size=FIRST) for one in absent])
        jobs: list[tuple[int, Callable[[], None]]] = []
        in_order: list[Callable[[], None]] = []
        for one in unique.values():
            known = one.known
            if known is not None and one not in absent:
                self._remember(one.stored(known.digest, known.size))
                if one.is_left_out:
                    jobs += self._proofs(one)
                elif self.layers.verify and not one.lies_in(self.sink):
                    jobs.append((known.size, partial(self.sink.verify, known.digest)))
                continue
            made = self.stock.kept.get(self._form(one))
            if made is not None and self.sink.has(made.digest, made.size):
                self._remember(made)
            elif one.there.codec is Codec.ZSTD and self._unpacks:
                in_order.append(partial(self._unpack, one))
            elif one.there.codec is Codec.NONE and self._packs is not None:
                jobs.append((one.there.size, partial(self._pack, one, self._packs)))
            elif self.sink.parallel:
                size = one.there.size
                jobs.append((size, partial(self._copy, one, self.sink.slot(size))))
            else:
                in_order.append(partial(self._send, one))
        self.futures += [pool.submit(job, size=size) for size, job in jobs]
        if in_order:
            self._tail = pool.submit(_run_all, in_order, size=FIRST)
            self.futures.append(self._tail)

    def settle_tail(self) -> None:
        """Wait until the end of the sink is free."""
        if self._tail is not None:
            self.layers.pool.finish([self._tail])

    @property
    def _unpacks(self) -> bool:
        """Whether zstd layers are stored plain: a docker archive cannot hold them."""
        return self.target.format == "docker"

    @property
    def _packs(self) -> Compression | None:
        """How plain layers are compressed: a registry holds no plain ones."""
        return self.target.compression if self.target.is_registry else None

    @property
    def _cancelled(self) -> threading.Event:
        return self.layers.session.cancelled

    def _form(self, one: Carried) -> DiffID | StoredBlob:
        """By which a kept layer is found again that was written in a form that was not known before."""
        codec = one.there.codec
        if (codec is Codec.ZSTD and self._unpacks) or (codec is Codec.NONE and self._packs is not None):
            return one.layer.diff_id
        return one.there

    def _blocks(self, one: Carried) -> Iterator[memoryview]:
        return one.there.blocks(self._cancelled, one.layer.where)

    def _send(self, one: Carried) -> None:
        known = one.known
        self._copy(one, self.sink.slot(one.there.size, known.digest if known is not None else None))

    def _copy(self, one: Carried, slot: Slot) -> None:
        known = one.known
        size, digest = pump(self.layers.session, self._blocks(one), slot.write)
        if self.layers.verify:
            if known is not None:
                check_digest(one.layer, known.digest, digest)
            if one.there.codec is Codec.NONE:
                check_digest(one.layer, one.layer.diff_id, digest)
        if not one.is_own:
            self._check_content(one)
        elif known is None or self.layers.is_believed(one.layer, one.there):
            # Nothing else says what the blob must be, or others are believed to hold the same layer.
            self.layers.verify_content(one.layer, one.there)
        slot.seal()
        slot.finish(digest)
        stored = one.stored(digest, size)
        if known is None:
            self.stock.kept[self._form(one)] = stored
        self._remember(stored)

    def _proofs(self, one: Carried) -> list[tuple[int, Callable[[], None]]]:
        """What is to be read where a layer is left out that is named by another blob than its own: that it
        is the same layer, as far as that blob can be read here."""
        named, other = one.known, self.target.other
        if one.blob is not None or named is None or other is None:
            return []
        blob = other.blobs.get(named.digest)
        if blob is None or DiffID(named.digest) == one.layer.diff_id:
            return []  # a have-list is believed, and a plain tar's digest says all
        return [(blob.size, partial(self._prove, Carried(one.layer, blob), named.digest))]

    def _prove(self, one: Carried, digest: Digest) -> None:
        _, actual = pump(self.layers.session, self._blocks(one), lambda block: None)
        check_digest(one.layer, digest, actual)
        self._check_content(one)

    def _check_content(self, one: Carried) -> None:
        """A blob that another image says to be this layer must be it."""
        digest = hashlib.sha256()
        where = one.layer.where
        for piece in decompress(one.there.codec, self._blocks(one), where):
            self.layers.session.room.inflate(len(piece), where)
            digest.update(piece)
        check_digest(one.layer, one.layer.diff_id, f"sha256:{digest.hexdigest()}")

    def _unpack(self, one: Carried) -> None:
        where = one.layer.where
        slot = self.sink.slot(None)
        pieces = decompress(one.there.codec, self._blocks(one), where)
        size, digest = pump(self.layers.session, fill_blocks(pieces), slot.write)
        check_digest(one.layer, one.layer.diff_id, digest)
        slot.seal()
        slot.finish(digest)
        stored = StoredLayer(one.layer.diff_id, digest, size, Codec.NONE)
        self.stock.kept[self._form(one)] = stored
        self._remember(stored)

    def _pack(self, one: Carried, compression: Compression) -> None:
        slot = self.sink.slot(None)
        stored = compress(self.layers.session, self._blocks(one), compression, slot)
        check_digest(one.layer, one.layer.diff_id, stored.diff_id)
        slot.finish(stored.digest)
        self.stock.kept[self._form(one)] = stored
        self._remember(stored)

    def _remember(self, stored: StoredLayer) -> None:
        with self._lock:
            self.stored[stored.diff_id] = stored


def _run_all(jobs: Sequence[Callable[[], None]]) -> None:
    for job in jobs:
        job()
