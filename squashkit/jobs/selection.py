"""Which image is meant, where its base ends, and the segments that follow from it.

What a person asks for is looked up where it may be found: in the same container, by path, by digest. The
checks are base.py's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from squashkit.errors import (
    BaseNotFound,
    BaseUnknown,
    ImageNotFound,
    InvalidImage,
    TransportError,
    UnsupportedImage,
    UsageError,
    show_text,
    told_of,
)
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.base.find import find_base
from squashkit.oci.digests import algorithm_of, is_digest
from squashkit.oci.documents import ALL, Descriptor, Platform, PlatformChoice
from squashkit.oci.graph import Image
from squashkit.oci.names import names_of, same_name
from squashkit.plan.base import (
    Base,
    BaseOption,
    base_from_step,
    base_of,
    choices,
    choose_image,
    every_platform,
    find_by_digest,
    matches,
    name_of,
    not_found,
    show_layers,
)
from squashkit.plan.squash import Segment
from squashkit.transports.layout.index import refuse_unsupported
from squashkit.transports.reference import Reference, parse_reference
from squashkit.transports.source import Source, machine_platform


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays as it is. One of these is given, or none to go by the image's annotations."""

    base: str | None = None
    """The base: an image's name, a reference, or a digest."""
    layers: int | None = None
    """How many layers, counted from the base."""
    from_step: str | None = None
    """Text of the one step from which to squash."""
    nothing: bool = False
    """Squash all layers into one."""
    segments: str | None = None
    """Runs of layers, as in `=2,3,=1`; those with `=` stay."""
    option: BaseOption = BaseOption.KEEP
    """What errors call `base`."""

    def check(self) -> None:
        """Raises UsageError where more than one is given."""
        given = [
            self.base is not None,
            self.layers is not None,
            self.from_step is not None,
            self.nothing,
            self.segments is not None,
        ]
        if sum(given) > 1:
            raise UsageError(
                "--keep-base, --keep-layers, --from-step, --all and --segments exclude one another"
            )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images that are meant: one, or one for each platform of an index; and what of the index is not
    there."""

    images: Sequence[Image]
    missing: Sequence[str] = ()
    others: Sequence[str] = ()
    """Other platforms of the same image, of which nobody said anything."""

    def note(self) -> str:
        """That of several platforms one was taken, for people; empty where it was not so, or was asked
        for."""
        if not self.others:
            return ""
        taken = show_text(str(self.images[0].platform))
        others = show_text(", ".join(self.others))
        return (
            f"The image for {taken} was taken; there are others, for {others} (--platform OS/ARCH, or all)."
        )


def choose(
    source: Source,
    platform: PlatformChoice | None,
    *,
    skip_missing: bool = False,
    candidates: Sequence[Image] | None = None,
) -> Chosen:
    """The image that the source's reference and a platform mean, or with `all` every platform's.

    Where blobs of a platform are not there, `all` raises ImageNotFound unless it is to skip them.
    Raises UsageError and ImageNotFound with what there is to choose from, UnsupportedImage for images
    that are of no use here.
    """
    _refuse_without_images(source)
    wanted = source.reference.image
    images = source.images if candidates is None else candidates
    _refuse_unsupported_digests(source, wanted, platform, images, skip_missing=skip_missing)
    if platform != ALL:
        named = [descriptor.platform for descriptor in source.listing.absent if descriptor.platform]
        image = choose_image(images, wanted, platform, machine_platform(), source.example, named)
        refuse_unsupported(image)
        return Chosen([image], others=[] if platform is not None else _others(source, image, images))
    found = every_platform(images, wanted, source.example)
    there = [image for image in found if all(layer.member is not None for layer in image.layers)]
    missing = [str(image.platform) for image in found if image not in there]
    missing += [str(one.platform or one.digest) for one in _absent(source, wanted)]
    if missing and not (skip_missing and there):
        raise ImageNotFound(
            f"{source.title} names {show_text(', '.join(missing))}, but not all blobs of that are there"
            + ("; --skip-missing leaves it out" if there else ""),
            reference=source.title,
        )
    for image in there:
        refuse_unsupported(image)
    return Chosen(there, missing)


def _others(source: Source, image: Image, images: Sequence[Image]) -> list[str]:
    """The other platforms of an image whose blobs are there; of a registry's index those that it names."""
    there = [
        other.platform
        for other in images
        if other.names[:1] == image.names[:1] and all(layer.member is not None for layer in other.layers)
    ]
    named = _absent(source, source.reference.image) if source.remote is not None else []
    there += [one.platform for one in named if one.platform is not None]
    return list(dict.fromkeys(str(one) for one in there if not one.matches(image.platform)))


def _refuse_unsupported_digests(
    source: Source,
    wanted: str | None,
    platform: PlatformChoice | None,
    images: Sequence[Image],
    *,
    skip_missing: bool,
) -> None:
    """Raises UnsupportedImage where what is meant is named by a digest that is not sha256; what is not
    meant is passed over."""
    for one in source.listing.unnamed:
        names = names_of(one.annotations)
        if wanted is not None and wanted != one.digest and not same_name(wanted, *names):
            continue
        beside = [other for other in images if set(other.names) & set(names) or not (other.names or names)]
        if platform is None:
            meant = wanted is not None and not any(matches(image, wanted) for image in images)
        elif platform == ALL:
            meant = bool(beside) and not skip_missing
        else:
            fits = one.platform is not None and one.platform.matches(platform)
            meant = fits and not any(image.platform.matches(platform) for image in beside)
        if meant:
            algorithm = algorithm_of(one.digest)
            message = f"{one.digest[:19]} of {source.title}: {algorithm} digests are not supported"
            raise UnsupportedImage(message, what=algorithm)


def _absent(source: Source, wanted: str | None) -> list[Descriptor]:
    """What an index names, by a reference where there is one, and does not hold."""
    return [
        descriptor
        for descriptor in source.listing.absent
        if wanted is None or same_name(wanted, *names_of(descriptor.annotations))
    ]


@dataclass(frozen=True, slots=True)
class Decision:
    """An image, where its base ends, and what becomes of its layers."""

    image: Image
    base: Base
    segments: Sequence[Segment]


def decide(
    source: Source,
    keep: Keep,
    platform: PlatformChoice | None,
    open_base: Callable[[Reference, Platform], Source],
    catalogue: Catalogue | None = None,
    *,
    skip_missing: bool = False,
) -> tuple[list[Decision], Chosen]:
    """For every image that is meant: where its base ends, and the segments that follow from it.

    `open_base` opens a base that lies elsewhere, for the platform of the image; where nothing else says
    what the base is, the catalogue may. Raises UsageError, ImageNotFound, BaseNotFound or NotBasedOn, each
    with what there is to choose from.
    """
    _refuse_without_images(source)
    keep.check()
    candidates = source.images
    here = []
    if keep.base is not None:
        here = [other for other in source.images if matches(other, keep.base)]
        if source.reference.image is None and len({i.image_id for i in source.images}) > 1:
            ids = {other.image_id for other in here}
            candidates = [other for other in source.images if other.image_id not in ids]
            reference = parse_reference(keep.base)
            elsewhere = is_digest(keep.base) or not (
                reference.guessed or (reference.is_file and not os.path.exists(reference.path))
            )
            if not here and not elsewhere:
                raise BaseNotFound(
                    f"no base {keep.base!r}: there is no such file, and no such image in {source.title}"
                    + choices(source.images),
                    reference=keep.base,
                    tried=[source.title],
                )
    chosen = choose(source, platform, skip_missing=skip_missing, candidates=candidates)
    bases: dict[Reference, Source] = {}

    def open_once(reference: Reference, platform: Platform) -> Source:
        if reference not in bases:
            bases[reference] = open_base(reference, platform)
        return bases[reference]

    decisions = []
    for image in chosen.images:
        with told_of(str(image.platform) if platform == ALL else ""):
            decisions.append(_decide(image, source, here, keep, open_once, catalogue))
    return decisions, chosen


def _decide(
    image: Image,
    source: Source,
    here: Sequence[Image],
    keep: Keep,
    open_base: Callable[[Reference, Platform], Source],
    catalogue: Catalogue | None,
) -> Decision:
    if keep.segments is not None:
        segments = parse_segments(keep.segments, len(image.layers))
        first = segments[0]
        kept = first.stop if first.keep else 0
        return Decision(image, Base(kept, f"the segments {keep.segments}"), segments)
    base = _find_base(image, source, here, keep, open_base, catalogue)
    total = len(image.layers)
    segments = [Segment(0, base.layers, True), Segment(base.layers, total, False)]
    return Decision(image, base, [segment for segment in segments if len(segment)])


def _refuse_without_images(source: Source) -> None:
    """Say what a container holds instead of an image."""
    if source.images:
        return
    listing = source.listing
    if listing.absent:
        one = listing.absent[0]
        what = f"{one.digest} for {show_text(str(one.platform))}" if one.platform else one.digest
        raise ImageNotFound(
            f"the index of {source.title} names {what}, but its blobs are not there",
            reference=source.title,
        )
    if listing.unnamed:
        algorithm = algorithm_of(listing.unnamed[0].digest)
        message = f"{source.title} names its images by {algorithm} digests, which are not supported"
        raise UnsupportedImage(message, what=algorithm)
    if not listing.artifacts and not listing.attestations:
        raise ImageNotFound(f"{source.title} holds no image", reference=source.title)
    kinds = ", ".join(dict.fromkeys(listing.artifacts)) or "nothing but attestations"
    raise UnsupportedImage(f"{source.title} holds no image; it holds {kinds}", what=kinds)


def _find_base(
    image: Image,
    source: Source,
    here: Sequence[Image],
    keep: Keep,
    open_base: Callable[[Reference, Platform], Source],
    catalogue: Catalogue | None,
) -> Base:
    total = len(image.layers)
    if keep.nothing:
        return Base(0, "--all")
    if keep.layers is not None:
        if not 0 <= keep.layers <= total:
            raise UsageError(
                f"--keep-layers {keep.layers}: {image.title} has {total} layers\n"
                + show_layers(image, BaseOption.KEEP)
            )
        return Base(keep.layers, f"--keep-layers {keep.layers}")
    if keep.from_step is not None:
        return base_from_step(image, keep.from_step)
    if keep.base is not None:
        return _named_base(image, source, here, keep.base, keep.option, open_base)
    base = find_base(image, source, open_base, catalogue, keep.option)
    if base is None:
        near = [other.names[0] for other in source.graph.bases_of(image) if other.names]
        old = keep.option is BaseOption.OLD
        advice = f"{keep.option.value} {near[0]} {'names' if old else 'keeps'}" if near else ""
        hint = f"\n{image.title} stands on {near[0]}: {advice} that." if near else ""
        what = (
            "nothing says what the old base is: pass --old-base REF"
            if old
            else "nothing says which layers are the base: pass --keep-base REF, --keep-layers N,"
            " --from-step TEXT, --segments, or --all to squash everything"
        )
        raise BaseUnknown(f"{what}\n{show_layers(image, keep.option)}{hint}")
    return base


def _named_base(
    image: Image,
    source: Source,
    here: Sequence[Image],
    name: str,
    option: BaseOption,
    open_base: Callable[[Reference, Platform], Source],
) -> Base:
    """The base by name in the same archive, by reference elsewhere, or by digest."""
    if here:
        fitting = [other for other in here if other.platform.matches(image.platform)] or here
        based = [other for other in fitting if other.diff_ids == image.diff_ids[: len(other.diff_ids)]]
        return base_of(image, (based or fitting)[0], name, option)
    tried = [f"an image in {source.title}"]
    if is_digest(name):
        base = find_by_digest(image, name, option)
        if base is not None:
            return base
        tried += ["a chain_id", "a diff_id"]
        if source.store is None:
            raise not_found(name, tried, image, _way(source), option)
        try:
            other = open_base(Reference(source.reference.transport, name), image.platform)
        except ImageNotFound as error:
            tried.append(f"an image of {source.store.title}")
            raise not_found(name, tried, image, _way(source), option) from error
        return base_of(image, other.images[0], name, option)
    try:
        reference = parse_reference(name)
        if reference.is_stdio:
            raise UsageError("the base cannot come from standard input")
        if reference.guessed and source.store is not None:
            reference = replace(reference, transport=source.reference.transport)
        other = open_base(reference, image.platform)
    except TransportError as error:
        told = str(error).partition("; there are:")[0]
        if reference.guessed:
            tried += ["a path", "an image of docker"]
        elif reference.is_file and not os.path.exists(reference.path):
            tried.append("a path")
        else:
            raise
        raise not_found(name, tried, image, _way(source), option, told) from error
    base_image = choose_image(
        other.images, reference.image, image.platform, machine_platform(), other.example
    )
    by_title = base_image.names and reference.is_file
    base = base_of(image, base_image, base_image.title if by_title else str(reference), option)
    named = not reference.is_file and not is_digest(reference.path)
    return replace(base, image_name=reference.path) if named else base


def open_new_base(
    name: str,
    source: Source,
    images: Sequence[Image],
    open_base: Callable[[Reference, Platform], Source],
) -> tuple[Source, list[Base]]:
    """The base that images are to be put on: its source, and its image for each of theirs.

    Like an old one it is looked for in the image's own container, then by reference. Where there is none
    for a platform, the one there is. Raises ImageNotFound, UsageError, InvalidImage where a layer's blob is
    not there, and what `open_base` raises.
    """
    here = [other for other in source.images if matches(other, name)]
    where, reference = source, None
    if not here:
        reference = parse_reference(name)
        if reference.is_stdio:
            raise UsageError("the new base cannot come from standard input")
        if reference.guessed and source.store is not None:
            reference = replace(reference, transport=source.reference.transport)
        where = open_base(reference, images[0].platform)
        _refuse_without_images(where)
    bases = []
    for image in images:
        found = here or list(where.images)
        wanted = reference.image if reference is not None else None
        fitting = [other for other in found if other.platform.matches(image.platform)]
        absent = [one.platform for one in _absent(where, wanted if reference is not None else name)]
        if not fitting and any(one is not None and one.matches(image.platform) for one in absent):
            raise ImageNotFound(
                f"the index of the new base {name} names an image for"
                f" {show_text(str(image.platform))}, but its blobs are not there",
                reference=name,
            )
        base = choose_image(fitting or found, wanted, None, machine_platform(), where.example)
        refuse_unsupported(base)
        _refuse_without_blobs(base, where)
        told = base.title if reference is None or (base.names and reference.is_file) else str(reference)
        named = reference is not None and not reference.is_file and not is_digest(reference.path)
        image_name = reference.path if named and reference is not None else name_of(base, name)
        bases.append(Base(len(base.layers), f"--new-base {name}", base, told, image_name))
    return where, bases


def _refuse_without_blobs(base: Image, where: Source) -> None:
    """Raises InvalidImage where a layer of the new base is not there: later its layers are the image's."""
    for layer in base.layers:
        if layer.member is None:
            digest = layer.descriptor.digest if layer.descriptor else layer.diff_id
            raise InvalidImage(
                f"the blob {digest} is not in {where.title}",
                where=f"the new base {base.title} ({show_text(str(base.platform))}), layer {layer.index}",
            )


def _way(source: Source) -> str:
    """How to come by a base that was not found."""
    if source.reference.is_file:
        save = "docker save {image} {base} -o both.tar"
        return f"Save it with the image ({save}), pass the base's own archive"
    if source.store is not None:
        return "Get it (docker pull {base}), pass docker://HOST/NAME"
    return "Pass it as docker://HOST/NAME"


def parse_segments(text: str, total: int) -> list[Segment]:
    """From `=2,3,=1`: runs of layers, base first, that add up to the image's. Raises UsageError."""
    segments: list[Segment] = []
    at = 0
    for part in text.split(","):
        part = part.strip()
        keep = part.startswith("=")
        digits = part[keep:].strip()
        if not digits.isascii() or not digits.isdigit() or len(digits) > 6 or not int(digits):
            raise UsageError(f"--segments {text}: {part!r} is no number of layers (as in =2,3,=1)")
        segments.append(Segment(at, at + int(digits), keep))
        at += int(digits)
    if at != total:
        raise UsageError(f"--segments {text}: it adds up to {at} layers, the image has {total}")
    return segments
