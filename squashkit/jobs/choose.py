"""Which image of a source is meant."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit.errors import ImageNotFound, UnsupportedImage, show_text
from squashkit.oci.digests import algorithm_of
from squashkit.oci.documents import ALL, Descriptor, PlatformChoice
from squashkit.oci.graph import Image
from squashkit.oci.media import SCHEMA_1
from squashkit.oci.names import names_of, same_name
from squashkit.plan.base import choose_image, every_platform, matches
from squashkit.transports.layout.index import refuse_unsupported
from squashkit.transports.source import Source, machine_platform
from squashkit.values import frozen
from squashkit.wording import Option, Words


@frozen
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
        return Words(
            f"The image for {taken} was taken; there are others, for {others} (",
            Option("Which.platform", example="OS/ARCH"),
            ", or all).",
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
    refuse_without_images(source)
    wanted = source.reference.image
    images = source.images if candidates is None else candidates
    _refuse_unsupported_digests(source, wanted, platform, images, skip_missing=skip_missing)
    if platform != ALL:
        named = [descriptor.platform for descriptor in source.listing.absent if descriptor.platform]
        image = choose_image(images, wanted, platform, machine_platform(), source.example, named)
        refuse_unsupported(image)
        return Chosen([image], others=[] if platform is not None else _others(source, image, images))
    found = every_platform(images, wanted, source.example)
    there = [image for image in found if image.is_whole]
    missing = [str(image.platform) for image in found if image not in there]
    missing += [str(one.platform or one.digest) for one in absent_of(source, wanted)]
    if missing and not (skip_missing and there):
        raise ImageNotFound(
            f"{source.title} names {show_text(', '.join(missing))}, but not all blobs of that are there",
            *(("; ", Option("Which.skip_missing", True), " leaves it out") if there else ()),
            reference=source.title,
        )
    for image in there:
        refuse_unsupported(image)
    return Chosen(there, missing)


def _others(source: Source, image: Image, images: Sequence[Image]) -> list[str]:
    """The other platforms of an image whose blobs are there; of a registry's index those that it names."""
    there = [other.platform for other in images if other.names[:1] == image.names[:1] and other.is_whole]
    named = absent_of(source, source.reference.image) if source.remote is not None else []
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


def absent_of(source: Source, wanted: str | None) -> list[Descriptor]:
    """What an index names, by a reference where there is one, and does not hold."""
    return [
        descriptor
        for descriptor in source.listing.absent
        if wanted is None or same_name(wanted, *names_of(descriptor.annotations))
    ]


def refuse_without_images(source: Source) -> None:
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
    told = [f"docker's schema 1 ({kind})" if kind in SCHEMA_1 else kind for kind in listing.artifacts]
    kinds = ", ".join(dict.fromkeys(told)) or "nothing but attestations"
    raise UnsupportedImage(f"{source.title} holds no image; it holds {kinds}", what=kinds)
