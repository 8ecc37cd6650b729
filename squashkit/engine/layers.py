"""From layers to changesets: every different layer is read once a run, and verified as it passes.

Plain layers are read where they lie; compressed ones are inflated once, into files without names where
somebody will copy from them; those that lie elsewhere are read as they come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from squashkit.engine.entries import EntryCache, cache_folder
from squashkit.engine.files import FileCache, KnownFiles
from squashkit.engine.inflate import Inflation, Keeping, is_junk
from squashkit.engine.pool import Pool
from squashkit.engine.spools import Spools
from squashkit.engine.watch import Watch
from squashkit.errors import (
    BlobMissing,
    Cancelled,
    DigestMismatch,
    InvalidImage,
    InvalidLayer,
    PlanError,
    SquashkitError,
    show_path,
)
from squashkit.layers import tar
from squashkit.layers.blocks import Window
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.layers.compare import Piece, content_digest
from squashkit.layers.entry import REGULAR, Entry, HeaderOf, stored_spans
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.graph import Image, Layer
from squashkit.oci.media import Codec
from squashkit.transports.blobs import Blob, jumping_window, read_blocks
from squashkit.transports.session import Session
from squashkit.transports.stored import StoredBlob, codec_of, is_here, is_remote, nearest, size_of
from squashkit.values import frozen, mutable
from squashkit.wording import Option

if TYPE_CHECKING:
    from squashkit.transports.deflate.index import BlockIndex

T = TypeVar("T")
_TAIL = 64 << 10
_PIECE = 64 << 10
_LONGEST_TEXT = 16 << 20
_HEADERS = 16 << 10
"""Bytes that one reading takes in where only headers are looked at."""
_SMALL = 64 << 10
"""Bytes of a compressed layer that is inflated at once: it is mostly Python's work, of which one thread
does more than two, who wait for each other."""

_OWN_FAULTS = (InvalidImage, BlobMissing)
"""What is wrong with a layer, and with nothing beside it."""
_Key = tuple[DiffID, StoredBlob | None]
Known = Changeset | SquashkitError
"""What a layer holds, or what is wrong with it."""
Wanted = Callable[[Layer], bool]
"""Says of a layer whether its bytes will be copied from."""


@frozen
class Reading:
    """A layer that is being read: inflated and scanned by the pool, or if it is plain hashed there."""

    layer: Layer
    inflating: Future[Changeset] | None
    check: Future[None] | None


class Deflated(NamedTuple):
    """A gzip layer as it is stored, and the blocks that it has."""

    stored: Blob
    blocks: BlockIndex


@mutable
class _Read:
    """What is known of a layer."""

    changeset: Changeset | None = None
    origin: StoredBlob | None = None
    """From where it was read."""
    plain: Blob | None = None
    """Where its plain tar lies."""
    in_place: bool = False
    """Whether that is in its source, which somebody may write to."""
    is_checked: bool = False
    """Whether its plain tar was verified where it lies, or is being."""
    deflated: Deflated | None = None
    """Its deflate blocks, where somebody will copy them."""


class LayerStore:
    """Every different layer of a run, by its diff_id: read once, verified as it passes, kept until closed.

    With `verify` False, digests and diff_ids are not checked and data is jumped over; layers are told
    apart by where they lie then, and so they are with `apart`, for whoever wants every blob looked at.
    `fetch_base` says whether a layer that lies elsewhere may be read for its entries alone, `cached`
    whether what is known of those is kept from one run to the next.

    If a method raises, nothing of that layer is known afterwards. Safe to use from several threads, `read`
    excepted.
    """

    def __init__(
        self,
        session: Session,
        *,
        verify: bool = True,
        fetch_base: bool = True,
        cached: bool = True,
        apart: bool = False,
    ) -> None:
        self.session = session
        self.verify = verify
        self.pool = Pool(session.jobs, session.cancelled)
        """Where hashing, inflating and copying goes on."""
        self._checks: list[Future[None]] = []
        self._apart = apart or not verify
        self._fetch_base = fetch_base
        self._cache = EntryCache(cache_folder()) if cached else None
        self._file_cache = FileCache(cache_folder()) if cached else None
        self._files: dict[_Key, KnownFiles] = {}
        self._inflation = Inflation(session.room, session.progress, session.cancelled, verify)
        self._read: dict[_Key, _Read] = {}
        self._proven: set[tuple[DiffID, StoredBlob | Digest]] = set()
        """Blobs, and digests of blobs, that were seen to hold a layer."""
        self._spools = Spools(session.room)
        self._fetched = Spools(session.room)
        """For blobs that lie elsewhere and are wanted as they are stored."""
        self._watch = Watch()
        """Over the files that plain layers lie in."""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.session.cancelled.set()
        self.close()

    def close(self) -> None:
        """Wait for what still goes on, and give back all space."""
        self.pool.shutdown()
        self._spools.close()
        self._fetched.close()

    # Reading

    def read(self, layers: Sequence[Layer], wanted: Wanted, *, splice: bool = False) -> list[Changeset]:
        """The changesets of these layers, in their order.

        A compressed layer that is wanted is kept inflated, with `splice` as it is stored, too, if that is
        gzip (`deflated`); a plain one is hashed by the pool, which may go
        on after this returns (`settle`): this thread needs nothing but the headers, and scanning them side
        by side would only make threads wait for the interpreter. Other plain layers are left to be verified
        by whoever copies them.

        Raises InvalidImage where a blob is not there, InvalidLayer and DigestMismatch that name the layer,
        PlanError, TransportError, TooLarge.
        """
        twins: dict[_Key, list[Layer]] = {}  # the same layer may stand in an image more than once
        for layer in sorted(layers, key=lambda layer: -size_of(layer)):
            twins.setdefault(self._key(layer), []).append(layer)
        readings = [
            self.begin(same[0], wanted=any(map(wanted, same)), splice=splice)
            for same in twins.values()
            if self._is_new(same[0], wanted=any(map(wanted, same)), splice=splice)
        ]
        read = [(reading, self.finish(reading)) for reading in readings if not reading.inflating]
        self.pool.finish([one.inflating for one in readings if one.inflating])
        read += [(reading, self.finish(reading)) for reading in readings if reading.inflating]
        for reading, changeset in read:
            self._known(reading.layer).changeset = changeset
        return [_there(self._known(layer).changeset) for layer in layers]

    def read_each(self, layers: Iterable[Layer], wanted: Wanted) -> dict[DiffID, Known]:
        """As `read` for different layers, each for itself: what is wrong with one stands in its place, and
        stops no other. All that are wanted are verified. Raises what is wrong with none of them."""
        found: dict[DiffID, Known] = {}
        readings = []
        for layer in sorted(layers, key=lambda layer: -size_of(layer)):
            try:
                readings.append(self.begin(layer, wanted=wanted(layer)))
            except InvalidImage as error:
                found[layer.diff_id] = error
        for reading in readings:
            if reading.inflating is None:
                try:
                    found[reading.layer.diff_id] = self.finish(reading)
                except InvalidImage as error:
                    found[reading.layer.diff_id] = error
        work = [one for reading in readings for one in (reading.inflating, reading.check)]
        self.pool.finish(filter(None, work), _OWN_FAULTS)
        self._checks.clear()
        for one in readings:
            diff_id = one.layer.diff_id
            try:
                if one.check is not None:
                    one.check.result()
                if one.inflating is not None:
                    found[diff_id] = one.inflating.result()
            except _OWN_FAULTS as error:  # damaged bytes are told as such
                found[diff_id] = error
            if isinstance(read := found[diff_id], Changeset):
                self._known(one.layer).changeset = read
        return found

    def _key(self, layer: Layer) -> _Key:
        return layer.diff_id, nearest(layer) if self._apart and layer.blobs else None

    def _known(self, layer: Layer) -> _Read:
        key = self._key(layer)
        known = self._read.get(key)
        if known is None:
            known = self._read.setdefault(key, _Read())
        return known

    def _is_new(self, layer: Layer, *, wanted: bool, splice: bool) -> bool:
        """Whether a layer is still to be read, or to be kept inflated or verified, too."""
        known = self._known(layer)
        if known.changeset is None:
            return True
        if wanted and splice and known.deflated is None and nearest(layer).codec is Codec.GZIP:
            return True
        return wanted and (known.plain is None or (known.in_place and not known.is_checked))

    def begin(self, layer: Layer, *, wanted: bool, splice: bool = False) -> Reading:
        """Begin to read a layer, whatever is known of it. Raises InvalidImage where its blob is not
        there."""
        blob = nearest(layer)
        known = self._known(layer)
        known.origin = blob
        if not blob.is_here or blob.codec is not Codec.NONE:
            read = self._read_compressed if blob.is_here else self._read_elsewhere
            index = None
            if wanted and splice and blob.codec is Codec.GZIP:
                from squashkit.transports.deflate.index import BlockIndex  # few layers are cut that way

                index = BlockIndex()
            if blob.is_here and blob.size < _SMALL:
                return Reading(layer, self.pool.do(read, layer, blob, wanted, index), None)
            return Reading(layer, self.pool.submit(read, layer, blob, wanted, index, size=blob.size), None)
        self._lay_in_place(known, layer, blob)
        check = None
        if self.verify and wanted:
            self.check_size(layer)
            known.is_checked = True
            check = self.pool.submit(self._inflation.check_plain, layer, blob, size=blob.size)
            self._checks.append(check)
        return Reading(layer, None, check)

    def finish(self, reading: Reading) -> Changeset:
        """A layer's changeset: a plain one's by its headers alone, which this thread reads now. Raises
        InvalidLayer and DigestMismatch, naming the layer."""
        if reading.inflating is not None:
            return reading.inflating.result()
        blob = _there(self._known(reading.layer).plain)
        try:
            changeset = parse_changeset(tar.scan(self._cancellable(blob)), blob.size)
        except InvalidLayer as error:
            if reading.check is not None:
                reading.check.result()  # damaged bytes are told as such
            error.in_layer(reading.layer.where, reading.layer.diff_id)
            raise
        tail = Blob(blob.fd, blob.offset + changeset.end, max(0, blob.size - changeset.end))
        junk = any(map(is_junk, read_blocks(tail, self.session.cancelled, "", _TAIL)))
        return replace(changeset, junk=junk)

    def _read_elsewhere(
        self, layer: Layer, blob: StoredBlob, wanted: bool, index: BlockIndex | None
    ) -> Changeset:
        """A layer of which no data is wanted the cache may know; else it is read as a stream, once, and
        the cache knows it then."""
        if not wanted and self._cache is not None:
            known = self._cache.get(layer.diff_id)
            if known is not None:
                return known
        if not wanted and not self._fetch_base:
            raise PlanError(
                f"{layer.where} must be read to know what lies below the squashed layers, which ",
                Option("Read.fetch_base", False),
                " forbids; leave that out once, and its entries are remembered",
            )
        return self._read_compressed(layer, blob, wanted, index)

    def _read_compressed(
        self, layer: Layer, blob: StoredBlob, wanted: bool, index: BlockIndex | None
    ) -> Changeset:
        self.check_size(layer)
        if blob.codec in (Codec.XZ, Codec.BZIP2):
            raise InvalidLayer(f"layers are not compressed with {blob.codec.value}", where=layer.where)
        recorder = None
        if self.verify and (not wanted or not blob.is_here) and self._cache is not None:
            recorder = self._cache.recorder(layer.diff_id)
        spool = self._spools.begin(layer.where) if wanted else None
        fetched = self._fetched.begin(layer.where) if index is not None and not blob.is_here else None
        try:
            keep = Keeping(
                spool.keep if spool is not None else None,
                fetched.keep if fetched is not None else None,
                index,
            )
            changeset = self._inflation.scan(layer, blob, keep, recorder)
            if recorder is not None:
                recorder.finish(changeset)
        except InvalidImage as error:
            error.in_layer(layer.where, layer.diff_id)
            error.diff_id = layer.diff_id  # whatever place in its blob the error names
            raise
        finally:
            if recorder is not None:
                recorder.close()
        self._prove(layer, blob)
        if spool is not None:
            known = self._known(layer)
            known.plain, known.in_place = spool.blob(changeset.diff_size), False
            if index is not None:
                stored = blob.open() if fetched is None else fetched.blob(blob.size)
                known.deflated = Deflated(stored, index)
        return changeset

    def _cancellable(self, blob: Blob) -> Window:
        window = jumping_window(blob, _HEADERS)

        def checked(at: int) -> tuple[memoryview, int]:
            if self.session.cancelled.is_set():
                raise Cancelled
            return window(at)

        return checked

    def is_cheap(self, layer: Layer) -> bool:
        """Whether a layer's entries cost next to nothing: it is plain and here, or remembered."""
        if is_here(layer):
            return codec_of(layer) is Codec.NONE
        return is_remote(layer) and self._cache is not None and self._cache.has(layer.diff_id)

    def keeps(self, layer: Layer) -> bool:
        """Whether a layer is better kept when it is read, as its files may be asked for: it need not come
        from elsewhere, or must be fetched whole now."""
        return is_here(layer) or not self.is_cheap(layer)

    def is_inflated(self, layer: Layer) -> bool:
        """Whether a layer need not be inflated (again) to be copied from."""
        return self._known(layer).plain is not None

    # Its bytes

    def bytes_of(self, layer: Layer) -> Blob:
        """Where the plain tar of a layer lies. A compressed layer that was not kept inflated is inflated
        now."""
        with self._lock:
            known = self._known(layer)
            if known.plain is None:
                blob = nearest(layer)
                if blob.is_here and blob.codec is Codec.NONE:
                    self._lay_in_place(known, layer, blob)
                else:
                    spool = self._spools.begin(layer.where)
                    known.plain = spool.blob(self._inflation.check(layer, blob, Keeping(spool.keep)))
                    self._prove(layer, blob)
            return _there(known.plain)

    def deflated(self, layer: Layer) -> Deflated | None:
        """A gzip layer that was read to be spliced, as it is stored. Nothing says that its source was not
        written to since."""
        return self._known(layer).deflated

    def header(self, layer: Layer, entry: Entry) -> bytes:
        """The header blocks of an entry of a layer."""
        return self.bytes_of(layer).read_at(entry.start, entry.data - entry.start)

    def header_of(self, image: Image) -> HeaderOf:
        """Gives the header blocks of an entry of one of an image's layers."""
        return lambda index, entry: self.header(image.layers[index], entry)

    def pieces(self, layer: Layer, entry: Entry) -> Iterator[Piece]:
        """The content of a file of a layer, in order: bytes, in pieces that fit a processor's cache, and
        the lengths of holes. Raises DigestMismatch where the layer ends before the file does."""
        blob = self.bytes_of(layer)
        for start, length in stored_spans(entry):
            if start is None:
                yield length
                continue
            at, end = start, start + length
            while at < end:
                piece = blob.read_at(at, min(_PIECE, end - at))
                if not piece:
                    raise DigestMismatch(
                        f"layer {layer.index}: {show_path(entry.path)}",
                        expected=f"{end - at} more bytes",
                        actual="the end of the layer",
                    )
                yield piece
                at += len(piece)

    def content(self, layer: Layer, entry: Entry) -> Iterator[bytes]:
        """As `pieces`, with the zeros of holes. Raises TooLarge where these are more than was allowed."""
        for piece in self.pieces(layer, entry):
            if isinstance(piece, bytes):
                yield piece
                continue
            self.session.room.inflate(piece, show_path(entry.path))
            for at in range(0, piece, _PIECE):
                yield bytes(min(_PIECE, piece - at))

    def pass_on(self, layer: Layer, take: Callable[[memoryview], None]) -> None:
        """Give all bytes of a layer's plain tar to somebody, in order. One that is not at hand passes as it
        comes, verified and not kept."""
        blob = nearest(layer)
        if self.is_inflated(layer) or (blob.is_here and blob.codec is Codec.NONE):
            for block in read_blocks(self.bytes_of(layer), self.session.cancelled, layer.where):
                take(block)
            return
        self._inflation.check(layer, blob, Keeping(take))
        self._prove(layer, blob)

    def files_of(self, layer: Layer, is_text: Callable[[bytes], bool]) -> KnownFiles:
        """What the files of a layer that lies elsewhere hold: digests of all, and the whole of those whose
        paths say that they are texts. It is fetched where that is not remembered."""
        files = self.remembered_files(layer)
        if files is None:
            digests, texts = {}, {}
            self.bytes_of(layer)
            for entry in self.read([layer], is_here)[0].entries:
                if entry.typeflag == REGULAR:
                    digests[entry.start] = content_digest(self.pieces(layer, entry))
                    if is_text(entry.path) and entry.realsize <= _LONGEST_TEXT:
                        texts[entry.start] = b"".join(self.content(layer, entry))
            files = KnownFiles(digests, texts)
            if self._file_cache is not None and self.verify:
                self._file_cache.put(layer.diff_id, files)
            self._files[self._key(layer)] = files
        return files

    def remembered_files(self, layer: Layer) -> KnownFiles | None:
        """The same, None where it would be fetched."""
        key = self._key(layer)
        if key not in self._files and self._file_cache is not None:
            known = self._file_cache.get(layer.diff_id)
            if known is not None:
                self._files[key] = known
        return self._files.get(key)

    # Verifying

    def settle(self, others: Iterable[Future[None]] = ()) -> None:
        """Wait until all that was to be verified is, and for other work. Raises DigestMismatch, and the
        first failure of the other work."""
        self.pool.finish([*self._checks, *others])

    def check_size(self, layer: Layer) -> None:
        """Raises InvalidImage where a layer's blob is not there, DigestMismatch where its size is not
        that of its descriptor. What lies elsewhere is measured when it comes."""
        blob = nearest(layer)
        if blob.is_remote:
            return
        size = blob.open().size
        if blob.descriptor is not None and blob.descriptor.size != size:
            raise DigestMismatch(
                layer.where,
                expected=f"{blob.descriptor.size} bytes",
                actual=f"{size} bytes",
                diff_id=layer.diff_id,
            )

    def verify_content(self, layer: Layer, blob: StoredBlob) -> None:
        """Check that a blob holds a layer, unless that was seen. Raises DigestMismatch."""
        if not self.verify or blob.codec is Codec.NONE or self._is_proven(layer, blob):
            return
        self._inflation.check(layer, blob)
        self._prove(layer, blob)

    def is_believed(self, layer: Layer, blob: StoredBlob) -> bool:
        """Whether a layer was read from another blob, so that nothing but its description says what this
        one holds."""
        origin = self._known(layer).origin
        return origin is not None and _identity(origin) != _identity(blob)

    def _is_proven(self, layer: Layer, blob: StoredBlob) -> bool:
        return (layer.diff_id, _identity(blob)) in self._proven

    def _prove(self, layer: Layer, blob: StoredBlob) -> None:
        if self.verify:
            self._proven.add((layer.diff_id, _identity(blob)))

    # Sources that are written to meanwhile

    def _lay_in_place(self, known: _Read, layer: Layer, blob: StoredBlob) -> None:
        """A plain layer is hashed, scanned and copied from in passes of their own, which must all see the
        same bytes: so how the file is now is remembered."""
        known.plain, known.in_place = blob.open(), True
        self._watch.add(known.plain.fd, layer.source)

    @property
    def changed(self) -> str | None:
        """What people call a file that plain layers are read from and that was written to meanwhile: what
        was verified may not be what was copied. None where there is no such."""
        return self._watch.changed

    def forget(self) -> None:
        """Have all plain layers read and verified anew."""
        self._read = {key: known for key, known in self._read.items() if not known.in_place}
        self._checks.clear()
        self._watch.forget()


def _identity(blob: StoredBlob) -> StoredBlob | Digest:
    """What tells a blob from others: its digest, which is checked whenever it is read, or where it lies."""
    return blob.descriptor.digest if blob.descriptor is not None else blob


def _there(value: T | None) -> T:
    """What must be there by now."""
    assert value is not None
    return value
