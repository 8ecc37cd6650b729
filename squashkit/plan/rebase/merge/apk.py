"""apk's database: the packages of both sides, with their scripts, their triggers and what was asked for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping

from squashkit.errors import InvalidLayer, show_path
from squashkit.layers import tar
from squashkit.plan.packages.apk import (
    ApkPackage,
    ApkUnmet,
    apk_packages,
    apk_unmet,
    is_later_apk,
)
from squashkit.plan.packages.owners import APK
from squashkit.plan.packages.paragraphs import joined
from squashkit.plan.rebase.contents import is_file
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.picks import Picks
from squashkit.plan.rebase.merge.sides import Sides, Tree
from squashkit.plan.rebase.model import Kind, Risk

_WORLD = b"etc/apk/world"
_Picks = Picks[ApkPackage]


def merge_apk(sides: Sides, changes: Changes) -> None:
    """Put apk's database together where a layer above has one of its own. The result's is where the new
    base has it: apk 3 has moved it."""
    there, ours = _database(sides.new), _database(sides.app)
    old = _database(sides.old)
    if there is None or ours is None or not (sides.is_above(ours) or sides.is_above(there)):
        return
    was = sides.old.text(old) if old is not None else None
    texts = was or b"", sides.app.text(ours) or b"", sides.new.text(there) or b""
    if not all(map(_is_sound, texts)):
        effect = "nothing of apk's is merged: scanners go by the list of the layer above"
        changes.leave(ours, "another form", effect)
        return
    before, app, new = map(apk_packages, texts)
    merge = Picks.of(before, app, new, is_later_apk)
    changes.put(there, joined(one.text for one in merge.packages), Kind.PACKAGES, merge.changed)
    folders = [path.rpartition(b"/")[0] for path in (ours, there)]
    _merge_scripts(sides, changes, merge, *folders)
    _merge_triggers(sides, changes, merge, *folders)
    if folders[0] != folders[1]:
        for name in (b"installed", b"scripts.tar", b"scripts.tar.gz", b"triggers", b"lock"):
            changes.hide(folders[0] + b"/" + name, Kind.PACKAGES)
    _merge_world(sides, changes)
    merge.settle(sides, changes)
    changes.conflicts += merge.lower_versions(there)
    whole = [
        [*packages.values(), _world(tree.text(_WORLD))]
        for packages, tree in ((app, sides.app), (new, sides.new))
    ]
    known = {(one.package.name, one.dependency) for side in whole for one in apk_unmet(side)}
    for one in apk_unmet([*merge.packages, _world(changes.text(_WORLD))]):
        if (one.package.name, one.dependency) not in known:
            changes.conflicts.append(_broken(one, merge, there))


def _is_sound(text: bytes) -> bool:
    """Whether a database has apk's form: every paragraph a package, and no other line ends."""
    return b"\r" not in text and all(one.name and one.version for one in apk_packages(text).values())


def _world(text: bytes | None) -> ApkPackage:
    """What was asked for, as a package that needs it."""
    return ApkPackage(b"", b"world", b"", b"", tuple((text or b"").split()), ())


def _database(tree: Tree) -> bytes | None:
    return next((path for path in reversed(APK) if is_file(tree.node(path))), None)


def _merge_scripts(sides: Sides, changes: Changes, merge: _Picks, ours: bytes, there: bytes) -> None:
    """An archive of what packages run, each member named by its package's checksum. As in apk's
    src/database.c, one that is plain counts before one in gzip, and new databases have that."""
    forms = [_form(tree, folder) for tree, folder in ((sides.new, there), (sides.app, ours))]
    form = forms[0] or forms[1]
    if form is None:
        return
    try:
        parts = _scripts(sides.new, there, merge.new, merge.theirs)
        parts += _scripts(sides.app, ours, merge.app, merge.ours)
    except (InvalidLayer, zlib.error):
        effect = "no archive of scripts that can be read: it stays as the layer above has it"
        where = ours + (forms[1] or form)
        changes.conflicts.append(Risk(Kind.PACKAGES, where, "another form", "its own", None, effect, False))
        return
    archive = b"".join(parts) + tar.END_OF_ARCHIVE
    if archive == _archive(sides.new, there):
        changes.copy(there + form, sides.new, Kind.PACKAGES)
    else:
        changes.put(there + form, archive if form == _PLAIN else _in_gzip(archive), Kind.PACKAGES)
    if forms[1] not in (form, None):
        changes.hide(there + (forms[1] or b""), Kind.PACKAGES)


_PLAIN, _GZIP = b"/scripts.tar", b"/scripts.tar.gz"
_GZIP_HEADER = 31
"""zlib's windowBits for a stream of gzip."""
_MOST = 64 << 20
"""Bytes of scripts."""


def _form(tree: Tree, folder: bytes) -> bytes | None:
    return next((name for name in (_PLAIN, _GZIP) if is_file(tree.node(folder + name))), None)


def _archive(tree: Tree, folder: bytes) -> bytes:
    """The archive of a database, plain; empty where there is none."""
    form = _form(tree, folder)
    data = (tree.text(folder + form) or b"") if form is not None else b""
    if form != _GZIP:
        return data
    inflating = zlib.decompressobj(_GZIP_HEADER)
    plain = inflating.decompress(data, _MOST)
    if data and not inflating.eof:
        raise zlib.error("it ends too early, or is too long")
    return plain


def _scripts(
    tree: Tree, folder: bytes, packages: Mapping[bytes, ApkPackage], wanted: Iterable[bytes]
) -> list[bytes]:
    data = _archive(tree, folder)
    checksums = {packages[name].checksum for name in wanted}
    return [
        data[record.start : record.end]
        for record in tar.scan_bytes(data)
        if any(part in checksums for part in record.name.split(b"."))
    ]


def _in_gzip(data: bytes) -> bytes:
    """Data in gzip, not compressed: so it has the same bytes whatever library a machine has (RFC 1951,
    3.2.4; RFC 1952)."""
    parts = [data[at : at + 0xFFFF] for at in range(0, len(data), 0xFFFF)]
    stored = b"".join(
        struct.pack("<BHH", number == len(parts), len(part), len(part) ^ 0xFFFF) + part
        for number, part in enumerate(parts, 1)
    )
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return head + stored + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def _merge_triggers(sides: Sides, changes: Changes, merge: _Picks, ours: bytes, there: bytes) -> None:
    """Which packages want to hear of which folders: a line begins with the package's checksum."""
    path = there + b"/triggers"
    if sides.new.text(path) is None and sides.app.text(ours + b"/triggers") is None:
        return
    lines = []
    for tree, folder, packages, wanted in (
        (sides.new, there, merge.new, merge.theirs),
        (sides.app, ours, merge.app, merge.ours),
    ):
        checksums = {packages[name].checksum for name in wanted}
        text = tree.text(folder + b"/triggers") or b""
        lines += [line for line in text.splitlines(keepends=True) if line.split(b" ")[0] in checksums]
    changes.put(path, b"".join(lines), Kind.PACKAGES)


def _merge_world(sides: Sides, changes: Changes) -> None:
    """What was asked for, sorted as apk sorts it."""
    ours, theirs = sides.app.text(_WORLD), sides.new.text(_WORLD)
    if ours is None or theirs is None or not sides.is_above(_WORLD):
        return
    old, app, new = (set((text or b"").split()) for text in (sides.old.text(_WORLD), ours, theirs))
    merged = (new - (old - app)) | (app - old)
    changes.put(_WORLD, b"".join(word + b"\n" for word in sorted(merged)), Kind.PACKAGES)


def _broken(one: ApkUnmet, merge: _Picks, path: bytes) -> Risk:
    package = one.package
    who = "image" if package.name in merge.ours else "new base"
    name = show_path(package.name)
    needs = "must not be beside" if one.dependency.startswith(b"!") else "needs"
    version = show_path(package.version) + " " * bool(package.version)
    old = f"{name} {version}{needs} {show_path(one.dependency.lstrip(b'!'))}"
    effect = f"the {who} brings it; apk would refuse this: build the image anew"
    return Risk(Kind.DEPENDS, path, old, "not so", None, effect, True, name)
