"""Which bases the images of a fleet stand on: by what says so, never by a guess.

A base is known by `--base`, by the user's catalogue, or by what an image, its build or a rebase says of
it, which is held against the layers as `squash` does it. One that is known for one image is known for all
whose lowest layers are its own. Nothing is opened to guess; a base that an image names is looked up by its
digest where the fleet reads already: among the images that are open, and in their registries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from squashkit.amounts import count
from squashkit.errors import (
    InvalidImage,
    NotBasedOn,
    TransportError,
    Unavailable,
    UnsupportedImage,
    show_text,
)
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.base.find import base_by_evidence
from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.oci.digests import ChainID, chain_ids, is_digest
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image, shared_prefix
from squashkit.oci.names import ImageName
from squashkit.plan.base import base_by_note, stated_base
from squashkit.transports.reference import Reference
from squashkit.transports.source import Source
from squashkit.wording import Option, Words


@dataclass(slots=True)
class FleetBases:
    """What is known of the bases of a fleet's images."""

    fleet: Fleet
    members: Sequence[Member]
    named: Sequence[Member]
    """Bases that a person names."""
    tops: dict[ChainID, str] = field(default_factory=dict, init=False)
    """The uppermost layers of all bases that are known, with a reference to each."""
    _wrong: set[int] = field(default_factory=set, init=False)
    """Images that name a base which they do not stand on, by their place in the fleet."""
    _hosts: frozenset[str] = field(init=False)
    """Of the registries that are read anyway."""
    _failed: set[Reference] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        places = [one.source.reference for one in (*self.members, *self.named)]
        self._hosts = frozenset(one.in_registry.host for one in places if one.in_registry)
        for member in self.named:
            if member.image.layers:
                self.tops.setdefault(member.image.layers[-1].chain_id, member.reference)
        self._ask_catalogue()
        self._ask_images()

    def _ask_catalogue(self) -> None:
        """Find the bases of the catalogue on which images stand, or which they are."""
        known: dict[ChainID, dict[Platform, str]] = {}
        for base in Catalogue.of_user(used=True).bases():
            if base.diff_ids:
                known.setdefault(chain_ids(base.diff_ids)[-1], {})[base.platform] = base.reference
        for image in (member.image for member in self.members):
            for layer in image.layers:
                for platform, reference in known.get(layer.chain_id, {}).items():
                    if platform.matches(image.platform):
                        self.tops.setdefault(layer.chain_id, reference)

    def _ask_images(self) -> None:
        """Find the bases that images, or their builds, name."""
        at_hand = [image for _, image in self._open_images()]
        for number, member in enumerate(self.members):
            image, source = member.image, replace(member.source, images=at_hand)
            try:
                base = base_by_evidence(image, source, self._open, None) or base_by_note(image)
            except NotBasedOn:
                self._wrong.add(number)
                continue
            except (InvalidImage, UnsupportedImage):  # what it names is no base; it may have another
                continue
            if base is not None and base.layers:
                place = "docker://" if source.remote is not None and base.image_name else ""
                named = place + (base.image_name or base.name)
                self.tops.setdefault(image.layers[base.layers - 1].chain_id, named)

    def _open(self, reference: Reference, platform: Platform) -> Source:
        """Open a base that an image names, in a registry that is read anyway, once."""
        name = reference.in_registry
        if name is None or name.host not in self._hosts or reference in self._failed:
            raise Unavailable(f"{reference} is not looked up", reference=str(reference))
        try:
            return self.fleet.open_base(reference, platform)
        except TransportError:
            self._failed.add(reference)
            raise

    def _open_images(self) -> Iterator[tuple[Source, Image]]:
        """All images that lie in what is open, whether they are of the fleet or not."""
        sources = {id(one.source): one.source for one in (*self.members, *self.named)}
        for source in sources.values():
            for image in source.images:
                yield source, image

    def unused(self) -> list[str]:
        """Bases that are named, and that no image stands on."""
        used = {layer.chain_id for member in self.members for layer in member.image.layers}
        named: dict[str, bool] = {}
        for one in self.named:
            stands = not one.image.layers or one.image.layers[-1].chain_id in used
            named[one.reference] = named.get(one.reference, False) or stands
        return [reference for reference, stands in named.items() if not stands]

    def hints(self, numbers: Sequence[int]) -> list[str]:
        """For each of these images of which no base is known what may help a person to name it; empty where
        nothing does."""
        at_hand = list(self._open_images()) if numbers else []
        return [self._hint(number, at_hand) for number in numbers]

    def _hint(self, number: int, at_hand: Iterable[tuple[Source, Image]]) -> str:
        image = self.members[number].image
        stated, digest = stated_base(image)
        if number in self._wrong:
            return f"it names {show_text(stated or digest)} as its base, whose layers it does not have"
        below = {layer.chain_id for layer in image.layers[:-1]}
        beside = [
            (len(other.layers), show_text(other.names[0]), source)
            for source, other in at_hand
            if other.names and other.layers and other.layers[-1].chain_id in below
        ]
        if beside:  # squash does not take it for the base either
            _, name, source = max(beside, key=lambda one: one[0])
            message = f"it stands on {name}, which lies beside it"
            place = source.example.removesuffix("REF")
            is_there = source.reference.is_file and not source.reference.is_stdio
            base = Option("FleetOptions.bases", show_text(place) + name)
            return Words(f"{message}: ", base) if is_there else message
        shared = [
            (shared_prefix(image.diff_ids, one.image.diff_ids), len(one.image.layers), one.reference)
            for one in self.named
        ]
        if shared and max(shared)[0]:
            layers, of, reference = max(shared)
            base = Option("FleetOptions.bases", show_text(reference))
            return Words(f"it has {layers} of the {count(of, 'layer')} of ", base)
        if stated:
            named = ImageName.of(stated)
            name = f"{named.full_repository if named else stated}@{digest}" if is_digest(digest) else stated
            base = Option("FleetOptions.bases", f"docker://{show_text(name)}")
            return Words("it names its base: ", base)
        return ""
