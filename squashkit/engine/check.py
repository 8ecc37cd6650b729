"""Reading back what was written, and holding it against the source.

The root file systems are compared at every kept boundary: below each kept layer lies what lay below it
in the source, and the whole image is the whole source; what was to be left out is missing, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from squashkit.engine.carry_out import Done
from squashkit.engine.layers import LayerStore
from squashkit.engine.view import View, view_differences
from squashkit.errors import CheckFailed, show_path
from squashkit.layers.compare import SPLIT, Difference
from squashkit.layers.rootfs import Directory, Rootfs
from squashkit.oci.graph import Layer
from squashkit.plan.squash import KeptLayer, LayerPlan
from squashkit.transports.blobs import Container
from squashkit.transports.open import list_source
from squashkit.transports.reference import Reference

_SHOWN = 5


def check_result(layers: LayerStore, done: Done, container: Container) -> None:
    """Read an image back from where it was written and compare it with its source.

    Paths are read as the plan read them. Every digest and size is checked again. The layers that stay out
    of a delta are the source's, by their diff_ids. Raises CheckFailed where a
    root file system differs, InvalidImage where what was written cannot be read.
    """
    session, source, plan = layers.session, done.result.image, done.result.plan
    assert done.written is not None
    result = list_source(Reference("", "the output"), container)
    image = next(
        image
        for image in result.images
        if image.manifest_descriptor and image.manifest_descriptor.digest == done.written.manifest.digest
    )
    image = replace(image, layers=_with_left_out(image.layers, source.layers))
    with LayerStore(session, cached=False) as written:
        stored = image.manifest.layers if image.manifest else ()
        session.progress.stage("Checking", sum(layer.size for layer in stored) or None)
        theirs = dict(enumerate(written.read(image.layers, lambda layer: True)))
        rest = [layer for layer in source.layers if layer.index not in done.changesets]
        read = layers.read(rest, lambda layer: False)
        ours = {layer.index: changeset for layer, changeset in zip(rest, read, strict=True)}
        trees = [Rootfs(follow_lower_symlinks=plan.follows) for _ in range(2)]
        left = View("", source, layers, {**done.changesets, **ours}, trees[0])
        right = View("", image, written, theirs, trees[1])
        for boundary in _boundaries(left, right, plan):
            found = islice(_differences(left, right), _SHOWN)
            if lines := [_line(difference) for difference in found]:
                raise CheckFailed(
                    f"what was written differs from the source {boundary}, so it gets no name:\n"
                    + "\n".join(lines)
                    + "\nThis is a fault of squashkit; please report it"
                )
        written.settle()


def _with_left_out(written: Sequence[Layer], source: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers that were written, with those of the source in the place of what a delta leaves out."""
    ours = {layer.diff_id: layer for layer in source}
    return tuple(
        layer
        if layer.blobs
        else replace(layer, blobs=ours[layer.diff_id].blobs, descriptor=ours[layer.diff_id].descriptor)
        for layer in written
    )


def _boundaries(left: View, right: View, plan: LayerPlan) -> Iterator[str]:
    """Apply the layers of both sides up to each boundary in turn, with a name for it. Stacks of the same
    layers are the same and need no look."""
    ours, theirs = 0, 0
    ends = []
    gone: dict[int, list[bytes]] = {}
    for one in plan.left_out:
        gone.setdefault(one.layer, []).append(one.path)
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
            left.rootfs.apply(left.changesets[index], index)
            _leave_out(left.rootfs, gone.get(index, ()))
        for index in range(theirs, result_stop):
            right.rootfs.apply(right.changesets[index], index)
        ours, theirs = stop, result_stop
        if left.image.diff_ids[:stop] != right.image.diff_ids[:result_stop]:
            yield name


def _leave_out(rootfs: Rootfs, paths: Iterable[bytes]) -> None:
    """Take away what the result is to be without, and nothing beside it."""
    for path in sorted(paths, reverse=True):  # what a directory holds goes before it
        parent, _, name = path.rpartition(b"/")
        directory = rootfs.directories.get(parent)
        node = directory.children.get(name) if directory is not None else None
        if (
            directory is not None
            and node is not None
            and not (isinstance(node, Directory) and node.children)
        ):
            rootfs.take_out(directory, name)


def _differences(left: View, right: View) -> Iterator[Difference]:
    return (found for found in view_differences(left, right) if found.what != SPLIT)


def _line(difference: Difference) -> str:
    sides = f": {difference.left} became {difference.right}" if difference.left else ""
    return f"  /{show_path(difference.path)}  {difference.what}{sides}"
