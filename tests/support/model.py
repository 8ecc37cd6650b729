"""The root file system that a stack of layers makes, said as plainly as it can be.

A dict from paths to names of inodes, and the rules applied to it one member after another. Nothing
here is fast or clever: it is what the product is compared with, so it must be easy to believe.

The rules, in short. All whiteouts and opaque markers of a layer come first and concern what lies
below the layer; then its entries, in the order of the tar. A directory over a directory takes the
new attributes and keeps its children; any other collision removes what is there, a whole subtree if
need be. Directories that nobody lists are 0755, 0:0, mtime 0. A path through a symlink of the same
layer follows it; through a symlink or a file from below, a real directory takes its place.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from itertools import count
from typing import Literal

SymlinkParents = Literal["overlay", "follow"]

KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "directory",
    tarfile.FIFOTYPE: "fifo",
}
XATTR = "SCHILY.xattr."
FOREIGN = ("LIBARCHIVE.", "MSWINDOWS.")
SYMLINK_LIMIT = 40
BLOCK = 512


class Illegal(Exception):
    """No root file system can be made of this: a layer that is not valid."""

    def __init__(self, path: bytes, why: str) -> None:
        super().__init__(f"{path!r}: {why}")
        self.path = path
        self.why = why


# --- reading a tar ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One member as the tar has it; start and end are the span of its headers and data."""

    name: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: Fraction
    linkname: bytes
    device: tuple[int, int]
    content: bytes
    xattrs: Mapping[bytes, bytes]
    foreign: Mapping[bytes, bytes]
    start: int
    data_start: int
    end: int
    layer: int = -1


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


LARGEST = 64 << 20
"""The largest file that the model holds, in bytes: one with holes may say that it has any size."""


@lru_cache(maxsize=4096)
def read_members(layer: bytes) -> tuple[Record, ...]:
    """All members of a layer, whiteouts and all, in the order of the tar.

    A tar may end at any record boundary; an end inside a header or inside data is Illegal.
    """
    if not layer:
        return ()
    stream = io.BytesIO(layer + bytes(-len(layer) % BLOCK))
    records = []
    try:
        with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            while (info := archive.next()) is not None:
                record = _record(archive, info)
                if info.sparse is None and record.data_start + len(record.content) > len(layer):
                    raise Illegal(record.name, "the tar ends inside its data")
                records.append(record)
            rest = layer[archive.offset : archive.offset + BLOCK]
    except tarfile.ReadError as error:
        raise Illegal(b"", f"not a tar: {error}") from error
    if any(rest) or 0 < len(rest) < BLOCK:
        raise Illegal(records[-1].name, "a bad or cut header comes after it")
    return tuple(records)


def _record(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Record:
    # The headers of a sparse file may hold a made-up path too.
    name = _bytes(info.pax_headers.get("GNU.sparse.name", info.name))
    if info.type not in KINDS:
        raise Illegal(name, f"unknown type flag {info.type!r}")
    kind = KINDS[info.type]
    if kind == "file" and (info.name + info.pax_headers.get("path", "")).endswith("/"):
        kind = "directory"
    content = b""
    if kind == "file":
        if info.size > LARGEST:
            raise Illegal(name, f"{info.size} bytes, which the model does not hold")
        data = archive.extractfile(info)
        assert data is not None
        content = data.read()
    headers = {key: _bytes(value) for key, value in info.pax_headers.items()}
    return Record(
        name=name,
        kind=kind,
        mode=0o777 if kind == "symlink" else info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        mtime=Fraction(info.pax_headers.get("mtime", str(info.mtime))),
        linkname=_bytes(info.linkname) if kind in ("symlink", "hardlink") else b"",
        device=(info.devmajor, info.devminor) if kind in ("char", "block") else (0, 0),
        content=content,
        xattrs={
            _bytes(key.removeprefix(XATTR)): value
            for key, value in headers.items()
            if key.startswith(XATTR)
        },
        foreign={_bytes(k): value for k, value in headers.items() if k.startswith(FOREIGN)},
        start=info.offset,
        data_start=info.offset_data,
        end=archive.offset,
    )


# --- what a name means -----------------------------------------------------------------------


def split_path(name: bytes) -> list[bytes]:
    """The parts of a member's path below the root; none for the root itself."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Illegal(name, "the path has a part `..`")
    return parts


@lru_cache(maxsize=4096)
def meaning(name: bytes) -> tuple[str, bytes]:
    """What a member says by its name alone: ("entry" | "whiteout" | "opaque" | "plnk" | "ignore",
    the path it speaks of)."""
    parts = split_path(name)
    *parents, base = parts or [b""]
    inside = b"/".join(parents)
    if base == b".wh..wh..opq" and not any(p.startswith(b".wh.") for p in parents):
        return "opaque", inside
    if any(part.startswith(b".wh..wh.") for part in parts):
        in_plnk = parts[0] == b".wh..wh.plnk" and len(parts) > 1
        return ("plnk" if in_plnk else "ignore"), b"/".join(parts)
    if any(part.startswith(b".wh.") for part in parents):
        raise Illegal(name, "it lies below a whiteout's name")
    if base.startswith(b".wh."):
        hidden = base.removeprefix(b".wh.")
        if hidden in (b"", b".", b".."):
            raise Illegal(name, "a whiteout of nothing")
        return "whiteout", b"/".join([*parents, hidden])
    return "entry", b"/".join(parts)


def parent_of(path: bytes) -> bytes:
    """The path of the directory it lies in; the root is the empty path."""
    return path.rpartition(b"/")[0]


def join(parent: bytes, base: bytes) -> bytes:
    """A path in a directory, which may be the root."""
    return parent + b"/" + base if parent else base


def ancestors(path: bytes) -> list[bytes]:
    """The directories above a path, from the top, without the root."""
    parts = path.split(b"/")
    return [b"/".join(parts[:n]) for n in range(1, len(parts))]


# --- the result ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """What a path is. `names` are all names of its inode, `made_in` the layer that made the inode,
    `named_in` the layer that last wrote this name, `inode` a number for the inode."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: Fraction
    xattrs: Mapping[bytes, bytes]
    foreign: Mapping[bytes, bytes]
    linkname: bytes
    device: tuple[int, int]
    content: bytes
    names: frozenset[bytes] = frozenset()
    made_in: int = -1
    named_in: int = -1
    inode: int = -1


FACTS = (
    "kind",
    "mode",
    "uid",
    "gid",
    "mtime",
    "xattrs",
    "foreign",
    "linkname",
    "device",
    "content",
)


@dataclass(frozen=True, slots=True)
class Rootfs:
    """All paths below the root, and the root's own entry, if a layer listed one."""

    nodes: Mapping[bytes, Node]
    root: Node | None = None

    def kind(self, path: bytes) -> str | None:
        """What a path is, None where nothing is; the root is a directory."""
        if not path:
            return "directory"
        return self.nodes[path].kind if path in self.nodes else None

    def children(self, path: bytes) -> list[bytes]:
        """The paths directly in a directory."""
        return [other for other in self.nodes if parent_of(other) == path and other != b""]


def facts(node: Node) -> dict[str, object]:
    """All that counts of a node, its hard links aside."""
    return {name: getattr(node, name) for name in FACTS}


def _unlike(path: bytes, a: Node, b: Node) -> list[str]:
    left, right = facts(a), facts(b)
    return [
        f"{path!r}: {name} {left[name]!r} != {right[name]!r}" for name in FACTS if left[name] != right[name]
    ]


def differences(a: Rootfs, b: Rootfs, *, split: Rootfs | None = None) -> list[str]:
    """What differs between two root file systems, one line each, `a` the one that is right.

    `split` is `a` with each hard-link group cut at the layer boundaries where a cut is allowed.
    With it, `b` may keep a group whole, cut it just so, or anything between; and a name that was
    cut off may have missed the attributes that a later link gave to the other names.
    """
    found = []
    for path in sorted(a.nodes.keys() | b.nodes.keys()):
        if path not in b.nodes:
            found.append(f"{path!r}: missing")
        elif path not in a.nodes:
            found.append(f"{path!r}: should not be")
        else:
            right, node = a.nodes[path], b.nodes[path]
            cut = split.nodes[path] if split else right
            unlike = _unlike(path, right, node)
            if unlike and _unlike(path, cut, node):
                found += unlike
            if not cut.names <= node.names <= right.names:
                found.append(
                    f"{path!r}: names {sorted(node.names)} != {sorted(right.names)}"
                    + (f" (or {sorted(cut.names)})" if cut.names != right.names else "")
                )
    if a.root and b.root:
        found += _unlike(b"./", a.root, b.root)
    return found


def same_rootfs(a: Rootfs, b: Rootfs, *, split: Rootfs | None = None) -> bool:
    """Whether nothing differs."""
    return not differences(a, b, split=split)


# --- applying --------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Inode:
    node: Node

    def take_attributes(self, record: Record) -> None:
        """A hard link's header is the inode's from now on; its xattrs come on top."""
        kind = self.node.kind
        self.node = replace(
            self.node,
            mode=0o777 if kind == "symlink" else record.mode,
            uid=record.uid,
            gid=record.gid,
            mtime=record.mtime,
            xattrs={**self.node.xattrs, **record.xattrs},
        )


@dataclass(slots=True)
class _Name:
    inode: _Inode
    named_in: int


def _node(record: Record, made_in: int, number: int) -> Node:
    return Node(
        record.kind,
        record.mode,
        record.uid,
        record.gid,
        record.mtime,
        record.xattrs,
        record.foreign,
        record.linkname,
        record.device,
        record.content,
        made_in=made_in,
        inode=number,
    )


def _named(node: Node, names: frozenset[bytes], named_in: int) -> Node:
    """`replace` in plain words, as it is called for each path of each state."""
    return Node(
        node.kind,
        node.mode,
        node.uid,
        node.gid,
        node.mtime,
        node.xattrs,
        node.foreign,
        node.linkname,
        node.device,
        node.content,
        names,
        node.made_in,
        named_in,
        node.inode,
    )


def _put(links: dict[bytes, bytes], path: bytes, record: Record) -> None:
    """Note what an entry makes of the symlinks of its layer: it takes the place of what stood there."""
    there = links.pop(path, None)
    if record.kind != "directory":
        for below in [link for link in links if link.startswith(path + b"/")]:
            del links[below]
    if record.kind == "symlink":
        links[path] = record.linkname
    if record.kind == "hardlink":
        named = b"/".join(split_path(record.linkname))
        target = there if named == path else links.get(named)
        if target is not None:
            links[path] = target


def _led(path: bytes, links: Mapping[bytes, bytes]) -> bytes:
    """Where a directory's path leads through symlinks of its layer."""
    done: list[bytes] = []
    todo = path.split(b"/")
    followed = 0
    while todo:
        part = todo.pop(0)
        here = b"/".join([*done, part])
        if part == b"..":
            done = done[:-1]
        elif part in (b"", b"."):
            continue
        elif here not in links:
            done.append(part)
        else:
            followed += 1
            if followed > 40:
                raise Illegal(path, "too many symlinks on the way")
            done = [] if links[here].startswith(b"/") else done
            todo = links[here].split(b"/") + todo
    return b"/".join(done)


@dataclass(slots=True)
class _Tree:
    symlink_parents: SymlinkParents
    names: dict[bytes, _Name] = field(default_factory=dict)
    root: Node | None = None
    numbers: Iterable[int] = field(default_factory=count)

    def apply(self, layer: bytes, index: int) -> None:
        for _ in self.apply_slowly(layer, index):
            pass

    def apply_slowly(self, layer: bytes, index: int) -> Iterator[None]:
        """Apply a layer with a stop after what it hides, and after each member."""
        members = [(*meaning(record.name), record) for record in read_members(layer)]
        below = {path: name.inode.node.kind for path, name in self.names.items()} | {b"": "directory"}
        links: dict[bytes, bytes] = {}
        for what, written, record in members:
            path = written
            if what == "entry":
                _put(links, written, record)
            if what == "opaque":
                path = _led(written, links)
            if what == "whiteout":
                parent = _led(parent_of(written), links)
                path = b"/".join(filter(None, [parent, written.rpartition(b"/")[2]]))
            if what == "whiteout" and below.get(parent_of(path)) == "directory":
                self.remove(path)
            if what == "opaque" and below.get(path) == "directory":
                for child in [other for other in self.names if parent_of(other) == path]:
                    self.remove(child)
        yield
        plnk: dict[bytes, _Inode] = {}
        for what, path, record in members:
            if what == "plnk":
                plnk[path] = self.new_inode(record, index)
            elif what == "entry":
                self.enter(path, record, index, plnk)
            yield

    def remove(self, path: bytes) -> None:
        for other in [o for o in self.names if o == path or o.startswith(path + b"/")]:
            del self.names[other]

    def new_inode(self, record: Record, index: int) -> _Inode:
        return _Inode(_node(record, index, next(iter(self.numbers))))

    def enter(self, path: bytes, record: Record, index: int, plnk: Mapping[bytes, _Inode]) -> None:
        if not path:
            if record.kind != "directory":
                raise Illegal(record.name, "the root is no directory")
            self.root = _node(record, index, -1)
            return
        *parents, base = path.split(b"/")
        path = join(self.walk(parents, index, record.name), base)
        there = self.names.get(path)
        if there and there.inode.node.kind == record.kind == "directory":
            old = there.inode.node
            there.inode.node = _node(record, old.made_in, old.inode)
            there.named_in = index
            return
        self.remove(path)
        if record.kind == "hardlink":
            inode = self.target(record, index, plnk)
            inode.take_attributes(record)
        else:
            inode = self.new_inode(record, index)
        self.names[path] = _Name(inode, index)

    def walk(self, parts: Sequence[bytes], index: int, why: bytes, make: bool = True) -> bytes:
        """The real path of a directory, made where it is missing, with symlinks followed where the
        reading follows them. Inside the root always: `..` of the root is the root."""
        real: list[bytes] = []
        todo = list(parts)
        hops = 0
        while todo:
            part = todo.pop(0)
            if part in (b"", b"."):
                continue
            if part == b"..":
                real = real[:-1]
                continue
            here = b"/".join([*real, part])
            name = self.names.get(here)
            kind = name.inode.node.kind if name else None
            same_layer = name is not None and name.named_in == index
            if name and kind == "symlink" and (same_layer or self.symlink_parents == "follow"):
                hops += 1
                if hops > SYMLINK_LIMIT:
                    raise Illegal(why, "too many symlinks on the way")
                target = name.inode.node.linkname
                real = [] if target.startswith(b"/") else real
                todo = target.split(b"/") + todo
                continue
            if kind != "directory":
                if same_layer:
                    raise Illegal(why, f"the way leads through {here!r}, a {kind} of its layer")
                if not make:
                    raise Illegal(why, f"nothing at {here!r}")
                self.names[here] = _Name(self.implied(here, index), index)
            real.append(part)
        return b"/".join(real)

    def implied(self, path: bytes, index: int) -> _Inode:
        """The directory that a path leads through, made in place of what is there."""
        self.remove(path)
        return self.new_inode(IMPLIED, index)

    def target(self, record: Record, index: int, plnk: Mapping[bytes, _Inode]) -> _Inode:
        parts = split_path(record.linkname)
        if not parts:
            raise Illegal(record.name, "a hard link to the root")
        if b"/".join(parts) in plnk:
            return plnk[b"/".join(parts)]
        path = join(self.walk(parts[:-1], index, record.name, make=False), parts[-1])
        if path not in self.names:
            raise Illegal(record.name, f"a hard link to {path!r}, which is not there")
        inode = self.names[path].inode
        if inode.node.kind == "directory":
            raise Illegal(record.name, f"a hard link to the directory {path!r}")
        return inode

    def split(self, start: int) -> None:
        """Of every inode made below `start`, give the names written since then a copy."""
        copies: dict[int, _Inode] = {}
        for name in self.names.values():
            node = name.inode.node
            if node.made_in < start <= name.named_in and node.kind != "directory":
                if node.inode not in copies:
                    number = next(iter(self.numbers))
                    copies[node.inode] = _Inode(replace(node, made_in=start, inode=number))
                name.inode = copies[node.inode]

    def rootfs(self) -> Rootfs:
        groups: dict[int, set[bytes]] = {}
        for path, name in self.names.items():
            groups.setdefault(name.inode.node.inode, set()).add(path)
        nodes = {}
        for path, name in self.names.items():
            node = name.inode.node
            nodes[path] = _named(node, frozenset(groups[node.inode]), name.named_in)
        return Rootfs(nodes, self.root)


IMPLIED = Record(b"", "directory", 0o755, 0, 0, Fraction(0), b"", (0, 0), b"", {}, {}, 0, 0, 0)


@dataclass(slots=True)
class _Moved(_Tree):
    """The tree of layers on another base than their own, `home`, which is applied beside it. Where a path
    leads through nothing, and through a directory at home, it is that directory."""

    home: _Tree = field(default_factory=lambda: _Tree("overlay"))

    def implied(self, path: bytes, index: int) -> _Inode:
        own = self.home.names.get(path)
        if path in self.names or own is None or own.inode.node.kind != "directory":
            return _Tree.implied(self, path, index)
        inode = self.new_inode(IMPLIED, index)
        inode.node = replace(own.inode.node, made_in=index, inode=inode.node.inode)
        return inode


def rebased(old: Sequence[bytes], new: Sequence[bytes], above: Sequence[bytes]) -> Rootfs:
    """The root file system that layers made on an old base make on a new one. Raises Illegal."""
    home = _Tree("overlay")
    moved = _Moved("overlay", home=home)
    for tree, base in ((moved, new), (home, old)):
        for index, layer in enumerate(base, -len(base)):
            tree.apply(layer, index)
    for index, layer in enumerate(above):
        # The new place first: what is at home is what the layer found there.
        for _ in zip(moved.apply_slowly(layer, index), home.apply_slowly(layer, index), strict=True):
            pass
    return moved.rootfs()


def _iter_trees(
    layers: Sequence[bytes],
    symlink_parents: SymlinkParents,
    split_runs: Iterable[tuple[int, int]],
) -> Iterator[_Tree]:
    """The tree below the first layer, and the same tree above each."""
    tree = _Tree(symlink_parents)
    inner_first = sorted(split_runs, key=lambda run: (run[1], -run[0]))
    yield tree
    for index, layer in enumerate(layers):
        tree.apply(layer, index)
        for start, stop in inner_first:
            if stop == index + 1:
                tree.split(start)
        yield tree


def apply_each(
    layers: Sequence[bytes],
    *,
    symlink_parents: SymlinkParents = "overlay",
    split_runs: Iterable[tuple[int, int]] = (),
) -> list[Rootfs]:
    """The root file system below the first layer, above it, above the second, and so on.

    `split_runs` are runs of layers (start, stop) at whose upper end hard-link groups are cut: the
    names written in the run of an inode made below it become names of a copy. Raises Illegal.
    """
    return [tree.rootfs() for tree in _iter_trees(layers, symlink_parents, split_runs)]


def apply_layers(
    layers: Sequence[bytes],
    *,
    symlink_parents: SymlinkParents = "overlay",
    split_runs: Iterable[tuple[int, int]] = (),
) -> Rootfs:
    """The root file system that these layers make, base first. Raises Illegal."""
    *_, tree = _iter_trees(layers, symlink_parents, split_runs)
    return tree.rootfs()


# --- showing ---------------------------------------------------------------------------------


def describe(node: Node) -> str:
    """A node in a few signs: `dir 755`, `file 644 new`, `link ../t`, its other names after `=`."""
    shown = {"directory": "dir", "symlink": "link"}.get(node.kind, node.kind)
    words = [shown] + ([] if node.kind == "symlink" else [f"{node.mode:o}"])
    if node.kind in ("char", "block"):
        words.append("{}:{}".format(*node.device))
    tail = node.content or node.linkname
    words += [tail.decode("utf-8", "backslashreplace")] if tail else []
    if len(node.names) > 1:
        words.append("=" + ",".join(sorted(name.decode("latin-1") for name in node.names)))
    return " ".join(words)


def table(rootfs: Rootfs) -> dict[str, str]:
    """The whole root file system, path by path, as `describe` shows it."""
    return {
        path.decode("utf-8", "backslashreplace"): describe(rootfs.nodes[path])
        for path in sorted(rootfs.nodes)
    }


def listing(layers: Sequence[bytes]) -> str:
    """The members of layers as text, for the one who reads a failure."""
    lines = []
    for index, layer in enumerate(layers):
        lines.append(f"layer {index}: {len(layer)} bytes")
        for record in read_members(layer):
            link = b" -> " + record.linkname if record.linkname else b""
            lines.append(
                f"    {record.kind:9} {record.mode:04o} {record.uid}:{record.gid} "
                f"{float(record.mtime):g} {record.name + link!r} {record.content[:20]!r}"
                f"{' xattrs ' + repr(record.xattrs) if record.xattrs else ''}"
            )
    return "\n".join(lines)
