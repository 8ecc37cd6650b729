"""A piece of work on images: where results go, what there is of them already, one commit at the end.

What becomes of the images is decided before (selection.py, fitting.py); here their decisions get a loader,
a destination and a report each, and together they get one sink.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from squashkit.engine.carry_out import WARNING, Job, Notify
from squashkit.engine.check import check_result
from squashkit.engine.entries import EntryCache, cache_folder
from squashkit.engine.layers import Known, Loader
from squashkit.engine.write import Made, Origin
from squashkit.errors import UsageError, show_text, told_of
from squashkit.jobs.inputs import Inputs
from squashkit.jobs.selection import Chosen, Decision
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import ALL, Descriptor
from squashkit.oci.graph import Image, Layer, crowded
from squashkit.oci.media import Codec
from squashkit.oci.shapes import odd_settings_told
from squashkit.options import Options
from squashkit.plan import documents as metadata
from squashkit.plan.dangling import dangling_names
from squashkit.plan.documents import StoredLayer
from squashkit.plan.squash import KeptLayer, LayerPlan, Ready
from squashkit.progress import Progress
from squashkit.report.squash import Report, Transfer
from squashkit.transports.blobs import Archive, Container
from squashkit.transports.cancellation import Cancellation
from squashkit.transports.contracts import Sink, Written, WrittenImage
from squashkit.transports.reference import parse_reference
from squashkit.transports.registry.access import Registries
from squashkit.transports.room import Room
from squashkit.transports.source import Source, temporary_folder
from squashkit.transports.stores.sink import StoreSink
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import (
    Destination,
    decide_destination,
    parse_output,
    refuse_mistaken_file,
)


@dataclass(slots=True)
class Batch:
    """Works that follow one another with results that share layers: what was made is not made again. Where
    they go into one archive or layout, nothing of it has a name before the last of them is right."""

    sink: Sink | None
    """One for all; None where each image has a repository of its own."""
    known: Known
    bases: Mapping[DiffID, tuple[Source, Layer]] = field(default_factory=dict)
    """Layers of bases that registries have, and as what."""
    made: Made = field(default_factory=Made)
    beside: dict[Digest, str] = field(default_factory=dict)
    """For each blob of the images that were written to a registry a repository that has it."""
    written: list[Written] = field(default_factory=list)

    def origins(self, image: Image) -> dict[DiffID, Origin]:
        """The layers of an image that a base has in a registry."""
        return {
            layer.diff_id: Origin(layer, *self.bases[layer.diff_id])
            for layer in image.layers
            if layer.diff_id in self.bases
        }

    def have(self, decisions: Sequence[Decision]) -> dict[Digest, str]:
        """Of what these images will have, what repositories written before have."""
        made = self.made
        wanted: set[Digest] = set()
        for one in decisions:
            for layer in one.image.layers:
                packed = made.kept.get(layer.diff_id)
                wanted |= {stored.digest for stored in (packed, layer.descriptor) if stored is not None}
            runs = (made.runs.get(one.image.place(run.start, run.stop)) for run in one.segments)
            wanted |= {stored.digest for stored in runs if stored is not None}
        return {digest: self.beside[digest] for digest in wanted if digest in self.beside}

    def commit(self) -> None:
        """Give all images their names."""
        if self.sink is not None:
            self.sink.commit(self.written)


class Work:
    """Images under way from one source to one destination. All that it opens is closed with the stack.

    First `decide` where they go, which reads no layer; then `begin` and `finish`.
    """

    def __init__(
        self,
        stack: ExitStack,
        image: str,
        output: str | None,
        options: Options,
        progress: Progress,
        notify: Notify,
        *,
        source: Source | None = None,
        batch: Batch | None = None,
    ) -> None:
        """`source` is the open source, where there is one; the images of a batch are written together."""
        self._stack = stack
        self._output = output
        self._options = options
        self._progress = progress
        self._notify = notify
        self._batch = batch or Batch(None, Known())
        if output is not None:
            refuse_mistaken_file(output, parse_reference(image))
        self.tmp_dir = Room.of(_temporary_folder(options, output), options.max_size)
        self._registries = stack.enter_context(closing(Registries(options.access)))
        self.cancelled = Cancellation()
        self.cancelled.wakes.append(self._registries.interrupt)
        self.inputs = Inputs(
            stack,
            parse_reference(image),
            options.platform,
            self.tmp_dir,
            self._registries,
            progress,
            source,
        )
        self.sink: Sink | None = None
        self.jobs: list[Job] = []

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Where these images go. Raises UsageError where something must not be written there."""
        options, inputs = self._options, self.inputs
        self._destinations = [
            decide_destination(
                self._output,
                inputs.layers,
                decision.image,
                decision.segments,
                tags=options.tags,
                format=options.format,
                compress=options.compress,
                several=options.platform == ALL,
                replace=options.replace,
                by_digest=options.push_by_digest,
            )
            for decision in decisions
        ]
        self._destination = destination = self._destinations[0]
        _protect_inputs(destination, inputs.all)
        inputs.protect_bases(destination)
        self._writes = self._output is not None and not options.dry_run
        if options.check:
            _refuse_vain_check(destination, writes=self._writes)
        self._guard = self._guard_of(decisions)
        if not self._writes:
            destination.check_free(force=options.force)
            destination.check_tags(self._guard, self._registries, self.tmp_dir)

    def _guard_of(self, decisions: Sequence[Decision]) -> TagGuard:
        """What no tag of the destination is to lose in silence."""
        options, source = self._options, self.inputs.source
        name = decisions[0].image.names[:1]
        images = [
            image.platform
            for image in source.images
            if image.names[:1] == name and all(layer.member is not None for layer in image.layers)
        ]
        # Of a registry's index only the image that was chosen was looked at.
        others = source.listing.absent if source.remote is not None else []
        platforms = [decision.image.platform for decision in decisions]
        return TagGuard(
            results={tag.name: platforms for tag in self._destination.tags},
            chosen=options.platform not in (None, ALL),
            source=[*images, *(one.platform for one in others if one.platform is not None)],
        )

    def loader(self, source: Source, image: Image) -> Loader:
        """What reads an image's layers for this work."""
        options = self._options
        return Loader(
            source,
            image,
            self.tmp_dir,
            options.jobs,
            options.verify,
            self._progress,
            self.cancelled,
            EntryCache(cache_folder()),
            options.fetch_base,
            self._batch.known,
        )

    def begin(
        self,
        decisions: Sequence[Decision],
        chosen: Chosen,
        loaders: Sequence[Loader] | None = None,
        ready: Sequence[Ready | None] | None = None,
    ) -> None:
        """Open the destination: a job for each image. A plan that is ready is carried out as it is."""
        inputs, destination = self.inputs, self._destination
        loaders = loaders or [self.loader(inputs.layers, decision.image) for decision in decisions]
        ready = ready or [None] * len(decisions)
        inputs.bases.extend({id(source): source for source, _ in self._batch.bases.values()}.values())
        stored = [inputs.stored_elsewhere(decision, destination) for decision in decisions]
        if destination.is_registry and inputs.layers.remote is None:
            for decision, (_, elsewhere) in zip(decisions, stored, strict=True):
                elsewhere |= self._batch.origins(decision.image)
        if self._batch.sink is not None:
            self.sink = self._batch.sink
        elif self._writes:
            at_hand = inputs.at_hand(decisions, destination, replace=self._options.replace)
            self.sink = destination.open(
                self._stack,
                self.tmp_dir,
                force=self._options.force,
                registries=self._registries,
                guard=self._guard,
                cancelled=self.cancelled,
                progress=self._progress,
                at_hand=replace(at_hand, beside={**self._batch.have(decisions), **at_hand.beside}),
            )
            self._stack.callback(self.sink.close)
        for loader in loaders:  # closed first: its threads write to the sink
            self._stack.push(loader)
        for decision in decisions:
            if said := crowded(_count(decision)):
                self._notify(f"{WARNING}the result has {said}")
        self.jobs = [
            Job(
                base,
                decision.segments,
                loader,
                self.sink,
                where,
                self._options,
                self._report(decision, chosen, where, elsewhere),
                self._notify,
                elsewhere,
                plan,
                self._batch.made,
            )
            for decision, loader, plan, where, (base, elsewhere) in zip(
                decisions, loaders, ready, self._destinations, stored, strict=True
            )
        ]

    @property
    def reports(self) -> list[Report]:
        return [job.report for job in self.jobs]

    def _run(self) -> list[WrittenImage | None]:
        """Write every image, none of which has a name yet; None for each in a dry run."""
        results = []
        for job in self.jobs:
            with told_of(str(job.image.platform) if self._options.platform == ALL else ""):
                results.append(job.run())
            job.report.notes.extend(self._dangling(job))
        return results

    def _dangling(self, job: Job) -> list[str]:
        """What of an image names layers that are no more, for people."""
        read = [one for one in self.inputs.source.images if one.image_id == job.image.image_id]
        before = [layer for one in (job.image, *read[:1]) for layer in one.layers]
        names = dangling_names(job.image, before, job.report.after)
        if not names:
            return []
        told = ", ".join(map(show_text, names))
        return [f"These labels name layers that the result does not have; they stay as they are: {told}."]

    def _transferred(self) -> Transfer | None:
        """Bytes to and from daemons and registries; None where there is neither."""
        counted = self._registries.traffic
        saved = [
            source.container.size
            for source in self.inputs.all
            if source.in_store is not None and isinstance(source.container, Archive)
        ]
        loaded = self.sink if isinstance(self.sink, StoreSink) else None
        if counted is None and not saved and loaded is None:
            return None
        unmoved = {digest: size for job in self.jobs for digest, size in job.there.items()}
        return Transfer(
            down=(counted.down if counted else 0) + sum(saved),
            up=(counted.up if counted else 0) + (loaded.loaded if loaded else 0),
            not_moved=loaded.left_out if loaded else sum(unmoved.values()),
        )

    def finish(self) -> Digest | None:
        """Write every image and give what was written its names: of all platforms to an index of theirs,
        whose digest is returned. Nothing has a name before all of it is right."""
        images = [written for written in self._run() if written is not None]
        digest = None
        if self.sink is not None and images:
            root = images[0].manifest
            if self._options.platform == ALL:
                manifests = [image.manifest for image in images]
                index, media_type = metadata.image_index(manifests), metadata.index_type(manifests)
                digest = self.sink.manifest(media_type, index)
                root = Descriptor(media_type, digest, len(index))
            destination = self._destination
            written = Written(root, images, destination.tags, destination.repo_tags)
            if self._batch.sink is not None:
                self._batch.written.append(written)
            else:
                self.sink.commit([written], partial(self._check, images) if self._options.check else None)
            if (name := destination.in_registry) is not None:
                for blob in (blob for image in images for blob in image.layers):
                    self._batch.beside.setdefault(blob, name.repository)
        transfer = self._transferred()
        for report in self.reports:
            report.transfer = transfer
        return digest

    def _check(self, images: Sequence[WrittenImage], container: Container) -> None:
        for job, written in zip(self.jobs, images, strict=True):
            check_result(job.loader, job.report.plan, job.changesets, written, container)

    def _report(
        self,
        decision: Decision,
        chosen: Chosen,
        destination: Destination,
        elsewhere: Mapping[DiffID, Origin],
    ) -> Report:
        source, image = self.inputs.layers, decision.image
        kept = tuple(KeptLayer(index) for index in range(len(image.layers)))
        return Report(
            source=source.title,
            image=image,
            base=decision.base,
            plan=LayerPlan(tuple(decision.segments), kept),
            before=_stored_before(source, image),
            tags=[tag.verbatim or tag.name for tag in destination.tags],
            output=self.sink.title if self.sink else None,
            dry_run=self.sink is None,
            checked=self._options.check,
            in_registry=destination.is_registry,
            known_digests=frozenset(o.known.digest for o in elsewhere.values() if o.known is not None),
            notes=_notes(source, decision, self._options, destination, chosen, elsewhere)
            + self._guard.notes(),
        )


def _refuse_vain_check(destination: Destination, *, writes: bool) -> None:
    """Raises UsageError where there will be nothing to read back."""
    if destination.is_stream:
        raise UsageError(
            "--check reads back what was written, which a pipe cannot give; write to a file or a layout"
        )
    if not writes:
        raise UsageError("--check reads back what was written; a dry run writes nothing")


def _protect_inputs(destination: Destination, sources: Sequence[Source]) -> None:
    """Raises UsageError where the output is one of the inputs, or lies within one."""
    reference = destination.reference
    if reference is None or not reference.is_file:
        return
    for source in sources:
        if not reference.is_stdio:
            source.refuse_as_output(Path(reference.path))
        elif sys.stdout is not None and source.is_file(os.fstat(sys.stdout.fileno())):
            raise UsageError(f"standard output is {source.title}, an input, which is never written to")


def _temporary_folder(options: Options, output: str | None) -> Path:
    """As `temporary_folder`, but beside the output where there is one."""
    reference = parse_output(output) if output is not None else None
    if options.tmp_dir is None and reference is not None and reference.is_file and not reference.is_stdio:
        path = Path(reference.path)
        for folder in (path, path.parent):
            if folder.is_dir() and os.access(folder, os.W_OK):
                return folder
    return temporary_folder(options.tmp_dir)


def _stored_before(source: Source, image: Image) -> list[StoredLayer]:
    """The source's layers as they are stored."""
    return [
        StoredLayer(
            layer.diff_id, source.digest(layer), source.size(layer), source.codec(layer), layer.descriptor
        )
        for layer in image.layers
    ]


def _count(decision: Decision) -> int:
    """How many layers a result will have, at most."""
    return sum(len(segment) if segment.is_kept else 1 for segment in decision.segments)


def _notes(
    source: Source,
    decision: Decision,
    options: Options,
    destination: Destination,
    chosen: Chosen,
    elsewhere: Mapping[DiffID, Origin],
) -> list[str]:
    notes = []
    image, segments = decision.image, decision.segments
    reference = destination.reference
    named = reference is not None and (reference.image or not reference.is_file)
    if not options.tags and not named and destination.tags and (reference or source.reference.is_file):
        names = ", ".join(tag.verbatim or tag.name for tag in destination.tags)
        notes.append(f"No -t was given: the result has the source's own name ({names}).")
    if chosen.note():
        notes.append(chosen.note())
    if chosen.missing:
        missing = ", ".join(chosen.missing)
        notes.append(f"Left out, since not all of its blobs are there: {missing}.")
    notes += [f"Passed over {passed}." for passed in source.listing.passed_over()]
    if source.listing.attestations:
        notes.append("Attestations (provenance, SBOM) describe the image as it was and are left out.")
    if source.listing.artifacts:
        notes.append(
            "Signatures and other artifacts beside the image refer to it as it was and are left out."
        )
    if image.manifest and "subject" in image.manifest.raw:
        notes.append("The manifest's subject is dropped: it refers to the image as it was.")
    if odd := image.config.odd_settings:
        notes.append(f"{odd_settings_told(odd)}; they are carried as they are.")
    if any(layer.descriptor and layer.descriptor.is_foreign for layer in image.layers):
        notes.append("Layers that must not be distributed are in the result, as ordinary ones.")
    if metadata.has_broken_history(image):
        notes.append(
            "The history does not fit the layers; it is replaced by one entry a layer, and its text is"
            " kept in a comment."
        )
    if destination.format == "docker" and any(
        layer.descriptor and layer.descriptor.codec is Codec.ZSTD for layer in image.layers
    ):
        notes.append(
            "A docker archive cannot hold zstd layers: kept ones are stored plain. Their diff_ids, and so"
            " sharing on hosts, stay the same."
        )
    if (
        destination.is_registry
        and source.remote is None
        and not elsewhere
        and any(s.keep for s in segments)
        and any(source.codec(layer) is Codec.NONE for layer in image.layers)
    ):
        notes.append(
            "The kept layers are compressed anew: a host that has pulled the base downloads them again."
            " A base that is named as docker://HOST/NAME is taken as that registry has it."
        )
    if said := crowded(_count(decision)):
        notes.append(f"The result has {said}.")
    if options.history.drop:
        notes.append("History dropped; secrets may remain in Env and labels, which are never touched.")
    if destination.is_oci_archive:
        notes.append("docker before 25 cannot load an OCI archive; what --format docker writes, it can.")
    return notes
