"""What dive (github.com/wagoodman/dive) says of an image: its efficiency, and its wasted bytes.

The rules are those of dive 0.13.1; the newest that was seen of its source, of May 2025, has the same. dive
knows no root file system. It makes a tree of each layer's names. A file has the size that its last header
gives, directories and links have none (dive/filetree/file_info.go, file_tree.go). Then it adds up the
leaves of all trees by their paths (dive/filetree/efficiency.go, dive/image/analysis.go):

- A whiteout is a leaf at the path that it hides. Where that is a directory, and the topmost layer below
  that has anything in it lists it, the whiteout has the size of all that lies in it; else it has none.
- A path that is no leaf where it lies is not seen. So of a deleted directory, the whiteout is the only leaf
  at its path, and the files below are leaves at theirs: none of them comes twice.
- `.wh..wh..opq` is left out. Its directory may be a leaf then.
- A whiteout of what no layer below has ends the walk through its layer, and what comes after it, by name,
  is not counted. Its path weighs -1 from then on where it was not seen yet.
- Wasted is all that lies at paths with two leaves or more: every copy, the last one, too. A file and a
  whiteout of it in one layer are two.
- The efficiency is, of all paths, the sum of each one's smallest leaf over the sum of all leaves.

Two things are not told by entries: a size in the header of a directory or a link, which dive counts, and in
archives of docker before 25 a layer that comes again, of which dive sees the link as a layer without files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from squashkit.layers.changeset import WHITEOUT, Changeset
from squashkit.layers.entry import DIRECTORY, Entry
from squashkit.plan.waste.model import DeadFile
from squashkit.values import frozen

_UNSEEN = b".wh..wh.."
"""Of names that begin so, and of all below, dive makes nothing (doubleWhiteoutPrefix in file_tree.go)."""


@frozen
class Dive:
    """dive's numbers of an image."""

    efficiency: float
    """From 0 to 1; less than 0 where whiteouts of nothing outweigh all files."""
    wasted_bytes: int
    user_bytes: int
    """Bytes of the files of all layers but the first, with those that a layer has twice."""

    @property
    def user_wasted(self) -> float:
        """Wasted bytes over the user's; dive calls it a percentage. Without any of the user's it is
        infinite, or 0 where nothing is wasted (dive has no number then, which is above no limit)."""
        if not self.user_bytes:
            return float("inf") if self.wasted_bytes else 0.0
        return self.wasted_bytes / self.user_bytes


@frozen
class DiveFacts:
    """How dive's wasted bytes and the files that are dead go together. Sizes are bytes of payload.

    `told`, `counted_double` and `alive` add up to the wasted bytes; `told` and `unseen` to the dead files'
    where none is sparse."""

    told: int
    """Of dead files, each once."""
    counted_double: int
    """At paths where a dead file is, too: the copy that is shown, and dead files that are added up again
    below a directory that is deleted (wagoodman/dive#684)."""
    alive: int
    """At paths where nothing is dead, as of files that have another name by a hard link."""
    unseen: int
    """Of dead files that are not in its wasted bytes."""
    below_deleted: int
    """Of these, what lay below a directory that the layer that killed them deletes or empties."""
    empty_paths: int
    """Paths that dive lists as waste of no bytes: empty directories and links that come twice, and more."""
    broken_off: tuple[int, ...]
    """Layers that dive gives up in the middle, at a whiteout of nothing (wagoodman/dive#715)."""


def dive_numbers(changesets: Sequence[Changeset]) -> Dive:
    """What dive says of an image with these layers, base first."""
    return _numbers(changesets, _by_path(_read(changesets)))


def _numbers(changesets: Sequence[Changeset], paths: _Paths) -> Dive:
    once = sum(paths.once.values())
    least = once + sum(path.least for path in paths.more.values())
    total = once + sum(path.total for path in paths.more.values())
    return Dive(
        efficiency=float(least) / float(total) if total else 1.0,
        wasted_bytes=sum(path.total for path in paths.more.values() if path.leaves > 1),
        user_bytes=sum(map(_file_bytes, changesets[1:])),
    )


def explain(changesets: Sequence[Changeset], dead: Sequence[DeadFile]) -> tuple[Dive, DiveFacts]:
    """The same, and what dive's wasted bytes and dead files are made of."""
    layers = list(_read(changesets))
    paths = _by_path(layers)
    readable, hidden = _readable(changesets, dead)
    known = {(file.layer, file.path) for file in readable}
    wasted = {path for path, counted in paths.more.items() if counted.leaves > 1}
    copies = list(_copies(layers, wasted))
    with_dead = {copy.counted_at for copy in copies if copy.place in known}
    told: dict[tuple[int, bytes], int] = {}
    double = alive = 0
    for copy in copies:
        if copy.counted_at not in with_dead:
            alive += copy.size
        elif copy.place in known and copy.place not in told:
            told[copy.place] = copy.size
        else:
            double += copy.size
    unseen = hidden + [file for file in readable if (file.layer, file.path) not in told]
    facts = DiveFacts(
        told=sum(told.values()),
        counted_double=double,
        alive=alive,
        unseen=sum(file.size for file in unseen),
        below_deleted=sum(file.size for file in _below_deleted(changesets, unseen)),
        empty_paths=sum(not paths.more[path].total for path in wasted),
        broken_off=tuple(index for index, layer in enumerate(layers) if layer.stopped_at is not None),
    )
    return _numbers(changesets, paths), facts


# --- a layer as dive's tree ------------------------------------------------------------------


@frozen
class _Tree:
    """A layer as dive keeps it."""

    nodes: dict[bytes, Entry | None]
    """By path; None where no header of the layer has it, but one below."""
    inner: set[bytes]
    """Those that are no leaves; the root is among them."""
    whiteouts: frozenset[bytes]
    """Those that are called so, as they stand in the tar."""


def _tree_of(changeset: Changeset) -> _Tree:
    members = (*changeset.entries, *changeset.markers)
    nodes: dict[bytes, Entry | None] = {member.path: member for member in members}
    nodes.pop(b"", None)
    cut = [path for path in nodes if _UNSEEN in path and _seen(path) != path]
    for path in cut:
        del nodes[path]
    for path in cut:
        if seen := _seen(path):
            nodes.setdefault(seen, None)
    inner: set[bytes] = set()
    for path in {path.rpartition(b"/")[0] for path in nodes}:
        while path not in inner:
            inner.add(path)
            path = path.rpartition(b"/")[0]
    for path in inner - nodes.keys() - {b""}:
        nodes[path] = None
    whiteouts = frozenset(path for path in nodes if WHITEOUT in path and _is_whiteout(path))
    return _Tree(nodes, inner, whiteouts)


def _seen(path: bytes) -> bytes:
    """What dive makes of a path: all, or what stands before the first name that it leaves out."""
    parts = path.split(b"/")
    first = next((at for at, name in enumerate(parts) if name.startswith(_UNSEEN)), len(parts))
    return b"/".join(parts[:first])


def _is_whiteout(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(WHITEOUT)


def _hidden_by(whiteout: bytes) -> bytes:
    """The path that dive takes a whiteout for, and removes."""
    parent, slash, name = whiteout.rpartition(b"/")
    return parent + slash + name[len(WHITEOUT) :]


def _in_order(path: bytes) -> bytes:
    """What leaves are sorted by so that they come in the order of dive's walk: name by name."""
    return path.replace(b"/", b"\0")


def _size(entry: Entry | None) -> int:
    if entry is None:
        return 0
    sparse = entry.traits.sparse
    return entry.size if sparse is None else sparse.realsize


def _file_bytes(changeset: Changeset) -> int:
    """What dive takes for the size of a layer (dive/image/docker/image_archive.go, processLayerTar)."""
    return sum(map(_size, (*changeset.entries, *changeset.markers)))


# --- the layers below as dive stacks them ----------------------------------------------------


@dataclass(slots=True)
class _Stack:
    """Trees put on each other (StackTreeRange in dive/filetree/file_tree.go), as far as whiteouts ask for
    it: the paths that they hide, and what lies below those."""

    trees: Sequence[_Tree]
    nodes: dict[bytes, Entry | None] = field(default_factory=dict)
    layers: dict[bytes, int] = field(default_factory=dict)
    """Which layer a node comes from."""
    below: dict[bytes, set[bytes]] = field(default_factory=dict)
    """The nodes just below another."""
    height: int = -1
    """How many layers are in it; -1 before the first one is copied."""
    wanted: dict[bytes, bool] = field(default_factory=dict)
    """Whether what lies in a directory is asked for: those that some whiteout hides, and all below."""

    def __post_init__(self) -> None:
        self.wanted[b""] = False
        for tree in self.trees:
            self.wanted.update((_hidden_by(path), True) for path in tree.whiteouts)

    def raise_to(self, height: int) -> None:
        """Put more of the trees on each other, so that so many are. The first one is copied as it is, and
        put on itself where another comes."""
        if self.height < 0:
            self.add(self.asked_for(self.trees[0]), 0)
            self.height = 0
        for index in range(self.height, height):
            self.put(self.trees[index], index)
        self.height = height

    def asked_for(self, tree: _Tree) -> dict[bytes, Entry | None]:
        """Those nodes of a tree that whiteouts may be about."""
        wanted = self.wanted
        for path in tree.inner:
            way = []
            while path not in wanted:
                way.append(path)
                path = path.rpartition(b"/")[0]
            wanted.update(dict.fromkeys(way, wanted[path]))
        return {
            path: entry
            for path, entry in tree.nodes.items()
            if wanted[path.rpartition(b"/")[0]] or wanted.get(path)
        }

    def put(self, tree: _Tree, index: int) -> None:
        """Remove what a layer hides, and add what it has. A whiteout comes before the name that it hides,
        unless that begins with less than `.wh.`: then it takes the layer's own away, too."""
        late = [path for path in tree.whiteouts if _hidden_by(path) < path]
        for path in tree.whiteouts.difference(late):
            self.remove(_hidden_by(path))
        nodes = self.asked_for(tree).items()
        self.add({path: entry for path, entry in nodes if path not in tree.whiteouts}, index)
        for path in late:
            self.remove(_hidden_by(path))

    def add(self, nodes: dict[bytes, Entry | None], index: int) -> None:
        """Add nodes; what is there keeps what lies below it, whatever it becomes."""
        for path in nodes.keys() - self.nodes.keys():
            while path:
                parent = path.rpartition(b"/")[0]
                beside = self.below.setdefault(parent, set())
                if path in beside:
                    break
                beside.add(path)
                self.nodes[path] = None
                path = parent
        self.nodes.update(nodes)
        self.layers.update(dict.fromkeys(nodes, index))

    def remove(self, path: bytes) -> None:
        """Remove a node with all below it, where it is there."""
        if path not in self.nodes:
            return
        self.below[path.rpartition(b"/")[0]].discard(path)
        for gone in list(self.within(path)):
            del self.nodes[gone]
            self.below.pop(gone, None)

    def within(self, path: bytes) -> Iterator[bytes]:
        """A node and all below it."""
        stack = [path]
        while stack:
            path = stack.pop()
            yield path
            stack.extend(self.below.get(path, ()))

    def deleted(self, path: bytes) -> tuple[_Copy, ...]:
        """What a whiteout of a node counts: what lies below it, if it is a directory."""
        entry = self.nodes[path]
        if entry is None or entry.typeflag != DIRECTORY:
            return ()
        sizes = ((at, _size(self.nodes[at])) for at in self.within(path))
        return tuple(_Copy(self.layers[at], at, size, path) for at, size in sizes if size)


# --- leaves ----------------------------------------------------------------------------------


class _Copy(NamedTuple):
    """Bytes that dive counts."""

    layer: int
    path: bytes
    size: int
    counted_at: bytes
    """The path that they are added to."""

    @property
    def place(self) -> tuple[int, bytes]:
        return self.layer, self.path


class _Read(NamedTuple):
    """What dive counts of a layer."""

    leaves: dict[bytes, int]
    """Sizes by path of all but whiteouts."""
    whiteouts: dict[bytes, tuple[_Copy, ...]]
    """What is counted at the paths that they hide."""
    stopped_at: bytes | None
    """The path that a whiteout of nothing hides; leaves that come later are left out."""


class _Path(NamedTuple):
    """What dive counts of a path."""

    leaves: int
    total: int
    least: int
    """The smallest leaf, -1 where there is none."""


@frozen
class _Paths:
    """What dive counts of all paths."""

    once: dict[bytes, int]
    """The sizes of those that have one leaf."""
    more: dict[bytes, _Path]
    """The others; those that a whiteout of nothing names may have none or one."""


def _read(changesets: Sequence[Changeset]) -> Iterator[_Read]:
    """What dive counts of each layer. Only where a layer has whiteouts it must know what lies below."""
    trees = [_tree_of(changeset) for changeset in changesets]
    stack = _Stack(trees)
    for index, tree in enumerate(trees):
        if tree.whiteouts:
            stack.raise_to(index)
        yield _read_tree(tree, stack)


def _read_tree(tree: _Tree, stack: _Stack) -> _Read:
    leaves = {path: _size(entry) for path, entry in tree.nodes.items() if path not in tree.inner}
    if not tree.whiteouts:
        return _Read(leaves, {}, None)
    whiteouts = tree.whiteouts - tree.inner
    dangling = [path for path in whiteouts if _hidden_by(path) not in stack.nodes]
    stopped_at = None
    if dangling:
        last = min(map(_in_order, dangling))
        stopped_at = _hidden_by(last.replace(b"\0", b"/"))
        leaves = {path: size for path, size in leaves.items() if _in_order(path) < last}
        whiteouts = whiteouts & leaves.keys()
    for path in whiteouts:
        del leaves[path]
    hidden = map(_hidden_by, whiteouts)
    return _Read(leaves, {path: stack.deleted(path) for path in hidden}, stopped_at)


def _by_path(layers: Iterable[_Read]) -> _Paths:
    """What dive counts, by path."""
    paths = _Paths({}, {})
    for layer in layers:
        _add(paths, layer.leaves)
        _add(paths, {path: sum(copy.size for copy in copies) for path, copies in layer.whiteouts.items()})
        if layer.stopped_at is not None and layer.stopped_at not in paths.once:
            paths.more.setdefault(layer.stopped_at, _Path(0, 0, -1))
    return paths


def _add(paths: _Paths, leaves: dict[bytes, int]) -> None:
    once, more = paths.once, paths.more
    for path in leaves.keys() & once.keys():
        size = once.pop(path)
        more[path] = _Path(1, size, size)
    again = leaves.keys() & more.keys()
    for path in again:
        known, size = more[path], leaves[path]
        least = size if known.least < 0 else min(size, known.least)
        more[path] = _Path(known.leaves + 1, known.total + size, least)
    once.update(leaves)
    for path in again:
        del once[path]


def _copies(layers: Sequence[_Read], paths: Set[bytes]) -> Iterator[_Copy]:
    """What dive counts at these paths, piece by piece."""
    for index, layer in enumerate(layers):
        for path in layer.leaves.keys() & paths:
            yield _Copy(index, path, layer.leaves[path], path)
        for path in layer.whiteouts.keys() & paths:
            yield from layer.whiteouts[path]


def _readable(
    changesets: Sequence[Changeset], dead: Iterable[DeadFile]
) -> tuple[list[DeadFile], list[DeadFile]]:
    """The files that dive can know of, and those that it cannot: of a path that a layer has twice it knows
    the last entry alone."""
    last = [{entry.path: entry for entry in changeset.entries} for changeset in changesets]
    lists: tuple[list[DeadFile], list[DeadFile]] = ([], [])
    for file in dead:
        entry = last[file.layer].get(file.path)
        covered = entry is None or entry.size != file.size or file.killed_by == file.layer
        lists[covered].append(file)
    return lists


def _below_deleted(changesets: Sequence[Changeset], dead: Iterable[DeadFile]) -> Iterator[DeadFile]:
    """Of dead files those that their layer's killer hid by a marker of a directory above them."""
    hidden: dict[int, set[bytes]] = {}
    for file in dead:
        if file.killed_by not in hidden:
            killer = changesets[file.killed_by]
            hidden[file.killed_by] = {*killer.whiteouts, *killer.opaques}
        if not hidden[file.killed_by].isdisjoint(_ancestors(file.path)):
            yield file


def _ancestors(path: bytes) -> Iterator[bytes]:
    """The directories above a path, the root last."""
    while path:
        path = path.rpartition(b"/")[0]
        yield path
