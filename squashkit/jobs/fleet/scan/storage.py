"""What a scanned fleet takes under each strategy. No layer is read again: its headers are in the scan.

Bytes on a host, and plain ones, are exact. What a merged layer takes in a registry is estimated, by the
ratios at which its sources are compressed: a scan does not have the data.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from squashkit.amounts import count, some
from squashkit.arguments import checked, texts
from squashkit.engine.entries import HeaderBlocks, unpack_headers
from squashkit.engine.layers import LayerStore
from squashkit.errors import InvalidImage, UsageError, show_text
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.measure import OpenFleet
from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.jobs.fleet.process import for_many_images
from squashkit.layers.entry import Entry
from squashkit.oci.digests import DiffID, Digest, sha256
from squashkit.oci.documents import Descriptor, ImageConfig, Manifest
from squashkit.oci.graph import Image, Layer, LayerGraph, stack_layers
from squashkit.oci.media import OCI_LAYER
from squashkit.options import FleetOptions, Run
from squashkit.plan.fleet.strategies import BUILT
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.storage import FleetReport
from squashkit.transports.blobs import Blob, Remote
from squashkit.transports.layout.index import Listing
from squashkit.transports.reference import Reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import StoredBlob
from squashkit.transports.tables.folder import ScanFolder
from squashkit.transports.tables.query import Tables, open_tables
from squashkit.transports.tables.schema import digest_text, raw_digest
from squashkit.wording import Option

ESTIMATED = (
    "From a scan: what merged layers take in a registry is estimated, at the ratios at which their sources"
    " are compressed; bytes on a host are exact."
)
_NAMED = 20
"""The most images in a note."""
_HELD = 64
"""Layers whose header blocks are held."""


@checked
def measure_scan(
    scan: Path | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    built_only: bool = False,
    run: Run = Run(),
    progress: Progress | None = None,
) -> FleetReport:
    """What the images of a scan take, as `measure_fleet` tells it with `estimate`. Images of which a layer
    was not read are left out, and a note names them; `built_only` measures them as they were built alone.

    Raises TransportError where there is no scan, InvalidImage where it is broken, UsageError where no image
    of it is whole, and what opening the bases that are named does.
    """
    fleet = replace(fleet, estimate=True)
    with (
        for_many_images(),
        Session(run, progress or Silent()) as session,
        scanned_fleet(Path(scan), fleet, session) as opened,
    ):
        if built_only:
            return opened.report(opened.measure([BUILT], fleet), fleet, scan=False)
        opened.check_limit(fleet.rows, fleet)
        opened = opened.read(estimate=True)
        measured = opened.measure(fleet.rows, fleet)
        opened.fleet.notes.append(ESTIMATED)
        return opened.report(measured, fleet, once=opened.layers.files_once())


@contextmanager
def scanned_fleet(scan: Path, fleet: FleetOptions, session: Session) -> Iterator[OpenFleet]:
    """The images of a scan as a fleet. Its layers are read from the scan, while it is open. Raises as
    `measure_scan` does."""
    if fleet.published:
        raise UsageError(Option("FleetOptions.stable_from"), " compares files: a scan has none")
    with (
        open_tables(ScanFolder.open(scan), session.jobs) as tables,
        _ScannedStore(session, tables) as store,
    ):
        members, notes = _members(tables)
        found = Fleet(session, fleet.choice, texts(fleet.exclude), notes)
        members = found.without_excluded(members)
        layers = _ScannedLayers(store, members, tables=tables)
        yield OpenFleet.over(layers, found, fleet, estimate=True)


class _ScannedBlobs(Remote):
    """Layers of which there is everything but the bytes."""

    def has(self, name: str) -> bool:
        return True

    def read(self, name: str) -> bytes | None:
        return None

    def get(self, name: str) -> Blob | None:
        raise InvalidImage("a scan has no data of layers", where=name)

    def is_here(self, name: str) -> bool:
        return False

    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        raise InvalidImage("a scan has no data of layers", where=name)

    def interrupt(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def names(self) -> Iterable[str]:
        return ()

    def close(self) -> None:
        pass


class _ScannedStore(LayerStore):
    """Gives the headers of layers by the scan."""

    def __init__(self, session: Session, tables: Tables) -> None:
        super().__init__(session, cached=False)
        self._blocks = lru_cache(_HELD)(lambda diff_id: HeaderBlocks(_headers_of(tables, diff_id)))

    def header(self, layer: Layer, entry: Entry) -> bytes:
        return self._blocks(layer.diff_id).read(entry.start, entry.data)


def _headers_of(tables: Tables, diff_id: DiffID) -> bytes:
    rows: Any = list(tables.ask("SELECT headers FROM headers WHERE diff_id = ?", [raw_digest(diff_id)]))
    if not rows:
        raise InvalidImage(f"the headers of layer {diff_id} are not there", where=str(tables.folder))
    return bytes(rows[0][0])


@dataclass(slots=True)
class _ScannedLayers(FleetLayers):
    """The different layers of a fleet as a scan has them."""

    tables: Tables = field(kw_only=True)
    _digests: dict[tuple[DiffID, int], bytes] = field(default_factory=dict, init=False)
    """Of files, by their layers and where their headers begin."""

    def read(self, *, estimate: bool = False) -> None:
        """Take the entries of all layers from the scan. Raises InvalidImage where these are not whole."""
        wanted = {raw_digest(layer.diff_id) for layer in self.different}
        self.store.session.progress.stage("Reading", None)
        rows: Any = self.tables.ask("SELECT diff_id, headers FROM headers")
        for raw, headers in rows:
            if raw not in wanted:
                continue
            try:
                self.changesets[DiffID(digest_text(raw))] = unpack_headers(headers)
            except ValueError as error:
                raise InvalidImage(
                    f"the headers of layer {digest_text(raw)} are broken: {error}",
                    where=str(self.tables.folder),
                ) from error
        for layer in self.different:
            if layer.diff_id not in self.changesets:
                _headers_of(self.tables, layer.diff_id)

    @property
    def has_contents(self) -> bool:
        return True

    def content_digest(self, diff_id: DiffID, entry: Entry) -> bytes:
        if not self._digests:
            rows: Any = self.tables.ask("SELECT diff_id, start, digest FROM entries WHERE type = 'file'")
            self._digests = {(DiffID(digest_text(raw)), start): digest for raw, start, digest in rows}
        try:
            return self._digests[diff_id, entry.start]
        except KeyError as error:
            raise InvalidImage(
                f"the entries of layer {diff_id} are not whole; scan into a new folder",
                where=str(self.tables.folder),
            ) from error


def _members(tables: Tables) -> tuple[list[Member], list[str]]:
    """The images of which all layers were read, and what to say of others. Raises UsageError where there is
    no such image."""
    bad: set[int] = {number for (number,) in _rows(tables, _INCOMPLETE)}
    layers: dict[int, list[Any]] = {}
    for number, *row in _rows(tables, _LAYERS):
        layers.setdefault(number, []).append(row)
    local, registry = _source(tables.folder, is_remote=False), _source(tables.folder, is_remote=True)
    members: list[Member] = []
    left_out: list[str] = []
    for number, name, reference, in_registry, config, manifest in _rows(tables, _IMAGES):
        if number in bad:
            left_out.append(show_text(name))
            continue
        source = registry if in_registry else local
        image = _image(name, config, manifest, layers.get(number, []), source)
        source.images.append(image)
        members.append(Member(name, source, image, reference))
    notes = []
    if left_out:
        of = count(len(left_out), "image")
        notes.append(f"Left out: {of} of which a layer was not read ({some(left_out, _NAMED)}).")
    if not members:
        why = f"; {notes[0]}" if notes else ""
        raise UsageError(f"the scan {tables.folder} has no image that is whole{why}")
    return members, notes


_IMAGES = "SELECT image, name, reference, in_registry, config, manifest FROM images ORDER BY image"
_LAYERS = """SELECT image, digest, size, compression FROM image_layers ORDER BY image, position"""
_INCOMPLETE = """SELECT DISTINCT image FROM image_layers
    WHERE diff_id NOT IN (SELECT diff_id FROM layers WHERE error IS NULL)"""


def _rows(tables: Tables, question: str) -> Iterator[Any]:
    return tables.ask(question)


def _source(folder: ScanFolder, *, is_remote: bool) -> Source:
    """What images were read from: a registry, whose layers are kept as they are, or something else."""
    source = Source(Reference("scan", str(folder)), _ScannedBlobs(), [], Listing(), LayerGraph(), False)
    if not is_remote:
        source.remote = None
    return source


def _image(
    name: str, config_data: bytes, manifest_data: bytes | None, rows: Sequence[Any], source: Source
) -> Image:
    config = ImageConfig.parse(config_data)
    manifest = Manifest.parse(manifest_data, "manifest") if manifest_data is not None else None
    stated: Sequence[Descriptor | None] = manifest.layers if manifest is not None else [None] * len(rows)
    blobs: list[StoredBlob] = []
    descriptors: list[Descriptor | None] = []
    for own, diff_id, (digest, size, compression) in zip(stated, config.diff_ids, rows, strict=True):
        kind = "" if compression == "none" else f"+{compression}"
        known = Digest(digest_text(digest)) if digest is not None else Digest(diff_id)
        blob = Descriptor(f"{OCI_LAYER}{kind}", known, size)
        blobs.append(StoredBlob(source.container, known, blob))
        descriptors.append(own or (blob if kind else None))
    described = None
    if manifest is not None and manifest_data is not None:
        described = Descriptor(manifest.media_type, sha256(manifest_data), len(manifest_data))
    layers = stack_layers(config, blobs, descriptors, name, str(source.reference))
    return Image((name,), sha256(config_data), config, layers, manifest, described)
