"""Where the base of each image ends that is meant, and what becomes of its layers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from squashkit.errors import BaseNotFound, BaseUnknown, UsageError, inside, layer_table
from squashkit.jobs.base.lookup import named_base
from squashkit.jobs.base.shared import with_registry_blobs
from squashkit.jobs.choose import Chosen, choose, refuse_without_images
from squashkit.oci.digests import is_digest
from squashkit.oci.documents import ALL, Platform, PlatformChoice
from squashkit.oci.graph import Image
from squashkit.options import Keep, Read
from squashkit.plan.base import Base, base_from_step, choices, matches, steps_of
from squashkit.plan.segments import Decision, Segment, parse_segments
from squashkit.transports.open import open_base, open_source
from squashkit.transports.reference import Reference, parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.target import Target
from squashkit.wording import Option, Words


class Bases:
    """The bases of a run: each is opened once, for the platform that is asked for unless all are worked
    on."""

    def __init__(self, session: Session, platform: PlatformChoice | None) -> None:
        self.session = session
        self._platform = platform
        self._opened: dict[tuple[Reference, PlatformChoice], Source] = {}

    @property
    def sources(self) -> list[Source]:
        return list(self._opened.values())

    def open(self, reference: Reference, platform: Platform) -> Source:
        """A base whose layers' bytes nobody will ask for."""
        key = reference, self._choice(platform)
        if key not in self._opened:
            self._opened[key] = open_base(self.session, *key)
        return self._opened[key]

    def add_blobs(self, decision: Decision, source: Source, target: Target) -> Decision:
        """With the blobs of the base as the registry has them that an image goes to."""
        return with_registry_blobs(decision, source, self.sources, target, self.open)

    def open_whole(self, reference: Reference, platform: Platform) -> Source:
        """The same for one whose layers will be read."""
        key = reference, self._choice(platform)
        self._opened[key] = open_source(self.session, *key)
        return self._opened[key]

    def _choice(self, platform: Platform) -> PlatformChoice:
        return ALL if self._platform == ALL else platform


def decide(
    source: Source, keep: Keep, read: Read, bases: Bases, other: str | None = None
) -> tuple[list[Decision], Chosen]:
    """For every image that is meant: where its base ends, and the segments that follow from it. Where
    nothing else says what the base is, the catalogue may. `other` is an image of the source that is not
    meant.

    Raises UsageError, ImageNotFound, BaseNotFound, BaseUnknown or NotBasedOn, each with what there is to
    choose from.
    """
    refuse_without_images(source)
    here, candidates = base_beside(source, keep)
    if other is not None and source.reference.image is None:
        meant = [image for image in candidates if not matches(image, other)]
        candidates = meant or candidates
    chosen = choose(source, read.choice, skip_missing=read.skip_missing, candidates=candidates)
    decisions = []
    for image in chosen.images:
        with inside(str(image.platform) if read.choice == ALL else ""):
            decisions.append(_decide(image, source, here, keep, bases))
    return decisions, chosen


def keep_all(source: Source, read: Read) -> tuple[list[Decision], Chosen]:
    """Every image that is meant, as it is. Raises as `decide` does."""
    chosen = choose(source, read.choice, skip_missing=read.skip_missing)
    decisions = []
    for image in chosen.images:
        total = len(image.layers)
        decisions.append(Decision(image, Base(total, "a delta is made whole"), [Segment(0, total, True)]))
    return decisions, chosen


def base_beside(source: Source, keep: Keep) -> tuple[list[Image], Sequence[Image]]:
    """The images of the source that the base's name means, and those that may be the one to work on."""
    if keep.base is None:
        return [], source.images
    here = [other for other in source.images if matches(other, keep.base)]
    if source.reference.image is not None or len({i.image_id for i in source.images}) < 2:
        return here, source.images
    reference = parse_reference(keep.base)
    elsewhere = is_digest(keep.base) or not (
        reference.guessed or (reference.is_file and not os.path.exists(reference.path))
    )
    if not here and not elsewhere:
        raise BaseNotFound(
            f"no base {keep.base!r}: there is no such file, and no such image in {source.title}",
            reference=keep.base,
            tried=[source.title],
            details=choices(source.images),
        )
    ids = {other.image_id for other in here}
    return here, [other for other in source.images if other.image_id not in ids]


def _decide(image: Image, source: Source, here: Sequence[Image], keep: Keep, bases: Bases) -> Decision:
    if keep.segments is not None:
        segments = parse_segments(keep.segments, len(image.layers))
        first = segments[0]
        kept = first.stop if first.keep else 0
        return Decision(image, Base(kept, f"the segments {keep.segments}"), segments)
    base = base_to_keep(image, source, here, keep, bases)
    total = len(image.layers)
    segments = [Segment(0, base.layers, True), Segment(base.layers, total, False)]
    return Decision(image, base, [segment for segment in segments if len(segment)])


def base_to_keep(image: Image, source: Source, here: Sequence[Image], keep: Keep, bases: Bases) -> Base:
    """Where an image's base ends: `here` are the images of the source that its name means. Raises as
    `decide` does."""
    total = len(image.layers)
    if keep.nothing:
        return Base(0, Words(Option("Keep.nothing", True)))
    if keep.layers is not None:
        if not 0 <= keep.layers <= total:
            raise UsageError(
                Option("Keep.layers", keep.layers),
                f": {image.title} has {total} layers",
                details=f"\n{layer_table(steps_of(image), counts=True)}",
            )
        return Base(keep.layers, Words(Option("Keep.layers", keep.layers)))
    if keep.from_step is not None:
        return base_from_step(image, keep.from_step)
    if keep.base is not None:
        return named_base(image, source, here, keep.base, bases.open)
    from squashkit.jobs.base.catalogue import Catalogue  # where a base is named, nobody asks for it
    from squashkit.jobs.base.find import base_by_evidence

    base = base_by_evidence(image, source, bases.open, Catalogue.of_user())
    if base is None:
        raise _unknown(image, source)
    return base


def _unknown(image: Image, source: Source) -> BaseUnknown:
    near = [other.names[0] for other in source.graph.bases_of(image) if other.names]
    return BaseUnknown(
        "nothing says which layers are the base: name it (keep=, or old_base= of a rebase)",
        image=image.title,
        near=near[0] if near else "",
        steps=steps_of(image),
    )
