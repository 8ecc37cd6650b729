"""What a squash would save, for every number of kept layers: by the very plan that it would carry out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from squashkit.layers import tar
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import HeaderOf
from squashkit.layers.merge import measure_run
from squashkit.layers.rootfs import Rootfs
from squashkit.plan.squash import find_obstacle
from squashkit.plan.waste.model import DeadFile
from squashkit.values import frozen

MOST = 40
"""Layers up to which every boundary is planned."""
_NEXT = 10


@frozen
class Saving:
    """What merging all layers but the first ones saves, in bytes of uncompressed tars. `size` is `dead`
    less `copied` and with `overhead`. All are None where the boundary was not planned, all but `dead` where
    the layers above it cannot be merged."""

    keep_layers: int
    size: int | None
    dead: int | None
    """Payload of the merged layers' dead files."""
    copied: int | None
    """Payload of files below that is stored again, since no hard link can lead out of its layer."""
    overhead: int | None
    """What headers, whiteouts and padding save; less than 0 where they take more."""


def find_savings(
    changesets: Sequence[Changeset], header_of: HeaderOf, dead: Sequence[DeadFile], base_layers: int
) -> list[Saving]:
    """One for each number of kept layers, from none to all but one. Of an image of more than MOST layers
    those for the base and the ten with the most dead bytes are planned."""
    count = len(changesets)
    dead_above = [0] * count
    for one in dead:
        dead_above[one.layer] += one.size
    dead_above = list(accumulate(reversed(dead_above)))[::-1]
    planned = set(range(count))
    if count > MOST:
        planned = {base_layers, *sorted(planned, key=lambda keep: (-dead_above[keep], keep))[:_NEXT]}
    obstacles = [index for index, one in enumerate(changesets) if find_obstacle(one) is not None]
    last_obstacle = max(obstacles, default=-1)
    below = Rootfs()
    savings: list[Saving] = []
    for keep in range(count):
        if keep == count - 1:
            # A run of one layer is kept as it is.
            savings.append(Saving(keep, 0, dead_above[keep], 0, -dead_above[keep]))
        elif keep not in planned:
            savings.append(Saving(keep, None, None, None, None))
        elif keep <= last_obstacle:
            savings.append(Saving(keep, None, dead_above[keep], None, None))
        else:
            savings.append(_planned(below, changesets, header_of, keep, dead_above[keep]))
        if keep < max(planned):
            below.apply(changesets[keep], keep)
    return savings


def _planned(
    below: Rootfs, changesets: Sequence[Changeset], header_of: HeaderOf, keep: int, dead: int
) -> Saving:
    rootfs = below.copy()
    rootfs.begin_run(keep)
    for index in range(keep, len(changesets)):
        rootfs.apply(changesets[index], index)
    written, copies = measure_run(rootfs, header_of)
    rootfs.take_apart()
    if not written and not keep:
        written = len(tar.END_OF_ARCHIVE)  # an image of no layer at all gets an empty one
    size = sum(changeset.diff_size for changeset in changesets[keep:]) - written
    copied = sum(copy.size for copy in copies)
    return Saving(keep, size, dead, copied, size - dead + copied)
