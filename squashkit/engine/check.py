"""Reading back what was written, and holding it against the source.

The root file systems are compared at every kept boundary: below each kept layer lies what lay below it
in the source, and the whole image is the whole source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from squashkit.engine.layers import Loader, join
from squashkit.engine.view import View, view_differences
from squashkit.errors import CheckFailed, show_path
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import SPLIT, Difference
from squashkit.layers.rootfs import Rootfs
from squashkit.plan.squash import KeptLayer, LayerPlan, apply_layer
from squashkit.transports.blobs import Container
from squashkit.transports.contracts import WrittenImage
from squashkit.transports.reference import Reference
from squashkit.transports.source import list_source

_SHOWN = 5


def check_result(
    source: Loader,
    plan: LayerPlan,
    known: Mapping[int, Changeset],
    written: WrittenImage,
    container: Container,
) -> None:
    """Read an image back from where it was written and compare it with its source.

    `known` are changesets of the source that have been read already. Paths are read as the plan read
    them. Every digest and size is checked again. Raises CheckFailed where a root file system differs,
    InvalidImage where what was written cannot be read."""
    result = list_source(Reference("", "the output"), container)
    image = next(
        image
        for image in result.images
        if image.manifest_descriptor and image.manifest_descriptor.digest == written.manifest.digest
    )
    with Loader(result, image, source.room, source.jobs, progress=source.progress) as loader:
        stored = image.manifest.layers if image.manifest else ()
        loader.progress.stage("Checking", sum(layer.size for layer in stored) or None)
        changesets = loader.load(range(len(image.layers)), data=lambda index: True)
        rest = [layer.index for layer in source.image.layers if layer.index not in known]
        ours = {**known, **source.load(rest, data=lambda index: False)}
        trees = [Rootfs(follow_lower_symlinks=plan.follows) for _ in range(2)]
        left = View(source.source, source.image, source, trees[0], ours)
        right = View(result, image, loader, trees[1], changesets)
        for boundary in _boundaries(left, right, plan):
            found = islice(_differences(left, right), _SHOWN)
            if lines := [_line(difference) for difference in found]:
                raise CheckFailed(
                    f"what was written differs from the source {boundary}, so it gets no name:\n"
                    + "\n".join(lines)
                    + "\nThis is a fault of squashkit; please report it"
                )
        join(loader.checks, loader.cancelled)


def _boundaries(left: View, right: View, plan: LayerPlan) -> Iterator[str]:
    """Apply the layers of both sides up to each boundary in turn, with a name for it. Stacks of the same
    layers are the same and need no look."""
    ours, theirs = 0, 0
    ends = []
    for planned in plan.layers:
        if isinstance(planned, KeptLayer):
            ends.append((planned.index + 1, theirs + 1, f"at the kept layer {planned.index}"))
            theirs += 1
        elif planned.pieces:
            theirs += 1
    ends.append((len(left.image.layers), len(right.image.layers), "at its top"))
    theirs = 0
    for stop, result_stop, name in ends:
        for index in range(ours, stop):
            apply_layer(left.rootfs, left.changesets[index], index)
        for index in range(theirs, result_stop):
            apply_layer(right.rootfs, right.changesets[index], index)
        ours, theirs = stop, result_stop
        if left.image.diff_ids[:stop] != right.image.diff_ids[:result_stop]:
            yield name


def _differences(left: View, right: View) -> Iterator[Difference]:
    return (found for found in view_differences(left, right) if found.what != SPLIT)


def _line(difference: Difference) -> str:
    sides = f": {difference.left} became {difference.right}" if difference.left else ""
    return f"  /{show_path(difference.path)}  {difference.what}{sides}"
