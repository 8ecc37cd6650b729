"""Applying changesets: the single statement of the overlay rules.

A `Rootfs` is a tree of directories and inodes. Every name in it knows which layer bound it, and a
directory remembers what the current *run* of layers took away of what lay below the run. That memory is
all that a planner needs to say, for the run as a whole, what one layer must hold.

The rules are those of the OCI image-spec (layer.md) and, where it is silent, the reading that the
overlay file systems of docker, podman and containerd make true:

* all whiteouts and opaque markers of a layer come before its entries, wherever they stand in the tar;
* a directory over a directory replaces its attributes and keeps its children; every other collision
  removes what is there;
* a path through a symlink of the same layer follows it, inside the root; through a symlink or a file of
  a lower layer it makes a directory in its place (`follow_lower_symlinks` gives the other reading);
* a whiteout whose parent is no directory below does nothing;
* the last header of a hard-link group sets the inode's attributes; a link's xattrs add to the inode's.

What a small input can ask for is limited: directories that no layer lists, of which a long name makes many.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from typing import Final, NamedTuple

from squashkit.errors import InvalidLayer, PlanError, show_path
from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import AUFS_LINKS, OPAQUE, WHITEOUT, Changeset
from squashkit.layers.entry import (
    DIRECTORY,
    HARD_LINK,
    SYMLINK,
    TYPE_NAMES,
    Entry,
    is_hard_link,
    link_target,
)
from squashkit.layers.links import MAX_SYMLINKS
from squashkit.values import frozen

BELOW: Final = -1
"""The layer number of what no layer made: the root."""
_CAPABILITY: Final = b"security.capability"
MAX_UNLISTED: Final = 128 << 20
"""Bytes of names and headers of the directories that no layer lists: about 250,000 of them. A name of 4
kB may imply 2,000 of 2 kB each."""


class Attributes(NamedTuple):
    """What a header says of an inode besides its type and content; mtime in nanoseconds."""

    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: dict[bytes, bytes]

    @classmethod
    def of(cls, entry: Entry) -> Attributes:
        """Owners have 32 bits where they are applied (chown(2)), whatever a header says: -2 is
        4294967294."""
        traits = entry.traits
        uid, gid = traits.uid & 0xFFFFFFFF, traits.gid & 0xFFFFFFFF
        return cls(traits.mode & 0o7777, uid, gid, entry.mtime, traits.xattrs or {})


class Binding(NamedTuple):
    """One name of an inode that has several: where, by which layer, by which entry."""

    directory: Directory
    name: bytes
    layer: int
    entry: Entry

    @property
    def path(self) -> bytes:
        return self.directory.child_path(self.name)


class Inode:
    """Anything that is no directory. `entry` holds its type and content, and its first name. Most have had
    one name, and nothing else: a layer has 100,000 of them."""

    __slots__ = ("entry", "layer")

    bindings: dict[Place, Binding] | None = None
    """Its names in the order of their headers, and so of layers, once it has had more than one."""
    attributes: Attributes | None = None
    """Set by a hard link's header that differs from the entry's."""
    changed = BELOW
    """The last layer whose hard link changed the attributes."""
    lost: tuple[int, bytes] | None = None
    """The layer that took the name that the content came with, and where that was, of several names."""

    def __init__(self, entry: Entry, layer: int) -> None:
        self.entry = entry
        self.layer = layer

    def effective(self) -> Attributes:
        return self.attributes or Attributes.of(self.entry)


class LinkedInode(Inode):
    """One that has had several names."""

    __slots__ = ("attributes", "bindings", "changed", "lost")

    bindings: dict[Place, Binding]

    def __init__(self, entry: Entry, layer: int, bindings: dict[Place, Binding]) -> None:
        super().__init__(entry, layer)
        self.bindings = bindings
        self.attributes = None
        self.changed = BELOW
        self.lost = None


class Directory:
    """A directory. `entry` is the last one that set its attributes, None where no layer lists it."""

    __slots__ = (
        "children",
        "displaced",
        "entry",
        "entry_layer",
        "layer",
        "parent",
        "path",
        "remade",
        "touched",
    )

    def __init__(self, path: bytes, parent: Directory | None, entry: Entry | None, layer: int) -> None:
        self.path = path
        self.parent = parent
        self.layer = layer
        self.entry = entry
        self.entry_layer = layer
        self.children: dict[bytes, Node] = {}
        self.displaced: dict[bytes, Node | None] | None = None
        """What lay here below the run and was taken away by it; None where it cannot be known."""
        self.remade = False
        """An opaque marker of the run emptied it."""
        self.touched = BELOW
        """The start of the last run that changed it or anything below it."""

    def child_path(self, name: bytes) -> bytes:
        return self.path + b"/" + name if self.path else name


Node = Inode | Directory
Place = tuple[Directory, bytes]
"""A directory and a name in it."""


def bound_by(directory: Directory, name: bytes, node: Node) -> int:
    """The layer that gave a directory this name for this node."""
    if isinstance(node, Inode) and node.bindings is not None:
        return node.bindings[directory, name].layer
    return node.layer


class Cause(Enum):
    """Why an entry does not survive."""

    OVERWRITTEN = "overwritten"
    DELETED = "deleted"
    ATTRIBUTES = "rewritten, same size and time"


class Dropped(NamedTuple):
    """An entry that is dead: made by one layer, ended by another."""

    entry: Entry
    layer: int
    cause: Cause
    by: int
    place: bytes | None = None
    """Where it was, if not at its own path."""
    end: bytes | None = None
    """The path that was lost, if not that where it was: of an inode of several names the last one, unless
    the one that its content came with was lost in the same layer."""
    attributes: Attributes | None = None
    """Of an inode whose attributes a hard link had changed."""

    @property
    def path(self) -> bytes:
        return self.entry.path if self.place is None else self.place

    @property
    def last(self) -> bytes:
        return self.path if self.end is None else self.end


@frozen
class Contested:
    """A construct on which the consumers of layers do not agree, and the layer it stands in."""

    construct: str
    path: bytes
    layer: int


class Rootfs:
    """The tree that a stack of layers makes. Layers are applied in order, base first.

    With `unknown_below`, layers lie below that could not be read: every directory may hold names that
    are not seen, and what the run takes away is remembered as None.
    """

    def __init__(self, *, follow_lower_symlinks: bool = False, unknown_below: bool = False) -> None:
        self.root = Directory(b"", None, None, BELOW)
        self.directories: dict[bytes, Directory] = {b"": self.root}
        self.dropped: list[Dropped] = []
        self.contested: list[Contested] = []
        self.run = 0
        """The layer at which the current run starts."""
        self.follow_lower_symlinks = follow_lower_symlinks
        self.unknown_below = unknown_below
        self._marked: list[Directory] = []
        self._layer = 0
        self._aufs: dict[bytes, LinkedInode] = {}
        self._nameless: dict[bytes, Dropped] = {}
        """Those of them that have no name now, by the paths that AUFS gave them: dead, unless a link
        follows."""
        self._unlisted: dict[Directory, None] = {}
        self._unlisted_size = 0

    def __repr__(self) -> str:
        return f"<Rootfs: {len(self.directories):,} directories>"

    def copy(self) -> Rootfs:
        """A tree that begins as this one is, before any run: what is applied to one leaves the other
        alone. Inodes of one name are shared, since they never change. What died is not remembered."""
        twin = Rootfs(follow_lower_symlinks=self.follow_lower_symlinks, unknown_below=self.unknown_below)
        copies: dict[Directory, Directory] = {self.root: twin.root}
        linked: dict[Inode, LinkedInode] = {}
        for path, directory in self.directories.items():  # parents come first
            if directory.parent is not None:
                parent = copies[directory.parent]
                copies[directory] = Directory(path, parent, directory.entry, directory.layer)
        for directory, copy in copies.items():
            copy.entry, copy.entry_layer = directory.entry, directory.entry_layer
            copy.touched = directory.touched
            copy.children = dict(directory.children)
            for name, node in directory.children.items():
                if isinstance(node, Directory):
                    copy.children[name] = copies[node]
                elif node.bindings is not None:
                    inode = linked.get(node)
                    if inode is None:
                        inode = linked[node] = LinkedInode(node.entry, node.layer, {})
                        inode.attributes, inode.changed = node.attributes, node.changed
                        inode.lost = node.lost
                        for (at, key), binding in node.bindings.items():
                            place = copies[at]
                            inode.bindings[place, key] = binding._replace(directory=place)
                    copy.children[name] = inode
        twin.directories = {copy.path: copy for copy in copies.values()}
        twin._unlisted_size = self._unlisted_size
        return twin

    def take_apart(self) -> None:
        """Give the tree's memory back at once, without waiting for somebody to find its circles."""
        for directory in self.directories.values():
            directory.children = {}
            directory.displaced = directory.parent = None

    def take_out(self, directory: Directory, name: bytes) -> None:
        """Remove a name, as a whiteout of one more layer of the run would; what dies is not remembered."""
        dead = len(self.dropped)
        self._remove(directory, name, Cause.DELETED)
        del self.dropped[dead:]

    def begin_run(self, layer: int) -> None:
        """Forget what the last run took away: a new one starts at this layer."""
        self.run = layer
        for directory in self._marked:
            directory.displaced = None
            directory.remade = False
        self._marked.clear()

    def apply(self, changeset: Changeset, layer: int) -> None:
        """Apply one layer. Raises InvalidLayer, which names it, for a path through a file of the same
        layer, a loop of symlinks, a hard link whose target is not there or is a directory, and too many
        directories that no layer lists."""
        try:
            self._apply(changeset, layer)
        except InvalidLayer as error:
            error.in_layer(f"layer {layer}")
            raise

    def _apply(self, changeset: Changeset, layer: int) -> None:
        self._layer = layer
        self._aufs, self._nameless = {}, {}
        unlisted: dict[Directory, None] = {}
        self._unlisted = unlisted
        for path in changeset.whiteouts:
            self._hide(path)
        for path in changeset.opaques:
            self._hide_children(path)
        self._note_contested_whiteouts(changeset)
        self._note_repeated(changeset)
        directories = self.directories
        for entry in changeset.entries:
            _, _, _, above, name, _, _, traits, _ = entry
            typeflag = traits.typeflag
            if typeflag == DIRECTORY:
                self._add_directory(entry)
                continue
            parent = directories.get(above)
            if parent is None:
                if above == AUFS_LINKS or above.startswith(AUFS_LINKS + b"/"):
                    self._add_aufs(entry)
                    continue
                parent = self._make_parents(above)
            if not name:
                raise InvalidLayer("the root is no directory")
            if parent.entry_layer != layer:
                unlisted[parent] = None
            if typeflag == HARD_LINK:
                self._add_link(parent, name, entry)
            else:
                if name in parent.children:
                    self._replace(parent, name, entry)
                parent.children[name] = Inode(entry, layer)
                if parent.touched != self.run:
                    self._touch(parent)
        self._note_unlisted()
        self.dropped += self._nameless.values()

    # Whiteouts

    def _hide(self, path: bytes) -> None:
        parent_path, _, name = path.rpartition(b"/")
        parent = self.directories.get(parent_path)
        if parent is None:
            if not self.unknown_below:
                self._contest("whiteout whose parent is no directory below", path)
                return
            parent = self._make_parents(parent_path)
        self._unlisted[parent] = None
        if name in parent.children:
            self._remove(parent, name, Cause.DELETED)
        elif self.unknown_below and not self._is_new(parent):
            self._displace(parent, name, None)

    def _hide_children(self, path: bytes) -> None:
        directory = self.directories.get(path)
        if directory is None:
            if not self.unknown_below:
                return
            directory = self._make_parents(path)
        self._unlisted[directory] = None
        if not path:
            self._contest("opaque marker in the root", OPAQUE)
        for name in list(directory.children):
            self._remove(directory, name, Cause.DELETED)
        directory.remade = True
        self._touch(directory)
        self._marked.append(directory)

    def _note_contested_whiteouts(self, changeset: Changeset) -> None:
        hidden = set(changeset.whiteouts)
        if hidden:
            changed = {path.rpartition(b"/")[0] for path in hidden}
            for entry in changeset.entries:
                if entry.directory in changed and entry.path in hidden:
                    self._contest("whiteout and entry for one path", entry.path)
        opaque = set(changeset.opaques)
        for path in changeset.whiteouts:
            if path.rpartition(b"/")[0] in opaque:
                self._contest("opaque marker and whiteout in one directory", path)
        above = None
        # With NUL for the slash each directory is followed by all that lies below it.
        for path in sorted(hidden, key=lambda path: path.replace(b"/", b"\0")):
            if above is not None and path.startswith(above):
                self._contest("whiteout below a whiteout", path)
            else:
                above = path + b"/"

    def _note_repeated(self, changeset: Changeset) -> None:
        """Names that stand in the layer more than once: docker refuses those that are spelled alike."""
        members = [*changeset.entries, *changeset.markers]
        names: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for member in members:
            names[member.directory].add(member.base)
        if sum(map(len, names.values())) < len(members):
            first: dict[bytes, str] = {}
            for member in members:
                path, kind = member.path, TYPE_NAMES[member.typeflag]
                if path in first:
                    self._contest(f"{REPEATED} ({first[path]}, then {kind})", path)
                first[path] = kind

    def _note_unlisted(self) -> None:
        """Directories that got children from a layer that does not list them: docker and podman make
        them 0755 and root's."""
        seen: set[Directory] = set()
        for directory in self._unlisted:
            at: Directory | None = directory
            while at is not None and at.parent is not None and at not in seen:
                seen.add(at)
                if at.entry_layer != self._layer and at.entry is not None:
                    traits = at.entry.traits
                    if (traits.mode & 0o7777, traits.uid, traits.gid) != (0o755, 0, 0) or traits.xattrs:
                        self._contest("directory not listed by a layer that changes what it holds", at.path)
                at = at.parent

    # Entries

    def _add_aufs(self, entry: Entry) -> None:
        """Content that links of the same layer give its names."""
        path, layer = entry.path, self._layer
        if path in self._nameless:
            self.dropped.append(self._nameless[path])
        self._aufs[path] = LinkedInode(entry, layer, {})
        self._nameless[path] = Dropped(entry, layer, Cause.DELETED, layer)

    def _add_directory(self, entry: Entry) -> None:
        path = entry.path
        layer = self._layer
        directory = self.directories.get(path)
        if directory is None:
            if path == AUFS_LINKS:
                return
            name = entry.base
            parent = self.directories.get(entry.directory) or self._make_parents(entry.directory)
            old = parent.children.get(name)
            if isinstance(old, Directory):  # named through a symlink
                directory = old
            else:
                if old is not None:
                    self._replace(parent, name, entry)
                directory = self._make_directory(parent, name, entry, path)
                self._touch(directory)
                if parent.entry_layer != layer:
                    self._unlisted[parent] = None
                return
        if directory.entry is not None:
            if directory.entry_layer == layer:
                self._contest_other_way(directory.entry, entry, path)
            self._drop(path, directory.entry, directory.entry_layer, Cause.OVERWRITTEN)
        elif directory.parent is not None:
            self._unlisted_size -= _unlisted_size(directory.path)
        directory.entry = entry
        directory.entry_layer = layer
        self._touch(directory)

    def _make_directory(
        self, parent: Directory, name: bytes, entry: Entry | None, path: bytes | None = None
    ) -> Directory:
        """A new directory; with `path` where the entry's own name is its path, which is then held once."""
        if entry is None:
            path = parent.child_path(name)
            if name.startswith(WHITEOUT):
                raise InvalidLayer("a symlink leads to a name that only whiteouts have", path=path)
            self._unlisted_size += _unlisted_size(path)
            if self._unlisted_size > MAX_UNLISTED:
                raise InvalidLayer(
                    f"the names of directories that no layer lists take over {MAX_UNLISTED >> 20} MB"
                )
        elif path is None or parent.path != path[: -len(name) - 1]:
            path = parent.child_path(name)
        directory = Directory(path, parent, entry, self._layer)
        parent.children[name] = self.directories[path] = directory
        return directory

    def _add_link(self, parent: Directory, name: bytes, entry: Entry) -> None:
        target_path = link_target(entry)
        target: Node | None
        if target_path.startswith(AUFS_LINKS + b"/"):
            target = self._aufs.get(target_path)
            at = None
        else:
            at = self._find(target_path)
            target = at and at[0].children.get(at[1])
        if target is None and self.unknown_below:
            raise PlanError(
                f"{show_path(entry.path)} is a hard link to {show_path(target_path)}, which lies in a"
                " layer that is not available; without that layer it cannot be squashed"
            )
        if target is None:
            raise InvalidLayer(
                f"a hard link to {show_path(target_path)}, which is not there", path=entry.path
            )
        if isinstance(target, Directory):
            raise InvalidLayer(f"a hard link to the directory {show_path(target_path)}", path=entry.path)
        if target.layer != self._layer:
            self._contest("hard link to a lower layer", entry.path)
        old = parent.children.get(name)
        if old is target and target_path == entry.path:
            self._contest("hard link to itself", entry.path)
        linked = self._with_names(target, at)
        if old is target:
            old = linked
        bindings = linked.bindings
        if old is linked:
            if bound_by(parent, name, old) < self.run:
                self._displace(parent, name, old)
            del bindings[parent, name]  # it moves to the end
        elif old is not None:
            self._replace(parent, name, entry)
        bindings[parent, name] = Binding(parent, name, self._layer, entry)
        loose = self._nameless.get(linked.entry.path)
        if loose is not None and loose.entry is linked.entry:
            del self._nameless[linked.entry.path]
        parent.children[name] = linked
        self._touch(parent)
        before = linked.effective()
        if _CAPABILITY in before.xattrs and _CAPABILITY not in (entry.xattrs or {}):
            self._contest("hard link without its file's capabilities", entry.path)
        after = Attributes.of(entry)._replace(xattrs=before.xattrs | (entry.xattrs or {}))
        if after != before:
            self._contest("hard link with other attributes than its file's", entry.path)
            if linked.changed < self.run:  # names that follow touch their directories themselves
                for directory, _ in bindings:
                    self._touch(directory)
            linked.attributes = after
            linked.changed = self._layer

    @staticmethod
    def _with_names(inode: Inode, at: Place | None) -> LinkedInode:
        """An inode as one that has several names; where it is the first time, in the place of the other."""
        if isinstance(inode, LinkedInode):
            return inode
        assert at is not None
        directory, name = at
        first = Binding(directory, name, inode.layer, inode.entry)
        linked = LinkedInode(inode.entry, inode.layer, {at: first})
        directory.children[name] = linked
        return linked

    # Paths

    def _find(self, path: bytes) -> tuple[Directory, bytes] | None:
        """The directory and the name that a hard link's target means, symlinks of this layer followed
        on the way; None where a part of the way is missing."""
        parent_path, _, name = path.rpartition(b"/")
        parent = self.directories.get(parent_path) or self._walk(parent_path, make=False)
        return (parent, name) if parent else None

    def _make_parents(self, path: bytes) -> Directory:
        directory = self._walk(path, make=True)
        assert directory is not None
        return directory

    def _walk(self, path: bytes, *, make: bool) -> Directory | None:
        """Resolve a directory's path part by part, inside the root."""
        parts = path.split(b"/")[::-1]
        directory = self.root
        followed = 0
        while parts:
            part = parts.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                directory = directory.parent or directory
                continue
            child = directory.children.get(part)
            if isinstance(child, Directory):
                directory = child
                continue
            if child is not None:
                entry = child.entry
                same_layer = bound_by(directory, part, child) == self._layer
                if entry.typeflag == SYMLINK and (same_layer or self.follow_lower_symlinks):
                    if not same_layer and make:
                        self._contest("path through a symlink of a lower layer", directory.child_path(part))
                    followed += 1
                    if followed > MAX_SYMLINKS:
                        raise InvalidLayer("a loop of symlinks", path=path)
                    if entry.linkname.startswith(b"/"):
                        directory = self.root
                    parts.extend(entry.linkname.split(b"/")[::-1])
                    continue
                if not make:
                    return None
                if same_layer:
                    raise InvalidLayer("a path through a file of the same layer", path=path)
                kind = "symlink" if entry.typeflag == SYMLINK else "file"
                self._contest(f"path through a {kind} of a lower layer", directory.child_path(part))
                self._remove(directory, part, Cause.OVERWRITTEN)
            elif not make:
                return None
            directory = self._make_directory(directory, part, None)
        return directory

    # Removal

    def _replace(self, parent: Directory, name: bytes, entry: Entry) -> None:
        """Remove what an entry takes the place of, with the reason that fits."""
        old = parent.children[name]
        cause = Cause.OVERWRITTEN
        if isinstance(old, Inode):
            if bound_by(parent, name, old) == self._layer:
                before = old.entry if old.bindings is None else old.bindings[parent, name].entry
                self._contest_other_way(before, entry, parent.child_path(name))
            lost = old.entry
            # chmod and chown copy a file up and leave its size and its time alone
            if (lost.typeflag, lost.size, lost.mtime) == (entry.typeflag, entry.size, entry.mtime):
                cause = Cause.ATTRIBUTES
        self._remove(parent, name, cause)

    def _remove(self, parent: Directory, name: bytes, cause: Cause) -> None:
        node = parent.children.pop(name)
        self._touch(parent)
        if self.unknown_below:
            if not self._is_new(parent):
                self._displace(parent, name, None)
        elif bound_by(parent, name, node) < self.run:
            self._displace(parent, name, node)
        stack: list[tuple[Directory, bytes, Node]] = [(parent, name, node)]
        while stack:
            directory, name, node = stack.pop()
            if isinstance(node, Directory):
                del self.directories[node.path]
                stack.extend((node, child, below) for child, below in node.children.items())
                if node.entry is not None:
                    self._drop(node.path, node.entry, node.entry_layer, cause)
            elif node.bindings is None:
                self._drop(directory.child_path(name), node.entry, node.layer, cause)
            else:
                self._unbind(node, directory, name, cause)

    def _unbind(self, node: Inode, directory: Directory, name: bytes, cause: Cause) -> None:
        assert isinstance(node, LinkedInode)
        binding = node.bindings.pop((directory, name))
        if binding.layer < self.run:  # the directory itself may be gone by now
            self._displace(directory, name, node)
        if is_hard_link(binding.entry):
            self._drop(binding.path, binding.entry, binding.layer, cause)
        if binding.entry is node.entry:
            node.lost = self._layer, binding.path
        if not node.bindings:
            at, path = node.lost or (BELOW, node.entry.path)
            last = path if at == self._layer else binding.path
            dead = Dropped(node.entry, node.layer, cause, self._layer, path, last, node.attributes)
            if self._aufs.get(node.entry.path) is node:
                self._nameless[node.entry.path] = dead
            else:
                self.dropped.append(dead)

    def _drop(self, path: bytes, entry: Entry, layer: int, cause: Cause) -> None:
        place = None if path == entry.path else path
        self.dropped.append(Dropped(entry, layer, cause, self._layer, place))

    def _displace(self, parent: Directory, name: bytes, node: Node | None) -> None:
        if parent.displaced is None:
            parent.displaced = {}
            self._marked.append(parent)
        parent.displaced.setdefault(name, node)
        self._touch(parent)

    def _is_new(self, directory: Directory) -> bool:
        """Whether nothing can lie below it that is not seen: it, or a directory above it, took a place
        that the run had emptied."""
        while directory.parent is not None:
            parent = directory.parent
            name = directory.path[len(parent.path) + bool(parent.path) :]
            if directory.remade or (parent.displaced is not None and name in parent.displaced):
                return True
            directory = parent
        return directory.remade

    def _touch(self, directory: Directory) -> None:
        at: Directory | None = directory
        while at is not None and at.touched != self.run:
            at.touched = self.run
            at = at.parent

    def _contest(self, construct: str, path: bytes) -> None:
        self.contested.append(Contested(construct, path, self._layer))

    def _contest_other_way(self, before: Entry, entry: Entry, path: bytes) -> None:
        """One place by two names of a layer, one of them through a symlink. Equal names are told
        already."""
        if before.path != entry.path:
            self._contest(REPEATED, path)


REPEATED: Final = "one path twice in a layer"


def _unlisted_size(path: bytes) -> int:
    """About what a directory that no layer lists takes, here and in a tar."""
    return len(path) + BLOCK
