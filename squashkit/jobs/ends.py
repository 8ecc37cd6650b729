"""Where an image comes from, and where its result goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from squashkit.jobs.decide import Bases
from squashkit.oci.documents import ALL
from squashkit.options import Read, Run, Write
from squashkit.plan.segments import Decision
from squashkit.progress import Notify, Progress, Silent
from squashkit.transports.open import open_source
from squashkit.transports.reference import parse_reference
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


@contextmanager
def open_ends(
    image: str, output: str | None, read: Read, run: Run, progress: Progress | None, notify: Notify
) -> Iterator[tuple[Session, Source]]:
    """A session, with the image's source open. Raises UsageError for an output that was hardly meant, and
    what `open_source` raises."""
    reference = parse_reference(image)
    beside = None
    if output is not None:
        refuse_mistaken_file(output, reference)
        place = parse_output(output)
        if place.is_file and not place.is_stdio:
            beside = writable_folder(Path(place.path))
    with Session(run, progress or Silent(), notify, beside) as session:
        yield session, open_source(session, reference, read.choice)


def decide_targets(
    output: str | None,
    source: Source,
    decisions: Sequence[Decision],
    bases: Bases,
    read: Read,
    write: Write,
) -> list[Target]:
    """Where images go, each in its form. Raises UsageError where something must not be written there."""
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
    target = targets[0]
    protect_inputs(target, [source, *bases.sources])
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
