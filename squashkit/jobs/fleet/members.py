"""The images of a fleet, opened one reference after another.

A reference means one image, or many: a path all images in it, `docker-daemon:` and `containers-storage:`
all that have a name there, `docker://HOST/PREFIX/` all tags of all repositories below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from squashkit.amounts import count, some
from squashkit.errors import ImageNotFound, SquashkitError, UnsupportedImage, UsageError, show_text
from squashkit.jobs.fleet.below import Below
from squashkit.jobs.fleet.scan.where import scan_at
from squashkit.jobs.rollback import SQUASH, Rollback
from squashkit.oci.artifacts import OTHER, kind_by_type
from squashkit.oci.digests import Digest
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.oci.names import ImageName, fits, same_name
from squashkit.plan.base import choose_image
from squashkit.transports.layout.index import Listing, refuse_unsupported
from squashkit.transports.open import open_base, open_each, open_source, save_together
from squashkit.transports.reference import REGISTRY, STORES, Reference, parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source, machine_platform
from squashkit.transports.stores.open import open_store
from squashkit.values import frozen
from squashkit.wording import Option, Words

if TYPE_CHECKING:
    from squashkit.jobs.fleet.scan.known import ScannedLayers

_NAMED = 20
"""The most names in a note."""


@frozen
class Member:
    """An image of a fleet, or a base that is named for it."""

    name: str
    """Its image_id where it has none."""
    source: Source
    image: Image
    reference: str
    """By which it was found."""
    below: str = ""
    """What of its name stands below the place in a registry that lists it; empty for one named alone."""
    meaning: Digest | None = None
    """What its tag in a registry means now, which earlier runs may have moved; None for what has none."""
    scan: ScannedLayers | None = None
    """What tells of its layers, where these are not to be read."""


@dataclass(slots=True)
class Fleet:
    """Images as they are opened. All of them are closed with the session."""

    session: Session
    platform: Platform | None
    exclude: Sequence[str] = ()
    """Globs of the names of images that are not meant."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of what was left out."""
    earlier: Rollback | None = None
    """Where earlier runs noted which tags they moved: these count as what they were."""
    _excluded: dict[str, set[str]] = field(default_factory=dict, init=False)
    """The names that each glob has left out."""
    _bases: dict[tuple[Reference, Platform | None], Source] = field(default_factory=dict, init=False)

    def members(self, references: Sequence[str]) -> list[Member]:
        """The images that the references mean, in their order; the same one under the same name once.

        Raises UsageError where there is none, and where a reference is a scan; ImageNotFound where one
        means no image, and what opening an image raises.
        """
        found: dict[tuple[str, str, str], Member] = {}
        again = []
        for text in references:
            if scan_at(text) is not None:
                raise UsageError(
                    f"{show_text(text)} is a scan, which is measured alone and has no bytes to be copied;"
                    " name its images"
                )
        for member in self._members(references):
            if self._is_excluded(member.name):
                continue
            name, place = member.name, member.reference
            if member.source.reference.in_registry is not None:
                name, place = str(ImageName.parse(name)), ""
            elif member.source.reference.is_file and not member.source.reference.is_stdio:
                there = Path(member.source.reference.path).stat()
                place = f"{there.st_dev} {there.st_ino}"
            key = name, member.image.image_id, place
            if key in found:
                again.append(show_text(member.name))
            # Of several places that list it the widest one counts, as for all else that this one lists.
            if key not in found or len(found[key].below) < len(member.below):
                found[key] = member
        self._note_excluded(found)
        if again:
            self.notes.append(f"Named twice and counted once: {some(again, _NAMED)}.")
        return list(found.values())

    def _is_excluded(self, name: str) -> bool:
        """Whether a glob fits a name, with its tag or without."""
        fitting = [glob for glob in self.exclude if fits(name, glob)]
        for glob in fitting:
            self._excluded.setdefault(glob, set()).add(name)
        return bool(fitting)

    def without_excluded(self, members: Sequence[Member]) -> list[Member]:
        """Those that no glob leaves out. Raises UsageError where there is none."""
        kept = [member for member in members if not self._is_excluded(member.name)]
        self._note_excluded(kept)
        return kept

    def _note_excluded(self, kept: Sized) -> None:
        for glob in dict.fromkeys(self.exclude):
            of = count(len(self._excluded.get(glob, ())), "image")
            said = Option("FleetOptions.exclude", show_text(glob))
            self.notes.append(Words("Left out by ", said, f": {of}."))
        if not len(kept):
            raise UsageError(
                "the fleet has no image", *([" that is not left out"] if self._excluded else [])
            )

    def published(self, references: Sequence[str]) -> list[Member]:
        """The images that references mean whose layers are to be used again. Raises what opening them
        raises."""
        return list(self._members(references))

    def bases(self, text: str, platforms: Sequence[Platform]) -> list[Member]:
        """The images of a base that is named: for each of these platforms its own, as far as it has them.
        Raises ImageNotFound where it has one for none of them, and what opening an image raises."""
        reference = parse_reference(text)
        found: dict[str, Member] = {}
        missing = None
        for platform in dict.fromkeys(platforms):
            source = self.open_base(reference, platform)
            try:
                image = self._choose(source, source.images, reference.image, platform)
            except ImageNotFound as error:
                missing = missing or error
                continue
            found.setdefault(image.image_id, Member(reference.path, source, image, text))
        if missing is not None and not found:
            raise missing
        return list(found.values())

    def open_base(self, reference: Reference, platform: Platform) -> Source:
        """An image whose layers' bytes nobody will ask for, opened once: a registry's for each platform."""
        key = reference, platform if reference.transport == REGISTRY else None
        if key not in self._bases:
            self._bases[key] = open_base(self.session, reference, platform)
        return self._bases[key]

    def _members(self, references: Sequence[str]) -> Iterator[Member]:
        named = {text: parse_reference(text) for text in references if not _means_many(text)}
        in_registries = [named[text] for text in references if text in named and named[text].in_registry]
        with open_each(self.session, in_registries, self.platform) as opened:
            save_together(self.session, list(named.values()))
            for text in references:
                if text not in named:
                    yield from self._all_of(text)
                elif named[text].in_registry:
                    yield self._member(text, next(opened)())
                elif named[text].is_file and named[text].image is None:
                    yield from self._all_in(text, named[text])
                else:
                    yield self._one(text, named[text])

    def _all_of(self, text: str) -> Iterator[Member]:
        """The images of a store, or below a place in a registry."""
        whole = text.removesuffix(":")
        if whole in STORES:
            with open_store(parse_reference(f"{whole}:any")) as store:
                names = store.names()
            yield from self._images([f"{whole}:{name}" for name in names])
        else:
            yield from self._below(Below.parse(text, self.session.registries))

    def _images(self, texts: Sequence[str]) -> Iterator[Member]:
        """Those of them that are images of use here; of the others it is noted that they are left out."""
        references = {text: parse_reference(text) for text in texts}
        references = {
            text: reference
            for text, reference in references.items()
            if not self._is_excluded(reference.path)
        }
        save_together(self.session, list(references.values()))
        for text, reference in references.items():
            try:
                yield self._one(text, reference)
            except UnsupportedImage as error:
                self._leave_out(text, error)

    def _below(self, place: Below) -> Iterator[Member]:
        """The images of use below a place in a registry. Where there is none it raises why: ImageNotFound,
        Unauthorized, or UnsupportedImage."""
        gone: list[str] = []
        missed: list[SquashkitError] = []
        found = False
        listed = place.names()
        names = [name for name in listed if not self._is_excluded(name)]
        references = [parse_reference(f"docker://{name}") for name in names]
        with open_each(self.session, references, self.platform) as opened:
            for name, open_it in zip(names, opened, strict=True):
                text = f"docker://{name}"
                try:
                    source = open_it()
                except ImageNotFound as error:  # deleted, and listed still
                    gone.append(name)
                    missed.append(error)
                    continue
                except UnsupportedImage as error:
                    self._leave_out(text, error)
                    missed.append(error)
                    continue
                if kind := _kind(source.listing):
                    place.kinds[kind] += 1
                    continue
                try:
                    yield replace(self._member(text, source), below=place.rest(name))
                    found = True
                except UnsupportedImage as error:
                    self._leave_out(text, error)
                    missed.append(error)
        if not found and (missed or len(names) == len(listed)):
            raise missed[0] if missed else place.nothing()
        self.notes += place.notes(gone)

    def _leave_out(self, name: str, error: UnsupportedImage) -> None:
        self.notes.append(f"Left out: {show_text(name)}: {error}.")

    def _one(self, text: str, reference: Reference) -> Member:
        return self._member(text, self._open(reference))

    def _member(self, text: str, source: Source) -> Member:
        reference, meaning = source.reference, source.root
        source = self._as_it_was(source)
        image = self._choose(source, source.images, reference.image)
        name = reference.image or (image.names[0] if reference.is_file and image.names else reference.path)
        self._note_platforms(name, image, source.images if reference.image is None else [])
        return Member(name, source, image, text, meaning=meaning)

    def _as_it_was(self, source: Source) -> Source:
        """What a tag meant before earlier squashes moved it, as far as that is there."""
        name = source.reference.in_registry
        if self.earlier is None or name is None or source.root is None:
            return source
        before = self.earlier.meaning_before(name, source.root, SQUASH)
        if before is not None:
            with suppress(ImageNotFound):
                return self._open(Reference(REGISTRY, str(name.with_digest(before))))
        return source

    def _all_in(self, text: str, reference: Reference) -> Iterator[Member]:
        """Every image of an archive or a layout; one of an index's for each of its names."""
        source = self._open(reference)
        if not source.images:
            raise ImageNotFound(f"{source.title} holds no image", reference=source.title)
        by_name: dict[str, list[Image]] = {}
        for image in source.images:
            for name in _names(image) or [image.image_id]:
                by_name.setdefault(name, []).append(image)
        for name, images in by_name.items():
            try:
                image = self._choose(source, images, None)
            except UnsupportedImage as error:
                self._leave_out(name, error)
                continue
            self._note_platforms(name, image, images)
            yield Member(name, source, image, f"{text}:{name}")

    def _choose(
        self,
        source: Source,
        images: Sequence[Image],
        wanted: str | None,
        platform: Platform | None = None,
    ) -> Image:
        choice = platform or self.platform
        image = choose_image(images, wanted, choice, machine_platform(), source.example)
        refuse_unsupported(image)
        return image

    def _note_platforms(self, name: str, image: Image, images: Sequence[Image]) -> None:
        platforms = {other.platform for other in images}
        if len(platforms) > 1:
            of = count(len(platforms), "platform")
            self.notes.append(
                Words(
                    f"{show_text(name)} has {of}, of which {image.platform} counts; ",
                    Option("FleetOptions.platform"),
                    " takes another.",
                )
            )

    def _open(self, reference: Reference) -> Source:
        return open_source(self.session, reference, self.platform)


def _means_many(text: str) -> bool:
    """Whether a reference means the images of a store, or those below a place in a registry."""
    is_store = text.endswith(":") and text.removesuffix(":") in STORES
    return is_store or (text.startswith("docker://") and text.endswith("/"))


def _names(image: Image) -> list[str]:
    """Each of an image's names once; a bare tag only where it is all that there is."""
    full = [name for name in image.names if ":" in name or "/" in name] or list(image.names[:1])
    return [name for n, name in enumerate(full) if not same_name(name, *full[:n])]


def _kind(listing: Listing) -> str:
    """What lies in the place of an image where only something else does; nothing where an image may."""
    if listing.images or listing.absent or listing.unnamed:
        return ""
    if listing.artifacts:
        return kind_by_type(listing.artifacts[0])
    return OTHER if listing.attestations else ""
