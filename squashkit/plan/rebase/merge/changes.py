"""What a merge makes of the result: files, symlinks, and what is to be hidden; and what people are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from squashkit.layers.entry import REGULAR, SYMLINK
from squashkit.layers.rootfs import Attributes, Directory, Inode
from squashkit.plan.rebase.contents import is_file
from squashkit.plan.rebase.merge.keyed import of_one
from squashkit.plan.rebase.merge.record import Record
from squashkit.plan.rebase.merge.sides import Sides, Tree
from squashkit.plan.rebase.model import Kind, Risk


class Made(NamedTuple):
    """A file, a symlink or a folder of the last layer."""

    attributes: Attributes
    content: bytes = b""
    target: bytes | None = None
    """Of a symlink where it leads."""
    source: Inode | None = None
    """A file of the new base that has the content."""
    link: bytes = b""
    """Another path of the layer that this is a further name of."""
    is_folder: bool = False


class Merged(NamedTuple):
    """A path of the result that is neither side's alone, or not that of the layers above."""

    path: bytes
    kind: Kind
    origin: str
    """Whose it is: `new base`, `old base`, `image`, `both`; `nobody` where it is hidden."""
    packages: tuple[str, ...] = ()
    """The packages that it is about, where it is about some."""


def lower_version(path: bytes, app: str, new: str, package: str) -> Risk:
    """That the image's own, lower version of a package hides the new base's patch, in the database at a
    path."""
    effect = "the image brought its own version, which is lower than the new base's: build the image anew"
    return Risk(Kind.PACKAGES, path, app, new, None, effect, True, package)


_FILE = Attributes(0o644, 0, 0, 0, {})
_LINK = Attributes(0o777, 0, 0, 0, {})


@dataclass(slots=True)
class Changes:
    """What the last layer will hold. What the result has already is not put into it."""

    sides: Sides
    made: dict[bytes, Made | None] = field(default_factory=dict)
    """By path; None for what is hidden."""
    merged: list[Merged] = field(default_factory=list)
    conflicts: list[Risk] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    """What the next rebase must know."""
    settled: set[bytes] = field(default_factory=set)
    """Paths about which nothing is left to be told: they hold what a rebuild would have there."""

    @property
    def kinds(self) -> list[str]:
        """What was merged, as people call it."""
        there = {one.kind for one in self.merged}
        return [kind.value for kind in Kind if kind in there]

    def text(self, path: bytes) -> bytes | None:
        """What a file holds once all of this is done."""
        if path in self.made:
            made = self.made[path]
            if made is not None and made.source is not None:
                return self.sides.new.contents.text(made.source, self.sides.new.side)
            return made.content if made is not None and made.target is None else None
        return self.sides.result.text(path)

    def leads(self, path: bytes) -> bool:
        """Whether something is there once all of this is done. What is hidden is so under its own path."""
        real = self.sides.result.real(path)
        if real in self.made:
            return self.made[real] is not None
        return self.sides.result.leads(path)

    def leave(self, path: bytes, why: str, effect: str) -> None:
        """Tell that a database is left as the layers above have it, and what will be seen."""
        self.conflicts.append(Risk(Kind.PACKAGES, path, why, "its own database", None, effect, False))

    def put(self, path: bytes, content: bytes, kind: Kind, packages: Iterable[str] = ()) -> None:
        """Have a file hold this, with the attributes that the image has it with, or the new base."""
        self.settled.add(path)
        if self.sides.result.text(path) == content:
            return
        attributes = self._attributes(path)
        origin = "both"
        if self.sides.new.text(path) == content:
            origin = "new base"
        elif self.sides.app.text(path) == content:
            origin = "image"
        self.made[path] = Made(attributes, content)
        self.merged.append(Merged(path, kind, origin, tuple(packages)))

    def _attributes(self, path: bytes) -> Attributes:
        """What a merged file has: of mode and owner what the image changed, else the new base's."""
        old, app, new = (
            node.effective() if is_file(node := tree.node(path)) else None
            for tree in (self.sides.old, self.sides.app, self.sides.new)
        )
        if old is None or app is None or new is None:
            return app or new or _FILE
        mode, uid, gid = map(of_one, old[:3], app[:3], new[:3])
        return app._replace(mode=mode, uid=uid, gid=gid)

    def link(self, path: bytes, target: bytes, kind: Kind) -> None:
        """Have a symlink lead there."""
        self.settled.add(path)
        node = self.sides.result.node(path)
        is_link = isinstance(node, Inode) and node.entry.typeflag == SYMLINK
        if is_link and isinstance(node, Inode) and node.entry.linkname == target:
            return
        attributes = node.effective() if isinstance(node, Inode) else _LINK
        self.made[path] = Made(attributes._replace(mode=0o777), target=target)
        self.merged.append(Merged(path, kind, "both"))

    def copy(self, path: bytes, tree: Tree, kind: Kind, packages: Iterable[str] = ()) -> None:
        """Have the result hold at a path what a tree has there, nothing included. Folders stay."""
        self.settled.add(path)
        node = tree.node(path)
        if isinstance(node, Directory) or self.sides.shows(tree, path):
            return
        if node is None:
            self.hide(path, kind, packages)
            return
        record = node.entry
        sides = self.sides
        origin = "new base" if tree is sides.new else "old base" if tree is sides.old else "image"
        if record.typeflag == SYMLINK:
            self.made[path] = Made(node.effective(), target=record.linkname)
        elif record.typeflag == REGULAR:
            content = tree.text(path)
            assert content is not None
            self.made[path] = Made(node.effective(), content)
        else:
            return
        self.merged.append(Merged(path, kind, origin, tuple(packages)))

    def take(self, path: bytes, place: bytes, kind: Kind) -> None:
        """Have a path hold what the new base has in a place: a file or a symlink."""
        node = self.sides.new.node(place)
        assert isinstance(node, Inode)
        record = node.entry
        self.settled.add(path)
        if record.typeflag == SYMLINK:
            self.made[path] = Made(node.effective(), target=record.linkname)
        elif record.typeflag == REGULAR and record.sparse is not None:
            self.made[path] = Made(node.effective(), self.sides.new.text(place) or b"")
        elif record.typeflag == REGULAR:
            self.made[path] = Made(node.effective(), source=node)
        else:
            return
        self.merged.append(Merged(path, kind, "new base"))

    def hide(self, path: bytes, kind: Kind, packages: Iterable[str] = ()) -> None:
        """Have nothing at a path."""
        self.settled.add(path)
        if self.sides.result.node(path) is not None and path not in self.made:
            self.made[path] = None
            self.merged.append(Merged(path, kind, "nobody", tuple(packages)))
