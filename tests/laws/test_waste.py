"""The laws of waste, over random images: causes add up, and what is promised is what is written."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from squashkit.layers.entry import REGULAR
from squashkit.layers.rootfs import Inode
from squashkit.plan.waste.dead import payload_of
from squashkit.plan.waste.model import Cause
from tests.support.builders import layer
from tests.support.generate import random_image
from tests.support.harness import read_changeset, squash_layers
from tests.support.laws import law
from tests.support.waste import dead_in, savings_of


def image(chance: random.Random, contested: bool) -> list[bytes]:
    return random_image(chance, contested=contested) or [layer()]


@law(examples=400)
@given(st.randoms(use_true_random=False), st.booleans())
def test_causes_add_up(chance: random.Random, contested: bool) -> None:
    """All that layers hold is dead or lives; each inode counts once."""
    layers = image(chance, contested)
    rootfs, dead = dead_in(layers)
    inodes = {
        id(node.entry): node.entry.size
        for directory in rootfs.directories.values()
        for node in directory.children.values()
        if isinstance(node, Inode) and node.entry.typeflag == REGULAR
    }
    assert sum(one.size for one in dead) + sum(inodes.values()) == sum(
        payload_of(read_changeset(one)) for one in layers
    )
    assert all(one.layer <= one.killed_by and one.size for one in dead)
    assert all(bool(one.changed) == (one.cause is Cause.ATTRIBUTES) for one in dead)
    assert all((one.moved_to is not None) == (one.cause is Cause.MOVED) for one in dead)


@law(examples=250)
@given(st.randoms(use_true_random=False), st.booleans())
def test_what_is_promised_is_written(chance: random.Random, contested: bool) -> None:
    """For every boundary the saving is that of a real squash, and its parts add up."""
    layers = image(chance, contested)
    for saving in savings_of(layers):
        keep = saving.keep_layers
        if saving.size is None or keep == len(layers) - 1:
            continue
        segments = [(0, keep, True), (keep, len(layers), False)] if keep else [(0, len(layers), False)]
        squashed = squash_layers(layers, segments)
        written = sum(map(len, squashed[keep:])) or (0 if keep else 1024)
        assert saving.size == sum(map(len, layers[keep:])) - written
        assert saving.dead is not None
        assert saving.copied is not None
        assert saving.overhead is not None
        assert saving.size == saving.dead - saving.copied + saving.overhead
        changesets = [read_changeset(one) for one in layers]
        if any(entry.sparse for one in changesets for entry in one.entries):
            continue  # where its header is made anew, a sparse file's map is stored with its payload
        after = sum(payload_of(read_changeset(one)) for one in squashed[keep:])
        assert after == sum(map(payload_of, changesets[keep:])) - saving.dead + saving.copied
