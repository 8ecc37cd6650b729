"""Deltas: which layers of an image need not travel, since the other side has them.

Pure: what an image has and what the other side has go in; out comes what is left out, or lacking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import Image, Layer
from squashkit.oci.have import Have, HeldLayer, Keeper
from squashkit.oci.media import DOCKER_MANIFEST, Codec
from squashkit.values import frozen


@frozen
class Delta:
    """What was left out of an image."""

    have: str
    """What tells what the other side has, as people call it."""
    keeper: Keeper
    left_out: Mapping[Digest, int]
    """The blobs, with their bytes."""


def find_left_out(
    own: Sequence[tuple[Layer, Descriptor | None]], stay: int, have: Have, family: str
) -> dict[DiffID, Descriptor]:
    """Which of an image's layers need not travel, and by which blob a manifest of this family names each.

    `own` are the layers, each with its own blob as far as that is known. The lowest `stay` of them will be
    the result's lowest. A store that knows layers by digest needs no more than a blob of the same layer.
    Everywhere else the very stack must be there: a layer that stands in the image again, on other layers,
    travels. So does one of which nobody tells a blob that the other side knows.
    """
    held: dict[str, list[HeldLayer]] = {}
    for one in have.layers:
        held.setdefault(one.diff_id if have.keeper.by_digest else one.chain_id, []).append(one)
    found: dict[DiffID, Descriptor] = {}
    travels: set[DiffID] = set()
    for layer, blob in own:
        key = layer.diff_id if have.keeper.by_digest else layer.chain_id
        there = held.get(key) if have.keeper.by_digest or layer.index < stay else None
        named = _named(blob, there, have.keeper) if there else None
        if named is None or (family == DOCKER_MANIFEST and named.codec is Codec.ZSTD):
            travels.add(layer.diff_id)
        else:
            found[layer.diff_id] = named
    return {diff_id: named for diff_id, named in found.items() if diff_id not in travels}


def _named(own: Descriptor | None, there: Sequence[HeldLayer], keeper: Keeper) -> Descriptor | None:
    """By which blob a layer is named that the other side has: its own where that is known there, else one
    that is told; None where that is not known."""
    told = [one.blob for one in there if one.blob is not None]
    if own is not None and any(blob.digest == own.digest for blob in told):
        return own
    for one in there:
        if one.nameable is not None:
            return one.nameable
    if told or keeper.by_digest or own is None:
        return None
    if keeper is Keeper.PODMAN:  # it knows the plain tar of every layer
        return own if own.digest == Digest(there[0].diff_id) else None
    return own if keeper is Keeper.GRAPHDRIVER else None


# --- deltas that are read ------------------------------------------------------------------------


@frozen
class Needed:
    """A layer that is not in a delta, and whether the other side has it."""

    layer: Layer
    lacking: str = ""
    """Why the other side does not have it; empty where it has."""
    doubt: str = ""
    """Why not every store that was filled from the other side has it under the digest that is named."""


def find_needed(image: Image, have: Have) -> list[Needed]:
    """The layers that are not in an image's archive, held against what the other side has."""
    chains = {one.chain_id for one in have.layers}
    diff_ids = {one.diff_id for one in have.layers}
    blobs = {one.blob.digest: one for one in have.layers if one.blob is not None}
    found = []
    for layer in image.layers:
        if layer.blobs:
            continue
        digest = layer.descriptor.digest if layer.descriptor is not None else Digest(layer.diff_id)
        if digest in blobs and (unlike := _unlike(layer, blobs[digest])):
            found.append(Needed(layer, unlike))
        elif have.keeper.by_digest:
            found.append(Needed(layer, "" if digest in blobs else f"there is no blob {digest}"))
        elif layer.chain_id not in chains:
            on_others = layer.diff_id in diff_ids
            found.append(Needed(layer, "it lies on other layers there" if on_others else "it is not there"))
        elif have.keeper is Keeper.GRAPHDRIVER or digest in blobs:
            found.append(Needed(layer))
        elif have.keeper is Keeper.PODMAN:
            known = DiffID(digest) in diff_ids  # the plain tar of every layer
            found.append(Needed(layer, "" if known else f"it is not known there as {digest}"))
        else:
            found.append(Needed(layer, doubt=f"it is not stored there as {digest}"))
    return found


def _unlike(layer: Layer, there: HeldLayer) -> str:
    """How a manifest describes another blob than the one of this digest that is there: docker with
    containerd's storage takes it all the same, and gives out a broken archive later."""
    named, blob = layer.descriptor, there.blob
    if there.diff_id != layer.diff_id:
        return f"its blob holds {there.diff_id} there"
    if named is None or blob is None:
        return ""
    if named.size != blob.size:
        return f"the blob {blob.digest} has {blob.size:,} bytes there, and the delta says {named.size:,}"
    if named.codec is not blob.codec:
        told = f"{blob.codec.value} there, and the delta says {named.codec.value}"
        return f"the blob {blob.digest} is {told}"
    return ""
