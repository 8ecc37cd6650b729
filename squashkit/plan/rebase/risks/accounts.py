"""Accounts: whose the files are, whichever side's passwd and group are seen."""

from __future__ import annotations

import re
from collections.abc import Iterator

from squashkit.errors import show_path, show_text
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Directory, Inode
from squashkit.plan.rebase.contents import Contents
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.model import ACCOUNTS, BaseNodes, Kind, Risk, Side
from squashkit.plan.rebase.risks.facts import Detectors, Facts, path_is, show_have, show_some

_NAMES = (b"etc/shadow", b"etc/gshadow", b"etc/subuid", b"etc/subgid")
BACKUPS = frozenset(path + b"-" for path in (*ACCOUNTS, *_NAMES))
"""What tools leave behind of these files, and nothing reads."""
_SYSTEM_IDS = range(1, 1000)


def _accounts(facts: Facts) -> Iterator[Risk]:
    """The layer has its own passwd: what do the new base's users become?"""
    if facts.new is None:
        return
    what = ACCOUNTS[facts.path]
    ours, theirs = facts.contents.text(facts.above), facts.contents.text(facts.new)
    if ours is None or theirs is None:
        effect = f"{what}s are those of the layer above, whatever the new base has"
        yield facts.risk(Kind.ACCOUNTS, show_have(facts.old), "its own", effect)
        return
    shown, there = _ids(ours), _ids(theirs)
    owners = {number: name for name, number in shown.items()}
    for name, number in there.items():
        if shown.get(name) == number:
            continue
        other = owners.get(number)
        listed = f"{name} is {shown[name]}" if name in shown else f"no {name}"
        taken = f", {other} is {number}" if other is not None else ""
        effect = f"what the new base gives to {name} ({number}) belongs to {other or f'no {what}'}"
        yield facts.risk(Kind.ACCOUNTS, listed + taken, f"{name} is {number}", effect)


def _names(facts: Facts) -> Iterator[Risk]:
    """The layer has its own shadow: which accounts of the new base are not in it?"""
    if facts.new is None:
        return
    ours, theirs = facts.contents.text(facts.above), facts.contents.text(facts.new)
    if ours is None or theirs is None:
        return  # passwd and group say it
    missing = [show_text(name) for name in _first_fields(theirs) - _first_fields(ours)]
    if missing:
        effect = "these accounts of the new base have no entry there"
        yield facts.risk(Kind.ACCOUNTS, "not listed", show_some(sorted(missing)), effect)


DETECTORS: Detectors = ((path_is(*ACCOUNTS), _accounts), (path_is(*_NAMES), _names))


def owner_risks(fitted: Fitted, contents: Contents, path: bytes, bases: BaseNodes) -> Iterator[Risk]:
    """The new base's own passwd is seen: whose are the files of the layers above?"""
    if not isinstance(bases.old, Inode) or not isinstance(bases.new, Inode):
        return
    used = _used_ids(fitted, users=path == b"etc/passwd")
    if not used or contents.do_agree(bases.old, bases.new):
        return
    what = ACCOUNTS[path]
    before, after = contents.text(bases.old, Side.OLD), contents.text(bases.new)
    if before is None or after is None:
        numbers = show_some(str(number) for number in sorted(used))
        effect = f"the layers' files of the {what} ids {numbers} may belong to others now"
        yield Risk(Kind.ACCOUNTS, path, "its own", "its own", None, effect)
        return
    was = {number: name for name, number in _ids(before).items()}
    there = _ids(after)
    now = {number: name for name, number in there.items()}
    for number, at in sorted(used.items()):
        name, holder = was.get(number), now.get(number)
        if name != holder:
            before_text, after_text = name or f"no {what}", holder or f"no {what}"
            effect = f"the layers' files that belonged to {before_text} belong to {after_text}"
            owner = f"{'uid' if what == 'user' else 'gid'} {number} is"
            has_moved = name in there  # the same account has another id now: its files are lost to it
            yield Risk(
                Kind.ACCOUNTS,
                at,
                f"{owner} {before_text}",
                f"{owner} {after_text}",
                None,
                effect,
                has_moved,
            )


def user_risks(text: bytes | None, user: str) -> Iterator[Risk]:
    """Whether the account that the image runs as is in this passwd; a number always is."""
    name = user.partition(":")[0]
    if name and not name.isdigit() and text is not None and name not in _ids(text):
        effect = "no container of it starts"
        yield Risk(Kind.ACCOUNTS, b"", f"User {name}", "no such user", None, effect)


def _used_ids(fitted: Fitted, *, users: bool) -> dict[int, bytes]:
    """The ids of system accounts to which the layers above give something, and what is given."""
    used: dict[int, bytes] = {}
    for changeset in fitted.above:
        for entry in changeset.entries:
            number = entry.uid if users else entry.gid
            if number in _SYSTEM_IDS and _is_there(fitted, entry.path):
                used.setdefault(number, entry.path)
    return used


def _is_there(fitted: Fitted, path: bytes) -> bool:
    """Whether the result has something at a path that the layers above put there."""
    node = node_at(fitted.tree, path)
    layer = node.entry_layer if isinstance(node, Directory) else node.layer if node else -1
    return layer >= fitted.bottom


def _ids(text: bytes) -> dict[str, int]:
    """The ids of a passwd or a group file, by name."""
    found = {}
    for line in text.splitlines():
        fields = line.split(b":")
        if len(fields) > 2 and re.fullmatch(rb"\d{1,10}", fields[2]):
            found[show_path(fields[0])] = int(fields[2])
    return found


def _first_fields(text: bytes) -> set[str]:
    return {show_path(line.partition(b":")[0]) for line in text.splitlines() if b":" in line}
