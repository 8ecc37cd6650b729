"""Scan a fleet: every different layer is read once, here or by a shard elsewhere, into Parquet tables."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from squashkit.arguments import checked, texts
from squashkit.engine.processes import in_processes
from squashkit.errors import UsageError
from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.scan.batches import Batch, Place, batches_of, shard_of
from squashkit.jobs.fleet.scan.read import Outcome, Task, read_batch, read_layers
from squashkit.oci.digests import DiffID
from squashkit.oci.graph import Layer
from squashkit.oci.media import Codec
from squashkit.oci.names import split_tag
from squashkit.options import FleetOptions, Run, parse_shard
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.scan import BadRow, ScanReport
from squashkit.transports.layout.folder import Folder
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import codec_of, digest_of, is_remote, nearest, size_of
from squashkit.transports.tables.folder import ScanFolder
from squashkit.transports.tables.query import check_installed, open_tables
from squashkit.transports.tables.schema import (
    ENTRIES,
    HEADERS,
    IMAGE_LAYERS,
    IMAGES,
    LAYERS,
    Row,
    clean,
    digest_text,
    raw_digest,
)
from squashkit.transports.tables.write import write_table

_IMAGES = "images"
"""What the files of the tables of images are called: there is one of each."""


@checked
def scan_fleet(
    references: Sequence[str] | str,
    into: Path | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    shard: str = "1/1",
    run: Run = Run(),
    progress: Progress | None = None,
) -> ScanReport:
    """Read every different layer of a fleet into a folder of Parquet tables.

    References are those of `measure_fleet`; of `fleet` the platform counts, and what is excluded. Layers
    that are there already are not read again, but those that could not be read are. `run.jobs` are
    processes. `shard`, as `2/8`, does one part: all parts together, on whatever machines, do what one run
    does, file by file.

    A layer that cannot be read is in the report, and stops nothing. Raises UsageError where `into` is
    something else than a scan, and what opening the images raises.
    """
    try:
        number, count = parse_shard(shard)
    except ValueError as error:
        raise UsageError(f"shard: {error}") from error
    check_installed()
    with for_many_images(), Session(run, progress or Silent()) as session:
        found = Fleet(session, fleet.choice, texts(fleet.exclude))
        members = found.members(texts(references))
        _refuse_inputs(Path(into), members)
        folder = ScanFolder.make(Path(into))
        layers = _different(members)
        known, bad_before = _known(folder, run.jobs)
        _write_images(folder, members)
        all_batches = list(batches_of(place for place, _ in layers.values()))
        batches = [one.without(known) for one in shard_of(all_batches, number, count)]
        batches = [one for one in batches if one.layers]
        session.progress.stage("Reading", sum(one.size for one in batches))
        done = list(_read(batches, folder, session, dict(layers.values())))
        known |= {one.diff_id for outcome in done for one in outcome.batch.layers}
        bad = [one for outcome in done for one in outcome.bad]
        _forget_bad(folder, bad_before, known, layers.keys(), done)
        if layers.keys() <= known:
            folder.sweep()  # nobody else has anything to do here
        return ScanReport(
            into=str(into),
            images=len(members),
            references=sum(len(member.image.layers) for member in members),
            layers=len(layers),
            known=len(layers.keys() & known) - sum(len(outcome.batch.layers) for outcome in done),
            read=sum(outcome.layers for outcome in done),
            read_bytes=sum(outcome.size for outcome in done),
            entries=sum(outcome.entries for outcome in done),
            elsewhere=len(layers.keys() - known),
            bad=tuple(BadRow(one.diff_id, one.image, one.error, one.exit_code) for one in bad),
            notes=tuple(found.notes),
        )


def _refuse_inputs(into: Path, members: Sequence[Member]) -> None:
    """Raises UsageError where the scan would lie within an image that is read."""
    for source in {id(member.source): member.source for member in members}.values():
        source.refuse_as_output(into)
        if source.folder is not None and into.exists() and source.folder.samefile(into):
            raise UsageError(f"{into} is {source.title}, an input, which is never written to")


def _different(members: Sequence[Member]) -> dict[DiffID, tuple[Place, Layer]]:
    """Every different layer, in the order of the images: as it is in the first image that has its blob, or
    the first at all."""
    found: dict[DiffID, tuple[Member, Layer]] = {}
    for member in members:
        for layer in member.image.layers:
            if layer.diff_id not in found or (layer.blobs and not found[layer.diff_id][1].blobs):
                found[layer.diff_id] = member, layer
    return {diff_id: (_place(*where), where[1]) for diff_id, where in found.items()}


def _place(member: Member, layer: Layer) -> Place:
    digest, size, codec = _stated(layer)
    return Place(
        layer.diff_id,
        digest,
        size,
        layer.descriptor.media_type if layer.descriptor is not None else "",
        codec.value,
        layer.index,
        member.source.reference,
        member.reference,
        is_there=bool(layer.blobs),
        is_portable=bool(layer.blobs) and _is_portable(member.source, layer),
    )


def _stated(layer: Layer) -> tuple[str, int, Codec]:
    """What is known of a layer's blob before it is read, which may be nowhere: digest, bytes, codec."""
    if layer.blobs:
        return digest_of(layer), size_of(layer), codec_of(layer)
    stated = layer.descriptor
    return (stated.digest, stated.size, stated.codec) if stated is not None else ("", 0, Codec.NONE)


def _is_portable(source: Source, layer: Layer) -> bool:
    """Whether another process can open what a layer lies in: a registry, a folder, or a file as it is."""
    if is_remote(layer) or isinstance(source.container, Folder):
        return True
    return not source.reference.is_stdio and source.is_file(os.fstat(nearest(layer).open().fd))


def _known(folder: ScanFolder, jobs: int) -> tuple[set[DiffID], dict[str, set[DiffID]]]:
    """The layers that were read before; and those that could not be, by the files that say so."""
    known: set[DiffID] = set()
    bad: dict[str, set[DiffID]] = {}
    if folder.files(LAYERS):
        whole = folder.names(ENTRIES) & folder.names(HEADERS)
        with open_tables(folder, jobs) as tables:
            question = f"SELECT diff_id, batch, error IS NULL FROM all_{LAYERS}"
            for diff_id, batch, is_good in tables.ask(question):
                assert isinstance(diff_id, bytes) and isinstance(batch, str)
                if is_good and batch in whole:
                    known.add(DiffID(digest_text(diff_id)))
                elif not is_good:
                    bad.setdefault(batch, set()).add(DiffID(digest_text(diff_id)))
    return known, bad


def _read(
    batches: Sequence[Batch], folder: ScanFolder, session: Session, layers: dict[Place, Layer]
) -> Iterator[Outcome]:
    """Read batches, in as many processes as are asked for; what no other process can open, in this one."""
    elsewhere = [one for one in batches if one.is_portable]
    jobs = min(session.jobs, len(elsewhere))
    if jobs > 1:
        elsewhere.sort(key=lambda one: -one.size)  # the longest work is done first
        tasks = [Task(one, folder.path, replace(session.run, jobs=1)) for one in elsewhere]
        for outcome in in_processes(read_batch, tasks, jobs):
            session.progress.advance(outcome.batch.size)
            yield outcome
        batches = [one for one in batches if not one.is_portable]
    for batch in batches:
        yield read_layers(batch, folder, session, layers.__getitem__)


def _forget_bad(
    folder: ScanFolder,
    before: dict[str, set[DiffID]],
    known: Collection[DiffID],
    fleet: Collection[DiffID],
    done: Sequence[Outcome],
) -> None:
    """Remove the rows of bad layers that were read again since, well or not, or that no image has now."""
    again = {folder.file(LAYERS, outcome.batch.name, bad=True) for outcome in done if outcome.bad}
    for batch, layers in before.items():
        file = folder.file(LAYERS, batch)
        if file not in again and all(one in known or one not in fleet for one in layers):
            file.unlink(missing_ok=True)


def _write_images(folder: ScanFolder, members: Sequence[Member]) -> None:
    """The tables of the images as they are now, in place of those that were."""
    layers = [row for number, member in enumerate(members) for row in _image_layers(number, member)]
    write_table(IMAGE_LAYERS, layers, folder.file(IMAGE_LAYERS, _IMAGES))
    images = [_image(number, member) for number, member in enumerate(members)]
    write_table(IMAGES, images, folder.file(IMAGES, _IMAGES))


def _image(number: int, member: Member) -> Row:
    image = member.image
    platform, described = image.platform, image.manifest_descriptor
    return (
        *(number, clean(member.name), clean(_repository(member)), clean(member.reference)),
        raw_digest(image.image_id),
        raw_digest(described.digest) if described is not None else None,
        *(clean(platform.os), clean(platform.architecture), clean(platform.variant)),
        len(image.layers),
        member.source.remote is not None,
        image.config.data,
        image.manifest.data if image.manifest is not None else None,
    )


def _repository(member: Member) -> str:
    """An image's name without its tag or digest."""
    return split_tag(member.name)[0]


def _image_layers(number: int, member: Member) -> Iterator[Row]:
    for layer in member.image.layers:
        digest, size, codec = _stated(layer)
        yield (
            *(number, layer.index, raw_digest(layer.diff_id), raw_digest(layer.chain_id)),
            *(raw_digest(digest), size),
            clean(layer.descriptor.media_type) if layer.descriptor is not None else None,
            *(codec.value, clean(layer.created_by)),
        )
