"""One path through all layers: which hold it, which hide it, and what becomes of each copy. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from squashkit.errors import show_path
from squashkit.layers.changeset import Changeset, opaque_of, whiteout_of
from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import DIRECTORY, REGULAR, Entry
from squashkit.layers.rootfs import Cause, Directory, Dropped, Rootfs
from squashkit.values import frozen

SHOWN = "shown"
_FATES = {
    Cause.OVERWRITTEN: "dead: overwritten by layer {}",
    Cause.DELETED: "dead: deleted by layer {}",
    Cause.ATTRIBUTES: "dead: rewritten by layer {}, same size and time",
}
_SAME = "dead: rewritten by layer {} with the same content"
SameFile = Callable[[int, Entry, int, Entry], bool]
"""Says of two files, each of a layer, whether they hold the same bytes."""


@frozen
class Trace:
    """What one layer does at a path."""

    layer: int
    path: bytes
    """Of the entry, or of the marker as it stands in the layer's tar."""
    entry: Entry | None
    """None for a whiteout or an opaque marker."""
    fate: str
    """What becomes of an entry, or what is hidden, in words."""
    shown: bool = False
    """Whether it is what the root file system has at the path."""


class Traces:
    """What layers hold or hide, base first, by paths. `rootfs` is what all of the layers made.

    An entry counts where it was put: a way through a symlink of its own layer leads elsewhere than its name
    says. Markers of directories above a path count where they hide it, and so does what took a directory's
    place.
    """

    def __init__(self, changesets: Mapping[int, Changeset], rootfs: Rootfs, is_same: SameFile) -> None:
        self._ends = _Ends(rootfs, changesets, is_same)
        self._layers = [_Seen.of(layer, changeset, self._ends) for layer, changeset in changesets.items()]

    def paths(self) -> set[bytes]:
        """Every path that a layer holds or hides by a whiteout."""
        return {path for seen in self._layers for path in (*seen.placed, *seen.whiteouts)}

    def of(self, path: bytes) -> Iterator[Trace]:
        """Everything that layers hold at a path or hide there."""
        above = _above(path)
        held: int | None = None  # the layer whose copy of the path is there
        for seen in self._layers:
            hiding = [(at, one) for one in (path, *above) for at in seen.whiteouts.get(one, ())]
            for _, hidden in sorted(hiding):
                if hidden == path or held is not None:
                    yield Trace(seen.layer, whiteout_of(hidden), None, _hides(held))
                    held = None
            emptied = [(at, one) for one in above for at in seen.opaques.get(one, ())]
            for _, directory in sorted(emptied):
                if held is not None:
                    yield Trace(seen.layer, opaque_of(directory), None, _hides(held))
                    held = None
            entries = [entry for one in above for entry in seen.files.get(one, ())]
            entries += seen.placed.get(path, ())
            for entry in sorted(entries, key=lambda entry: entry.start):
                if self._ends.place(entry) == path:
                    held = seen.layer
                    fate = self._ends.fate(entry)
                    yield Trace(seen.layer, entry.path, entry, fate, fate == SHOWN)
                elif held is not None:
                    yield Trace(seen.layer, entry.path, entry, f"no directory: {_hides(held)}")
                    held = None


@frozen
class _Seen:
    """One layer, by paths."""

    layer: int
    placed: dict[bytes, list[Entry]]
    """Entries by where they were put."""
    files: dict[bytes, list[Entry]]
    """All but directories, by their names."""
    whiteouts: dict[bytes, list[int]]
    """What is hidden, and at which place in the tar's order."""
    opaques: dict[bytes, list[int]]

    @classmethod
    def of(cls, layer: int, changeset: Changeset, ends: _Ends) -> _Seen:
        seen = cls(layer, defaultdict(list), defaultdict(list), defaultdict(list), defaultdict(list))
        for entry in changeset.entries:
            seen.placed[ends.place(entry)].append(entry)
            if entry.typeflag != DIRECTORY:
                seen.files[entry.path].append(entry)
        for at, path in enumerate(changeset.whiteouts):
            seen.whiteouts[path].append(at)
        for at, path in enumerate(changeset.opaques):
            seen.opaques[path].append(at)
        return seen


def _above(path: bytes) -> set[bytes]:
    """The directories that a path leads through, the root among them."""
    parts = path.split(b"/") if path else []
    return {b"/".join(parts[:end]) for end in range(len(parts))}


def _hides(held: int | None) -> str:
    return "hides nothing" if held is None else f"hides that of layer {held}"


class _Ends:
    """Where each entry was put, and what became of it."""

    def __init__(self, rootfs: Rootfs, changesets: Mapping[int, Changeset], is_same: SameFile) -> None:
        self._changesets = changesets
        self._is_same = is_same
        self._dead = {id(dead.entry): dead for dead in rootfs.dropped}
        self._shown: dict[int, bytes] = {}
        self._content: dict[int, bytes] = {}
        """Names under which the content of a file is shown whose first name is gone."""
        if rootfs.root.entry is not None:
            self._shown[id(rootfs.root.entry)] = b""
        for path, node in iter_nodes(rootfs.root):
            if isinstance(node, Directory):
                if node.entry is not None:
                    self._shown[id(node.entry)] = path
            elif node.bindings is None:
                self._shown[id(node.entry)] = path
            else:
                self._content.setdefault(id(node.entry), path)
                for binding in node.bindings.values():
                    self._shown[id(binding.entry)] = binding.path

    def place(self, entry: Entry) -> bytes:
        if id(entry) in self._shown:
            return self._shown[id(entry)]
        dead = self._dead.get(id(entry))
        return dead.path if dead else entry.path

    def fate(self, entry: Entry) -> str:
        if id(entry) in self._shown:
            return SHOWN
        dead = self._dead.get(id(entry))
        if dead is not None and dead.cause is Cause.ATTRIBUTES:
            return self._rewritten(dead).format(dead.by)
        if dead is not None:
            return _FATES[dead.cause].format(dead.by)
        if id(entry) in self._content:
            return f"the name is gone, its content is shown as /{show_path(self._content[id(entry)])}"
        return "replaced within its layer"

    def _rewritten(self, dead: Dropped) -> str:
        """What is said of a file that came again with the same size and time: its content tells."""
        for entry in self._changesets[dead.by].entries:
            if entry.typeflag == REGULAR and self.place(entry) == dead.path:
                same = self._is_same(dead.layer, dead.entry, dead.by, entry)
                return _SAME if same else _FATES[Cause.OVERWRITTEN]
        return _FATES[Cause.ATTRIBUTES]
