"""Finds what of layers other ones end, what of that is dead, and what stands in them more than once."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping

from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.trees import walk
from squashkit.layers.changeset import content_of
from squashkit.layers.entry import REGULAR
from squashkit.oci.digests import ChainID, DiffID
from squashkit.plan.fleet.wasted import DeadFile, Wasted
from squashkit.values import frozen

_FILES = 200
"""How many dead files are told."""


@frozen
class Deaths:
    """The files of a fleet's layers that layers on them delete or replace."""

    kills: Mapping[tuple[ChainID, ChainID], int]
    """Bytes of files that a layer, the first of two, ends of a layer below it."""
    times: Mapping[tuple[ChainID, int], int]
    """In how many images a file is ended, by its layer and where it begins there."""
    files: Mapping[tuple[ChainID, int], DeadFile]
    """What it is."""


def find_deaths(layers: FleetLayers) -> Deaths:
    """Of layers that were read, each applied once on whatever it lies on."""
    images = [member.image for member in layers.members]
    images_with = Counter(layer.chain_id for image in images for layer in image.layers)
    kills: Counter[tuple[ChainID, ChainID]] = Counter()
    times: Counter[tuple[ChainID, int]] = Counter()
    files: dict[tuple[ChainID, int], DeadFile] = {}
    for number, layer, tree in walk(images, layers.changesets):
        for one in tree.dropped:
            record = one.entry
            if not (size := content_of(record)):
                continue
            holder = images[number].layers[one.layer].chain_id
            kills[layer.chain_id, holder] += size
            times[holder, record.start] += images_with[layer.chain_id]
            files.setdefault((holder, record.start), DeadFile(one.path, size, holder, layer.chain_id))
    return Deaths(kills, times, files)


def find_wasted(layers: FleetLayers, deaths: Deaths) -> Wasted:
    """A file is dead where each image that has its layer also has one that ends it. What files hold is
    hashed where that fetches nothing."""
    images = [member.image for member in layers.members]
    images_with = Counter(layer.chain_id for image in images for layer in image.layers)
    content = {
        layer.chain_id: layers.changesets[layer.diff_id].content_size
        for image in images
        for layer in image.layers
    }
    found = deaths.files
    gone = [key for key, times in deaths.times.items() if times >= images_with[key[0]]]
    dead: Counter[ChainID] = Counter()
    for key in gone:
        dead[key[0]] += found[key].size
    files = heapq.nlargest(_FILES, (found[key] for key in gone), key=lambda one: (one.size, one.path))
    twice = _twice(layers, gone) if layers.has_contents else None
    return Wasted(content, dead, twice, tuple(files))


def _twice(layers: FleetLayers, gone: Iterable[tuple[ChainID, int]]) -> dict[DiffID, int]:
    """For each layer the bytes of its files whose content came before."""
    diff_ids = {layer.chain_id: layer.diff_id for member in layers.members for layer in member.image.layers}
    dead = {(diff_ids[chain_id], start) for chain_id, start in gone}
    seen: set[bytes] = set()
    twice: Counter[DiffID] = Counter()
    for layer in layers.different:
        for entry in layers.changesets[layer.diff_id].entries:
            record = entry
            if record.typeflag != REGULAR or not record.realsize or (layer.diff_id, record.start) in dead:
                continue
            digest = layers.content_digest(layer.diff_id, entry)
            if digest in seen:
                twice[layer.diff_id] += record.realsize
            seen.add(digest)
    return twice
