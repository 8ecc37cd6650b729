"""From layers to changesets; every byte read is verified as it passes.

A `Loader` reads the layers of one image: plain ones in place, compressed ones inflated once into a file
without a name, those that lie elsewhere as they come.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

from squashkit.engine.entries import EntryCache, Recorder
from squashkit.errors import (
    Cancelled,
    DigestMismatch,
    InvalidLayer,
    PlanError,
    show_path,
)
from squashkit.layers import tar
from squashkit.layers.changeset import Changeset, Entry, parse_changeset
from squashkit.layers.compare import Piece
from squashkit.layers.tar import Record
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.graph import Image, Layer
from squashkit.oci.media import Codec
from squashkit.progress import Progress, Silent
from squashkit.transports.blobs import (
    Blob,
    fill_blocks,
    jumping_window,
    open_unnamed,
    read_blocks,
    write_all,
)
from squashkit.transports.cancellation import Cancellation
from squashkit.transports.codecs import MAGIC_SIZE, decompress, detect
from squashkit.transports.room import Room, as_room
from squashkit.transports.source import Source

_TAIL = 64 << 10
_PIECE = 64 << 10


_Stored = tuple[str | None, DiffID, int | None]


def _stored(layer: Layer) -> _Stored:
    """All that must be the same for one reading to do for two layers."""
    return layer.member, layer.diff_id, layer.descriptor.size if layer.descriptor else None


@dataclass(frozen=True, slots=True)
class Reading:
    """A layer that is being read: inflated and scanned by the pool, or if it is plain hashed there."""

    index: int
    inflating: Future[Changeset] | None
    check: Future[None] | None


@dataclass(frozen=True, slots=True)
class Known:
    """Layers that were read and verified before: what they hold, and where those that were inflated lie, as
    long as whoever read them keeps them."""

    changesets: Mapping[DiffID, Changeset] = field(default_factory=dict)
    inflated: Mapping[DiffID, Blob] = field(default_factory=dict)
    blobs: Set[tuple[DiffID, Digest]] = frozenset()
    """Layers and the digests of blobs that are known to hold them."""


@dataclass(slots=True)
class Loader:
    """Reads the layers of one image. Safe to use from several threads.

    With `verify` False, stored digests and diff_ids are not checked and data is jumped over.
    """

    source: Source
    image: Image
    tmp_dir: Path | Room
    """Where temporary files go, and how much they may take."""
    jobs: int
    verify: bool = True
    progress: Progress = field(default_factory=Silent)
    cancelled: Cancellation = field(default_factory=Cancellation)
    cache: EntryCache | None = None
    """Where the entries of layers that lie elsewhere are kept from one run to the next."""
    fetch_base: bool = True
    """Whether a layer that lies elsewhere may be read for its entries alone."""
    known: Known = field(default_factory=Known)
    """What need not be read again."""
    room: Room = field(init=False)
    pool: ThreadPoolExecutor = field(init=False)
    """Where hashing, inflating and copying goes on."""
    beside: list[Loader] = field(default_factory=list)
    """Those of images that a plan was made of too, and whose layers nobody copies from."""
    checks: list[Future[None]] = field(default_factory=list)
    """Layers whose bytes are still being verified. Join them before anything is committed."""
    _plain: dict[int, Blob] = field(default_factory=dict)
    _read: dict[_Stored, int] = field(default_factory=dict)
    """Which layer was read, of those that are the same."""
    _changesets: dict[int, Changeset] = field(default_factory=dict)
    _spools: dict[int, int] = field(default_factory=dict)
    """The file of each thread, to which it inflates one layer after another: thousands of layers need not
    be as many open files."""
    _checked: set[int] = field(default_factory=set)
    _watched: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """How the files were that plain layers lie in, by descriptor: size in bytes, mtime and ctime in ns."""
    _lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.room = as_room(self.tmp_dir)
        self.pool = ThreadPoolExecutor(max(1, self.jobs))
        for layer in self.image.layers if self.known.blobs else ():
            if (layer.diff_id, self.source.digest(layer)) in self.known.blobs:
                self._changesets[layer.index] = self.known.changesets[layer.diff_id]
                self._read[_stored(layer)] = layer.index
                self._checked.add(layer.index)
                if layer.diff_id in self.known.inflated:
                    self._plain[layer.index] = self.known.inflated[layer.diff_id]
        if self.source.remote is not None:
            self.source.remote.resume()
            self.cancelled.wakes.append(self.source.remote.interrupt)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancelled.set()
        self.close()

    def close(self) -> None:
        """Wait for what still goes on, and give back all space."""
        self.pool.shutdown()
        for fd in self._spools.values():
            self.room.give_back(os.fstat(fd).st_size)
            os.close(fd)
        self._spools.clear()

    def load(self, indexes: Iterable[int], *, data: Callable[[int], bool]) -> dict[int, Changeset]:
        """The changesets of these layers.

        `data(index)` says of a layer that its bytes will be copied from. A compressed one is then kept
        inflated; a plain one is hashed by the pool, which may go on after this returns (`checks`): this
        thread needs nothing but the headers, and scanning them side by side would only make threads
        wait for the interpreter. Other plain layers are left to be verified by whoever copies them.
        """
        wanted = sorted(indexes, key=lambda index: -self.source.size(self.image.layers[index]))
        twins: dict[_Stored, list[int]] = {}  # the same layer may stand in an image more than once
        for index in wanted:
            twins.setdefault(_stored(self.image.layers[index]), []).append(index)
        readings = [
            self.begin(same[0], data=any(map(data, same)))
            for stored, same in twins.items()
            if stored not in self._read or (any(map(data, same)) and self._read[stored] not in self._plain)
        ]
        inflating = [reading.inflating for reading in readings if reading.inflating]
        changesets = {r.index: self.finish(r) for r in readings if not r.inflating}
        join(inflating, self.cancelled)
        changesets |= {r.index: self.finish(r) for r in readings if r.inflating}
        for index, changeset in changesets.items():
            self._changesets[index] = changeset
            self._read[_stored(self.image.layers[index])] = index
        for stored, same in twins.items():
            first = self._read[stored]
            for index in same:
                changesets[index] = self._changesets[first]
                if first in self._plain:
                    self._plain[index] = self._plain[first]
        return dict(sorted(changesets.items()))

    def begin(self, index: int, *, data: bool) -> Reading:
        """Begin to read a layer; `data` as for `load`. Raises InvalidImage where its blob is not there."""
        layer = self.image.layers[index]
        if self.source.remote is not None and not self.source.is_here(layer):
            return Reading(index, self.pool.submit(self._load_remote, layer, data), None)
        blob = self.source.blob(layer)
        if blob.codec() is not Codec.NONE:
            return Reading(index, self.pool.submit(self._load_compressed, layer, data), None)
        self._watch(blob)
        self._plain[index] = blob
        check = self.pool.submit(self._check, layer) if self.verify and data else None
        self.checks += [check] if check else []
        return Reading(index, None, check)

    def finish(self, reading: Reading) -> Changeset:
        """A layer's changeset: a plain one's by its headers alone, which this thread reads now. Raises
        InvalidLayer and DigestMismatch, naming the layer."""
        if reading.inflating is not None:
            return reading.inflating.result()
        blob = self._plain[reading.index]
        try:
            changeset = parse_changeset(tar.scan(self._cancellable(blob)), blob.size)
        except InvalidLayer as error:
            if reading.check is not None:
                reading.check.result()  # damaged bytes are told as such
            raise error.inside(self.image.layers[reading.index].where) from error
        tail = Blob(blob.fd, blob.offset + changeset.end, max(0, blob.size - changeset.end))
        junk = any(map(_is_junk, read_blocks(tail, self.cancelled, "", _TAIL)))
        return replace(changeset, junk=junk)

    def _check(self, layer: Layer) -> None:
        """Hash a plain layer. Raises DigestMismatch."""
        where = layer.where
        blob = self._plain[layer.index]
        self.check_size(layer)
        digest = hashlib.sha256()
        for block in read_blocks(blob, self.cancelled, where):
            digest.update(block)
            self.progress.advance(len(block))
        actual = f"sha256:{digest.hexdigest()}"
        check_digest(where, layer.diff_id, actual)
        if layer.descriptor is not None:
            check_digest(where, layer.descriptor.digest, actual)

    def check_size(self, layer: Layer) -> None:
        """Raises InvalidImage where a layer's blob is not there, DigestMismatch where its size is not
        that of its descriptor. What lies elsewhere is measured when it comes."""
        if self.source.remote is not None and layer.member is not None:
            return
        size = self.source.blob(layer).size
        if layer.descriptor is not None and layer.descriptor.size != size:
            raise DigestMismatch(
                layer.where, expected=f"{layer.descriptor.size} bytes", actual=f"{size} bytes"
            )

    def _load_remote(self, layer: Layer, data: bool) -> Changeset:
        """The changeset of a layer that lies elsewhere. Where no data of it is wanted, the cache may know
        it; else it is read as a stream, once, and the cache knows it then."""
        if not data and self.cache is not None:
            known = self.cache.get(layer.diff_id)
            if known is not None:
                return known
        if not data and not self.fetch_base:
            raise PlanError(
                f"{layer.where} must be read to know what lies below the squashed layers, which"
                " --no-fetch-base forbids; leave that out once, and its entries are remembered"
            )
        return self._load_compressed(layer, data)

    def is_cheap(self, layer: Layer) -> bool:
        """Whether a layer's entries cost next to nothing: it is plain and here, or remembered."""
        if self.source.is_here(layer):
            return self.source.codec(layer) is Codec.NONE
        remembered = self.cache is not None and self.cache.has(layer.diff_id)
        return remembered and self.source.remote is not None and layer.member is not None

    def _load_compressed(self, layer: Layer, data: bool) -> Changeset:
        """A compressed layer's changeset. Raises InvalidLayer and DigestMismatch, naming the layer."""
        self.check_size(layer)
        codec = self.source.codec(layer)
        if codec in (Codec.XZ, Codec.BZIP2):
            raise InvalidLayer(f"layers are not compressed with {codec.value}", where=layer.where)
        try:
            return self._inflate(layer, scan=True, keep=data)
        except InvalidLayer as error:
            raise error.inside(layer.where) from error

    def bytes_of(self, index: int) -> Blob:
        """Where the uncompressed tar of a layer lies. A compressed layer that was not kept inflated is
        inflated now."""
        with self._lock:
            if index not in self._plain:
                layer = self.image.layers[index]
                if self.source.is_here(layer) and self.source.codec(layer) is Codec.NONE:
                    self._plain[index] = self.source.blob(layer)
                    self._watch(self._plain[index])
                else:
                    self._inflate(layer, scan=False, keep=True)
            return self._plain[index]

    def verify_content(self, layer: Layer) -> None:
        """Check a compressed layer's diff_id, where that has not been done by reading it."""
        compressed = self.source.codec(layer) is not Codec.NONE
        if self.verify and compressed and layer.index not in self._checked:
            self._inflate(layer, scan=False, keep=False)

    def pieces(self, index: int, entry: Entry) -> Iterator[Piece]:
        """The content of a file of a layer, in order: bytes, in pieces that fit a processor's cache, and
        the lengths of holes. Raises DigestMismatch where the layer ends before the file does."""
        blob = self.bytes_of(index)
        for start, length in tar.stored_spans(entry.record):
            if start is None:
                yield length
                continue
            at, end = start, start + length
            while at < end:
                piece = blob.read_at(at, min(_PIECE, end - at))
                if not piece:
                    raise DigestMismatch(
                        f"layer {index}: {show_path(entry.path)}",
                        expected=f"{end - at} more bytes",
                        actual="the end of the layer",
                    )
                yield piece
                at += len(piece)

    def content(self, index: int, entry: Entry) -> Iterator[bytes]:
        """As `pieces`, with the zeros of holes. Raises TooLarge where these are more than was allowed."""
        for piece in self.pieces(index, entry):
            if isinstance(piece, bytes):
                yield piece
                continue
            self.room.inflate(piece, show_path(entry.path))
            for at in range(0, piece, _PIECE):
                yield bytes(min(_PIECE, piece - at))

    def known_now(self) -> Known:
        """All that was read so far, for loaders of other images. It lasts as long as this one is open.
        Plain layers are read where they lie, and verified again by whoever reads them again."""
        layers = self.image.layers
        spools = set(self._spools.values())
        inflated = {layers[i].diff_id: blob for i, blob in self._plain.items() if blob.fd in spools}
        changesets = {layers[index].diff_id: changeset for index, changeset in self._changesets.items()}
        digests = {(layers[i].diff_id, self.source.digest(layers[i])) for i in self._changesets}
        return Known(changesets, inflated, {pair for pair in digests if pair[1]})

    def _watch(self, blob: Blob) -> None:
        """Remember how the file is now that a plain layer lies in: it is hashed, scanned and copied from in
        passes of their own, which must all see the same bytes."""
        self._watched.setdefault(blob.fd, _state(blob.fd))

    @property
    def is_changed(self) -> bool:
        """Whether a file that plain layers are read from was written to since that began: its size, mtime
        or ctime is another. So what was verified may not be what was copied."""
        changed = any(_state(fd) != before for fd, before in self._watched.items())
        return changed or any(loader.is_changed for loader in self.beside)

    def forget(self) -> dict[int, Changeset]:
        """Have all plain layers read and verified anew. Returns what was read of them so far."""
        spools = set(self._spools.values())
        plain = {index for index, blob in self._plain.items() if blob.fd not in spools}
        before = {index: self._changesets.pop(index) for index in sorted(plain & self._changesets.keys())}
        self._read = {stored: index for stored, index in self._read.items() if index not in plain}
        for index in plain:
            del self._plain[index]
        self.checks.clear()
        self._watched.clear()
        return before

    def is_inflated(self, index: int) -> bool:
        """Whether a layer need not be inflated (again) to be copied from."""
        return index in self._plain

    def header_of(self, index: int, record: Record) -> bytes:
        """The header blocks of a record of a layer."""
        return self.bytes_of(index).read_at(record.start, record.data - record.start)

    def _inflate(self, layer: Layer, *, scan: bool, keep: bool) -> Changeset:
        """Read a layer once: check both digests, scan it, keep it inflated if asked. Of one that is not
        kept the cache takes the headers."""
        where = layer.where
        stored = hashlib.sha256()
        spool = self._spool() if keep else None
        start = os.lseek(spool, 0, os.SEEK_END) if spool is not None else 0

        def compressed() -> Iterator[memoryview]:
            for block in self.source.blocks(layer, self.cancelled):
                stored.update(block)
                self.progress.advance(len(block))
                yield block

        def inflated() -> Iterator[bytes]:
            blocks = compressed()
            first = next(blocks, memoryview(b""))
            codec = detect(bytes(first[:MAGIC_SIZE]))
            for piece in decompress(codec, chain([first], blocks), where):
                if codec is not Codec.NONE:
                    self.room.inflate(len(piece), where)
                yield piece

        def spooled() -> Iterator[memoryview]:
            for block in fill_blocks(inflated()):
                if spool is not None:
                    self.room.keep(len(block), where)
                    write_all(spool, block)
                yield block

        recorder = None
        if scan and not keep and self.verify and self.cache is not None:
            recorder = self.cache.recorder(layer.diff_id)
        try:
            if scan:
                changeset = self._scan(layer, spooled(), where, recorder)
            else:
                stream = _Stream(spooled(), hashed=self.verify)
                stream.drain()
                if self.verify:
                    check_digest(where, layer.diff_id, stream.digest())
                changeset = Changeset((), (), (), (), stream.position)
            self._checked.add(layer.index)
            if self.verify and layer.descriptor is not None:
                check_digest(where, layer.descriptor.digest, f"sha256:{stored.hexdigest()}")
            if recorder is not None:
                recorder.finish(changeset)
        finally:
            if recorder is not None:
                recorder.close()
        if spool is not None:
            self._plain[layer.index] = Blob(spool, start, changeset.diff_size)
        return changeset

    def _spool(self) -> int:
        """This thread's file."""
        thread = threading.get_ident()
        if thread not in self._spools:
            self._spools[thread] = open_unnamed(self.room.folder)
        return self._spools[thread]

    def _scan(
        self, layer: Layer, blocks: Iterator[memoryview], where: str, recorder: Recorder | None
    ) -> Changeset:
        """Scan a whole tar as it passes, and check its diff_id."""
        window = _Stream(blocks, hashed=self.verify)
        try:
            records = tar.scan(window)
            changeset = parse_changeset(
                records if recorder is None else recorder.recorded(records, window.passed)
            )
        except InvalidLayer:
            window.drain()
            if self.verify:  # damaged bytes are told as such
                check_digest(where, layer.diff_id, window.digest())
            raise
        window.drain(changeset.end)
        if self.verify:
            check_digest(where, layer.diff_id, window.digest())
        return replace(changeset, diff_size=window.position, junk=window.junk)

    def _cancellable(self, blob: Blob) -> tar.Window:
        window = jumping_window(blob)

        def checked(at: int) -> tuple[memoryview, int]:
            if self.cancelled.is_set():
                raise Cancelled
            return window(at)

        return checked


def _state(fd: int) -> tuple[int, int, int]:
    there = os.fstat(fd)
    return there.st_size, there.st_mtime_ns, there.st_ctime_ns


def _is_junk(block: memoryview) -> bool:
    return bytes(block).count(0) != len(block)


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
        while self.position < at + tar.BLOCK and self._next():
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
                self.junk = self.junk or _is_junk(self._block[start:])
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


def check_digest(where: str, expected: str, actual: str) -> None:
    if expected != actual:
        raise DigestMismatch(where, expected=expected, actual=actual)


def join(futures: Iterable[Future[Any]], cancelled: threading.Event) -> None:
    """Wait for work; the first failure, or an interrupt, stops the rest and is raised. Of work that
    stopped since other work failed, the other's failure is raised."""
    waiting = set(futures)
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    stopped: Exception | None = None
    try:
        for future in waiting:
            future.add_done_callback(done.put)
        while waiting:
            try:
                # In turns: an interrupt that comes just before a wait begins is seen only after it.
                future = done.get(timeout=0.2)
            except Empty:
                continue
            waiting.remove(future)
            try:
                future.result()
            except (Cancelled, CancelledError) as error:
                stopped = error
                cancelled.set()
        if stopped is not None:
            raise Cancelled from stopped
    except BaseException:
        cancelled.set()
        for future in waiting:
            future.cancel()
        wait(waiting)
        raise


def spool_need(source: Source, image: Image, indexes: Iterable[int], *, certain: bool = False) -> int:
    """About how many bytes of temporary space the inflated layers take: gzip's own size field says it
    for one member (modulo 4 GiB); zstd, and what lies elsewhere, is taken to be a quarter. Where it must be
    `certain`, the least that can be."""
    total, ratio = 0, 1 if certain else 4
    for index in indexes:
        layer = image.layers[index]
        codec = source.codec(layer)
        if source.remote is not None and not source.is_here(layer):
            total += source.size(layer) * (1 if codec is Codec.NONE else ratio)
        elif codec is Codec.GZIP:
            blob = source.blob(layer)
            field_bytes = blob.read_at(max(0, blob.size - 4), 4)
            total += max(int.from_bytes(field_bytes, "little"), 0 if certain else 2 * blob.size)
        elif codec is Codec.ZSTD:
            total += ratio * source.size(layer)
    return total
