"""Random images in which every hard case of merging layers turns up often.

The names are few, so that layers collide all the time. An uncontested image holds only what all
tools apply alike; a contested one holds anything that is valid. `constructs` counts the hard cases
in an image and a run of its layers, so that a test can assert that none was missing.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.support.builders import (
    Format,
    Member,
    block,
    char,
    directory,
    fifo,
    file,
    global_header,
    hardlink,
    layer,
    opaque,
    sparse,
    symlink,
    whiteout,
)
from tests.support.model import (
    Illegal,
    Node,
    Record,
    Rootfs,
    ancestors,
    apply_each,
    apply_layers,
    join,
    meaning,
    parent_of,
    read_members,
)

TOP = [b"d", b"d", b"d", b"l", b"a", b"b"]
INSIDE = [b"ab", b"abc", b"a"]
RARE = [b"\xff\xfe", b"x.wh.y", b"n" * 120]
TARGETS = [b"d", b"/d", b"a", b"nowhere", b"d/ab", b"../d/ab"]
CONTENTS = [b"", b"one", b"two", b"t" * 2500]
FILE_MODES = [0o644, 0o600, 0o755, 0o4755]
DIRECTORY_MODES = [0o755, 0o700, 0o711, 0o1777]
OWNERS = [0, 0, 7, 3_000_000]
TIMES: list[int | Decimal] = [0, 1_600_000_000, Decimal("1.5"), Decimal("1600000000.123456789")]
OLD_TIMES: list[int | Decimal] = [-1, Decimal("-1.25")]
XATTRS: list[dict[str, bytes]] = [
    {"user.k": b"v"},
    {"user.k": b"\x00\xff=\n1 x"},
    {"user.k": b"u", "user.j": b"w" * 600},
]


def one_in(rng: random.Random, count: int) -> bool:
    """True once in `count` times; a whole number, as hypothesis draws those evenly and fractions
    not."""
    return rng.randrange(count) == count - 1


def random_image(rng: random.Random, *, contested: bool) -> list[bytes]:
    """The layers of a valid image, base first: two to seven small tars."""
    layers: list[bytes] = []
    for index in range(rng.randint(2, 7)):
        if one_in(rng, 20):
            layers.append(rng.choice([layer(), b""]))
            continue
        if index and one_in(rng, 16):
            again = rng.choice(layers)
            if _can_repeat(layers, again):
                layers.append(again)
                continue
        lower = apply_layers(layers)
        draft = _Draft(rng, lower, contested)
        for _ in range(rng.randint(4, 8) if not index else rng.randint(1, 5)):
            draft.step()
        members = draft.members()
        if contested:
            members = _with_contested(rng, draft, members)
        layers.append(_encoded(rng, layers, members, contested))
    return layers


def _can_repeat(layers: Sequence[bytes], again: bytes) -> bool:
    """A second whiteout of a path is one of nothing, which tools do not agree about."""
    try:
        apply_layers([*layers, again])
    except Illegal:
        return False
    return all(meaning(record.name)[0] == "entry" for record in read_members(again))


def _encoded(rng: random.Random, layers: Sequence[bytes], members: list[Member], contested: bool) -> bytes:
    """The tar of these members, without those that would make it invalid."""
    needs_pax = any(m.records or m.mtime != int(m.mtime) for m in members)
    format: Format = "gnu" if not needs_pax and one_in(rng, 3) else "pax"
    prefix = rng.choice([b"", b"", b"", b"./"] + [b"/"] * contested)
    end = not one_in(rng, 10)
    while True:
        data = layer(*members, format=format, end=end, prefix=prefix)
        try:
            apply_layers([*layers, data])
        except Illegal as error:
            name = error.path.removeprefix(prefix).rstrip(b"/")
            wrong = [i for i, m in enumerate(members) if m.name.rstrip(b"/") == name]
            members = [m for i, m in enumerate(members) if i != (wrong or [len(members) - 1])[-1]]
        else:
            return data


# --- uncontested layers ----------------------------------------------------------------------


def same_attributes(node: Node) -> dict[str, Any]:
    """The attributes of a node, as the functions that make members take them."""
    whole = node.mtime.denominator == 1
    mtime = Decimal(node.mtime.numerator) / Decimal(node.mtime.denominator)
    return {
        "mode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
        "mtime": int(mtime) if whole else mtime,
        "xattrs": {name.decode(): value for name, value in node.xattrs.items()},
    }


@dataclass(slots=True)
class _Draft:
    """A layer in the making on `lower`; each member's parents are listed with their attributes."""

    rng: random.Random
    lower: Rootfs
    contested: bool
    directories: dict[bytes, Member] = field(default_factory=dict)
    others: dict[bytes, Member] = field(default_factory=dict)
    whiteouts: set[bytes] = field(default_factory=set)
    opaque: set[bytes] = field(default_factory=set)

    def step(self) -> None:
        """Add one thing, or nothing where it would not fit."""
        steps: list[Callable[[], None]] = [
            self.add_file,
            self.add_file,
            self.add_directory,
            self.add_directory,
            self.add_symlink,
            self.add_hardlink,
            self.add_hardlink,
            self.add_special,
            self.add_whiteout,
            self.add_whiteout,
            self.add_whiteout,
            self.add_opaque,
            self.swap_kind,
            self.swap_kind,
            self.rewrite_file,
            self.add_through_symlink,
        ]
        self.rng.choice(steps)()

    def path(self) -> bytes:
        """A path of one to three parts; a quarter of them is taken from the lower."""
        if self.lower.nodes and one_in(self.rng, 4):
            return self.rng.choice(sorted(self.lower.nodes))
        parts = [self.rng.choice(TOP)]
        for _ in range(self.rng.choice([0, 0, 1, 1, 1, 2])):
            parts.append(self.rng.choice(INSIDE))
        if one_in(self.rng, 16):
            parts[-1] = self.rng.choice(RARE)
        return b"/".join(parts)

    def attributes(self, modes: list[int], *, xattrs: bool) -> dict[str, Any]:
        if one_in(self.rng, 2):
            return {"mode": modes[0]}
        found: dict[str, Any] = {
            "mode": self.rng.choice(modes),
            "uid": self.rng.choice(OWNERS),
            "gid": self.rng.choice(OWNERS),
            "mtime": self.rng.choice(TIMES + OLD_TIMES * self.contested),
        }
        if xattrs and one_in(self.rng, 5):
            found["xattrs"] = self.rng.choice(XATTRS)
        return found

    def is_free(self, path: bytes) -> bool:
        """Whether an entry or a whiteout of this path collides with nothing in this layer."""
        pending = {*self.directories, *self.others, *self.whiteouts}
        return (
            path not in pending
            and not any(above in self.whiteouts or above in self.others for above in ancestors(path))
            and not any(other.startswith(path + b"/") for other in pending)
        )

    def is_seen(self, path: bytes) -> bool:
        """Whether the lower has this path and no opaque marker of this layer hides it."""
        return self.lower.kind(path) is not None and not any(
            above in self.opaque for above in ancestors(path)
        )

    def list_directory(self, path: bytes) -> None:
        """Make sure that a directory and those above it are listed."""
        for each in [*ancestors(path), path]:
            if each in self.directories or not each:
                continue
            if self.lower.kind(each) == "directory" and self.is_seen(each):
                self.directories[each] = directory(each, **same_attributes(self.lower.nodes[each]))
            else:
                self.directories[each] = self.new_directory(each)

    def new_directory(self, path: bytes) -> Member:
        return directory(path, **self.attributes(DIRECTORY_MODES, xattrs=True))

    def add(self, path: bytes, member: Member) -> None:
        if self.is_free(path):
            self.list_directory(parent_of(path))
            self.others[path] = member

    def add_file(self) -> None:
        path = self.path()
        attributes = self.attributes(FILE_MODES, xattrs=True)
        self.add(path, file(path, self.rng.choice(CONTENTS), **attributes))

    def add_symlink(self) -> None:
        path = self.path()
        target = self.rng.choice(TARGETS)
        self.add(path, symlink(path, target, **self.attributes([0o777], xattrs=False)))

    def add_special(self) -> None:
        path = self.path()
        attributes = self.attributes(FILE_MODES[:3], xattrs=False)
        make: list[Callable[[], Member]] = [
            lambda: fifo(path, **attributes),
            lambda: char(path, 1, 3, **attributes),
            lambda: block(path, 7, 0, **attributes),
        ]
        self.add(path, self.rng.choice(make)())

    def add_directory(self) -> None:
        path = self.path()
        if path in self.directories or self.is_free(path):
            self.list_directory(parent_of(path))
            self.directories[path] = self.new_directory(path)

    def add_hardlink(self) -> None:
        """A link to something of this layer, with the same attributes."""
        targets = [p for p, m in self.others.items() if m.type != b"1" and m.raw is None]
        if not targets:
            return self.add_file()
        path, target = self.path(), self.rng.choice(targets)
        self.add(path, _link_to(path, target, self.others[target]))
        return None

    def rewrite_file(self) -> None:
        """A file of the lower again: the same, or with another mode, as copying up writes it."""
        files = [p for p, node in self.lower.nodes.items() if node.kind == "file"]
        if not files:
            return
        linked = [p for p in files if len(self.lower.nodes[p].names) > 1]
        path = self.rng.choice(sorted(linked if linked and one_in(self.rng, 2) else files))
        node = self.lower.nodes[path]
        attributes = same_attributes(node)
        if one_in(self.rng, 2):
            attributes["mode"] = self.rng.choice(FILE_MODES)
        self.add(path, file(path, node.content, **attributes))

    def swap_kind(self) -> None:
        """A directory where the lower has something else, or something else over a directory."""
        if not self.lower.nodes:
            return
        path = self.rng.choice(sorted(self.lower.nodes))
        if not self.is_free(path):
            return
        if self.lower.kind(path) != "directory":
            self.list_directory(path)
        elif one_in(self.rng, 2):
            self.add(path, file(path, b"was a directory"))
        else:
            self.add(path, symlink(path, self.rng.choice(TARGETS)))

    def add_through_symlink(self) -> None:
        """A symlink to a directory of this layer, and a file whose path leads through it."""
        way, base = self.rng.choice(sorted(set(TOP))), self.rng.choice(INSIDE)
        tops = [path for path in self.directories if b"/" not in path and path != way]
        if tops and self.is_free(way):
            real = self.rng.choice(tops)
            self.add(way, symlink(way, real))
            self.add(join(real, base), file(join(way, base), b"through"))

    def add_whiteout(self) -> None:
        paths = [p for p in sorted(self.lower.nodes) if self.is_free(p) and self.is_seen(p)]
        if paths:
            path = self.rng.choice(paths)
            self.list_directory(parent_of(path))
            self.whiteouts.add(path)

    def add_opaque(self) -> None:
        kinds = ("directory", "symlink")
        paths = [p for p in sorted(self.lower.nodes) if self.lower.kind(p) in kinds]
        path = self.rng.choice(paths) if paths and not one_in(self.rng, 5) else self.path()
        inside = any(other.startswith(path + b"/") for other in self.whiteouts)
        if not inside and (path in self.directories or self.is_free(path)):
            self.list_directory(path)
            self.opaque.add(path)

    def members(self) -> list[Member]:
        """Directories first, then entries; whiteouts before, between or after the entries."""
        found = [self.directories[path] for path in sorted(self.directories)]
        marks = [whiteout(p) for p in sorted(self.whiteouts)]
        marks += [opaque(p) for p in sorted(self.opaque)]
        others = list(self.others.values())
        at = self.rng.choice([0, len(others) // 2, len(others)]) if marks else 0
        root = [directory("./", **self.attributes(DIRECTORY_MODES, xattrs=True))]
        return root * one_in(self.rng, 10) + found + others[:at] + marks + others[at:]


def _link_to(path: bytes, target: bytes, member: Member) -> Member:
    return changed(
        hardlink(path, target),
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        mtime=member.mtime,
    )


# --- contested layers ------------------------------------------------------------------------


def _with_contested(rng: random.Random, draft: _Draft, members: list[Member]) -> list[Member]:
    """These members with parents left out, and with things that tools do not agree about."""
    if one_in(rng, 3):
        members = [m for m in members if m.type != b"5" or m.name == b"./" or one_in(rng, 2)]
    for _ in range(rng.randint(0, 4)):
        at = rng.randint(0, len(members))
        members = members[:at] + _contested_members(rng, draft, members) + members[at:]
    return members


def _contested_members(rng: random.Random, draft: _Draft, members: list[Member]) -> list[Member]:
    path, other = draft.path(), draft.path()
    lower = sorted(p for p, node in draft.lower.nodes.items() if node.kind != "directory")
    below = rng.choice(lower) if lower else None
    makers: list[Callable[[], list[Member]]] = [
        lambda: [file(path, b"bare")],
        lambda: [file(path, b"bare")],
        lambda: [directory(path, **draft.attributes(DIRECTORY_MODES, xattrs=True))],
        lambda: [symlink(path, rng.choice(TARGETS))],
        lambda: [whiteout(path)],
        lambda: [whiteout(path), file(path, b"again")],
        lambda: [file(path, b"kept"), whiteout(path)],
        lambda: [directory(path), file(join(path, b"a"), b"kept"), whiteout(path)],
        lambda: [whiteout(path), whiteout(join(path, b"a"))],
        lambda: [opaque(path)],
        lambda: [opaque(path), whiteout(join(path, b"a"))],
        lambda: [opaque(b"")],
        lambda: [symlink(path, b"d"), file(join(path, b"ab"), b"through")],
        lambda: [symlink(path, other), file(join(path, b"a"), b"through")],
        lambda: [file(path, b"x"), hardlink(other, path, mode=0o600, uid=7)],
        lambda: [file(path, b"x"), hardlink(other, path, xattrs={"user.l": b"link"})],
        lambda: [char(path, 1, 3), symlink(path, b"a"), hardlink(other, path)],
        lambda: [sparse(path, 4000, [(0, b"s" * 512), (2048, b"t" * 100)])],
        lambda: [sparse(path, 9000, [(n * 1024, b"u") for n in range(6)], form="old")],
        lambda: [global_header({"comment": b"made by hand"}), file(path, b"global")],
        lambda: [Member(path + b"/", b"\0", mode=0o750)],
        lambda: [file(b".wh..wh.aufs"), directory(b".wh..wh.orph"), directory(b".wh..wh.plnk")],
        lambda: [
            file(b".wh..wh.plnk/1.2", b"pseudo"),
            hardlink(path, b".wh..wh.plnk/1.2"),
            hardlink(other, b".wh..wh.plnk/1.2"),
        ],
        lambda: [
            changed(whiteout(path), type=b"1", linkname=whiteout(other).name),
        ],
    ]
    if below:
        node = draft.lower.nodes[below]
        attributes = {k: v for k, v in same_attributes(node).items() if k != "xattrs"}
        makers += [
            lambda: [hardlink(path, below, **attributes)],
            lambda: [hardlink(path, below, **attributes), hardlink(other, path, **attributes)],
            lambda: [hardlink(path, below, **attributes), whiteout(below)],
            lambda: [hardlink(path, below, **attributes), file(below, b"after the link")],
            lambda: [hardlink(path, below, **attributes | {"mode": 0o700, "gid": 9})],
            lambda: [file(join(below, b"a"), b"through")],
            lambda: [whiteout(join(below, b"a"))],
        ]
    if members:
        makers.append(lambda: [rng.choice(members)])
    return rng.choice(makers)()


# --- counting --------------------------------------------------------------------------------

UNCONTESTED = (
    "remade directory, base child back",
    "remade directory, base child gone",
    "directory, file, directory",
    "directory, file, directory over base children",
    "directory, file, directory, nested",
    "hard-link group split by overwriting",
    "hard-link group split by chmod",
    "hard-link group split by deleting",
    "hard-link group split by removing a parent",
    "hard-link group lost its first name",
    "hard link to a symlink",
    "symlink to directory over the base",
    "directory to symlink over the base",
    "symlink to directory in the run",
    "directory to symlink in the run",
    "file to directory",
    "directory to file",
    "made and removed, base twin",
    "made and removed, no base twin",
    "base path deleted and made again",
    "base directory removed and made again",
    "whiteout of what only the run had",
    "upper whiteout into the run",
    "opaque",
    "opaque below, removal above",
    "whiteouts below, opaque above",
    "opaque over a lower symlink",
    "path through a symlink of its layer",
    "dangling symlink",
    "d/ab beside d/abc",
    ".wh. inside a name",
    "./ in one layer only",
    "only a directory's attributes",
    "identical file",
    "empty layer",
    "the same layer twice",
    "root entry",
    "device or fifo",
    "xattrs",
    "binary xattr",
    "part of a second",
    "not UTF-8",
    "long name",
    "big uid",
    "setuid",
)

CONTESTED = (
    "whiteout, then entry",
    "entry, then whiteout",
    "whiteout, then entry below",
    "whiteout below a whiteout",
    "whiteout of nothing",
    "whiteout in no directory",
    "opaque and whiteout in one directory",
    "opaque of no directory",
    "opaque root",
    "parent not listed",
    "parent nowhere",
    "path through a lower symlink",
    "path through a lower file",
    "path twice",
    "hard link to the lower",
    "hard link to the lower, new attributes",
    "hard link to the lower, target removed",
    "hard link with its own attributes",
    "hard link with its own xattrs",
    "AUFS hard link",
    "AUFS leftover",
    "whiteout that is a hard link",
    "absolute name",
    "global header",
    "sparse file",
    "v7 directory",
    "before 1970",
)


def constructs(layers: Sequence[bytes], start: int, stop: int) -> Counter[str]:
    """How often each hard case is met by squashing layers[start:stop]."""
    states = apply_each(layers)
    found: Counter[str] = Counter()
    found.update(_over_paths(states[start : stop + 1], start))
    for index in range(start, stop):
        found.update(_over_groups(states[index], states[index + 1], layers))
        found.update(_over_members(layers[index], states, index, start))
    found.update(_over_layers(layers, states, start, stop))
    return found


def _over_paths(states: Sequence[Rootfs], start: int) -> Iterator[str]:
    """What happens to a path from the lower state to the result."""
    lower, result = states[0], states[-1]
    for path in {path for state in states for path in state.nodes}:
        kinds = [state.kind(path) for state in states]
        node, base = result.nodes.get(path), lower.nodes.get(path)
        if base and node and base.kind == node.kind == "directory" and base.inode != node.inode:
            for child in lower.children(path):
                gone = child not in result.nodes
                yield "remade directory, base child " + ("gone" if gone else "back")
        shape = "".join({"directory": "d", None: " "}.get(kind, "f") for kind in kinds)
        squeezed = "".join(a for a, b in zip(shape, shape[1:] + "!", strict=True) if a != b)
        if "dfd" in squeezed:
            yield "directory, file, directory"
            if squeezed.startswith("dfd") and lower.children(path):
                yield "directory, file, directory over base children"
            if b"/" in path:
                yield "directory, file, directory, nested"
        for number, (a, b) in enumerate(pairwise(kinds)):
            where = "over the base" if number == 0 else "in the run"
            if (a, b) == ("symlink", "directory"):
                yield f"symlink to directory {where}"
            if (a, b) == ("directory", "symlink"):
                yield f"directory to symlink {where}"
            if (a, b) == ("file", "directory"):
                yield "file to directory"
            if (a, b) == ("directory", "file"):
                yield "directory to file"
        made = any(path in s.nodes and s.nodes[path].named_in >= start for s in states)
        if made and not node:
            yield "made and removed, " + ("base twin" if base else "no base twin")
        if base and node and None in kinds:
            yield "base path deleted and made again"
            if base.kind == node.kind == "directory":
                yield "base directory removed and made again"


def _over_groups(before: Rootfs, after: Rootfs, layers: Sequence[bytes]) -> Iterator[str]:
    """Hard-link groups that lose some of their names and keep others."""
    for path, node in before.nodes.items():
        now = after.nodes.get(path)
        kept = {n for n in node.names if n in after.nodes and after.nodes[n].inode == node.inode}
        if path in kept or not kept:
            continue
        if now and now.kind == "file" and now.content == node.content and now.mode != node.mode:
            yield "hard-link group split by chmod"
        elif now:
            yield "hard-link group split by overwriting"
        elif after.kind(parent_of(path)) == "directory" and (
            not parent_of(path) or after.nodes[parent_of(path)].inode == before.nodes[parent_of(path)].inode
        ):
            yield "hard-link group split by deleting"
        else:
            yield "hard-link group split by removing a parent"
        firsts = [r for r in read_members(layers[node.made_in]) if r.kind != "hardlink"]
        if path in [meaning(record.name)[1] for record in firsts]:
            yield "hard-link group lost its first name"


def _over_members(data: bytes, states: Sequence[Rootfs], index: int, start: int) -> Iterator[str]:
    """What the members of one layer are, and what they meet below."""
    before, after = states[index], states[index + 1]
    records = read_members(data)
    members = [(*meaning(record.name), record) for record in records]
    entries: dict[bytes, Record] = {}
    whiteouts: set[bytes] = set()
    opaque_paths = {path for what, path, _ in members if what == "opaque"}
    position = 0
    for what, path, record in members:
        if record.start != position:
            yield "global header"
        position = record.end
        if record.name.startswith(b"/"):
            yield "absolute name"
        if what in ("plnk", "ignore"):
            yield "AUFS leftover"
        if what == "whiteout":
            yield from _over_whiteout(path, before, start)
            if path in entries:
                yield "entry, then whiteout"
            if record.kind == "hardlink":
                yield "whiteout that is a hard link"
            if parent_of(path) in opaque_paths:
                yield "opaque and whiteout in one directory"
            whiteouts.add(path)
        if what == "opaque":
            yield "opaque"
            if before.kind(path) == "symlink" and after.kind(path) == "directory":
                yield "opaque over a lower symlink"
            if before.kind(path) != "directory" and path not in entries:
                yield "opaque of no directory"
            if not path:
                yield "opaque root"
        if what == "entry":
            yield from _over_entry(path, record, entries, before, after, start)
            if path in whiteouts:
                yield "whiteout, then entry"
            if any(above in whiteouts for above in ancestors(path)):
                yield "whiteout, then entry below"
            entries[path] = record
    for path in whiteouts:
        if any(above in whiteouts for above in ancestors(path)):
            yield "whiteout below a whiteout"


def _over_whiteout(path: bytes, before: Rootfs, start: int) -> Iterator[str]:
    node = before.nodes.get(path)
    if before.kind(parent_of(path)) != "directory":
        yield "whiteout in no directory"
    elif not node:
        yield "whiteout of nothing"
    elif node.named_in >= start and node.made_in >= start:
        yield "whiteout of what only the run had"


def _over_entry(
    path: bytes,
    record: Record,
    entries: dict[bytes, Record],
    before: Rootfs,
    after: Rootfs,
    start: int,
) -> Iterator[str]:
    if not path:
        yield "root entry"
        return
    if path in entries:
        yield "path twice"
    node, base = after.nodes.get(path), before.nodes.get(path)
    for above in ancestors(path):
        listed = entries[above].kind if above in entries else None
        if listed == "symlink":
            yield "path through a symlink of its layer"
        elif listed is None and before.kind(above) == "symlink":
            yield "path through a lower symlink"
        elif listed is None and before.kind(above) is None:
            yield "parent nowhere"
        elif listed is None and before.kind(above) == "directory":
            yield "parent not listed"
        elif listed is None:
            yield "path through a lower file"
    if record.kind == "hardlink":
        yield from _over_link(path, record, entries, before, after, start)
    if record.kind in ("char", "block", "fifo"):
        yield "device or fifo"
    if record.kind == "file" and base and node and base.kind == "file":
        same = (base.content, base.mode, base.uid, base.gid, base.mtime, base.xattrs)
        if same == (node.content, node.mode, node.uid, node.gid, node.mtime, node.xattrs):
            yield "identical file"
    if record.kind == "directory" and record.end - record.data_start == 0 and record.mode == 0o750:
        yield "v7 directory"
    if record.kind == "file" and record.end - record.data_start < len(record.content):
        yield "sparse file"
    yield from _over_details(path, record)


def _over_details(path: bytes, record: Record) -> Iterator[str]:
    if record.xattrs:
        yield "xattrs"
    if any(b"\xff" in value for value in record.xattrs.values()):
        yield "binary xattr"
    if record.mtime.denominator != 1:
        yield "part of a second"
    if record.mtime < 0:
        yield "before 1970"
    if b"\xff" in path:
        yield "not UTF-8"
    if len(path) > 100:
        yield "long name"
    if record.uid > 0o7777777:
        yield "big uid"
    if record.kind == "file" and record.mode & 0o4000:
        yield "setuid"
    if b".wh." in path:
        yield ".wh. inside a name"


def _over_link(
    path: bytes,
    record: Record,
    entries: dict[bytes, Record],
    before: Rootfs,
    after: Rootfs,
    start: int,
) -> Iterator[str]:
    what, target = meaning(record.linkname)
    node = after.nodes.get(path)
    if what == "plnk":
        yield "AUFS hard link"
    if node and node.kind == "symlink":
        yield "hard link to a symlink"
    if record.xattrs:
        yield "hard link with its own xattrs"
    first = entries.get(target)
    if first and (first.mode, first.uid, first.gid, first.mtime) != (
        record.mode, record.uid, record.gid, record.mtime
    ):  # fmt: skip
        yield "hard link with its own attributes"
    old = before.nodes.get(target)
    if not first and old and node and node.inode == old.inode and node.made_in < start:
        yield "hard link to the lower"
        if (old.mode, old.uid, old.gid) != (node.mode, node.uid, node.gid):
            yield "hard link to the lower, new attributes"
        if target not in after.nodes or after.nodes[target].inode != node.inode:
            yield "hard link to the lower, target removed"


def _over_layers(layers: Sequence[bytes], states: Sequence[Rootfs], start: int, stop: int) -> Iterator[str]:
    """What shows only where layers are seen side by side."""
    run = layers[start:stop]
    marks: list[set[tuple[str, bytes]]] = []
    dotted: list[bool] = []
    for index, data in enumerate(run, start):
        records = read_members(data)
        if not records:
            yield "empty layer"
        marks.append({meaning(r.name) for r in records})
        if any(record.name != b"." for record in records):
            dotted.append(any(record.name.startswith(b"./") for record in records))
        before, after = states[index], states[index + 1]
        only = {r.kind for r in records} == {"directory"} and before.nodes.keys() == (after.nodes.keys())
        if only and any(before.nodes[path].mode != after.nodes[path].mode for path in after.nodes):
            yield "only a directory's attributes"
    if any(a != b for a, b in pairwise(dotted)):
        yield "./ in one layer only"
    if len(set(run)) < len(run):
        yield "the same layer twice"
    for number, lower_marks in enumerate(marks):
        later = {mark for marks_of in marks[number + 1 :] for mark in marks_of}
        for what, path in lower_marks:
            if what == "opaque" and any(w == "whiteout" and path in [p, *ancestors(p)] for w, p in later):
                yield "opaque below, removal above"
            if what == "whiteout" and any(w == "opaque" and p in ancestors(path) for w, p in later):
                yield "whiteouts below, opaque above"
    for index in range(stop, len(layers)):
        for record in read_members(layers[index]):
            what, path = meaning(record.name)
            node = states[index].nodes.get(path)
            if what == "whiteout" and node and start <= node.named_in < stop:
                yield "upper whiteout into the run"
    result = states[stop]
    for path, node in result.nodes.items():
        target = node.linkname.removeprefix(b"../").strip(b"/")
        if node.kind == "symlink" and target not in result.nodes:
            yield "dangling symlink"
        if path.endswith(b"ab") and path + b"c" in result.nodes:
            yield "d/ab beside d/abc"
