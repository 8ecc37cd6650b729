"""The images of a fleet, opened one reference after another.

A reference means one image, or many: a path all images in it, `docker-daemon:` and `containers-storage:`
all that have a name there, `docker://HOST/PREFIX/` all tags of all repositories below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from squashkit.amounts import count
from squashkit.errors import ImageNotFound, InvalidReference, UnsupportedImage, UsageError, show_text
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.oci.names import ImageName, same_name
from squashkit.plan.base import choose_image
from squashkit.transports.layout.index import refuse_unsupported
from squashkit.transports.open import open_base, open_source
from squashkit.transports.reference import REGISTRY, STORES, Reference, parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source, machine_platform
from squashkit.transports.stores.open import open_store
from squashkit.wording import Option, Words


@dataclass(frozen=True, slots=True)
class Member:
    """An image of a fleet, or a base that is named for it."""

    name: str
    """Its image_id where it has none."""
    source: Source
    image: Image
    reference: str
    """By which it was found."""


@dataclass(slots=True)
class Fleet:
    """Images as they are opened. All of them are closed with the session."""

    session: Session
    platform: Platform | None
    notes: list[str] = field(default_factory=list)
    """What a person should know of what was left out."""
    _bases: dict[tuple[Reference, Platform | None], Source] = field(default_factory=dict, init=False)

    def members(self, references: Sequence[str]) -> list[Member]:
        """The images that the references mean, in their order; the same one under the same name once.

        Raises UsageError where there is none, ImageNotFound where a reference means none, and what opening
        an image raises.
        """
        found: dict[tuple[str, str, tuple[int, int] | str], Member] = {}
        again = []
        for text in references:
            for member in self._members(text):
                place: tuple[int, int] | str = member.reference
                if member.source.reference.is_file and not member.source.reference.is_stdio:
                    there = Path(member.source.reference.path).stat()
                    place = there.st_dev, there.st_ino
                key = member.name, member.image.image_id, place
                if key in found:
                    again.append(show_text(member.name))
                found.setdefault(key, member)
        if not found:
            raise UsageError("the fleet has no image")
        if again:
            self.notes.append(f"Named twice and counted once: {', '.join(again)}.")
        return list(found.values())

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

    def _members(self, text: str) -> Iterator[Member]:
        whole = text.removesuffix(":")
        if text.endswith(":") and whole in STORES:
            with open_store(parse_reference(f"{whole}:any")) as store:
                names = store.names()
            yield from self._images([f"{whole}:{name}" for name in names])
        elif text.startswith("docker://") and text.endswith("/"):
            names = self._names_below(text.removeprefix("docker://"))
            yield from self._images([f"docker://{name}" for name in names])
        else:
            reference = parse_reference(text)
            if reference.is_file and reference.image is None:
                yield from self._all_in(text, reference)
            else:
                yield self._one(text, reference)

    def _images(self, references: Sequence[str]) -> Iterator[Member]:
        """Those of them that are images of use here; of the others it is noted that they are left out."""
        for text in references:
            try:
                yield self._one(text, parse_reference(text))
            except UnsupportedImage as error:
                self._leave_out(text, error)

    def _leave_out(self, name: str, error: UnsupportedImage) -> None:
        self.notes.append(f"Left out: {show_text(name)}: {error}.")

    def _one(self, text: str, reference: Reference) -> Member:
        source = self._open(reference)
        image = self._choose(source, source.images, reference.image)
        name = reference.image or (image.names[0] if reference.is_file and image.names else reference.path)
        self._note_platforms(name, image, source.images if reference.image is None else [])
        return Member(name, source, image, text)

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

    def _names_below(self, place: str) -> list[str]:
        """Every tag of every repository whose name begins so, by the registry's catalogue: older releases
        first, as far as tags tell them. Raises ImageNotFound where there is none."""
        from squashkit.transports.registry.repository import Repository, repositories

        host, _, prefix = place.partition("/")
        whole = prefix.rstrip("/")
        asked = ImageName.parse(f"{host}/{whole or 'any'}")
        if asked.host != host:
            raise UsageError(f"docker://{place} names no host: docker://HOST/PREFIX/")
        registry = self.session.registries.get(asked)
        names = []
        for path in sorted(repositories(registry)):
            if not path.startswith(prefix) and path != whole:
                continue
            for tag in sorted(Repository(registry, path).tags(), key=_release):
                name = f"{host}/{path}:{tag}"
                try:
                    ImageName.parse(name)
                    names.append(name)
                except InvalidReference as error:
                    self.notes.append(f"Left out: {show_text(name)}: {error}.")
        if not names:
            raise ImageNotFound(
                f"the registry lists nothing below docker://{place}", reference=f"docker://{place}"
            )
        return names


def _names(image: Image) -> list[str]:
    """Each of an image's names once; a bare tag only where it is all that there is."""
    full = [name for name in image.names if ":" in name or "/" in name] or list(image.names[:1])
    return [name for n, name in enumerate(full) if not same_name(name, *full[:n])]


def _release(tag: str) -> list[tuple[int, int | str]]:
    """By which tags sort as releases do: 2 before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", tag) if part]
