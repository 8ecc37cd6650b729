"""Three-way merges of what has a key: lines of accounts, paragraphs of states, answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def of_one(was: V, ours: V, theirs: V) -> V:
    """A value of which the image's counts where it changed it, else the new base's."""
    return theirs if ours == was else ours


def merge_keyed(
    old: Mapping[K, V],
    app: Mapping[K, V],
    new: Mapping[K, V],
    both: Callable[[V | None, V, V], V] = lambda was, ours, theirs: ours,
) -> dict[K, V]:
    """What one side alone changed, added or removed; of what both changed what `both` says, given what the
    old base, the image and the new base have. In the new base's order, then the image's."""
    merged: dict[K, V] = {}
    for key, theirs in new.items():
        was, ours = old.get(key), app.get(key)
        if ours in (was, theirs):
            merged[key] = theirs
        elif ours is not None:
            merged[key] = ours if theirs == was else both(was, ours, theirs)
        # What the image removed stays removed.
    own = {key: ours for key, ours in app.items() if key not in new and ours != old.get(key)}
    return merged | own
