"""What a rebase may break although every layer applies: pure but for the contents that it asks for.

A layer was made against its old base. Databases, caches and accounts that it holds hide the new base's;
files that it copied up keep the old base's content. Each risk says where, what both sides have, and what
will be seen at run time. Nothing is told where the bases agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from squashkit.errors import show_path, show_text
from squashkit.layers.compare import Piece, is_same_content
from squashkit.layers.rootfs import Directory, Inode, Node, node_at
from squashkit.layers.tar import REGULAR, SYMLINK
from squashkit.oci.documents import ImageConfig

if TYPE_CHECKING:
    from squashkit.plan.rebase.fit import Fitted


class Bases(NamedTuple):
    """What the two bases have at a path."""

    old: Node | None
    new: Node | None


class Kind(Enum):
    """What is at risk."""

    PLATFORM = "platform"
    TYPE = "type"
    PARENT = "parent"
    LINK = "link"
    PACKAGES = "packages"
    CONTENT = "content"
    ACCOUNTS = "accounts"
    CACHE = "cache"


ALLOWABLE = (Kind.PLATFORM, Kind.TYPE, Kind.PARENT)
"""Kinds of errors that `--allow` lets through."""
_ERRORS = frozenset({*ALLOWABLE, Kind.LINK})


@dataclass(frozen=True, slots=True)
class Risk:
    """One thing that the other base makes wrong, or means otherwise."""

    kind: Kind
    path: bytes
    """Empty where it is about the image as a whole."""
    old: str
    """What the layers go by: what the old base has, or what they have themselves. For people."""
    new: str
    """What the new base has."""
    layer: int | None
    """The layer above the base that it is about, counted from the lowest."""
    effect: str
    """What will be seen."""
    is_error: bool | None = None

    @property
    def stops(self) -> bool:
        """Whether a strict rebase stops here."""
        return self.kind in _ERRORS if self.is_error is None else self.is_error


class Copied(NamedTuple):
    """A file of the old base's that a layer above has copied up."""

    path: bytes
    layer: int
    """Counted from the lowest above the base."""
    same_content: bool
    """Only attributes were changed."""
    changed_below: bool
    """The new base has other content, or none."""


class Side(Enum):
    """Which image an inode is of: the old base, or the new one with the layers above."""

    OLD = "old"
    NEW = "new"


Read = Callable[[Side, Inode], Iterator[Piece] | None]
"""The content of a file in pieces; None where it is not at hand, and is not worth fetching."""

_VOLATILE = (
    b"var/log/",
    b"var/cache/",
    b"var/tmp/",
    b"tmp/",
    b"run/",
    b"var/run/",
    b"var/lib/apt/",
    b"var/lib/systemd/",
    b"root/.cache/",
)
_DPKG, _APK = b"var/lib/dpkg/status", (b"lib/apk/db/installed", b"usr/lib/apk/db/installed")
_RPM = tuple(
    folder + name
    for folder in (b"var/lib/rpm/", b"usr/lib/sysimage/rpm/")
    for name in (b"Packages", b"Packages.db", b"rpmdb.sqlite")
)
_PACKAGES = (
    b"var/lib/dpkg/",
    b"var/lib/rpm/",
    b"usr/lib/sysimage/rpm/",
    b"lib/apk/",
    b"usr/lib/apk/",
    b"var/lib/pacman/",
)
_PACMAN = b"var/lib/pacman/local/"
_ALTERNATIVES = (b"etc/alternatives/", b"var/lib/dpkg/alternatives/", b"var/lib/alternatives/")
_LIBRARIES = b"etc/ld.so.cache"
_AUTHORITIES = (
    b"etc/ssl/certs/ca-certificates.crt",
    b"etc/ssl/cert.pem",
    b"etc/pki/tls/certs/ca-bundle.crt",
    b"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    b"etc/ssl/ca-bundle.pem",
)
ACCOUNTS = {b"etc/passwd": "user", b"etc/group": "group"}
_NAMES = (b"etc/shadow", b"etc/gshadow", b"etc/subuid", b"etc/subgid")
_BACKUPS = frozenset(path + b"-" for path in (*ACCOUNTS, *_NAMES))
_SYSTEM_IDS = range(1, 1000)
_MAX_TEXT = 64 << 20  # a package database of 60,000 packages
_SHOWN = 3


def kind_of(node: Node | None) -> str:
    """What a node is, for people."""
    if node is None:
        return "nothing"
    if isinstance(node, Directory):
        return "a directory"
    record = node.entry.record
    if record.typeflag == SYMLINK:
        return f"a symlink to {show_path(record.linkname)}"
    return "a file"


def platform_risks(old: ImageConfig, new: ImageConfig) -> list[Risk]:
    """Whether what was made for the one base runs on the other."""
    risks = []
    if not new.platform.matches(old.platform):
        effect = "programs of the layers above do not run on it"
        risks.append(Risk(Kind.PLATFORM, b"", str(old.platform), str(new.platform), None, effect))
    before, after = (str(config.raw.get("os.version") or "") for config in (old, new))
    if before and after and before != after:
        effect = "hosts take an image by the os.version that it was made for"
        risks.append(Risk(Kind.PLATFORM, b"", before, after, None, effect))
    return risks


class Finder:
    """Holds the layers above against both bases."""

    def __init__(self, fitted: Fitted, read: Read) -> None:
        self._fitted = fitted
        self._read = read
        self.copied: list[Copied] = []
        """Every file of the old base's that lies above in a copy."""

    def risks(self) -> Iterator[Risk]:
        """All that the difference of the bases puts at risk, by path."""
        for path, bases in sorted(self._fitted.touched.items()):
            above = self._above(path)
            if above is not None:
                yield from self._at(path, bases, above)
            elif path in ACCOUNTS:
                yield from self._owners(path, bases)

    def _above(self, path: bytes) -> Inode | None:
        """What the result has at a path, if a layer above put it there."""
        node = node_at(self._fitted.tree, path)
        return node if isinstance(node, Inode) and node.layer >= self._fitted.bottom else None

    def _at(self, path: bytes, bases: Bases, above: Inode) -> Iterator[Risk]:
        if path.startswith(_VOLATILE) or path in _BACKUPS:
            return
        agree = self._agree(bases.old, bases.new)
        same = isinstance(bases.old, Inode) and self._note_copy(path, bases.old, above, changed=not agree)
        if agree or isinstance(bases.new, Directory):  # a change of type is told as that
            return
        new = bases.new if isinstance(bases.new, Inode) else None
        old = bases.old if isinstance(bases.old, Inode) else None
        elsewhere = self._elsewhere(path) if old is not None and new is None else ""
        if elsewhere:
            effect = "the new base's own lies elsewhere; what layers above installed is not listed in it"
            yield self._risk(Kind.PACKAGES, path, above, "a database", f"one at /{elsewhere}", effect)
        elif path == _DPKG or path in _APK:
            yield from self._packages(path, above, old, new)
        elif path in _RPM and new is not None:
            effect = "rpm lists what the old base had; scanners go by it"
            yield self._risk(Kind.PACKAGES, path, above, "another database", "its own database", effect)
        elif path.startswith(_PACMAN) and path.endswith(b"/desc"):
            effect = "pacman lists this version, whatever the new base has"
            yield self._risk(Kind.PACKAGES, path, above, _have(old), _have(new), effect)
        elif path.startswith(_PACKAGES):
            return
        elif path in ACCOUNTS:
            yield from self._accounts(path, old, new, above)
        elif path in _NAMES:
            yield from self._names(path, new, above)
        elif path == _LIBRARIES:
            yield from self._libraries(path, new, above)
        elif path in _AUTHORITIES:
            yield from self._authorities(path, old, new, above)
        elif path.startswith(_ALTERNATIVES):
            if new is not None and old is not None and not self._same(Side.NEW, above, Side.NEW, new):
                effect = "the layer's choice stands, made among what the old base had"
                yield self._risk(Kind.CACHE, path, above, _target(old), _target(new), effect)
        elif old is not None:
            yield from self._content(path, old, new, above, same=same)

    def user_risks(self, user: str) -> Iterator[Risk]:
        """Whether the account that the image runs as is still there; a number always is."""
        name = user.partition(":")[0]
        node = node_at(self._fitted.tree, b"etc/passwd")
        text = self._text(node) if isinstance(node, Inode) else None
        if name and not name.isdigit() and text is not None and name not in _ids(text):
            effect = "no container of it starts"
            yield Risk(Kind.ACCOUNTS, b"", f"User {name}", "no such user", None, effect)

    # Files that were copied up

    def _content(
        self, path: bytes, old: Inode, new: Inode | None, above: Inode, *, same: bool
    ) -> Iterator[Risk]:
        if not _is_file(old) or not _is_file(above):
            return
        if new is None:
            yield self._risk(
                Kind.CONTENT,
                path,
                above,
                "a file",
                "nothing",
                "the old base's file stays, though the new base has it no longer",
            )
            return
        if self._same(Side.NEW, above, Side.NEW, new):
            return
        kept = "keeps the old base's content" if same else "was made from the old base's"
        effect = f"the copy above {kept}; the new base's is not seen"
        texts = _sizes(old, new) if _is_file(new) else (kind_of(old), kind_of(new))
        yield self._risk(Kind.CONTENT, path, above, *texts, effect)

    def _note_copy(self, path: bytes, old: Inode, above: Inode, *, changed: bool) -> bool:
        same = self._same(Side.OLD, old, Side.NEW, above)
        if _is_file(old) and _is_file(above):
            self.copied.append(Copied(path, above.layer - self._fitted.bottom, same, changed))
        return same

    # What programs look things up in

    def _packages(self, path: bytes, above: Inode, old: Inode | None, new: Inode | None) -> Iterator[Risk]:
        if new is None:
            return
        parse = _dpkg_versions if path == _DPKG else _apk_versions
        listed, real = self._text(above), self._text(new)
        if listed is None or real is None:
            effect = "it lists what the old base had; scanners go by it"
            yield self._risk(Kind.PACKAGES, path, above, "another database", "its own database", effect)
            return
        shown, there = parse(listed), parse(real)
        hidden = {name: version for name, version in there.items() if shown.get(name) != version}
        before = parse(self._text(old, Side.OLD) or b"") if old is not None else {}
        gone = [name for name in before if name in shown and name not in there]
        hidden |= dict.fromkeys(gone, "(not there)")
        if hidden:
            old_text = _some(f"{name} {shown.get(name, '(not listed)')}" for name in hidden)
            new_text = _some(f"{name} {version}" for name, version in hidden.items())
            effect = "packages are listed in the versions on the left; the files are those on the right"
            yield self._risk(Kind.PACKAGES, path, above, old_text, new_text, effect)

    def _elsewhere(self, path: bytes) -> str:
        """Where the new base has the database of packages that the old one has at a path."""
        for family in (_RPM, _APK):
            for other in family if path in family else ():
                node = node_at(self._fitted.tree, other)
                if isinstance(node, Inode) and node.layer < self._fitted.bottom:
                    return show_path(other)
        return ""

    def _libraries(self, path: bytes, new: Inode | None, above: Inode) -> Iterator[Risk]:
        if new is None:
            return
        ours, theirs = self._text(above), self._text(new)
        missing = (
            _libraries(theirs) - _libraries(ours) if ours is not None and theirs is not None else {b"?"}
        )
        if missing:
            names = _some(sorted(show_path(name) for name in missing)) if missing != {b"?"} else "its own"
            effect = "the loader does not find these by the cache above; run ldconfig in a layer of the app"
            yield self._risk(Kind.CACHE, path, above, "not listed", names, effect)

    def _authorities(
        self, path: bytes, old: Inode | None, new: Inode | None, above: Inode
    ) -> Iterator[Risk]:
        if new is None:
            return
        texts = [self._text(above), self._text(new), self._text(old, Side.OLD) if old else b""]
        if any(text is None for text in texts):
            effect = "the CAs are those of the layer above, whatever the new base trusts"
            yield self._risk(Kind.CACHE, path, above, _have(old), "its own CAs", effect)
            return
        ours, theirs, before = (set(_CERTIFICATE.findall(text or b"")) for text in texts)
        missing, distrusted = len(theirs - ours), len((ours & before) - theirs)
        if missing or distrusted:
            effect = f"{missing} of the new base's CAs are unknown, {distrusted} that it dropped trusted"
            yield self._risk(Kind.CACHE, path, above, f"{len(before)} CAs", f"{len(theirs)} CAs", effect)

    # Accounts

    def _accounts(self, path: bytes, old: Inode | None, new: Inode | None, above: Inode) -> Iterator[Risk]:
        """The layer has its own passwd: what do the new base's users become?"""
        if new is None:
            return
        ours, theirs = self._text(above), self._text(new)
        if ours is None or theirs is None:
            effect = f"{ACCOUNTS[path]}s are those of the layer above, whatever the new base has"
            yield self._risk(Kind.ACCOUNTS, path, above, _have(old), "its own", effect)
            return
        shown, there = _ids(ours), _ids(theirs)
        owners = {number: name for name, number in shown.items()}
        what = ACCOUNTS[path]
        for name, number in there.items():
            if shown.get(name) == number:
                continue
            other = owners.get(number)
            listed = f"{name} is {shown[name]}" if name in shown else f"no {name}"
            taken = f", {other} is {number}" if other is not None else ""
            effect = f"what the new base gives to {name} ({number}) belongs to {other or f'no {what}'}"
            yield self._risk(Kind.ACCOUNTS, path, above, listed + taken, f"{name} is {number}", effect)

    def _names(self, path: bytes, new: Inode | None, above: Inode) -> Iterator[Risk]:
        if new is None:
            return
        ours, theirs = self._text(above), self._text(new)
        if ours is None or theirs is None:
            return  # passwd and group say it
        missing = [show_text(name) for name in _first_fields(theirs) - _first_fields(ours)]
        if missing:
            effect = "these accounts of the new base have no entry there"
            yield self._risk(Kind.ACCOUNTS, path, above, "not listed", _some(sorted(missing)), effect)

    def _owners(self, path: bytes, bases: Bases) -> Iterator[Risk]:
        """The new base's own passwd is seen: whose are the files of the layers above?"""
        if not isinstance(bases.old, Inode) or not isinstance(bases.new, Inode):
            return
        used = self._used_ids(users=path == b"etc/passwd")
        if not used or self._agree(bases.old, bases.new):
            return
        what = ACCOUNTS[path]
        before, after = self._text(bases.old, Side.OLD), self._text(bases.new)
        if before is None or after is None:
            numbers = _some([str(number) for number in sorted(used)])
            effect = f"the layers' files of the {what} ids {numbers} may belong to others now"
            yield Risk(Kind.ACCOUNTS, path, "its own", "its own", None, effect)
            return
        was = {number: name for name, number in _ids(before).items()}
        now = {number: name for name, number in _ids(after).items()}
        for number, at in sorted(used.items()):
            name, holder = was.get(number), now.get(number)
            if name != holder:
                before_text, after_text = name or f"no {what}", holder or f"no {what}"
                effect = f"the layers' files that belonged to {before_text} belong to {after_text}"
                owner = f"{'uid' if what == 'user' else 'gid'} {number} is"
                yield Risk(
                    Kind.ACCOUNTS, at, f"{owner} {before_text}", f"{owner} {after_text}", None, effect
                )

    def _used_ids(self, *, users: bool) -> dict[int, bytes]:
        """The ids of system accounts to which the layers above give something, and what is given."""
        used: dict[int, bytes] = {}
        for changeset in self._fitted.above:
            for at, record in changeset.entries:
                number = record.uid if users else record.gid
                if number in _SYSTEM_IDS and self._is_there(at):
                    used.setdefault(number, at)
        return used

    def _is_there(self, path: bytes) -> bool:
        """Whether the result has something at a path that the layers above put there."""
        node = node_at(self._fitted.tree, path)
        layer = node.entry_layer if isinstance(node, Directory) else node.layer if node else -1
        return layer >= self._fitted.bottom

    # Contents

    def _risk(self, kind: Kind, path: bytes, above: Inode, old: str, new: str, effect: str) -> Risk:
        return Risk(kind, path, old, new, above.layer - self._fitted.bottom, effect)

    def _text(self, inode: Inode, side: Side = Side.NEW) -> bytes | None:
        is_text = _is_file(inode) and inode.entry.record.realsize <= _MAX_TEXT
        pieces = self._read(side, inode) if is_text else None
        return b"".join(map(bytes, pieces)) if pieces is not None else None

    def _agree(self, old: Node | None, new: Node | None) -> bool:
        """Whether the two bases have the same at a path."""
        if isinstance(old, Inode) and isinstance(new, Inode):
            return self._same(Side.OLD, old, Side.NEW, new)
        return type(old) is type(new)

    def _same(self, side_a: Side, a: Inode, side_b: Side, b: Inode) -> bool:
        """Whether two files have the same content: by size and time where that is not at hand."""
        left, right = a.entry.record, b.entry.record
        if (left.typeflag, left.linkname) != (right.typeflag, right.linkname):
            return False
        if left.realsize != right.realsize:
            return False
        if left.typeflag != REGULAR or not left.realsize:
            return True
        x, y = self._read(side_a, a), self._read(side_b, b)
        if x is None or y is None:
            return left.mtime == right.mtime
        return is_same_content(x, y)


_LIBRARY = re.compile(rb"(?:.*/)?([\w.+-]+\.so(?:\.[\w.+-]*)?)")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END", re.DOTALL)


def _is_file(node: Node | None) -> bool:
    return isinstance(node, Inode) and node.entry.record.typeflag == REGULAR


def _have(inode: Inode | None) -> str:
    return "its own" if inode is not None else "nothing"


def _target(inode: Inode) -> str:
    record = inode.entry.record
    return show_path(record.linkname) if record.typeflag == SYMLINK else "a file"


def _sizes(old: Inode, new: Inode) -> tuple[str, str]:
    before, after = old.entry.record.realsize, new.entry.record.realsize
    return _bytes(before, "byte"), _bytes(after, "other byte" if before == after else "byte")


def _bytes(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _some(items: Iterator[str] | list[str]) -> str:
    texts = list(items)
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _libraries(cache: bytes) -> set[bytes]:
    """The libraries that a cache of the loader lists, by their sonames: strings with zeros around them
    (glibc, sysdeps/generic/dl-cache.h). Its magic looks like one."""
    found = map(_LIBRARY.fullmatch, cache.split(b"\0"))
    return {match[1] for match in found if match is not None and b"ld.so.cache" not in match[0]}


def _ids(text: bytes) -> dict[str, int]:
    """The ids of a passwd or a group file, by name."""
    found = {}
    for line in text.splitlines():
        fields = line.split(b":")
        if len(fields) > 2 and fields[2].isdigit():
            found[show_path(fields[0])] = int(fields[2])
    return found


def _first_fields(text: bytes) -> set[str]:
    return {show_path(line.partition(b":")[0]) for line in text.splitlines() if b":" in line}


def _dpkg_versions(text: bytes) -> dict[str, str]:
    """Installed packages and their versions, of dpkg's status file."""
    return _stanzas(text, b"Package: ", b"Version: ", b"Status: ", b" installed")


def _apk_versions(text: bytes) -> dict[str, str]:
    """Installed packages and their versions, of apk's database."""
    return _stanzas(text, b"P:", b"V:")


def _stanzas(
    text: bytes, name: bytes, version: bytes, status: bytes = b"", wanted: bytes = b""
) -> dict[str, str]:
    found = {}
    for stanza in text.split(b"\n\n"):
        fields: Mapping[bytes, bytes] = {
            key: line[len(key) :]
            for line in stanza.split(b"\n")
            for key in (name, version, status)
            if key and line.startswith(key)
        }
        if name in fields and (not status or fields.get(status, b"").endswith(wanted)):
            found[show_path(fields[name])] = show_path(fields.get(version, b""))
    return found
