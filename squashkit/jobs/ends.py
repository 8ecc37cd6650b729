"""Where an image comes from, and where its result goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from squashkit.arguments import texts
from squashkit.errors import UsageError
from squashkit.jobs.decide import Bases
from squashkit.jobs.provenance import refuse_unproven
from squashkit.oci.digests import is_digest
from squashkit.oci.documents import ALL
from squashkit.options import Read, Run, Write
from squashkit.plan.segments import Decision
from squashkit.progress import Notify, Progress, Silent
from squashkit.transports.layout.index import INDEX, LAYOUT
from squashkit.transports.open import open_source, save_together
from squashkit.transports.reference import REGISTRY, STDIO, STORES, parse_reference
from squashkit.transports.session import Session, writable_folder
from squashkit.transports.source import Source
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import (
    Target,
    decide_target,
    parse_output,
    protect_inputs,
    protect_names,
    refuse_mistaken_file,
    refuse_vain_check,
)
from squashkit.wording import Option


def is_stream(output: str | None) -> bool:
    """Whether an output is standard output."""
    return output is not None and parse_output(output).is_stdio


def default_output(image: str, write: Write) -> str | None:
    """Where the result goes of an image for which nobody says it: where its source is, under the source's
    own name or another; from a pipe into a pipe; None in a dry run. Raises UsageError where that is not
    known."""
    source = parse_reference(image)
    if source.is_file:
        if write.dry_run:
            return None
        if not source.is_stdio:
            raise UsageError(
                "no output was given; pass ",
                Option("output", example="PATH"),
                ", ",
                Option("output", STDIO),
                " for a pipe, or ",
                Option("Write.dry_run", True),
            )
        return STDIO
    if write.replace:
        joint = "://" if source.transport == REGISTRY else ":"
        return f"{source.transport}{joint}{source.path}"
    if source.transport in STORES and write.tags:
        return f"{source.transport}:{write.tags[0]}"
    if write.dry_run:
        return None
    if source.transport == REGISTRY:
        raise UsageError(
            "no output was given; pass ",
            Option("output", example="docker://HOST/NAME"),
            ", or ",
            Option("Write.replace", True),
            f" to move {source}",
        )
    raise UsageError(
        "the result needs a name; pass ",
        Option("Write.tags", example="NAME"),
        ", or ",
        Option("Write.replace", True),
        f" to move {source.path} to it",
    )


def would_harm(target: Path, reference: str) -> bool:
    """Whether writing a file would replace an image, or something that its layout is made of."""
    if is_digest(reference) or not (parsed := parse_reference(reference)).is_file:
        return False
    here, image = target.resolve(), Path(parsed.path)
    there = image.resolve()
    if here == there or (target.exists() and image.exists() and target.samefile(image)):
        return True
    within = here.relative_to(there).parts if image.is_dir() and there in here.parents else ()
    return within[:1] in (("blobs",), (INDEX,), (LAYOUT,))


@contextmanager
def open_ends(
    images: Sequence[str],
    output: str | None,
    read: Read,
    run: Run,
    progress: Progress | None,
    notify: Notify,
) -> Iterator[tuple[Session, Source]]:
    """A session, with the first image's source open. The other images will be read, too: they are asked for
    with it where they lie in the same store. Raises UsageError for an output that was hardly meant, and
    what `open_source` raises."""
    image, *others = images
    reference = parse_reference(image)
    beside = None
    if output is not None:
        refuse_mistaken_file(output, reference)
        place = parse_output(output)
        if place.is_file and not place.is_stdio:
            beside = writable_folder(Path(place.path))
    with Session(run, progress or Silent(), notify, beside) as session:
        if reference.transport in STORES:
            save_together(session, [reference, *(parse_reference(one).near(reference) for one in others)])
        source = open_source(session, reference, read.choice, deltas=bool(texts(read.have)))
        if source.is_delta:
            from squashkit.jobs.have import make_whole, open_other  # few runs have a use for it

            make_whole(source, open_other(session, texts(read.have), whole=True), read.choice)
        yield session, source


def decide_targets(
    output: str | None,
    source: Source,
    decisions: Sequence[Decision],
    bases: Bases,
    read: Read,
    write: Write,
) -> list[Target]:
    """Where images go, each in its form; of a delta with what its reader has. Raises UsageError where
    something must not be written there, and what opening that raises."""
    refuse_unproven(read, write, decisions)
    targets = [
        decide_target(
            output,
            source,
            one.image,
            [layer for run in one.segments if run.keep for layer in one.image.layers[run.start : run.stop]]
            or one.image.layers,
            write,
            several=read.choice == ALL,
        )
        for one in decisions
    ]
    if (have := texts(read.have)) and not source.is_delta:
        from squashkit.jobs.have import delta_target, open_other  # few runs have a use for it

        other = open_other(bases.session, have)
        targets = [delta_target(target, other) for target in targets]
    target = targets[0]
    protect_inputs(target, [source, *bases.sources])
    for text in have if target.is_path else ():
        if would_harm(Path(target.place.path), text):
            raise UsageError(f"the output {target.place.path} is an input, which is never written to")
    protect_names(target, bases.sources)
    refuse_vain_check(target)
    return targets


def guard_tags(source: Source, decisions: Sequence[Decision], target: Target, read: Read) -> TagGuard:
    """What no tag of the target is to lose in silence."""
    name = decisions[0].image.names[:1]
    images = [one.platform for one in source.images if one.names[:1] == name and one.is_whole]
    # Of a registry's index only the image that was chosen was looked at.
    others = source.listing.absent if source.remote is not None else []
    platforms = [decision.image.platform for decision in decisions]
    return TagGuard(
        results={tag.name: platforms for tag in target.tags},
        chosen=read.choice not in (None, ALL),
        source=[*images, *(one.platform for one in others if one.platform is not None)],
    )
