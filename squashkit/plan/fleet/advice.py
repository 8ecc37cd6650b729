"""What to do with each image of a fleet and why, and which one command does it for a repository, its next
release included.

A cut is found for the images that there are. A command that names a base, or a step, says the same of an
image that is not built yet; numbers of layers do not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from squashkit.errors import PlanError
from squashkit.oci.digests import ChainID
from squashkit.oci.names import split_tag
from squashkit.plan.base import base_from_step
from squashkit.plan.fleet.storage import Stack
from squashkit.plan.fleet.trie import Trie
from squashkit.plan.segments import Segment
from squashkit.values import frozen

Kills = Mapping[tuple[ChainID, ChainID], int]
"""Bytes of files that a layer, the first of two, deletes or replaces of a layer below it."""


class Why(Enum):
    """Why an image is to be squashed, or to be left as it is."""

    DEAD = "layers delete or replace what lower ones hold"
    SMALLER = "merged, its layers take less"
    GROUND = "other images stand on it"
    BASE = "it is a base"
    SINGLE = "it has one layer above its base, or none"
    ALIVE = "nothing above its base is dead"
    SHARED = "merged, what it shares would be stored twice"
    LITTLE = "too little is dead"
    UNKNOWN = "its base is not known"


@frozen
class Finding:
    """What is known of one image of a fleet, as far as advice goes."""

    why: Why
    base: str = ""
    """A reference to what it stands on; empty where none is known."""
    kills: Kills = field(default_factory=dict)
    """Between layers above its base."""
    is_alone: bool = False
    """Whether no other image of the fleet has a layer that it has above its base."""


class Recipe(NamedTuple):
    """What `squash` takes to do for a repository's images what is advised."""

    base: str = ""
    """For --keep-base."""
    step: str = ""
    """For --from-step."""


_OF_ONE_BUILD = re.compile(r"[0-9a-f]{12}")
"""A digest in a step, which the next build does not have."""
_ENOUGH = 0.9
"""The share of what the advice saves that a command has to save, to be called a recipe for it."""


@dataclass(frozen=True)
class Advised:
    """What is advised for a fleet, and what it is held against: the stacks of its images."""

    trie: Trie
    built: Sequence[Stack]
    merged: Sequence[Stack]
    """With all above each base as one layer."""
    best: Sequence[Stack]
    segments: Sequence[Sequence[Segment]]
    """By which images become `best`."""
    changed: Sequence[bool]
    """Which images are to become so."""

    def findings(self, base_names: Mapping[ChainID, str], kills: Kills) -> list[Finding]:
        """What is known of each image. `base_names` are references to bases by their uppermost layers."""
        images = self.trie.images
        holders = Counter(layer.chain_id for image in images for layer in image.layers)
        found = []
        for number, image in enumerate(images):
            if number in self.trie.left:
                found.append(Finding(Why.UNKNOWN))
                continue
            base = self.trie.base_layers(number)
            above = image.layers[base:]
            name = base_names.get(image.layers[base - 1].chain_id, "") if base else ""
            own = {
                (upper.chain_id, lower.chain_id): kills[upper.chain_id, lower.chain_id]
                for at, upper in enumerate(above)
                for lower in above[: at + 1]
                if (upper.chain_id, lower.chain_id) in kills
            }
            is_shared = any(holders[one.chain_id] > 1 for one in above)
            is_alone = all(holders[one.chain_id] == 1 for one in above)
            why = self._why(number, len(above), own, is_shared=is_shared)
            found.append(Finding(why, name, own, is_alone))
        return found

    def _why(self, number: int, above: int, kills: Kills, *, is_shared: bool) -> Why:
        """Why an image with so many layers above its base, some of them shared or not, is to be squashed,
        or left as it is."""
        if self.changed[number]:
            return Why.DEAD if kills else Why.SMALLER
        if not above:
            path = self.trie.path(number)
            return Why.GROUND if path and path[-1].children else Why.BASE if path else Why.SINGLE
        if above == 1:
            return Why.SINGLE
        if not kills:
            return Why.ALIVE
        built, merged, best = (stacks[number] for stacks in (self.built, self.merged, self.best))
        would_be_cut = [blob.key for blob in best] != [blob.key for blob in built]
        if is_shared and not would_be_cut and _sum(merged) < _sum(built):
            return Why.SHARED
        return Why.LITTLE

    def recipes(
        self, groups: Iterable[Sequence[int]], found: Sequence[Finding], *, on_hosts: bool
    ) -> list[Recipe | None]:
        """For each group the command that does for its images, all of them to be squashed, what is advised;
        None where there is none. The last one of a group is its newest. `on_hosts` says whose bytes count,
        those of hosts or of registries."""
        items = _Items(on_hosts)
        paid = [items.of(stack) for stack in self.best]
        holders = Counter(item for one in paid for item in one)
        recipes: list[Recipe | None] = []
        for group in groups:
            own = Counter(item for number in group for item in paid[number])
            elsewhere = {item for item, number in own.items() if holders[item] > number}

            def takes(stacks: Sequence[Stack], group: Sequence[int], elsewhere: Set[_Item]) -> int:
                """What the group takes that the others do not have."""
                its = {item: size for number in group for item, size in items.of(stacks[number]).items()}
                return sum(size for item, size in its.items() if item not in elsewhere)

            built, merged, best = (
                takes(stacks, group, elsewhere) for stacks in (self.built, self.merged, self.best)
            )
            base = found[group[-1]].base
            if base and built - merged >= _ENOUGH * (built - best):
                recipes.append(Recipe(base=_without_digest(base)))
            else:
                recipes.append(self._from_step(group))
        return recipes

    def _from_step(self, group: Sequence[int]) -> Recipe | None:
        """Where the images are kept below one and the same step, and one layer from there on."""
        starts = []
        for number in group:
            *below, top = self.segments[number]
            if top.is_kept or not all(one.is_kept for one in below):
                return None
            starts.append(top.start)
        images = self.trie.images
        text = images[group[-1]].layers[starts[-1]].created_by
        if not text or not text.isprintable() or _OF_ONE_BUILD.search(text):
            return None
        try:
            found = [base_from_step(images[number], text).layers for number in group]
        except PlanError:
            return None
        return Recipe(step=text) if found == starts else None


def _without_digest(reference: str) -> str:
    """One with a tag names the base that a next release has, too; its digest does not."""
    name, _, _ = reference.partition("@")
    return name if split_tag(name)[1] else reference


def _sum(stack: Stack) -> int:
    return sum(blob.stored for blob in stack)


_Item = tuple[str, int]
"""What is paid for once: a blob in a registry, on a host a layer on what it lies on."""


@dataclass
class _Items:
    """Tells what of stacks is paid for once."""

    on_hosts: bool
    _places: dict[_Item, int] = field(default_factory=dict)

    def of(self, stack: Stack) -> dict[_Item, int]:
        """Of one image, with its bytes."""
        if not self.on_hosts:
            return {(blob.key, 0): blob.stored for blob in stack}
        found, at = {}, 0
        for blob in stack:
            place = blob.tar, at
            found[place] = blob.content
            at = self._places.setdefault(place, len(self._places) + 1)
        return found
