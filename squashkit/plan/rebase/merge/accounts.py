"""Accounts: of each name the line of the side that changed it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from squashkit.errors import show_path
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Directory
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.keyed import merge_keyed
from squashkit.plan.rebase.merge.record import GROUPS, USERS, Record
from squashkit.plan.rebase.merge.sides import Sides
from squashkit.plan.rebase.model import Kind, Risk

_PASSWD, _GROUP = b"etc/passwd", b"etc/group"
_SHADOWS = (b"etc/shadow", b"etc/gshadow")
_SUBORDINATE = (b"etc/subuid", b"etc/subgid")
FILES = (_PASSWD, _GROUP, *_SHADOWS, *_SUBORDINATE)
_NUMBER = re.compile(rb"\d{1,10}")
_MEMBERS = 3
"""The field of a group that lists its members; in gshadow, too."""


def merge_accounts(sides: Sides, changes: Changes, fitted: Fitted, record: Record) -> None:
    """Put the files of accounts together that a layer above has written; `record` says what an earlier
    rebase knew of them."""
    for path in FILES:
        ours, theirs = sides.app.text(path), sides.new.text(path)
        if not sides.is_above(path) or ours is None or theirs is None:
            continue
        by_name = path not in _SUBORDINATE  # there a name has as many lines as it has ranges
        old, app, new = (
            _lines(text, by_name=by_name) for text in (sides.old.text(path) or b"", ours, theirs)
        )
        what = USERS if path in (_PASSWD, b"etc/shadow", b"etc/subuid") else GROUPS
        if by_name:
            old = record.seen_from(what, old, lambda key: key[0], lambda name: ((name, 0), b""))
        if path in (_PASSWD, _GROUP):
            brought, removed = ({name for name, _ in one} for one in (app, old))
            brought, removed = brought - removed, removed - brought
            there = {name for name, _ in new}
            changes.record.own[what] = brought & there
            changes.record.removed[what] = removed - there
        merged = merge_keyed(old, app, new, _by_field if by_name else lambda _, ours, __: ours)
        changes.put(path, b"".join(_network_last(merged.values())), Kind.ACCOUNTS)
        if path in (_PASSWD, _GROUP):
            _compare_ids(changes, fitted, path, old, app, new)
        elif path in _SUBORDINATE:
            _compare_ranges(changes, path, app, new, merged)


Lines = Mapping[tuple[bytes, int], bytes]
"""By name and how many of that name came before, or by themselves."""


def _lines(text: bytes, *, by_name: bool) -> dict[tuple[bytes, int], bytes]:
    found: dict[tuple[bytes, int], bytes] = {}
    for line in text.splitlines():
        key, number = (line.partition(b":")[0] if by_name else line), 0
        while (key, number) in found:
            number += 1
        found[key, number] = line + b"\n"
    return found


def _network_last(lines: Iterable[bytes]) -> list[bytes]:
    """With what stands for accounts of a network at the end, where useradd leaves it (nsswitch.conf(5),
    compat)."""
    return sorted(lines, key=lambda line: line.startswith((b"+", b"-")))


def _by_field(was: bytes | None, ours: bytes, theirs: bytes) -> bytes:
    """A line that both sides changed: of each field what one of them changed, else the image's; a group's
    members one by one."""
    fields, others = ours.rstrip(b"\n").split(b":"), theirs.rstrip(b"\n").split(b":")
    before = was.rstrip(b"\n").split(b":") if was is not None else []
    if len(fields) != len(others) or (before and len(before) != len(fields)):
        return ours
    if len(fields) == _MEMBERS + 1:  # group and gshadow
        old, app, new = (_members(one) for one in (before, fields, others))
        names = merge_keyed(old, app, new)
        fields[_MEMBERS] = b",".join(names)
        others[_MEMBERS] = fields[_MEMBERS]
    merged = (
        other if before and own == first else own
        for first, own, other in zip(before or fields, fields, others, strict=True)
    )
    return b":".join(merged) + b"\n"


def _members(fields: list[bytes]) -> dict[bytes, bytes]:
    names = fields[_MEMBERS].split(b",") if len(fields) > _MEMBERS else []
    return {name: name for name in names if name}


def _ids(lines: Lines) -> dict[bytes, int]:
    """The ids by name: of several lines the first counts, as for whoever reads them."""
    found = {}
    for (name, number), line in lines.items():
        if number:
            continue
        fields = line.rstrip(b"\n").split(b":")
        if len(fields) > 2 and _NUMBER.fullmatch(fields[2]):
            found[name] = int(fields[2])
    return found


def _compare_ids(
    changes: Changes,
    fitted: Fitted,
    path: bytes,
    old: Lines,
    app: Lines,
    new: Lines,
) -> None:
    """Tell of an id that both sides gave to different names, and of a name that they gave different ids, or
    that has another one now while files above carry the old one."""
    before, ours, theirs = _ids(old), _ids(app), _ids(new)
    word, of = ("user", "uid") if path == _PASSWD else ("group", "gid")
    owners = {number: name for name, number in theirs.items() if name not in before}
    for name, number in ours.items():
        other = owners.get(number)
        if name not in before and other not in (None, name) and ours.get(other) != number:
            assert other is not None
            files = _some(fitted, of, number)
            effect = f"both have {of} {number}: what is the one's is the other's; {files}"
            changes.conflicts.append(
                _risk(path, f"{word} {show_path(name)}", f"{word} {show_path(other)}", effect)
            )
    for name, number in theirs.items():
        mine, was = ours.get(name), before.get(name)
        if mine is None or mine == number:
            continue
        files = _some(fitted, of, mine)
        if files == _NO_FILES and of == "gid":
            files = _members_by_id(changes, mine)
        if mine != was or files != _NO_FILES:  # else the new id stands, and nothing carries the old one
            effect = f"{files} of {of} {mine}, the new base's of {number}"
            changes.conflicts.append(_risk(path, f"{show_path(name)} is {mine}", f"it is {number}", effect))


def _risk(path: bytes, old: str, new: str, effect: str) -> Risk:
    return Risk(Kind.ACCOUNTS, path, old, new, None, effect, is_error=True)


def _members_by_id(changes: Changes, number: int) -> str:
    """The accounts of the image alone whose group has an id."""
    sides = changes.sides
    known = set((sides.new.text(_PASSWD) or b"").splitlines())
    for line in (sides.app.text(_PASSWD) or b"").splitlines():
        fields = line.split(b":")
        if len(fields) > 3 and fields[3] == b"%d" % number and line not in known:
            return f"the image's {show_path(fields[0])} is of group"
    return _NO_FILES


_NO_FILES = "the layers have no files"
_SHOWN = 3


def _some(fitted: Fitted, of: str, number: int) -> str:
    """The files of the layers that have an id."""
    found = list(_files(fitted, of, number))
    if not found:
        return _NO_FILES
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return "the layers have " + ", ".join("/" + show_path(path) for path in found[:_SHOWN]) + more


def _files(fitted: Fitted, of: str, number: int) -> Iterator[bytes]:
    for changeset in fitted.above:
        for entry in changeset.entries:
            if (entry.uid if of == "uid" else entry.gid) == number:
                node = node_at(fitted.tree, entry.path)
                layer = node.entry_layer if isinstance(node, Directory) else node.layer if node else -1
                if layer >= fitted.bottom:
                    yield entry.path


def _compare_ranges(
    changes: Changes,
    path: bytes,
    app: Lines,
    new: Lines,
    merged: Lines,
) -> None:
    """Tell of subordinate ids that two accounts have now, and had not on either side."""
    known = _overlaps(app) | _overlaps(new)
    for one, other in sorted(_overlaps(merged) - known):
        effect = "their subordinate ids overlap: the one's containers own the other's files"
        changes.conflicts.append(_risk(path, show_path(one), show_path(other), effect))


def _overlaps(lines: Lines) -> set[tuple[bytes, bytes]]:
    spans: list[tuple[int, int, bytes]] = []
    for line in lines.values():
        fields = line.strip().split(b":")
        if len(fields) == 3 and all(map(_NUMBER.fullmatch, fields[1:])):
            spans.append((int(fields[1]), int(fields[1]) + int(fields[2]), fields[0]))
    found = set()
    reach, holder = 0, b""
    for start, end, name in sorted(spans):
        if start < reach and name != holder:
            found.add((min(name, holder), max(name, holder)))
        if end > reach:
            reach, holder = end, name
    return found
