"""The whole job, reference to report: read an image, keep its base, merge the rest, write it.

`squash` and `squash_platforms` are the functions to read first. What is decided is decided in base.py,
planner.py and metadata.py; what is read and written goes through loader.py and writer.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from squashkit import metadata
from squashkit.cancellation import Cancellation
from squashkit.check import check_result
from squashkit.destination import (
    Destination,
    decide_destination,
    parse_output,
    refuse_mistaken_file,
)
from squashkit.entrycache import EntryCache, cache_folder
from squashkit.errors import UsageError, told_of
from squashkit.execute import Job, Notify
from squashkit.graph import Image
from squashkit.inputs import Inputs
from squashkit.loader import Loader
from squashkit.metadata import StoredLayer
from squashkit.oci import ALL, Codec, Descriptor, DiffID
from squashkit.options import Options
from squashkit.planner import KeptLayer, LayerPlan
from squashkit.progress import Progress, Silent
from squashkit.report.squash import IndexReport, Report, Transfer
from squashkit.selection import Chosen, Decision, decide
from squashkit.source import Source, temporary_folder
from squashkit.transports import parse_reference
from squashkit.transports.container import Archive, Container
from squashkit.transports.remote import Registries
from squashkit.transports.sink import Sink, Written, WrittenImage
from squashkit.transports.store_sink import StoreSink
from squashkit.writer import Origin


def squash(
    image: str,
    output: str | None,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> Report:
    """Squash the image that a reference names and write the result to another reference.

    In a dry run, or without an output, nothing is written and the report tells what would be. The root file
    system of what is written is exactly the source's, and its kept layers are the source's byte for
    byte; otherwise nothing is written and a SquashkitError says why. `notify` gets messages for people
    while the work goes on. OSError comes through as it is (a full disk, a closed pipe).
    """
    if options is not None and options.platform == ALL:
        raise UsageError("all platforms are the work of squash_platforms")
    with ExitStack() as stack:
        work = _Work(stack, image, output, options or Options(), progress or Silent(), notify)
        (written,) = work.run()
        if work.sink is not None and written is not None:
            work.commit(written.manifest, [written])
        work.count_transfer()
        return work.reports[0]


def squash_platforms(
    image: str,
    output: str | None,
    options: Options,
    *,
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> IndexReport:
    """Squash every platform of the index that a reference names and write a new index of the results.

    What is no image (attestations, artifacts) stays out. All else is as for `squash`, for all platforms
    together: nothing has a name before every one of them is right.
    """
    with ExitStack() as stack:
        work = _Work(stack, image, output, options, progress or Silent(), notify)
        results = [written for written in work.run() if written is not None]
        report = IndexReport(work.reports, missing=work.chosen.missing)
        if work.sink is not None and results:
            manifests = [result.manifest for result in results]
            index = metadata.image_index(manifests)
            media_type = metadata.index_type(manifests)
            report.index_digest = work.sink.manifest(media_type, index)
            work.commit(Descriptor(media_type, report.index_digest, len(index)), results)
        work.count_transfer()
        return report


class _Work:
    """All that is decided and opened before the first layer is read: one `Job` for each image."""

    def __init__(
        self,
        stack: ExitStack,
        image: str,
        output: str | None,
        options: Options,
        progress: Progress,
        notify: Notify,
    ) -> None:
        self._options = options
        options.keep.check()
        if output is not None:
            refuse_mistaken_file(output, parse_reference(image))
        tmp_dir = _temporary_folder(options, output)
        self._registries = stack.enter_context(closing(Registries(options.access)))
        self._inputs = inputs = Inputs(
            stack, parse_reference(image), options.platform, tmp_dir, self._registries, progress
        )
        source = inputs.source
        decisions, self.chosen = decide(
            source, options.keep, options.platform, inputs.open_base, skip_missing=options.skip_missing
        )
        destinations = [
            decide_destination(
                output, source, decision.image, decision.segments, tags=options.tags,
                format=options.format, compress=options.compress, several=options.platform == ALL,
                replace=options.replace, by_digest=options.push_by_digest,
            )
            for decision in decisions
        ]  # fmt: skip
        self._destination = destination = destinations[0]
        _protect_inputs(destination, inputs.all)
        inputs.protect_bases(destination)
        writes = output is not None and not options.dry_run
        if options.check:
            _refuse_vain_check(destination, writes=writes)
        cancelled = Cancellation()
        cancelled.wakes.append(self._registries.interrupt)
        loaders = [
            Loader(
                source, decision.image, tmp_dir, options.jobs, options.verify, progress, cancelled,
                EntryCache(cache_folder()), options.fetch_base,
            )
            for decision in decisions
        ]  # fmt: skip
        stored = [inputs.stored_elsewhere(decision, destination) for decision in decisions]
        self.sink: Sink | None = None
        if not writes:
            destination.check_free(force=options.force)
        else:
            self.sink = destination.open(
                stack, tmp_dir, force=options.force, registries=self._registries, cancelled=cancelled,
                progress=progress, at_hand=inputs.at_hand(decisions, destination, replace=options.replace),
            )  # fmt: skip
            stack.callback(self.sink.close)
        for loader in loaders:  # closed first: its threads write to the sink
            stack.push(loader)
        self.jobs = [
            Job(
                base, decision.segments, loader, self.sink, where, options,
                self._report(source, decision, where, elsewhere), notify, elsewhere,
            )
            for decision, loader, where, (base, elsewhere) in zip(
                decisions, loaders, destinations, stored, strict=True
            )
        ]  # fmt: skip

    @property
    def reports(self) -> list[Report]:
        return [job.report for job in self.jobs]

    def run(self) -> list[WrittenImage | None]:
        """Write every image, none of which has a name yet; None for each in a dry run."""
        results = []
        for job in self.jobs:
            with told_of(str(job.image.platform) if self._options.platform == ALL else ""):
                results.append(job.run())
        return results

    def count_transfer(self) -> None:
        """Tell the reports what went over the wire: all that this work moved."""
        transfer = self._transferred()
        for report in self.reports:
            report.transfer = transfer

    def _transferred(self) -> Transfer | None:
        """Bytes to and from daemons and registries; None where there is neither."""
        counted = self._registries.traffic
        source = self._inputs.source
        saved = source.container if source.in_store is not None else None
        loaded = self.sink if isinstance(self.sink, StoreSink) else None
        if counted is None and saved is None and loaded is None:
            return None
        unmoved = {digest: size for job in self.jobs for digest, size in job.there.items()}
        return Transfer(
            down=(counted.down if counted else 0) + (saved.size if isinstance(saved, Archive) else 0),
            up=(counted.up if counted else 0) + (loaded.loaded if loaded else 0),
            not_moved=loaded.left_out if loaded else sum(unmoved.values()),
        )

    def commit(self, root: Descriptor, images: Sequence[WrittenImage]) -> None:
        """Give what was written its names."""
        assert self.sink is not None
        destination = self._destination
        written = Written(root, images, destination.tags, destination.repo_tags)
        check = partial(self._check, images) if self._options.check else None
        self.sink.commit(written, check)

    def _check(self, images: Sequence[WrittenImage], container: Container) -> None:
        for job, written in zip(self.jobs, images, strict=True):
            check_result(
                job.loader, job.report.plan, job.changesets, written, container,
                follow=self._options.symlink_parents == "follow",
            )  # fmt: skip

    def _report(
        self,
        source: Source,
        decision: Decision,
        destination: Destination,
        elsewhere: Mapping[DiffID, Origin],
    ) -> Report:
        image = decision.image
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
            notes=_notes(source, decision, self._options, destination, self.chosen, elsewhere),
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
    if chosen.missing:
        missing = ", ".join(chosen.missing)
        notes.append(f"Left out, since not all of its blobs are there: {missing}.")
    if source.listing.attestations:
        notes.append(
            "Attestations (provenance, SBOM) describe the image before the squash and are left out."
        )
    if source.listing.artifacts:
        notes.append(
            "Signatures and other artifacts beside the image refer to it before the squash and are left"
            " out."
        )
    if image.manifest and "subject" in image.manifest.raw:
        notes.append("The manifest's subject is dropped: it refers to the image before the squash.")
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
            " --keep-base docker://HOST/NAME takes them as that registry has them."
        )
    if options.history.drop:
        notes.append(
            "History dropped; secrets may remain in Env and labels, which are never touched."
        )
    if destination.is_oci_archive:
        notes.append("docker before 25 cannot load an OCI archive; what --format docker writes, it can.")
    return notes
