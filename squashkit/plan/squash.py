"""What to keep and what to merge: pure, linear in the entries, and nothing but byte spans.

`plan_squash` partitions an image's layers, base first, into segments; each is kept as it is or merged into
one layer (merge.py), planned as spans of the source's layers and the few headers that are written anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from squashkit.errors import PlanError, UnsupportedImage, show_path
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import CHARACTER, DIRECTORY, HeaderOf, is_hard_link, link_target
from squashkit.layers.merge import LeftOut, SquashedLayer, merge_run
from squashkit.layers.rootfs import Contested, Rootfs
from squashkit.options import Merge
from squashkit.plan.segments import Segment
from squashkit.values import frozen
from squashkit.wording import Option

if TYPE_CHECKING:
    from squashkit.plan.leave_out import Exclusion, Leaving


@frozen
class KeptLayer:
    """A layer that is carried over byte for byte."""

    index: int


@frozen
class LayerPlan:
    """What becomes of an image's layers: every segment's result, base first."""

    segments: tuple[Segment, ...]
    """What was to be kept and merged."""
    layers: tuple[KeptLayer | SquashedLayer, ...]
    """Base first."""
    contested: tuple[Contested, ...] = ()
    """What tools read in different ways, and where."""
    links_into_runs: tuple[tuple[int, bytes], ...] = ()
    """(layer, path): hard links of kept layers to files of a squashed run below them."""
    guaranteed: bool = True
    """False where layers below a run were not available."""
    follows: bool = False
    """Whether paths through symlinks of lower layers were followed. Whoever checks the result must read
    so."""
    left_out: tuple[LeftOut, ...] = ()
    """What the source has and the result has not, since it was to be left out; by run, in each by path."""
    caches_left: tuple[LeftOut, ...] = ()
    """Files of caches that stay: what the base has, and what kept layers have."""
    made_by: str = ""
    """What the history says of each new layer; empty for what squash says."""

    def __repr__(self) -> str:
        return f"<LayerPlan: {len(self.kept)} layers kept, {len(self.runs)} made>"

    @property
    def runs(self) -> tuple[SquashedLayer, ...]:
        """The layers that are made, base first."""
        return tuple(layer for layer in self.layers if isinstance(layer, SquashedLayer))

    @property
    def kept(self) -> frozenset[int]:
        """Which of the image's layers are carried over."""
        return frozenset(layer.index for layer in self.layers if isinstance(layer, KeptLayer))


def unchanged(segments: Sequence[Segment], layers: int) -> LayerPlan:
    """The plan that keeps every layer."""
    return LayerPlan(tuple(segments), tuple(KeptLayer(index) for index in range(layers)))


def needs_lower(changesets: Sequence[Changeset]) -> bool:
    """Whether merging these layers takes knowledge of what lies below them.

    It does, unless no layer hides or removes anything, every entry's directory is listed by the run, no
    directory changes its type and no hard link leads out of it.
    """
    if any(changeset.whiteouts or changeset.opaques for changeset in changesets):
        return True
    directories: set[bytes] = {b""}
    folders, others = defaultdict[bytes, set[bytes]](set), defaultdict[bytes, set[bytes]](set)
    for changeset in changesets:
        for entry in changeset.entries:
            is_folder = entry.typeflag == DIRECTORY
            own, other = (folders, others) if is_folder else (others, folders)
            if entry.base in other[entry.directory]:
                return True
            own[entry.directory].add(entry.base)
            if is_folder:
                directories.add(entry.path)
        for entry in changeset.entries:
            if entry.directory not in directories:
                return True
            if is_hard_link(entry):
                above, _, name = link_target(entry).rpartition(b"/")
                if name not in others[above]:
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

    The same input gives the same plan. Raises PlanError where a layer is missing or a run cannot be merged,
    UnsupportedImage for an obstacle in a run (`find_obstacle`), InvalidLayer as `Rootfs.apply` does.
    """
    below = Rootfs(follow_lower_symlinks=follow_lower_symlinks)
    return _plan(below, 0, changesets, segments, header_of, opaque=opaque, blind=blind)


def plan_above(
    below: Rootfs, changesets: Mapping[int, Changeset], segments: Sequence[Segment], header_of: HeaderOf
) -> LayerPlan:
    """The same where the tree that all layers below the first run make is known: these layers need not be
    there. The tree is left as it is."""
    known = next((segment.start for segment in segments if not segment.is_kept), 0)
    return _plan(below.copy(), known, changesets, segments, header_of)


def plan_leaner(
    changesets: Mapping[int, Changeset],
    segments: Sequence[Segment],
    header_of: HeaderOf,
    leaving: Leaving,
    *,
    opaque: bool = False,
    follow_lower_symlinks: bool = False,
) -> LayerPlan:
    """The same, with some of it left out of the new layers: `changesets` holds every layer of the image. A
    run of one layer that `remake` says to make anew is kept where nothing is left out of it.

    Raises UsageError for what the base shows and nobody said to hide, and where a layer above a run needs
    what is left out; PlanError where a layer is missing.
    """
    missing = [str(index) for index in range(segments[-1].stop) if index not in changesets]
    if missing:
        raise PlanError(
            f"the bytes of layer {', '.join(missing)} are not available, and what is in them decides what"
            " can be left out; read the image from where it is whole"
        )
    below = Rootfs(follow_lower_symlinks=follow_lower_symlinks)
    return _plan(below, 0, changesets, segments, header_of, opaque=opaque, leaving=leaving)


def _plan(
    below: Rootfs,
    applied: int,
    changesets: Mapping[int, Changeset],
    segments: Sequence[Segment],
    header_of: HeaderOf,
    *,
    opaque: bool = False,
    blind: bool = False,
    leaving: Leaving | None = None,
) -> LayerPlan:
    """Plan over a tree to which so many layers have been applied; all others are applied to it."""
    _refuse_obstacles(changesets, segments)
    layers: list[KeptLayer | SquashedLayer] = []
    contested: list[Contested] = []
    guaranteed = True
    first, follows = applied, below.follow_lower_symlinks
    whole: Rootfs | None = None
    for segment in segments:
        if segment.is_kept:
            kept = range(segment.start, segment.stop)
            layers.extend(KeptLayer(index) for index in kept)
            for index in kept:
                odd = changesets[index].odd if index in changesets else ()
                contested += (Contested(what, path, index) for what, path in odd)
            continue
        run = {index: changesets[index] for index in range(segment.start, segment.stop)}
        known = {index: changesets[index] for index in range(first, segment.start) if index in changesets}
        if len(known) == segment.start - first:
            for index in range(applied, segment.start):
                if leaving is not None:
                    leaving.allow_above(known[index], index, kept=True)
                below.apply(known[index], index)
            applied = segment.stop
            rootfs = below
        else:
            unknown = needs_lower(list(run.values()))
            if unknown and not blind:
                raise _lower_missing(segment, known)
            guaranteed = guaranteed and not unknown
            rootfs = Rootfs(follow_lower_symlinks=follows, unknown_below=unknown)
            for index, changeset in known.items() if unknown else ():
                rootfs.apply(changeset, index)
        rootfs.begin_run(segment.start)
        for index, changeset in run.items():
            if leaving is not None:
                leaving.allow_above(changeset, index, kept=False)
            rootfs.apply(changeset, index)
        contested += (c for c in rootfs.contested if c.layer >= segment.start)
        contested += (Contested(TRACES, path, i) for i in run for path in _overlay_traces(run[i]))
        is_leaner = True
        if leaving is not None:
            above = [changesets[index] for index in range(segment.stop, len(changesets))]
            if above and whole is None:
                whole = _tree_of(changesets, follows)
            is_leaner = leaving.leave(rootfs, segment.stop - 1, above, whole if above and whole else rootfs)
        if len(run) == 1 and not is_leaner:
            layers.append(KeptLayer(segment.start))
        else:
            layers.append(merge_run(rootfs, run, header_of, opaque=opaque))
    links = _links_into_runs(layers, changesets)
    plan = LayerPlan(tuple(segments), tuple(layers), tuple(contested), links, guaranteed, follows)
    return plan if leaving is None else _leaner(plan, leaving, below, applied, changesets)


def _tree_of(changesets: Mapping[int, Changeset], follow_lower_symlinks: bool) -> Rootfs:
    """The tree that all layers make."""
    rootfs = Rootfs(follow_lower_symlinks=follow_lower_symlinks)
    for index in range(len(changesets)):
        rootfs.apply(changesets[index], index)
    return rootfs


def _leaner(
    plan: LayerPlan,
    leaving: Leaving,
    below: Rootfs,
    applied: int,
    changesets: Mapping[int, Changeset],
) -> LayerPlan:
    """A plan with what was left out of its layers, once the layers above them were looked at."""
    for index in range(applied, len(changesets)):
        leaving.allow_above(changesets[index], index, kept=True)
        below.apply(changesets[index], index)
    first = next((segment.stop for segment in plan.segments if not segment.is_kept), 0)
    leaving.finish(below, {index for index in plan.kept if index >= first})
    return replace(plan, left_out=tuple(leaving.left), caches_left=tuple(leaving.staying))


Planner = Callable[[Mapping[int, Changeset], HeaderOf], LayerPlan]
"""Plans layers once their changesets are known."""


def squash_planner(
    segments: Sequence[Segment], merge: Merge, exclusions: Sequence[Exclusion] = ()
) -> Planner:
    """`plan_squash` for these segments and options, or where there are exclusions `plan_leaner`."""
    opaque, follow = merge.whiteouts == "opaque", merge.symlink_parents == "follow"
    if not exclusions:
        return lambda changesets, header_of: plan_squash(
            changesets,
            segments,
            header_of,
            opaque=opaque,
            follow_lower_symlinks=follow,
            blind=merge.blind,
        )
    from squashkit.plan.leave_out import Leaving  # it takes the rules of waste, which most runs do not need

    return lambda changesets, header_of: plan_leaner(
        changesets,
        segments,
        header_of,
        Leaving(exclusions, merge.also_base),
        opaque=opaque,
        follow_lower_symlinks=follow,
    )


def plan_export(changesets: Mapping[int, Changeset], header_of: HeaderOf) -> SquashedLayer:
    """A whole root file system as one tar: what all layers of an image make over nothing.

    Raises UnsupportedImage for an obstacle (`find_obstacle`), InvalidLayer as `Rootfs.apply` does.
    """
    rootfs = Rootfs()
    for index, changeset in changesets.items():
        obstacle = find_obstacle(changeset)
        if obstacle is not None:
            raise obstacle.error(index)
        rootfs.apply(changeset, index)
    return merge_run(rootfs, changesets, header_of, opaque=False, walk_order=True)


def _lower_missing(segment: Segment, known: Mapping[int, Changeset]) -> PlanError:
    missing = [str(index) for index in range(segment.start) if index not in known]
    return PlanError(
        f"layers {segment.start} to {segment.stop - 1} cannot be merged without knowing what lies below"
        f" them, and the bytes of layer {', '.join(missing)} are not available; read the image from where"
        " it is whole, or pass ",
        Option("Merge.blind", True),
        " to merge all the same, without a guarantee",
    )


MAX_PATH, MAX_NAME = 4095, 255
"""Bytes of a path, or of a link's target, and of a name in a path: PATH_MAX without its NUL, and
NAME_MAX."""
TRACES = "an overlay file system's trace, carried over"
_MARKS = (b"opaque", b"redirect", b"metacopy", b"whiteout", b"whiteouts")
"""What overlay file systems take for more than a trace, whatever the value (fs/overlayfs/overlayfs.h)."""
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")


@frozen
class Obstacle:
    """Why a layer can be kept and not merged: the entry, and what is the matter with it."""

    path: bytes
    message: str
    what: str

    def error(self, index: int, *advice: str | Option) -> UnsupportedImage:
        """As an error that names the layer, with what can be done."""
        subject = f"layer {index}: {show_path(self.path)}"
        return UnsupportedImage(f"{subject} {self.message}", *advice, what=self.what)


def find_obstacle(changeset: Changeset) -> Obstacle | None:
    """The first entry for which a layer cannot be merged, or none: one that no file system can hold, or a
    mark of overlay file systems, whose meaning a merge would change."""
    traits = None
    for entry in changeset.entries:
        _, _, _, directory, base, linkname, _, own, _ = entry
        if len(directory) + len(base) >= MAX_NAME or len(linkname) > MAX_PATH:
            obstacle = _too_long(entry.path, linkname)
            if obstacle is not None:
                return obstacle
        if own is traits:  # as most are: they share it
            continue
        traits = own
        if entry.typeflag == CHARACTER and entry.devmajor == entry.devminor == 0:
            message = "is a character device 0:0, which overlay file systems take for a whiteout"
            return Obstacle(entry.path, message, "overlay whiteout")
        if entry.xattrs:
            for name in entry.xattrs:
                if name.startswith(_OVERLAY) and name.partition(b".overlay.")[2] in _MARKS:
                    message = f"has the xattr {show_path(name)}, an overlay file system's own mark"
                    return Obstacle(entry.path, message, "overlay xattr")
    for path in (*changeset.whiteouts, *changeset.opaques):
        if len(path) > MAX_NAME and (obstacle := _too_long(path, b"")) is not None:
            return obstacle
    return None


def _too_long(path: bytes, target: bytes) -> Obstacle | None:
    shown = path if len(path) <= 200 else path[:200] + b"..."
    if len(path) > MAX_PATH:
        return Obstacle(shown, f"is a path of {len(path):,} bytes; systems take {MAX_PATH:,}", "long path")
    longest = max(map(len, path.split(b"/")))
    if longest > MAX_NAME:
        return Obstacle(shown, f"has a name of {longest:,} bytes; systems take {MAX_NAME}", "long name")
    if len(target) > MAX_PATH:
        message = f"is a link to a path of {len(target):,} bytes; systems take {MAX_PATH:,}"
        return Obstacle(shown, message, "long path")
    return None


def _overlay_traces(changeset: Changeset) -> Iterator[bytes]:
    """Paths with xattrs that overlay file systems leave behind and that mean nothing to a reader."""
    for entry in changeset.entries:
        xattrs = entry.traits.xattrs
        if xattrs and any(name.startswith(_OVERLAY) for name in xattrs):
            yield entry.path


def _refuse_obstacles(changesets: Mapping[int, Changeset], segments: Sequence[Segment]) -> None:
    """Raises UnsupportedImage for the first layer of a run that cannot be merged, with the segments that
    keep all such layers."""
    found = {
        index: obstacle
        for segment in segments
        if not segment.is_kept
        for index in range(segment.start, segment.stop)
        if (obstacle := find_obstacle(changesets[index])) is not None
    }
    if not found:
        return
    runs: list[tuple[int, bool]] = []
    for segment in segments:
        for index in range(segment.start, segment.stop):
            keep = segment.keep or index in found
            same_segment = index != segment.start
            if runs and runs[-1][1] == keep and (keep or same_segment):
                runs[-1] = runs[-1][0] + 1, keep
            else:
                runs.append((1, keep))
    way = ",".join(f"{'=' * keep}{count}" for count, keep in runs)
    index, obstacle = next(iter(found.items()))
    raise obstacle.error(index, "; its layer can be kept, not merged: ", Option("Keep.segments", way))


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
