"""The images of a scan. Of their layers there is everything but the bytes, and where these were found."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from squashkit.amounts import count, some
from squashkit.errors import InvalidImage, TransportError, UsageError, inside, show_text
from squashkit.jobs.fleet.members import Member
from squashkit.jobs.fleet.scan.batches import Place
from squashkit.jobs.fleet.scan.known import ScannedLayers
from squashkit.jobs.fleet.scan.read import Opener
from squashkit.oci.digests import Digest, sha256
from squashkit.oci.documents import Descriptor, ImageConfig, Manifest
from squashkit.oci.graph import Image, LayerGraph, stack_layers
from squashkit.oci.media import OCI_LAYER
from squashkit.transports.blobs import Blob, Remote
from squashkit.transports.layout.index import Listing
from squashkit.transports.reference import Reference, parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import StoredBlob, nearest
from squashkit.transports.tables.folder import ScanFolder
from squashkit.transports.tables.query import Tables, open_tables
from squashkit.transports.tables.schema import digest_text

_NAMED = 20
"""The most images in a note."""


def scanned_members(
    scan: Path | str, session: Session, *, has_bytes: bool = False
) -> tuple[list[Member], list[str]]:
    """The images of a scan of which all layers were read, and what to say of others. Its tables stay open
    as long as the session. With `has_bytes` a layer that somebody copies is read where it was found;
    otherwise nothing but the scan is asked.

    Raises TransportError where there is no scan, InvalidImage where it is broken, UsageError where no image
    of it is whole.
    """
    tables = session.keep(open_tables(ScanFolder.open(Path(scan)), session.jobs))
    known = ScannedLayers(tables)
    bad: set[int] = {number for (number,) in _rows(tables, _INCOMPLETE)}
    layers: dict[int, list[Any]] = {}
    for number, *row in _rows(tables, _LAYERS):
        layers.setdefault(number, []).append(row)
    opener = Opener(session) if has_bytes else None
    sources: dict[str, Source] = {}
    members: list[Member] = []
    left_out: list[str] = []
    for number, name, reference, in_registry, config, manifest in _rows(tables, _IMAGES):
        if number in bad:
            left_out.append(show_text(name))
            continue
        place = reference if has_bytes else str(in_registry)
        if place not in sources:
            sources[place] = _source(tables, reference, opener, in_registry=in_registry)
        image = _image(name, config, manifest, layers.get(number, []), sources[place])
        sources[place].images.append(image)
        members.append(Member(name, sources[place], image, reference, scan=known))
    notes = []
    if left_out:
        of = count(len(left_out), "image")
        notes.append(f"Left out: {of} of which a layer was not read ({some(left_out, _NAMED)}).")
    if not members:
        why = f"; {notes[0]}" if notes else ""
        raise UsageError(f"the scan {tables.folder} has no image that is whole{why}")
    return members, notes


_IMAGES = "SELECT image, name, reference, in_registry, config, manifest FROM images ORDER BY image"
_LAYERS = """SELECT image, own.diff_id, own.digest, hashed.digest, own.size, own.compression
    FROM image_layers AS own LEFT JOIN layers AS hashed
    ON hashed.diff_id = own.diff_id AND hashed.size = own.size AND hashed.compression = own.compression
    ORDER BY image, position"""
_INCOMPLETE = """SELECT DISTINCT image FROM image_layers
    WHERE diff_id NOT IN (SELECT diff_id FROM layers WHERE error IS NULL)"""


def _rows(tables: Tables, question: str) -> Iterator[Any]:
    return tables.ask(question)


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


@dataclass(eq=False)
class _FoundBlobs(_ScannedBlobs):
    """The same, whose bytes are read where an image was found, if somebody asks for them."""

    opener: Opener
    text: str
    """The image's reference."""
    reference: Reference
    """The same; of what is in no registry the scan."""
    scan: ScanFolder
    places: dict[str, Place] = field(default_factory=dict)
    """By the blobs' names."""

    def blocks(self, name: str, cancelled: threading.Event) -> Iterator[memoryview]:
        place = self.places[name]
        with inside(f"{show_text(self.text)}, where the scan {self.scan} has found layers"):
            reference = self.reference
            if reference.in_registry is None:
                reference = parse_reference(self.text)
                if reference.is_stdio or reference.guessed:
                    raise TransportError("it is not there any more", reference=self.text)
            layer = self.opener.find(replace(place, reference=reference))
            yield from nearest(layer).blocks(cancelled, layer.where)


def _source(tables: Tables, text: str, opener: Opener | None, *, in_registry: bool) -> Source:
    """What images were read from: a registry, whose layers are kept as they are, or something else."""
    reference, blobs = Reference("scan", str(tables.folder)), _ScannedBlobs()
    if opener is not None:
        reference = parse_reference(text) if in_registry else reference
        blobs = _FoundBlobs(opener, text, reference, tables.folder)
    source = Source(reference, blobs, [], Listing(), LayerGraph(), False)
    if not in_registry:
        source.remote = None
    return source


def _image(
    name: str, config_data: bytes, manifest_data: bytes | None, rows: Sequence[Any], source: Source
) -> Image:
    config = ImageConfig.parse(config_data)
    manifest = Manifest.parse(manifest_data, "manifest") if manifest_data is not None else None
    stated: Sequence[Descriptor | None] = manifest.layers if manifest is not None else [None] * len(rows)
    listed = [digest_text(diff_id) for diff_id, *_ in rows]
    if len(stated) != len(rows) or listed != list(config.diff_ids):
        raise InvalidImage("its layers are not those of its config; scan again", where=show_text(name))
    blobs: list[StoredBlob] = []
    descriptors: list[Descriptor | None] = []
    for own, diff_id, (_, digest, hashed, size, compression) in zip(
        stated, config.diff_ids, rows, strict=True
    ):
        kind = "" if compression == "none" else f"+{compression}"
        known = Digest(digest_text(digest or hashed)) if digest or hashed else Digest(diff_id)
        blob = Descriptor(f"{OCI_LAYER}{kind}", known, size)
        blobs.append(StoredBlob(source.container, known, blob))
        descriptors.append(own or (blob if kind else None))
        if isinstance(source.container, _FoundBlobs):
            source.container.places[known] = Place(
                diff_id,
                digest_text(digest) if digest else "",
                size,
                blob.media_type,
                compression,
                len(descriptors) - 1,
                source.reference,
                name,
                is_there=True,
                is_portable=True,
            )
    described = None
    if manifest is not None and manifest_data is not None:
        described = Descriptor(manifest.media_type, sha256(manifest_data), len(manifest_data))
    layers = stack_layers(config, blobs, descriptors, name, str(source.reference))
    return Image((name,), sha256(config_data), config, layers, manifest, described)
