"""The whole job, reference to report: read an image, keep its base, merge the rest, write it.

`squash` is the function to read first. What is decided is decided in base.py, planner.py and
metadata.py; what is read and written goes through loader.py and writer.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from squashkit import metadata
from squashkit.destination import Destination, decide_destination, parse_output
from squashkit.errors import UsageError
from squashkit.execute import Job, Notify
from squashkit.graph import Image
from squashkit.loader import Loader, Source, open_source
from squashkit.metadata import StoredLayer
from squashkit.oci import (
    Codec,
    Digest,
)
from squashkit.options import Options
from squashkit.planner import KeptLayer, LayerPlan
from squashkit.progress import Progress, Silent
from squashkit.report.squash import Report
from squashkit.selection import decide
from squashkit.transports import Reference, parse_reference
from squashkit.transports.oci_layout import refuse_unsupported


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
    options = options or Options()
    progress = progress or Silent()
    with ExitStack() as stack:
        tmp_dir = _temporary_folder(options, output)
        source = stack.enter_context(open_source(parse_reference(image), tmp_dir, progress))
        base_sources: list[Source] = []

        def open_base(reference: Reference) -> Source:
            base_sources.append(stack.enter_context(open_source(reference, tmp_dir)))
            return base_sources[-1]

        chosen, base, segments = decide(source, options.keep, options.platform, open_base)
        refuse_unsupported(chosen)
        destination = decide_destination(
            output, source, chosen, segments,
            tags=options.tags, format=options.format, compress=options.compress,
        )  # fmt: skip
        loader = Loader(source, chosen, tmp_dir, options.jobs, options.verify, progress)
        stack.callback(loader.close)
        _protect_inputs(destination, [source, *base_sources])
        sink = None
        if output is None or options.dry_run:
            destination.check_free(force=options.force)
        else:
            sink = destination.open(tmp_dir, force=options.force, cancelled=loader.cancelled)
            stack.callback(sink.close)
        report = Report(
            source=source.title,
            image=chosen,
            base=base,
            plan=LayerPlan(tuple(segments), tuple(KeptLayer(i) for i in range(len(chosen.layers)))),
            before=_stored_before(source, chosen),
            tags=[tag.verbatim or tag.name for tag in destination.tags],
            output=sink.title if sink else None,
            dry_run=sink is None,
            notes=_notes(source, chosen, options, destination),
        )
        Job(base, segments, loader, sink, destination, options, report, notify).run()
        return report


def _protect_inputs(destination: Destination, sources: Sequence[Source]) -> None:
    """Raises UsageError where the output is one of the inputs, or lies within one."""
    reference = destination.reference
    if reference is None:
        return
    if reference.is_stdio:
        there = os.fstat(sys.stdout.fileno()) if sys.stdout is not None else None
    else:
        target = Path(reference.path)
        there = target.stat() if target.is_file() else None
    for source in sources:
        if there is not None and source.is_file(there):
            raise UsageError(
                f"the output {reference.path} is {source.title}, an input, which is never written to"
            )
        folder = source.folder
        if folder is not None and not reference.is_stdio:
            inside = folder.resolve() in Path(reference.path).absolute().parents
            if inside or folder.resolve() in Path(reference.path).resolve().parents:
                raise UsageError(
                    f"the output {reference.path} lies within {source.title}, which is an input"
                )


def _temporary_folder(options: Options, output: str | None) -> Path:
    """Where temporary files go: where they are asked for, else beside the output, else the system's."""
    if options.tmp_dir is not None:
        if not options.tmp_dir.is_dir():
            raise UsageError(f"--tmp-dir {options.tmp_dir} is no folder")
        return options.tmp_dir
    reference = parse_output(output) if output is not None else None
    if reference is not None and not reference.is_stdio:
        path = Path(reference.path)
        for folder in (path, path.parent):
            if folder.is_dir() and os.access(folder, os.W_OK):
                return folder
    from tempfile import gettempdir

    return Path(gettempdir())


def _stored_before(source: Source, image: Image) -> list[StoredLayer]:
    """The source's layers as they are stored. A digest that is not stated is the diff_id's if the layer
    is plain, and empty otherwise."""
    stored = []
    for layer in image.layers:
        descriptor = layer.descriptor
        codec = source.codec(layer)
        if descriptor is not None:
            digest, size = descriptor.digest, descriptor.size
        else:
            digest = Digest(layer.diff_id if codec is Codec.NONE else "")
            size = source.blob(layer).size
        stored.append(StoredLayer(layer.diff_id, digest, size, codec, descriptor))
    return stored


def _notes(
    source: Source, image: Image, options: Options, destination: Destination
) -> list[str]:
    notes = []
    named = destination.reference is not None and destination.reference.image
    if not options.tags and not named and destination.tags:
        names = ", ".join(tag.verbatim or tag.name for tag in destination.tags)
        notes.append(f"No -t was given: the result has the source's own name ({names}).")
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
    if options.history.drop:
        notes.append(
            "History dropped; secrets may remain in Env and labels, which are never touched."
        )
    if destination.is_oci_archive:
        notes.append("docker before 25 cannot load an OCI archive; what --format docker writes, it can.")
    return notes
