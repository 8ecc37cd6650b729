"""A base's layers as a registry has them: found by diff_id, since what is plain, or compressed by somebody
else, has another digest than what hosts have pulled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from squashkit.errors import TransportError
from squashkit.jobs.base.lookup import OpenBase
from squashkit.oci.digests import DiffID, Digest, is_digest
from squashkit.oci.documents import Platform
from squashkit.oci.graph import BlobRef, Image, Layer
from squashkit.oci.names import ImageName
from squashkit.plan.base import Base
from squashkit.plan.segments import Decision
from squashkit.transports.reference import REGISTRY, Reference
from squashkit.transports.source import Source
from squashkit.transports.stored import is_remote, lies_in_registry
from squashkit.transports.target import Target


def with_registry_blobs(
    decision: Decision, source: Source, bases: Sequence[Source], target: Target, open_base: OpenBase
) -> Decision:
    """For an image that goes from elsewhere into a registry: its base's layers may go as a registry has
    them, where one of the bases that were opened comes from there. From another registry they keep their
    digests: only the same blobs may."""
    base = decision.base
    if not target.is_registry or base.image is None:
        return decision
    found = next((one for one in bases if any(image is base.image for image in one.images)), None)
    if any(map(is_remote, decision.image.layers)):
        if found is None or not _is_at(found, target) or _is_at(source, target):
            return decision
        return replace(decision, image=replace(decision.image, layers=_add_same(decision.image, found)))
    if found is not None and found.in_store is not None:
        found = _pulled_from(found.in_store.digests, target, base.image.platform, open_base)
    images = found.images if found is not None else []
    same = [image for image in images if image.diff_ids == base.image.diff_ids]
    if found is None or not same:
        return decision
    name, there = base.image_name, found.reference.in_registry
    if there is not None and found.in_store is None:
        known = (
            n for n in _names(base, bases) if ImageName.parse(n).full_repository == there.full_repository
        )
        name = next(known, name)
    image = replace(decision.image, layers=add_blobs(decision.image.layers, blobs_of(same[0].layers)))
    return replace(decision, image=image, base=replace(base, image=same[0], image_name=name))


def blobs_of(layers: Sequence[Layer]) -> dict[DiffID, tuple[BlobRef, ...]]:
    """The blobs of layers of which something is stated."""
    return {layer.diff_id: layer.blobs for layer in layers if layer.descriptor is not None}


def add_blobs(layers: Sequence[Layer], blobs: Mapping[DiffID, tuple[BlobRef, ...]]) -> tuple[Layer, ...]:
    """Layers that lie in other places, too."""
    return tuple(replace(one, blobs=(*one.blobs, *blobs.get(one.diff_id, ()))) for one in layers)


def at_hand(layers: Sequence[Layer], others: Sequence[Layer]) -> tuple[Layer, ...]:
    """Layers with the places of equal blobs of the others, those on this machine first; one whose bytes are
    nowhere as another has it."""
    same: dict[Digest, tuple[BlobRef, ...]] = {}
    whole = {other.diff_id: other for other in reversed(others) if other.blobs}
    for one in (*layers, *others):
        if one.descriptor is not None:
            known = same.get(one.descriptor.digest, ())
            same[one.descriptor.digest] = (*known, *(blob for blob in one.blobs if blob not in known))
    found = []
    for one in layers:
        if not one.blobs and one.diff_id in whole:
            other = whole[one.diff_id]
            one = replace(one, blobs=other.blobs, descriptor=other.descriptor, source=other.source)
        elif one.descriptor is not None:
            one = replace(one, blobs=tuple(sorted(same[one.descriptor.digest], key=lies_in_registry)))
        found.append(one)
    return tuple(found)


def _add_same(image: Image, base: Source) -> tuple[Layer, ...]:
    """Layers that lie in another registry, too, under the digests that they have."""
    blobs = {
        layer.descriptor.digest: layer.blobs
        for there in base.images
        for layer in there.layers
        if layer.descriptor is not None
    }
    return tuple(
        replace(one, blobs=(*one.blobs, *blobs.get(one.descriptor.digest, ()))) if one.descriptor else one
        for one in image.layers
    )


def _is_at(source: Source, target: Target) -> bool:
    """Whether something was read from the registry that is written to."""
    name, to = source.reference.in_registry, target.in_registry
    return name is not None and to is not None and name.host == to.host


def _names(base: Base, bases: Sequence[Source]) -> list[str]:
    """The names that a daemon knows a base by, the one that was asked for first."""
    stored = [one.in_store for one in bases if one.in_store and base.image in one.images]
    names = [name for one in stored for name in (one.asked, *one.names)]
    return [name for name in names if not is_digest(name)]


def _pulled_from(
    digests: Sequence[str], target: Target, platform: Platform, open_base: OpenBase
) -> Source | None:
    """A daemon's image in the registry that is written to, where the daemon had it from there."""
    to = target.in_registry
    for text in digests:
        name = ImageName.of(text)
        if to is not None and name is not None and name.host == to.host:
            with suppress(TransportError):  # it is no longer there
                return open_base(Reference(REGISTRY, text), platform)
    return None
