"""From references to images, and from layers to changesets; every byte read is verified as it passes.

`open_source` opens a container and lists its images. A `Loader` reads the layers of one image: plain
ones in place, compressed ones inflated once into a file without a name.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from squashkit import tar
from squashkit.changeset import Changeset, Entry, parse_changeset
from squashkit.compression import decompress
from squashkit.errors import (
    Cancelled,
    DigestMismatch,
    InvalidImage,
    InvalidLayer,
    TransportError,
    UsageError,
    show_path,
)
from squashkit.graph import Image, Layer, LayerGraph
from squashkit.oci import Codec, Digest
from squashkit.progress import Progress, Silent
from squashkit.tar import Record
from squashkit.transports import Reference, docker_archive, oci_layout
from squashkit.transports.container import (
    Archive,
    Blob,
    Container,
    Folder,
    jumping_window,
    new_buffer,
    open_archive,
    open_unnamed,
    write_all,
)
from squashkit.transports.oci_layout import Faults, Listing

_TAIL = 64 << 10
_PIECE = 64 << 10
READ_SIZE = 2 << 20  # what a processor has just read it still has at hand to hash and to write


@dataclass(slots=True)
class Source:
    """An open container and the images in it."""

    reference: Reference
    container: Container
    images: list[Image]
    listing: Listing
    graph: LayerGraph
    is_docker: bool
    """Whether it has a manifest.json, and so is a docker archive."""
    folder: Path | None = None
    """The layout's folder, where it is one."""

    @property
    def title(self) -> str:
        if self.reference.is_stdio:
            return "standard input"
        return show_path(os.fsencode(self.reference.path))

    @property
    def example(self) -> str:
        """A reference to one of its images, as a person would type it."""
        return "docker-archive:-:REF" if self.reference.is_stdio else f"{self.title}:REF"

    def is_file(self, there: os.stat_result) -> bool:
        """Whether this is the very file that it was opened from."""
        identity = getattr(self.container, "identity", None)
        return bool(identity == (there.st_dev, there.st_ino))

    def refuse_as_output(self, path: Path) -> None:
        """Raises UsageError where a path is this source, or lies within it: inputs are never written to."""
        if path.is_file() and self.is_file(path.stat()):
            raise UsageError(
                f"the output {path} is {self.title}, an input, which is never written to"
            )
        if self.folder is not None:
            folder = self.folder.resolve()
            if folder in path.absolute().parents or folder in path.resolve().parents:
                raise UsageError(f"the output {path} lies within {self.title}, which is an input")

    def codec(self, layer: Layer) -> Codec:
        """How a layer is stored: by its first bytes, or where the blob is not there by its descriptor.
        Raises InvalidImage where there is neither."""
        if layer.descriptor is not None and layer.member is None:
            return layer.descriptor.codec
        return self.blob(layer).codec()

    def digest(self, layer: Layer) -> Digest:
        """A blob's digest, as it is stated; a plain layer's is its diff_id. Empty where it is not known."""
        if layer.descriptor is not None:
            return layer.descriptor.digest
        return Digest(layer.diff_id if self.codec(layer) is Codec.NONE else "")

    def size(self, layer: Layer) -> int:
        """Bytes of a layer's blob, as they are stated, or as it lies here."""
        return layer.descriptor.size if layer.descriptor is not None else self.blob(layer).size

    def blob(self, layer: Layer) -> Blob:
        """Where a layer's blob lies. Raises InvalidImage where it is not there."""
        blob = self.container.get(layer.member) if layer.member is not None else None
        if blob is None:
            digest = layer.descriptor.digest if layer.descriptor else layer.diff_id
            raise InvalidImage(
                f"the blob {digest} is not in {self.title}", where=f"layer {layer.index}"
            )
        return blob


def temporary_folder(wanted: Path | None) -> Path:
    """Where temporary files go: where they are asked for, else the system's folder for them."""
    if wanted is not None and not wanted.is_dir():
        raise UsageError(f"--tmp-dir {wanted} is no folder")
    return wanted or Path(gettempdir())


@contextmanager
def open_source(
    reference: Reference,
    tmp_dir: Path,
    progress: Progress | None = None,
    faults: Faults | None = None,
) -> Iterator[Source]:
    """Open an archive, a layout folder or standard input, and list its images.

    Raises TransportError where it cannot be read, InvalidImage where it holds no images. With `faults`,
    what is wrong with single images goes there, and the others are listed.
    """
    progress = progress or Silent()
    path = Path(reference.path)
    container: Archive | Folder
    if not reference.is_stdio and path.is_dir():
        if reference.transport not in ("", "oci"):
            raise TransportError(
                f"{path} is a folder; {reference.transport} is a file", reference=str(reference)
            )
        container = Folder(path)
    elif reference.transport == "oci":
        what = "is a file, not an OCI layout folder" if path.exists() else "does not exist"
        raise TransportError(f"{path} {what}", reference=str(reference))
    else:
        if reference.is_stdio:
            progress.stage("Reading standard input", None)
        container = open_archive(reference.path, tmp_dir, progress.advance)
    try:
        yield list_source(reference, container, faults)
    finally:
        container.close()


def list_source(
    reference: Reference, container: Container, faults: Faults | None = None
) -> Source:
    """What lies in an open container. Raises, and collects, as `open_source` does."""
    title = "standard input" if reference.is_stdio else show_path(os.fsencode(reference.path))
    has_manifest = container.has(docker_archive.MANIFEST)
    has_index = container.has(oci_layout.INDEX)
    is_folder = isinstance(container, Folder)
    wants_docker = reference.transport == "docker-archive"
    wants_oci = reference.transport in ("oci", "oci-archive")
    is_docker = has_manifest and not is_folder and not wants_oci
    if (wants_docker and not has_manifest) or (wants_oci and not has_index):
        missing = docker_archive.MANIFEST if wants_docker else oci_layout.INDEX
        raise InvalidImage(f"not what {reference.transport}: promises; it has no {missing}", where=title)
    if not is_docker and not has_index:
        raise InvalidImage(
            "no image archive: it has neither manifest.json nor index.json"
            " (`docker save` writes one, `docker export` does not)",
            where=title,
        )
    listing = oci_layout.list_images(container, faults) if has_index else Listing()
    docker = docker_archive.list_images(container, faults) if is_docker else []
    images = docker_archive.merge(docker, listing)
    return Source(
        reference,
        container,
        images,
        listing,
        LayerGraph(images),
        is_docker,
        container.path if isinstance(container, Folder) else None,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """A layer that is being read: inflated and scanned by the pool, or if it is plain hashed there."""

    index: int
    inflating: Future[Changeset] | None
    check: Future[None] | None


@dataclass(slots=True)
class Loader:
    """Reads the layers of one image. Safe to use from several threads.

    With `verify` False, stored digests and diff_ids are not checked and data is jumped over.
    """

    source: Source
    image: Image
    tmp_dir: Path
    jobs: int
    verify: bool = True
    progress: Progress = field(default_factory=Silent)
    cancelled: threading.Event = field(default_factory=threading.Event)
    pool: ThreadPoolExecutor = field(init=False)
    """Where hashing, inflating and copying goes on."""
    checks: list[Future[None]] = field(default_factory=list)
    """Layers whose bytes are still being verified. Join them before anything is committed."""
    _plain: dict[int, Blob] = field(default_factory=dict)
    _spools: list[int] = field(default_factory=list)
    _checked: set[int] = field(default_factory=set)
    _lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(max(1, self.jobs))

    def close(self) -> None:
        self.cancelled.set()
        self.pool.shutdown()
        for fd in self._spools:
            os.close(fd)
        self._spools.clear()

    def load(self, indexes: Iterable[int], *, data: Callable[[int], bool]) -> dict[int, Changeset]:
        """The changesets of these layers.

        `data(index)` says of a layer that its bytes will be copied from. A compressed one is then kept
        inflated; a plain one is hashed by the pool, which may go on after this returns (`checks`): this
        thread needs nothing but the headers, and scanning them side by side would only make threads
        wait for the interpreter. Other plain layers are left to be verified by whoever copies them.
        """
        wanted = sorted(indexes, key=lambda index: -self.source.blob(self.image.layers[index]).size)
        readings = [self.begin(index, data=data(index)) for index in wanted]
        inflating = [reading.inflating for reading in readings if reading.inflating]
        changesets = {r.index: self.finish(r) for r in readings if not r.inflating}
        join(inflating, self.cancelled)
        changesets |= {r.index: self.finish(r) for r in readings if r.inflating}
        return dict(sorted(changesets.items()))

    def begin(self, index: int, *, data: bool) -> Reading:
        """Begin to read a layer; `data` as for `load`. Raises InvalidImage where its blob is not there."""
        layer = self.image.layers[index]
        blob = self.source.blob(layer)
        if blob.codec() is not Codec.NONE:
            return Reading(index, self.pool.submit(self._load_compressed, layer, data), None)
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
        that of its descriptor."""
        size = self.source.blob(layer).size
        if layer.descriptor is not None and layer.descriptor.size != size:
            raise DigestMismatch(
                layer.where, expected=f"{layer.descriptor.size} bytes", actual=f"{size} bytes"
            )

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
                if self.source.codec(layer) is Codec.NONE:
                    self._plain[index] = self.source.blob(layer)
                else:
                    self._inflate(layer, scan=False, keep=True)
            return self._plain[index]

    def verify_content(self, layer: Layer) -> None:
        """Check a compressed layer's diff_id, where that has not been done by reading it."""
        compressed = self.source.codec(layer) is not Codec.NONE
        if self.verify and compressed and layer.index not in self._checked:
            self._inflate(layer, scan=False, keep=False)

    def payload(self, index: int, entry: Entry) -> Iterator[bytes]:
        """The stored bytes of an entry of a layer, in pieces that fit a processor's cache. Raises
        DigestMismatch where the layer ends before the entry does."""
        blob = self.bytes_of(index)
        record = entry.record
        at, end = record.data, record.data + record.size
        while at < end:
            piece = blob.read_at(at, min(_PIECE, end - at))
            if not piece:
                raise DigestMismatch(
                    f"layer {index}: {show_path(entry.path)}", expected=f"{end - at} more bytes",
                    actual="the end of the layer",
                )  # fmt: skip
            yield piece
            at += len(piece)

    def header_of(self, index: int, record: Record) -> bytes:
        """The header blocks of a record of a layer."""
        return self.bytes_of(index).read_at(record.start, record.data - record.start)

    def _inflate(self, layer: Layer, *, scan: bool, keep: bool) -> Changeset:
        """Read a compressed layer once: check both digests, scan it, keep it inflated if asked."""
        blob, where = self.source.blob(layer), layer.where
        codec = blob.codec()
        stored = hashlib.sha256()
        spool = open_unnamed(self.tmp_dir) if keep else None
        if spool is not None:
            self._spools.append(spool)

        def compressed() -> Iterator[memoryview]:
            for block in read_blocks(blob, self.cancelled, where):
                stored.update(block)
                self.progress.advance(len(block))
                yield block

        def spooled() -> Iterator[memoryview]:
            for block in fill_blocks(decompress(codec, compressed(), where)):
                if spool is not None:
                    write_all(spool, block)
                yield block

        if scan:
            changeset = self._scan(layer, spooled(), where)
        else:
            stream = _Stream(spooled(), hashed=self.verify)
            stream.drain()
            if self.verify:
                check_digest(where, layer.diff_id, stream.digest())
            changeset = Changeset((), (), (), (), stream.position)
        self._checked.add(layer.index)
        if self.verify and layer.descriptor is not None:
            check_digest(where, layer.descriptor.digest, f"sha256:{stored.hexdigest()}")
        if spool is not None:
            self._plain[layer.index] = Blob(spool, 0, changeset.diff_size)
        return changeset

    def _scan(self, layer: Layer, blocks: Iterator[memoryview], where: str) -> Changeset:
        """Scan a whole tar as it passes, and check its diff_id."""
        window = _Stream(blocks, hashed=self.verify)
        try:
            changeset = parse_changeset(tar.scan(window))
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


def _is_junk(block: memoryview) -> bool:
    return bytes(block).count(0) != len(block)


class _Stream:
    """A window for `tar.scan` over blocks that come one after another, hashed as they pass."""

    def __init__(self, blocks: Iterator[memoryview], *, hashed: bool) -> None:
        self._blocks = blocks
        self._hash = hashlib.sha256() if hashed else None
        self._block = memoryview(b"")
        self.position = 0
        """Bytes that have passed."""
        self.junk = False
        """Whether anything but zeros was drained."""

    def __call__(self, at: int) -> tuple[memoryview, int]:
        while self.position < at + tar.BLOCK and self._next():
            pass
        return self._block, self.position - len(self._block)

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
        self._block = block
        self.position += len(block)
        return True


def read_blocks(
    blob: Blob, cancelled: threading.Event, where: str, size: int = READ_SIZE
) -> Iterator[memoryview]:
    """A blob's bytes in blocks of `size`, the last one shorter. A block is overwritten by the one after
    the next. Raises DigestMismatch where the file ends early."""
    buffers = [new_buffer(min(size, max(blob.size, 1))) for _ in range(2)]
    at = 0
    while at < blob.size:
        if cancelled.is_set():
            raise Cancelled
        buffers.reverse()
        view = buffers[0][: min(size, blob.size - at)]
        read_into(blob.fd, blob.offset + at, view, where)
        yield view
        at += len(view)


def read_into(fd: int, offset: int, view: memoryview, where: str) -> None:
    """Fill a buffer from a file. Raises DigestMismatch where the file ends early."""
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            raise DigestMismatch(
                where, expected=f"{len(view) - done} more bytes", actual="the end of the file"
            )
        done += count


def fill_blocks(pieces: Iterable[bytes], size: int = READ_SIZE) -> Iterator[memoryview]:
    """Pieces of any length as blocks of `size`, the last one shorter. A block is overwritten by the one
    after the next."""
    buffers = [new_buffer(size) for _ in range(2)]
    used = 0
    for piece in pieces:
        view = memoryview(piece)
        while view:
            part = view[: size - used]
            buffers[0][used : used + len(part)] = part
            used += len(part)
            view = view[len(part) :]
            if used == size:
                yield buffers[0]
                buffers.reverse()
                used = 0
    if used:
        yield buffers[0][:used]


def check_digest(where: str, expected: str, actual: str) -> None:
    if expected != actual:
        raise DigestMismatch(where, expected=expected, actual=actual)


def join(futures: Iterable[Future[Any]], cancelled: threading.Event) -> None:
    """Wait for work; the first failure, or an interrupt, stops the rest and is raised."""
    waiting = set(futures)
    try:
        while waiting:
            # In turns: an interrupt that comes just before a wait begins is seen only after it.
            done, waiting = wait(waiting, timeout=0.2, return_when="FIRST_COMPLETED")
            for future in done:
                future.result()
    except BaseException:
        cancelled.set()
        for future in waiting:
            future.cancel()
        wait(waiting)
        raise


def spool_need(source: Source, image: Image, indexes: Iterable[int]) -> int:
    """About how many bytes of temporary space the inflated layers take: gzip's own size field says it
    for one member (modulo 4 GiB); zstd is taken to be a quarter."""
    total = 0
    for index in indexes:
        blob = source.blob(image.layers[index])
        codec = blob.codec()
        if codec is Codec.GZIP:
            field_bytes = blob.read_at(max(0, blob.size - 4), 4)
            total += max(int.from_bytes(field_bytes, "little"), 2 * blob.size)
        elif codec is Codec.ZSTD:
            total += 4 * blob.size
    return total


