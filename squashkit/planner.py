"""What to keep and what to merge: pure, linear in the entries, and nothing but byte spans.

`plan_squash` partitions an image's layers, base first, into segments; each is kept as it is or merged into
one layer (merge.py), planned as spans of the source's layers and the few headers that are written anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from squashkit.changeset import Changeset, is_hard_link, link_target
from squashkit.errors import InvalidLayer, PlanError, UnsupportedImage, show_path
from squashkit.merge import HeaderOf, SquashedLayer, merge_run
from squashkit.rootfs import Contested, Rootfs
from squashkit.tar import CHARACTER, DIRECTORY


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of layers [start, stop), counted from the base."""

    start: int
    stop: int
    keep: bool
    remake: bool = False
    """A run of one layer is made anew, too; else that is kept."""

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def is_kept(self) -> bool:
        """Whether its layers are carried over as they are."""
        return self.keep or (len(self) == 1 and not self.remake)


@dataclass(frozen=True, slots=True)
class KeptLayer:
    """A layer that is carried over byte for byte."""

    index: int


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """What becomes of an image's layers: every segment's result, base first."""

    segments: tuple[Segment, ...]
    layers: tuple[KeptLayer | SquashedLayer, ...]
    contested: tuple[Contested, ...] = ()
    links_into_runs: tuple[tuple[int, bytes], ...] = ()
    """(layer, path): hard links of kept layers to files of a squashed run below them."""
    guaranteed: bool = True
    """False where layers below a run were not at hand."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A plan that was made before anything is written, and the changesets of all layers that it was made
    of: they need not be those that the layers hold."""

    plan: LayerPlan
    changesets: Mapping[int, Changeset]


def needs_lower(changesets: Sequence[Changeset]) -> bool:
    """Whether merging these layers takes knowledge of what lies below them.

    It does, unless no layer hides or removes anything, every entry's directory is listed by the run, no
    directory changes its type and no hard link leads out of it.
    """
    if any(changeset.whiteouts or changeset.opaques for changeset in changesets):
        return True
    directories: set[bytes] = {b""}
    others: set[bytes] = set()
    for changeset in changesets:
        for path, record in changeset.entries:
            if record.typeflag == DIRECTORY:
                if path in others:
                    return True
                directories.add(path)
            else:
                if path in directories:
                    return True
                others.add(path)
        for entry in changeset.entries:
            if entry.path.rpartition(b"/")[0] not in directories:
                return True
            if is_hard_link(entry) and link_target(entry) not in others:
                return True
    return False


def plan_squash(
    changesets: Mapping[int, Changeset],
    segments: Sequence[Segment],
    header_of: HeaderOf,
    *,
    opaque: bool = False,
    follow_lower_symlinks: bool = False,
    blind: bool = False,
) -> LayerPlan:
    """Plan the layers that the segments make of an image.

    `changesets` holds every layer of the squashed runs and, unless `needs_lower` says otherwise, all
    below them; layers above the last run may be there too. Segments partition the layers base first; a
    run of one layer is kept, unless it says `remake`. With `blind`, layers below may be missing, and the
    result is not guaranteed.

    The same input gives the same plan. Raises PlanError where a layer is missing or a run cannot be
    merged, UnsupportedImage for overlay marks in a run, InvalidLayer as `Rootfs.apply` does.
    """
    layers: list[KeptLayer | SquashedLayer] = []
    contested: list[Contested] = []
    guaranteed = True
    below = Rootfs(follow_lower_symlinks=follow_lower_symlinks)
    applied = 0
    for segment in segments:
        if segment.is_kept:
            layers.extend(KeptLayer(index) for index in range(segment.start, segment.stop))
            continue
        run = {index: changesets[index] for index in range(segment.start, segment.stop)}
        for index, changeset in run.items():
            refuse_overlay_marks(changeset, index)
        known = {index: changesets[index] for index in range(segment.start) if index in changesets}
        if len(known) == segment.start:
            for index in range(applied, segment.start):
                apply_layer(below, known[index], index)
            applied = segment.stop
            rootfs = below
        else:
            unknown = needs_lower(list(run.values()))
            if unknown and not blind:
                raise _lower_missing(segment, known)
            guaranteed = guaranteed and not unknown
            rootfs = Rootfs(follow_lower_symlinks=follow_lower_symlinks, unknown_below=unknown)
            for index, changeset in known.items() if unknown else ():
                apply_layer(rootfs, changeset, index)
        rootfs.begin_run(segment.start)
        for index, changeset in run.items():
            apply_layer(rootfs, changeset, index)
        contested += (c for c in rootfs.contested if c.layer >= segment.start)
        layers.append(merge_run(rootfs, run, header_of, opaque=opaque))
    links = _links_into_runs(layers, changesets)
    return LayerPlan(tuple(segments), tuple(layers), tuple(contested), links, guaranteed)


def plan_export(changesets: Mapping[int, Changeset], header_of: HeaderOf) -> SquashedLayer:
    """A whole root file system as one tar: what all layers of an image make over nothing.

    Raises UnsupportedImage for overlay marks, InvalidLayer as `Rootfs.apply` does.
    """
    rootfs = Rootfs()
    for index, changeset in changesets.items():
        refuse_overlay_marks(changeset, index)
        apply_layer(rootfs, changeset, index)
    return merge_run(rootfs, changesets, header_of, opaque=False, walk_order=True)


def apply_layer(rootfs: Rootfs, changeset: Changeset, index: int) -> None:
    """Apply a layer to a tree; its faults name it."""
    try:
        rootfs.apply(changeset, index)
    except InvalidLayer as error:
        raise error.inside(f"layer {index}") from error


def _lower_missing(segment: Segment, known: Mapping[int, Changeset]) -> PlanError:
    missing = [str(index) for index in range(segment.start) if index not in known]
    return PlanError(
        f"layers {segment.start} to {segment.stop - 1} cannot be merged without knowing what lies below"
        f" them, and the bytes of layer {', '.join(missing)} are not at hand; read the image from where"
        " it is whole, or pass --blind to merge all the same, without a guarantee"
    )


def refuse_overlay_marks(changeset: Changeset, index: int) -> None:
    """Overlay file systems keep their own marks in devices and xattrs; merging changes their meaning."""
    suspects = [entry for entry in changeset.entries if entry[1].typeflag == CHARACTER or entry[1].xattrs]
    for path, record in suspects:
        if record.typeflag == CHARACTER and record.devmajor == record.devminor == 0:
            raise UnsupportedImage(
                f"layer {index}: {show_path(path)} is a character device 0:0, which overlay file systems"
                " take for a whiteout; its layer can be kept, not merged",
                what="overlay whiteout",
            )
        for name in record.xattrs or ():
            if name.startswith((b"trusted.overlay.", b"user.overlay.")):
                raise UnsupportedImage(
                    f"layer {index}: {show_path(path)} has the xattr {show_path(name)}, an overlay file"
                    " system's own; its layer can be kept, not merged",
                    what="overlay xattr",
                )


def _links_into_runs(
    layers: Sequence[KeptLayer | SquashedLayer], changesets: Mapping[int, Changeset]
) -> tuple[tuple[int, bytes], ...]:
    """Hard links by which kept layers reach into the squashed runs below them."""
    links: list[tuple[int, bytes]] = []
    squashed: set[bytes] | None = None
    runs: list[SquashedLayer] = []
    for layer in layers:
        if isinstance(layer, SquashedLayer):
            runs.append(layer)
            squashed = None
        elif runs and layer.index in changesets:
            entries = changesets[layer.index].entries
            linked = [entry for entry in entries if is_hard_link(entry)]
            own = {entry.path for entry in entries} if linked else set()
            for entry in linked:
                target = link_target(entry)
                if target in own:
                    continue
                if squashed is None:
                    squashed = {
                        e.path
                        for run in runs
                        for index in range(run.start, run.stop)
                        for e in changesets[index].entries
                    }
                if target in squashed:
                    links.append((layer.index, entry.path))
    return tuple(links)
