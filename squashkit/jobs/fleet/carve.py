"""What the images of a fleet have above their bases, as one may carve it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from squashkit.errors import InvalidLayer, inside
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.members import Member
from squashkit.jobs.fleet.trees import FleetTrees
from squashkit.layers.entry import REGULAR, Entry
from squashkit.layers.merge import RunParts, parts_of_run
from squashkit.layers.rootfs import Rootfs
from squashkit.oci.graph import Image, Layer
from squashkit.plan.fleet.carve import Carver, FleetFile
from squashkit.plan.squash import find_obstacle, needs_lower


def carver_of(
    layers: FleetLayers,
    trees: FleetTrees,
    kept: Sequence[int],
    *,
    compare: bool,
    latest: int | None = None,
) -> Carver:
    """What the images have above the layers that each of them keeps. Unless contents are to be compared,
    files that differ in nothing else are held to be equal: that does for estimates alone. Times after the
    `latest` one, in nanoseconds, become that."""
    sources = layers.sources
    numbers = {layer.diff_id: number for number, layer in enumerate(sources)}
    carver = Carver(len(layers.members), [layer.diff_id for layer in sources])
    for rank, member, start in zip(ranks_of(layers.members), layers.members, kept, strict=True):
        image = member.image
        if start < len(image.layers):
            with inside(image.title):
                parts = _parts(layers, trees, image, start, latest)
            carver.add(rank, parts, [numbers[diff_id] for diff_id in image.diff_ids])
    for number in range(len(layers.different), len(sources)):
        changeset = layers.changesets[sources[number].diff_id]
        alone = Rootfs()
        with suppress(InvalidLayer):  # one that means nothing alone, as with a link to something below it
            alone.apply(changeset, 0)
            if find_obstacle(changeset) is None:
                header_of = partial(_header_of, layers, sources[number])
                carver.add_published(number, changeset, parts_of_run(alone, header_of))
    doubtful = carver.doubtful() if compare else []
    doubtful.sort(key=lambda file: file.place)
    carver.unite({file.place: _digest(layers, sources[file.layer], file) for file in doubtful})
    return carver


def ranks_of(members: Sequence[Member]) -> list[int]:
    """The place that each image of a fleet has where it is carved, whatever their order is."""
    order = sorted(range(len(members)), key=lambda number: members[number].image.image_id)
    ranks = [0] * len(members)
    for rank, number in enumerate(order):
        ranks[number] = rank
    return ranks


def _header_of(layers: FleetLayers, layer: Layer, _: int, entry: Entry) -> bytes:
    return layers.header(layer, entry)


def _parts(
    layers: FleetLayers, trees: FleetTrees, image: Image, start: int, latest: int | None
) -> RunParts:
    run = layers.of(image, range(start, len(image.layers)))
    needed = needs_lower(list(run.values()))
    rootfs = trees.at(image.layers[:start]).copy() if needed else Rootfs()
    rootfs.begin_run(start)
    for index, changeset in run.items():
        rootfs.apply(changeset, index)
    return parts_of_run(rootfs, layers.header_of(image), latest)


def _digest(layers: FleetLayers, layer: Layer, file: FleetFile) -> bytes:
    """Of what a file holds, and of headers that say more than one block can."""
    digest, entry = hashlib.sha256(), file.entry
    if file.has_extension:
        digest.update(layers.header(layer, entry))
    if entry.typeflag == REGULAR:
        digest.update(layers.content_digest(layer.diff_id, entry))
    return digest.digest()
