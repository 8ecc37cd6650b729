"""Layers onto another base: pure.

The layers above go over byte for byte. One is made anew only where the bases differ in what it relies on: a
whiteout in a directory that the new base lacks, or a directory that only the old base gave. What cannot be
made to fit is told as a risk; so is what fits and means something else (risks/).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from squashkit.errors import InvalidLayer, show_path
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import DIRECTORY, Entry, is_hard_link, link_target
from squashkit.layers.links import StandingLinks
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Directory, Inode, Node, Rootfs
from squashkit.plan.rebase.model import ACCOUNTS, BaseNodes, Kind, Risk, show_node
from squashkit.plan.segments import Segment
from squashkit.values import frozen


@frozen
class Fitted:
    """The layers above a base, as they are to lie on another one."""

    old: tuple[Changeset, ...]
    new: tuple[Changeset, ...]
    above: tuple[Changeset, ...]
    """With the directories that only the old base gave."""
    remade: frozenset[int]
    """Those of them that differ from what they were, counted from the lowest."""
    risks: tuple[Risk, ...]
    touched: Mapping[bytes, BaseNodes]
    """Every path that they have an entry for, and those of the accounts."""
    app: Rootfs
    """What the old base and the layers above made."""
    tree: Rootfs
    """What the new base and the layers above make, less hard links that have lost their targets."""
    earlier: Changeset | None = None
    """What an earlier rebase merged into a layer of its own: the image has it, the result gets its own."""

    @property
    def changesets(self) -> dict[int, Changeset]:
        """Of all layers of the result: they need not be those that the layers hold."""
        return dict(enumerate((*self.new, *self.above)))

    @property
    def bottom(self) -> int:
        """How many layers the new base has."""
        return len(self.new)


def fit(
    old: Sequence[Changeset],
    new: Sequence[Changeset],
    above: Sequence[Changeset],
    earlier: Changeset | None = None,
    without: Collection[bytes] = (),
) -> Fitted:
    """Put the layers that lay on one base on another. `earlier` is the uppermost of the image, which is not
    to be in the result, and neither is what the others have at paths of `without`. Linear in all entries.
    Raises InvalidLayer as `Rootfs.apply` does."""
    before, after = Rootfs(), Rootfs()
    for rootfs, base in ((before, old), (after, new)):
        for index, changeset in enumerate(base):
            rootfs.apply(changeset, index)
    paths = {entry.path for changeset in above for entry in changeset.entries} - set(without)
    touched = {
        path: BaseNodes(node_at(before, path), node_at(after, path)) for path in paths | ACCOUNTS.keys()
    }
    fitted: list[Changeset] = []
    remade: set[int] = set()
    risks: list[Risk] = []
    for number, whole in enumerate(above):
        changeset = _leave_out(whole, without)
        layer = _LayerFit(changeset, number, before, after)
        try:
            layer.look()
        except InvalidLayer as error:
            error.in_layer(f"layer {len(old) + number}")
            raise
        risks += layer.risks
        if layer.ancestors or layer.lost or changeset is not whole:
            remade.add(number)
        entries = (*sorted(layer.ancestors, key=attrgetter("path")), *changeset.entries)
        if layer.dangling:  # nobody can unpack it; without them the rest can be looked at
            entries = tuple(entry for entry in entries if entry not in layer.dangling)
        is_other = layer.ancestors or layer.dangling
        fitted.append(replace(changeset, entries=entries) if is_other else changeset)
        before.apply(whole, len(old) + number)
        after.apply(fitted[-1], len(new) + number)
    if earlier is not None:
        before.apply(earlier, len(old) + len(above))
    return Fitted(
        tuple(old),
        tuple(new),
        tuple(fitted),
        frozenset(remade),
        tuple(risks),
        touched,
        before,
        after,
        earlier,
    )


def _leave_out(changeset: Changeset, paths: Collection[bytes]) -> Changeset:
    """A layer without its entries at these paths."""
    if not any(entry.path in paths for entry in changeset.entries):
        return changeset
    return replace(changeset, entries=tuple(one for one in changeset.entries if one.path not in paths))


def rebased_segments(fitted: Fitted, *, squash: bool) -> list[Segment]:
    """The layers of the result: the new base's, then those above, merged into one with `squash`. Layers
    count from the new base's lowest."""
    bottom, top = fitted.bottom, fitted.bottom + len(fitted.above)
    segments = [Segment(0, bottom, True)]
    if squash:
        segments.append(Segment(bottom, top, False, bool(fitted.remade)))
    else:
        segments += [
            Segment(bottom + n, bottom + n + 1, n not in fitted.remade, n in fitted.remade)
            for n in range(len(fitted.above))
        ]
    return [segment for segment in segments if len(segment)]


@dataclass(slots=True)
class _LayerFit:
    """One layer, held against what lies below it before and after."""

    changeset: Changeset
    number: int
    before: Rootfs
    after: Rootfs
    risks: list[Risk] = field(default_factory=list)
    ancestors: list[Entry] = field(default_factory=list)
    """Entries of directories that only the old base gave."""
    dangling: set[Entry] = field(default_factory=set)
    """Hard links whose targets are gone."""
    lost: bool = False
    """Whether a whiteout hides nothing any more, where nobody would see that it does."""
    _own: dict[bytes, bool] = field(default_factory=dict)
    """Paths of the layer's entries, and whether each is a directory."""
    _blocked: set[bytes] = field(default_factory=set)
    """Directories that cannot be there as they were."""
    _seen: set[bytes] = field(default_factory=set)
    _hidden: frozenset[bytes] = frozenset()
    _removed: set[bytes] = field(default_factory=set)
    """Directories that the layer itself deletes and puts something into."""
    _written: set[bytes] = field(default_factory=set)
    """Paths of entries that came before."""
    _unlinked: set[bytes] = field(default_factory=set)
    """Paths of hard links whose targets are gone."""
    _links: StandingLinks = field(init=False)

    def look(self) -> None:
        self._links = StandingLinks(self.changeset.entries)
        self._own = {entry.path: entry.typeflag == DIRECTORY for entry in self.changeset.entries}
        self._hidden = frozenset(self.changeset.whiteouts)
        for path in self.changeset.whiteouts:
            self._whiteout(path)
        for path in self.changeset.opaques:
            gone = path not in self.after.directories and not self._own.get(path, False)
            self.lost = self.lost or (gone and path in self.before.directories)
        for entry in self.changeset.entries:
            self._links.advance(entry.start)
            path = self._real(entry.path)
            for directory in self._unseen_above(path):
                self._ancestor(directory)
            self._entry(entry, path)
            self._written.add(path)

    def _real(self, path: bytes) -> bytes:
        """Where a path leads: through symlinks that the layer itself has made before, and no others."""
        if not self._links.targets:
            return path
        directory, _, name = path.rpartition(b"/")
        directory = self._links.followed(directory)
        return directory + b"/" + name if directory else name

    def _unseen_above(self, path: bytes) -> Iterator[bytes]:
        """The directories above a path that were not looked at yet, the topmost first."""
        chain = []
        while path := path.rpartition(b"/")[0]:
            if path in self._seen:
                break
            self._seen.add(path)
            chain.append(path)
        return reversed(chain)

    def _whiteout(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        if parent not in self.after.directories:
            if parent in self.before.directories:
                self.lost = True
                self._blocked_way(parent)
            return
        was, there = node_at(self.before, path), node_at(self.after, path)
        other = isinstance(was, Directory) != isinstance(there, Directory)
        if was is not None and there is not None and other:
            self._conflict(path, was, there, "a layer deletes it, made for what the old base had there")

    def _blocked_way(self, directory: bytes) -> None:
        """Tell where a directory is a symlink or a file now, so that whiteouts in it hide nothing."""
        while directory and directory not in self._blocked:
            there = node_at(self.after, directory)
            if isinstance(there, Inode):
                self._blocked.add(directory)
                was = node_at(self.before, directory)
                effect = "what the layer deletes in it is there again"
                self._conflict(directory, was, there, effect)
            directory = directory.rpartition(b"/")[0]

    def _ancestor(self, directory: bytes) -> None:
        """A directory that an entry needs, and that the layer itself may not list."""
        parent = directory.rpartition(b"/")[0]
        if parent in self._blocked:
            self._blocked.add(directory)
            return
        if directory in self._hidden or parent in self._removed:
            self._removed.add(directory)  # by the layer itself, which makes it anew
            return
        if directory in self._own or directory in self.after.directories:
            return
        was, there = node_at(self.before, directory), node_at(self.after, directory)
        if isinstance(was, Inode) or (was is None and there is None):
            return
        if there is not None:
            self._blocked.add(directory)
            self._conflict(
                directory,
                was,
                there,
                "overlay file systems make it a directory, and all that the new base has behind it is gone",
            )
            return
        assert was is not None
        if was.entry is not None:
            self.ancestors.append(was.entry._replace(start=0, headers=0))
        if parent in self.after.directories or self._own.get(parent):
            self._vanished(directory, error=True)

    def _entry(self, entry: Entry, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        if parent in self._blocked:
            return
        was, there = node_at(self.before, path), node_at(self.after, path)
        if entry.typeflag == DIRECTORY:
            if isinstance(there, Inode) and not isinstance(was, Inode):
                self._blocked.add(path)
                self._conflict(
                    path,
                    was,
                    there,
                    "the layer's directory takes its place, and all that the"
                    " new base has behind it is gone",
                )
            gone = there is None and isinstance(was, Directory) and bool(was.children)
            if gone and parent in self.after.directories:
                self._vanished(path, error=False)
            return
        if isinstance(there, Directory) and not isinstance(was, Directory):
            self._conflict(
                path,
                was,
                there,
                "the layer's file takes its place, and all in the new base's directory is gone",
            )
        self._unlinked.discard(path)
        if is_hard_link(entry):
            target = self._real(link_target(entry))
            was_file = isinstance(node_at(self.before, target), Inode)
            lost = was_file and not isinstance(node_at(self.after, target), Inode)
            if (lost and target not in self._written) or target in self._unlinked:
                self.dangling.add(entry)
                self._unlinked.add(path)
                was_link = f"a hard link to {show_path(target)}"
                effect = "the layer cannot be unpacked"
                self.risks.append(Risk(Kind.LINK, path, was_link, "nothing there", self.number, effect))

    def _conflict(self, path: bytes, was: Node | None, there: Node | None, effect: str) -> None:
        self.risks.append(Risk(Kind.TYPE, path, show_node(was), show_node(there), self.number, effect))

    def _vanished(self, path: bytes, *, error: bool) -> None:
        effect = "the old base's files in it are gone; what the layers above have there lies there alone"
        self.risks.append(
            Risk(Kind.PARENT, path, "a directory", "nothing", self.number, effect, is_error=error)
        )
