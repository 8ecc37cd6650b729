"""Whether what a recipe says of a new layer is true: pure, and believes nothing of it.

A recipe may come from anybody. A layer that it plans must be a legal tar that holds only what all consumers
apply alike (docs/layers.md), and on the layers below it must make the very tree that the run made in its
place: every path, attribute, hard link, and of every file the same bytes, which is told by where they lie.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from squashkit.errors import CheckFailed, InvalidLayer, PlanError, UnsupportedImage, show_path
from squashkit.layers import tar
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import WHITEOUT, Changeset, parse_changeset
from squashkit.layers.compare import SPLIT, iter_differences, names_of
from squashkit.layers.entry import DIRECTORY, HARD_LINK, REGULAR, SYMLINK, Entry, Traits, stored_spans
from squashkit.layers.merge import SquashedLayer
from squashkit.layers.pieces import Copy, Piece
from squashkit.layers.rootfs import Attributes, Directory, Dropped, Inode, Rootfs
from squashkit.options import Merge
from squashkit.plan.segments import Segment
from squashkit.plan.squash import KeptLayer, LayerPlan, find_obstacle, needs_lower

ReadSpan = Callable[[int, int, int], bytes]
"""Gives bytes of an image's layer: of which one, from where to where in its plain tar."""

_WINDOW = 16 << 10
_SHOWN = 5

Span = tuple[int, int, int] | int
"""Bytes of a layer [start, end), or so many zeros."""


def plan_by_recipe(
    changesets: Mapping[int, Changeset],
    segments: Sequence[Segment],
    pieces: Sequence[tuple[Piece, ...]],
    read: ReadSpan,
    alike: Mapping[int, int],
    merge: Merge = Merge(),
) -> LayerPlan:
    """The plan that a recipe has of an image: `pieces` are those of each run's new layer, none where there
    is none. `changesets` holds every layer of the runs and, where `needs_lower` says so, all below them. Of
    layers that are the same bytes, `alike` says which one stands for all.

    Raises CheckFailed where a new layer is not the same as its run, PlanError where a layer is missing that
    decides it, UnsupportedImage and InvalidLayer as `plan_squash` does.
    """
    if len(pieces) != sum(not segment.is_kept for segment in segments):
        raise _refused(f"it has {len(pieces)} of them for other runs")
    layers: list[KeptLayer | SquashedLayer] = []
    made = iter(pieces)
    for segment in segments:
        if segment.is_kept:
            layers += map(KeptLayer, range(segment.start, segment.stop))
            continue
        run = {index: changesets[index] for index in range(segment.start, segment.stop)}
        for index, changeset in run.items():
            if (obstacle := find_obstacle(changeset)) is not None:
                raise obstacle.error(index)
        spans = next(made)
        planned = _changeset_of(spans, changesets, read)
        if planned.opaques and merge.whiteouts != "opaque":
            raise _refused("an opaque marker, which the recipe's options do not have")
        below = Rootfs(follow_lower_symlinks=merge.symlink_parents == "follow")
        is_known = all(index in changesets for index in range(segment.start))
        if is_known or needs_lower(list(run.values())) or needs_lower([planned]):
            _apply_below(below, segment, changesets)
        _check_hidden(below, planned)
        dropped = _compare(below, segment, run, planned, _Places(spans, alike))
        layers.append(
            SquashedLayer(
                segment.start,
                segment.stop,
                spans,
                planned.count,
                sum(changeset.count for changeset in run.values()),
                sum(changeset.diff_size for changeset in run.values()),
                dropped,
                (),
            )
        )
    follows = merge.symlink_parents == "follow"
    return LayerPlan(tuple(segments), tuple(layers), follows=follows)


# One layer


def _changeset_of(
    pieces: tuple[Piece, ...], changesets: Mapping[int, Changeset], read: ReadSpan
) -> Changeset:
    """What a planned layer would hold. Raises CheckFailed where it would be no safe layer."""
    for piece in pieces:
        if isinstance(piece, Copy):
            known = changesets.get(piece.layer)
            if known is None:
                raise PlanError(f"the new layer takes bytes of layer {piece.layer}, which is not there")
            if piece.end - BLOCK >= known.diff_size:
                raise _refused(f"bytes of layer {piece.layer} from behind its end")
    try:
        planned = parse_changeset(_entries(pieces, changesets, read))
        if planned.odd:
            what, path = planned.odd[0]
            raise InvalidLayer(what, path=path)
        if (obstacle := find_obstacle(planned)) is not None:
            raise obstacle.error(0)
        if len(planned.markers) != len(planned.whiteouts) + len(planned.opaques):
            raise InvalidLayer("a file of AUFS itself")
        _check_subset(planned)
    except (InvalidLayer, UnsupportedImage) as error:
        raise _refused(str(error)) from error
    if planned.end != sum(_length(piece) for piece in pieces):
        raise _refused("bytes behind the end of the tar")
    return planned


def _entries(
    pieces: Sequence[Piece], changesets: Mapping[int, Changeset], read: ReadSpan
) -> Iterator[Entry]:
    """The members of a planned tar. Those that are copied with all their bytes are known; only what stands
    between them is read."""
    known: dict[int, _Members] = {}
    loose: list[Piece] = []
    at = begin = 0
    for piece in pieces:
        members: Sequence[Entry] = ()
        if isinstance(piece, Copy):
            if piece.layer not in known:
                known[piece.layer] = _Members(changesets[piece.layer])
            members = known[piece.layer].within(piece)
        if members and isinstance(piece, Copy):
            yield from _scan(loose, begin, at, read)
            loose.clear()
            ahead = at - piece.start
            yield from (_moved(entry, ahead) for entry in members)
            begin = at + _length(piece)
        else:
            loose.append(piece)
        at += _length(piece)
    yield from _scan(loose, begin, at, read)


def _scan(pieces: Sequence[Piece], begin: int, end: int, read: ReadSpan) -> Iterator[Entry]:
    """The members of a part of a tar, which must be whole ones. Raises InvalidLayer."""
    at = begin
    for entry in tar.scan(_Window(pieces, read)) if pieces else ():
        at = begin + entry.end
        yield _moved(entry, begin)
    if at != end:
        raise InvalidLayer(f"no whole members at byte {begin} of the tar")


def _moved(entry: Entry, ahead: int) -> Entry:
    """The same member at another place."""
    traits = entry.traits
    if traits.sparse is not None:
        traits = traits._replace(sparse=traits.sparse._replace(at=traits.sparse.at + ahead))
    return entry._replace(start=entry.start + ahead, traits=traits)


class _Members:
    """The members of a layer by where they stand."""

    def __init__(self, changeset: Changeset) -> None:
        self._entries = changeset.members
        self._starts = [entry.start for entry in self._entries]

    def within(self, span: Copy) -> Sequence[Entry]:
        """The members that a span consists of; none where that is not so."""
        first = bisect_left(self._starts, span.start)
        members = self._entries[first : bisect_left(self._starts, span.end)]
        at = span.start
        for entry in members:
            if entry.start != at:
                return ()
            at = entry.end
        return members if at == span.end else ()


def _check_subset(planned: Changeset) -> None:
    """Raises InvalidLayer where consumers may differ on a layer, or it is not in the order that squashkit
    writes: directories by path, each followed by its markers, then all else, links after their targets."""
    markers = {entry.start for entry in planned.markers}
    directory, marker, look = b"", b"", None
    directories, seen, is_done = {b""}, set[bytes](), False
    for entry in planned.members:
        path, typeflag, name = entry.path, entry.typeflag, entry.name
        if path and entry.directory not in directories:
            raise InvalidLayer("its directory is not listed before it", path=path)
        if name != (path + b"/" if typeflag == DIRECTORY and path else path or b"./"):
            raise InvalidLayer(f"it is written as {show_path(name)}", path=path)
        if path in seen:
            raise InvalidLayer("it is there twice", path=path)
        seen.add(path)
        if entry.start in markers:
            if typeflag != REGULAR or entry.size:
                raise InvalidLayer("a whiteout that is no empty file", path=path)
            if is_done or directory != entry.directory or path < marker:
                raise InvalidLayer("a whiteout that is not in its place", path=path)
            look, marker = look or _look(entry), path
            if look != _look(entry):
                raise InvalidLayer("a whiteout that is not like the others", path=path)
        elif WHITEOUT in path and (path.startswith(WHITEOUT) or b"/" + WHITEOUT in path):
            raise InvalidLayer("a name that is kept for whiteouts", path=path)
        elif typeflag == DIRECTORY:
            if is_done or (path <= directory and entry.start):
                raise InvalidLayer("a directory that is not in its place", path=path)
            directory, marker = path, b""
            directories.add(path)
        else:
            is_done = True
            if typeflag == HARD_LINK and (entry.linkname not in seen or entry.linkname in directories):
                raise InvalidLayer(f"no file {show_path(entry.linkname)} before it", path=path)
    for hidden in planned.whiteouts:
        if hidden in seen:
            raise InvalidLayer("it is there beside its whiteout", path=hidden)


def _look(entry: Entry) -> tuple[object, ...]:
    """What all whiteouts have alike."""
    return entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.end - piece.start


class _Window:
    """A planned tar, for `tar.scan`: only headers of what is copied are read."""

    def __init__(self, pieces: Sequence[Piece], read: ReadSpan) -> None:
        self._pieces = (*pieces, tar.END_OF_ARCHIVE)
        self._starts = [0, *accumulate(map(_length, self._pieces))]
        self._read = read

    def __call__(self, at: int) -> tuple[memoryview, int]:
        if at >= self._starts[-1]:
            return memoryview(b""), self._starts[-1]
        place = bisect_right(self._starts, at) - 1
        piece, offset = self._pieces[place], at - self._starts[place]
        if isinstance(piece, bytes):
            return memoryview(piece)[offset:], at
        start = piece.start + offset
        return memoryview(self._read(piece.layer, start, min(piece.end, start + _WINDOW))), at


# The tree


def _apply_below(rootfs: Rootfs, segment: Segment, changesets: Mapping[int, Changeset]) -> None:
    """Make the tree that a run and its new layer stand on. Raises PlanError where a layer is missing."""
    for index in range(segment.start):
        if index not in changesets:
            raise PlanError(
                f"what lies below the layers {segment.start} to {segment.stop - 1} decides whether the"
                f" recipe is right, and layer {index} is not there; give the image from where it is whole"
            )
        rootfs.apply(changesets[index], index)


def _check_hidden(below: Rootfs, planned: Changeset) -> None:
    """A layer hides only what lies below, in directories that are there and that it does not hide whole:
    overlay file systems differ on all else. Raises CheckFailed."""
    opaque = set(planned.opaques)
    for path in planned.whiteouts:
        parent, _, name = path.rpartition(b"/")
        directory = below.directories.get(parent)
        if directory is None or name not in directory.children or not opaque.isdisjoint(_ancestors(path)):
            raise _refused(f"a whiteout of /{show_path(path)}, which is not to be seen below")
    for path in planned.opaques:
        if path not in below.directories or not opaque.isdisjoint(_ancestors(path)):
            raise _refused(f"an opaque marker in /{show_path(path)}, which is not to be seen below")


def _ancestors(path: bytes) -> Iterator[bytes]:
    """The directories that a path lies in, the root too."""
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def _compare(
    below: Rootfs, segment: Segment, run: Mapping[int, Changeset], planned: Changeset, places: _Places
) -> tuple[Dropped, ...]:
    """What the run made and ended itself. Raises CheckFailed where the new layer is not what the run is."""
    ours, theirs, start = below.copy(), below, segment.start
    ours.begin_run(start)
    theirs.begin_run(start)
    for index, changeset in run.items():
        ours.apply(changeset, index)
    try:
        theirs.apply(planned, start)
    except InvalidLayer as error:
        raise _refused(str(error)) from error
    for contested in theirs.contested:
        if contested.layer >= start:
            raise _refused(f"{contested.construct}: /{show_path(contested.path)}")

    def same_content(a: Inode, b: Inode) -> bool:
        return places.is_same_content(a, b, start)

    dropped = tuple(dead for dead in ours.dropped if dead.layer >= start)
    if _is_same(ours, theirs, start, places):
        return dropped
    if (ours.root.entry is None) != (theirs.root.entry is None):
        raise _refused("the root directory is in it, or is not, against the source")
    lines = []
    for found in iter_differences(ours, theirs, same_content):
        if found.what != SPLIT or not _is_cut_at(start, ours, theirs, found.path):
            lines.append(f"  /{show_path(found.path)}  {found.what}")
        if len(lines) == _SHOWN:
            break
    if lines:
        raise CheckFailed(
            f"the recipe's layer is not what the layers {start} to {segment.stop - 1} are; nothing was"
            " written:\n" + "\n".join(lines)
        )
    return dropped


def _is_same(ours: Rootfs, theirs: Rootfs, start: int, places: _Places) -> bool:
    """Whether two trees are the same that were one before this layer, where that is plain to see: else all
    of them must be looked at."""
    pairs = [(ours.root, theirs.root)]
    while pairs:
        a, b = pairs.pop()
        if not _is_entry_same(a, b) or a.children.keys() != b.children.keys():
            return False
        for name, mine in a.children.items():
            yours = b.children[name]
            if isinstance(mine, Directory):
                if not isinstance(yours, Directory):
                    return False
                if mine.touched == start or yours.touched == start:
                    pairs.append((mine, yours))
            elif mine is not yours and (
                isinstance(yours, Directory) or not _is_inode_same(mine, yours, start, places)
            ):
                return False
    return True


def _is_entry_same(a: Directory, b: Directory) -> bool:
    if a.entry is None or b.entry is None:
        return a.entry is b.entry
    return a.entry is b.entry or Attributes.of(a.entry) == Attributes.of(b.entry)


def _is_inode_same(a: Inode, b: Inode, start: int, places: _Places) -> bool:
    one, other = a.entry, b.entry
    if a.bindings is not None or b.bindings is not None:
        path = a.entry.path
        if names_of(a, path).keys() != names_of(b, path).keys() or a.effective() != b.effective():
            return False
    elif one.mtime != other.mtime or not _are_traits_same(one.traits, other.traits):
        return False
    return (
        one.typeflag == other.typeflag
        and (one.typeflag != SYMLINK or one.linkname == other.linkname)
        and (one.devmajor, one.devminor) == (other.devmajor, other.devminor)
        and (one.typeflag != REGULAR or places.is_same_content(a, b, start))
    )


def _are_traits_same(one: Traits, other: Traits) -> bool:
    """Whether two members have the same mode, owner and xattrs."""
    return one is other or (one.mode, one.uid, one.gid, one.xattrs) == (
        other.mode,
        other.uid,
        other.gid,
        other.xattrs,
    )


def _is_cut_at(start: int, ours: Rootfs, theirs: Rootfs, path: bytes) -> bool:
    """Whether the names of a file are cut where the run begins, as they must be, and nowhere else: no layer
    links into another."""
    above = {name for name, layer in _names(ours, path).items() if layer >= start}
    return all(
        {other for other, layer in _names(theirs, name).items() if layer >= start} == above
        for name in above
    )


def _names(rootfs: Rootfs, path: bytes) -> dict[bytes, int]:
    """The names of the file at a path; none where there is none."""
    parent, _, name = path.rpartition(b"/")
    directory = rootfs.directories.get(parent)
    node = directory.children.get(name) if directory is not None else None
    return names_of(node, path) if isinstance(node, Inode) else {}


class _Places:
    """Where the content of files lies: in layers of the image, whether they are read there or by a planned
    layer."""

    def __init__(self, pieces: tuple[Piece, ...], alike: Mapping[int, int]) -> None:
        self._pieces = pieces
        self._starts = [0, *accumulate(map(_length, pieces))]
        self._alike = alike

    def is_same_content(self, a: Inode, b: Inode, start: int) -> bool:
        """Whether a file of the image, and one of the planned layer or of those below `start`, have the
        same bytes, of which also the size is the same then."""
        return self.of_source(a) == (self.of_new(b) if b.layer >= start else self.of_source(b))

    def of_source(self, inode: Inode) -> list[Span]:
        """Of a file of the image."""
        layer = self._alike[inode.layer]
        spans = stored_spans(inode.entry)
        return [length if at is None else (layer, at, at + length) for at, length in spans]

    def of_new(self, inode: Inode) -> list[Span]:
        """Of a file of the planned layer. Bytes that the recipe brings lie in no layer."""
        found: list[Span] = []
        for at, length in stored_spans(inode.entry):
            if at is None:
                found.append(length)
                continue
            end = at + length
            while at < end:
                place = bisect_right(self._starts, at) - 1
                piece, stop = self._pieces[place], min(end, self._starts[place + 1])
                if isinstance(piece, bytes):
                    return [(_NOWHERE, 0, 0)]
                ahead = piece.start - self._starts[place]
                found.append((self._alike[piece.layer], at + ahead, stop + ahead))
                at = stop
        return found


_NOWHERE = -1


def _refused(why: str) -> CheckFailed:
    return CheckFailed(f"the recipe's layer is refused, and nothing was written: {why}")
