"""One batch of layers, read: the whole task of a process, here or elsewhere.

`read_batch` is a function of plain values alone. It opens what it reads by itself, with this process's own
credentials, and the same batch gives the same files. What is killed in the middle leaves nothing that
counts: a batch is there once its file of layers is, and that is written last.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from squashkit.engine.layers import LayerStore
from squashkit.engine.scan import bad_layer, scan_layer
from squashkit.errors import InvalidImage, SquashkitError, first_line, show_text
from squashkit.jobs.fleet.scan.batches import Batch, Place
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import ALL, Descriptor
from squashkit.oci.graph import Layer
from squashkit.options import Limits, Run
from squashkit.transports.layout.folder import Folder
from squashkit.transports.layout.index import blob_name
from squashkit.transports.open import open_source
from squashkit.transports.reference import Reference
from squashkit.transports.session import Session
from squashkit.transports.stored import StoredBlob, digest_of, stacked_on_nothing
from squashkit.transports.tables.folder import ScanFolder
from squashkit.transports.tables.schema import ENTRIES, HEADERS, LAYERS, clean, raw_digest
from squashkit.transports.tables.write import TableWriter
from squashkit.values import frozen

Find = Callable[[Place], Layer]
"""Gives a layer that can be read. Raises what opening an image raises."""


@frozen
class Task:
    """A batch, and what reading it may use."""

    batch: Batch
    run: Run
    limits: Limits


@frozen
class BadLayer:
    """A layer that could not be read, and why."""

    diff_id: DiffID
    image: str
    """By which it was found."""
    error: str
    exit_code: int


@frozen
class File:
    """A file of a scan that is not written yet: what a batch adds to a table."""

    table: str
    data: bytes
    bad: bool = False
    """Whether it tells of layers that could not be read."""


@frozen
class Outcome:
    """What became of a batch."""

    batch: Batch
    layers: int
    """That were read."""
    size: int
    """Bytes of these, as they are stored."""
    entries: int
    bad: tuple[BadLayer, ...]
    files: tuple[File, ...]
    """In the order in which they are to be written; none once they are."""

    def written(self, folder: ScanFolder) -> Outcome:
        """Write the files. Raises OSError and TransportError."""
        for one in self.files:
            folder.write(one.table, self.batch.name, one.data, bad=one.bad)
        return replace(self, files=())


def read_into(folder: ScanFolder, task: Task) -> Outcome:
    """Read a batch, and write it on this machine."""
    return read_batch(task).written(folder)


def read_batch(task: Task) -> Outcome:
    """Read a batch that any process can open."""
    with Session(task.run, limits=task.limits) as session:
        return read_layers(task.batch, session, Opener(session).find)


def read_layers(batch: Batch, session: Session, find: Find) -> Outcome:
    """Read a batch. A layer that cannot be read becomes a row that says why."""
    name = batch.name
    tables = {table: TableWriter(table) for table in (ENTRIES, HEADERS, LAYERS)}
    bad_layers = TableWriter(LAYERS)
    count = size = read = 0
    bad: list[BadLayer] = []
    for place in batch.layers:
        try:
            if not place.is_there:
                raise InvalidImage(
                    f"the blob {place.digest or place.diff_id} is not there", where=f"layer {place.index}"
                )
            with LayerStore(session, cached=False) as store:
                scanned = scan_layer(store, find(place), clean(place.image))
        except SquashkitError as error:
            session.resume()
            told = BadLayer(place.diff_id, place.image, show_text(first_line(error)), error.exit_code)
            bad.append(told)
            stated = raw_digest(place.diff_id), raw_digest(place.digest), place.size, place.codec
            row = bad_layer(stated, clean(place.image), clean(told.error), told.exit_code)
            bad_layers.add([(*row, f"bad-{name}")])
            continue
        tables[LAYERS].add([(*scanned.layer, name)])
        tables[ENTRIES].add([(*row, name) for row in scanned.entries])
        tables[HEADERS].add([(*scanned.headers, name)])
        count += len(scanned.entries)
        size += place.size
        read += 1
    files = [File(table, rows.data()) for table, rows in tables.items()] if read else []
    if bad:
        files.append(File(LAYERS, bad_layers.data(), bad=True))
    return Outcome(batch, read, size, count, tuple(bad), tuple(files))


@dataclass(slots=True)
class Opener:
    """Opens what the layers of a batch lie in, each once."""

    session: Session
    _listed: dict[Reference, dict[tuple[str, str], Layer]] = field(default_factory=dict)

    def find(self, place: Place) -> Layer:
        """A layer where it was seen to lie. Raises InvalidImage where it no longer does."""
        if place.reference.in_registry is not None:
            return self._in_registry(place)
        is_folder = place.reference.is_file and Path(place.reference.path).is_dir()
        layer = self._in_folder(place) if is_folder else self._in_file(place)
        if layer is None:
            raise InvalidImage("it is no longer there", where=f"layer {place.index} ({place.diff_id[:19]})")
        return layer

    def _in_file(self, place: Place) -> Layer | None:
        whole = Reference(place.reference.transport, place.reference.path)
        if whole not in self._listed:
            images = open_source(self.session, whole, ALL, faults=[]).images
            layers = (layer for image in images for layer in image.layers if layer.blobs)
            self._listed[whole] = {(layer.diff_id, digest_of(layer)): layer for layer in layers}
        found = self._listed[whole].get((place.diff_id, place.digest))
        return None if found is None else replace(found, index=place.index)

    def _in_folder(self, place: Place) -> Layer | None:
        """A blob of a layout, by its name there: no image is looked at."""
        descriptor = Descriptor(place.media_type, Digest(place.digest), place.size)
        folder = self.session.keep(closing(Folder(Path(place.reference.path))))
        blob = StoredBlob.find(folder, blob_name(descriptor.digest), descriptor)
        return None if blob is None else stacked_on_nothing(place.index, place.diff_id, blob, descriptor)

    def _in_registry(self, place: Place) -> Layer:
        from squashkit.transports.registry.blobs import RegistryBlobs

        name = place.reference.in_registry
        assert name is not None
        descriptor = Descriptor(place.media_type, Digest(place.digest), place.size)
        blobs = RegistryBlobs(name, self.session.registries)
        return stacked_on_nothing(place.index, place.diff_id, blobs.blob(descriptor), descriptor)
