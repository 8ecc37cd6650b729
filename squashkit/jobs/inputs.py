"""The images that a squash reads, its source and bases, and what of them a destination has already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial

from squashkit.engine.write import Origin
from squashkit.errors import TransportError, UsageError
from squashkit.jobs.selection import Decision
from squashkit.oci.digests import DiffID, Digest, chain_ids, is_digest
from squashkit.oci.documents import ALL, Platform, PlatformChoice
from squashkit.oci.graph import Layer, LayerGraph
from squashkit.oci.names import ImageName, same_name
from squashkit.plan.base import Base
from squashkit.progress import Progress
from squashkit.transports.blobs import Blob
from squashkit.transports.joined import join_containers
from squashkit.transports.reference import REGISTRY, Reference
from squashkit.transports.registry.access import Registries
from squashkit.transports.room import Room
from squashkit.transports.source import Source, open_base, open_source
from squashkit.transports.target import AtHand, Destination


class Inputs:
    """The source, open, and every base that was opened for it. All are closed with the stack."""

    def __init__(
        self,
        stack: ExitStack,
        reference: Reference,
        platform: PlatformChoice | None,
        tmp_dir: Room,
        registries: Registries,
        progress: Progress,
        source: Source | None = None,
    ) -> None:
        """`source` is what the reference means, where that is open already; whoever opened it closes it."""
        self._stack = stack
        self._platform = platform
        self._tmp_dir = tmp_dir
        self._registries = registries
        self._progress = progress
        self.source = source or stack.enter_context(
            open_source(reference, tmp_dir, progress, None, registries, platform)
        )
        self.layers = self.source
        """Where the layers of the images lie that are worked on."""
        self.bases: list[Source] = []

    def join(self, new: Source) -> None:
        """Work on images from now on whose upper layers are the source's, and whose lower ones are those of
        another base. Their blobs have the names that `Joined.name` gives them, the source's first."""
        self.layers = replace(
            self.source,
            container=join_containers(self.source.container, new.container),
            images=[],
            graph=LayerGraph(),
            folder=None,
        )

    @property
    def all(self) -> list[Source]:
        return [self.source, *self.bases]

    def open_base(self, reference: Reference, platform: Platform) -> Source:
        """Open a base, with the images for one platform unless all are worked on."""
        choice: PlatformChoice = ALL if self._platform == ALL else platform
        opened = open_base(reference, self._tmp_dir, self._registries, choice)
        self.bases.append(self._stack.enter_context(opened))
        return self.bases[-1]

    def open_new_base(self, reference: Reference, platform: Platform) -> Source:
        """The same for a base whose layers will be read."""
        choice: PlatformChoice = ALL if self._platform == ALL else platform
        opened = open_source(reference, self._tmp_dir, self._progress, None, self._registries, choice)
        self.bases.append(self._stack.enter_context(opened))
        return self.bases[-1]

    def stored_elsewhere(
        self, decision: Decision, destination: Destination
    ) -> tuple[Base, dict[DiffID, Origin]]:
        """For a registry: the base, and its layers as a registry has them. They are found by diff_id: what
        is plain, or compressed by somebody else, has another digest than what hosts have pulled."""
        base = decision.base
        if not destination.is_registry or base.image is None or self.layers.remote is not None:
            return base, {}
        found = next((s for s in self.bases if any(image is base.image for image in s.images)), None)
        if found is not None and found.in_store is not None:
            found = self._pulled_from(found.in_store.digests, destination, base.image.platform)
        images = found.images if found is not None else []
        same = [image for image in images if image.diff_ids == base.image.diff_ids]
        if found is None or not same:
            return base, {}
        elsewhere = {}
        for layer, stored in zip(decision.image.layers, same[0].layers, strict=False):
            if stored.descriptor is not None:
                elsewhere[layer.diff_id] = Origin(layer, found, stored)
        name = base.image_name
        there = found.reference.in_registry
        if there is not None and found.in_store is None:
            known = self._names(base)
            own = (n for n in known if ImageName.parse(n).full_repository == there.full_repository)
            name = next(own, name)
        return replace(base, image=same[0], image_name=name), elsewhere

    def _names(self, base: Base) -> list[str]:
        """The names that a daemon knows a base by, the one that was asked for first."""
        stored = [s.in_store for s in self.bases if s.in_store and base.image in s.images]
        names = [name for one in stored for name in (one.asked, *one.names)]
        return [name for name in names if not is_digest(name)]

    def _pulled_from(
        self, digests: Sequence[str], destination: Destination, platform: Platform
    ) -> Source | None:
        """A daemon's image in the registry that is written to, where the daemon had it from there."""
        there = destination.in_registry
        for text in digests:
            name = ImageName.of(text)
            if there is not None and name is not None and name.host == there.host:
                with suppress(TransportError):  # it is no longer there
                    return self.open_base(Reference(REGISTRY, text), platform)
        return None

    def at_hand(self, decisions: Sequence[Decision], destination: Destination, *, replace: bool) -> AtHand:
        """What the destination has already of these images."""
        held = self._held(decisions[0], destination) if len(decisions) == 1 else {}
        root = self.source.root
        return AtHand(held, self._beside(destination), self._read_tags(), root if replace else None)

    def protect_bases(self, destination: Destination) -> None:
        """Raises UsageError where the result would get a name that a base has in a daemon or a registry."""
        reference = destination.reference
        if reference is None or reference.is_file:
            return
        for base in self.bases:
            if base.reference.transport != reference.transport:
                continue
            names = base.in_store.names if base.in_store else [base.reference.path]
            for tag in destination.tags:
                if same_name(tag.name, *names):
                    raise UsageError(
                        f"{tag.name} is the base, whose name is not moved; -t or -o gives another"
                    )

    def _read_tags(self) -> dict[str, Digest]:
        """Tags of registries that were read, without their hosts, which may have several names."""
        tags = {}
        for source in self.all:
            name = source.reference.in_registry
            if name is not None and not name.digest and source.root is not None:
                tags[f"{name.repository}:{name.tag}"] = source.root
        return tags

    def _held(self, decision: Decision, destination: Destination) -> dict[Digest, Callable[[], Blob]]:
        """Blobs of the lowest kept layers, as far as the store that they go to was seen to have them.

        A store finds them by chain_id: one that stands in the image again, on others, must be sent.
        """
        reference = destination.reference
        transport = reference.transport if reference is not None else ""
        stores = [s.in_store for s in self.all if s.in_store and s.reference.transport == transport]
        known = {chain_id for stored in stores for chain_id in chain_ids(stored.diff_ids)}
        kept = _kept(decision)
        held: dict[Digest, Callable[[], Blob]] = {}
        for number, layer in enumerate(kept):
            if layer.index != number or layer.chain_id not in known:
                break
            digest = self.layers.digest(layer)
            if digest and all(other.diff_id != layer.diff_id for other in kept[number + 1 :]):
                held[digest] = partial(self.layers.blob, layer)
        return held

    def _beside(self, destination: Destination) -> dict[Digest, str]:
        """Blobs of the inputs that lie in the registry that is written to, in another repository."""
        beside: dict[Digest, str] = {}
        there = destination.in_registry
        for source in self.all:
            name = source.reference.in_registry
            if there is None or name is None or name.host != there.host:
                continue
            if name.repository == there.repository:
                continue
            for image in source.images:
                for layer in image.layers:
                    if layer.descriptor is not None:
                        beside.setdefault(layer.descriptor.digest, name.repository)
        return beside


def _kept(decision: Decision) -> list[Layer]:
    return [
        layer
        for segment in decision.segments
        if segment.is_kept
        for layer in decision.image.layers[segment.start : segment.stop]
    ]
