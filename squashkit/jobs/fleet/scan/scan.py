"""Scan a fleet: every different layer is read once, here or by a shard elsewhere, into Parquet tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from squashkit.arguments import checked, texts
from squashkit.engine.cluster import Cluster, check_dask, made_here
from squashkit.engine.processes import in_processes
from squashkit.errors import UsageError
from squashkit.jobs.fleet.elsewhere import for_others, there
from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.scan.batches import Batch, Place, batches_of, shard_of
from squashkit.jobs.fleet.scan.places import place_of, stated
from squashkit.jobs.fleet.scan.read import Outcome, Task, read_batch, read_into, read_layers
from squashkit.oci.digests import DiffID
from squashkit.oci.graph import Layer
from squashkit.oci.names import split_tag
from squashkit.options import Access, FleetOptions, Limits, Run, Spread
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.scan import BadRow, ScanReport
from squashkit.transports.session import Session
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
from squashkit.transports.tables.write import table_file
from squashkit.values import frozen

_IMAGES = "images"
"""What the files of the tables of images are called: there is one of each."""


@checked
def scan_fleet(
    references: Sequence[str] | str,
    into: Path | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    spread: Spread = Spread(),
    run: Run = Run(),
    progress: Progress | None = None,
) -> ScanReport:
    """Read every different layer of a fleet into a folder of Parquet tables.

    References are those of `measure_fleet`; of `fleet` the platform counts, and what is excluded. Layers
    that are there already are not read again, but those that could not be read are. `run.jobs` are
    processes. `spread` has parts of it read, on a cluster, or within limits: the files are the same, to
    the byte.

    A layer that cannot be read is in the report, and stops nothing. Raises UsageError where `into` is
    something else than a scan, and what opening the images or reaching a cluster raises.
    """
    check_installed()
    number, count = spread.part
    with (
        for_many_images(),
        Session(run, progress or Silent(), limits=spread.of_part) as session,
        _elsewhere(spread, run.access) as cluster,
    ):
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
        reading = _Reading(folder, session, spread.workers, cluster, dict(layers.values()))
        done = list(reading.outcomes(batches))
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
    return {diff_id: (place_of(*where), where[1]) for diff_id, where in found.items()}


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


@contextmanager
def _elsewhere(spread: Spread, access: Access) -> Iterator[Cluster | None]:
    """The cluster that is named, found before anything is read."""
    if spread.workers is not None:
        check_dask()
    if spread.scheduler is None:
        yield None
        return
    with there(spread.scheduler, access) as cluster:
        yield cluster


@frozen
class _Reading:
    """Batches are read on a cluster, in processes here, or in this one, each as far as they can be."""

    folder: ScanFolder
    session: Session
    workers: int | None
    """So many of a cluster that is made here."""
    cluster: Cluster | None
    """One that was there. Its workers may be on other machines."""
    layers: dict[Place, Layer]

    def outcomes(self, batches: Sequence[Batch]) -> Iterator[Outcome]:
        """Read batches, and write what they hold."""
        self.session.registries.close()  # whoever reads has connections of their own
        if self.cluster is not None:
            there = [one for one in batches if one.is_in_registries]
            yield from self._on(self.cluster, there, for_others(self.session.run))
            batches = [one for one in batches if not one.is_in_registries]
        portable = [one for one in batches if one.is_portable]
        if self.workers is not None and portable:
            with made_here(self.workers, self.session.run.folder) as cluster:
                yield from self._on(cluster, portable, self.session.run)
            batches = [one for one in batches if not one.is_portable]
        elif min(self._most(self.session.jobs), len(portable)) > 1:
            yield from self._in_processes(portable)
            batches = [one for one in batches if not one.is_portable]
        for batch in batches:
            yield read_layers(batch, self.session, self.layers.__getitem__).written(self.folder)

    def _on(self, cluster: Cluster, batches: Sequence[Batch], run: Run) -> Iterator[Outcome]:
        is_limited = self.session.limits != Limits()
        at_once = self._most(max(cluster.slots, 1)) if is_limited else None
        for outcome in cluster.results(read_batch, self._tasks(batches, at_once or 1, run), at_once):
            yield self._told(outcome.written(self.folder))

    def _in_processes(self, batches: Sequence[Batch]) -> Iterator[Outcome]:
        jobs = min(self._most(self.session.jobs), len(batches))
        read = partial(read_into, self.folder)
        for outcome in in_processes(read, self._tasks(batches, jobs, self.session.run), jobs):
            yield self._told(outcome)

    def _most(self, wanted: int) -> int:
        """So many tasks at once, of which each has a connection."""
        return min(wanted, self.session.limits.connections or wanted)

    def _tasks(self, batches: Sequence[Batch], at_once: int, run: Run) -> list[Task]:
        """The longest work is done first."""
        run, limits = replace(run, jobs=1), self.session.limits.share(at_once)
        return [Task(one, run, limits) for one in sorted(batches, key=lambda one: -one.size)]

    def _told(self, outcome: Outcome) -> Outcome:
        self.session.progress.advance(outcome.batch.size)
        return outcome


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
    folder.write(IMAGE_LAYERS, _IMAGES, table_file(IMAGE_LAYERS, layers))
    images = [_image(number, member) for number, member in enumerate(members)]
    folder.write(IMAGES, _IMAGES, table_file(IMAGES, images))


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
        digest, size, codec = stated(layer)
        yield (
            *(number, layer.index, raw_digest(layer.diff_id), raw_digest(layer.chain_id)),
            *(raw_digest(digest), size),
            clean(layer.descriptor.media_type) if layer.descriptor is not None else None,
            *(codec.value, clean(layer.created_by)),
        )
