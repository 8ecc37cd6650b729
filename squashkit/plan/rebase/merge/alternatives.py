"""update-alternatives' groups: the choices of both sides, those whose files are there (its own files are
described in dpkg's lib/dpkg and utils/update-alternatives.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from squashkit.layers.entry import SYMLINK
from squashkit.layers.rootfs import Inode
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.keyed import merge_keyed
from squashkit.plan.rebase.merge.sides import Sides
from squashkit.plan.rebase.model import Kind
from squashkit.values import frozen

FOLDER = b"var/lib/dpkg/alternatives"
LINKS = b"etc/alternatives/"
_NAME, _PATH = re.compile(rb"(?!\.+$)[^/\s]+"), re.compile(rb"(?:/(?!\.{1,2}(?:/|$))[^/\n]+)+")
_PRIORITY = re.compile(rb"-?\d{1,10}")


@frozen
class _Choice:
    """One file that a name may stand for, and what goes with it."""

    priority: bytes
    slaves: Mapping[bytes, bytes]
    """Files by the names of links."""


@frozen
class _Group:
    """What is known of one name."""

    status: bytes
    """`auto` or `manual`."""
    links: Mapping[bytes, bytes]
    """Where the links stand, by name: the master's first."""
    choices: Mapping[bytes, _Choice]

    @classmethod
    def parse(cls, name: bytes, text: bytes) -> _Group | None:
        """None for a file of another form."""
        lines: Iterator[bytes] = iter(text.split(b"\n"))
        try:
            status, master = next(lines), next(lines)
            links = {name: master}
            while slave := next(lines):
                links[slave] = next(lines)
            choices = {}
            slaves = [*links][1:]
            while path := next(lines):
                priority, files = next(lines), {slave: next(lines) for slave in slaves}
                if not _PRIORITY.fullmatch(priority):
                    return None
                choices[path] = _Choice(priority, {slave: file for slave, file in files.items() if file})
        except (StopIteration, RuntimeError):
            return None
        is_sound = all(map(_NAME.fullmatch, links)) and all(
            map(_PATH.fullmatch, (*links.values(), *choices))
        )
        return cls(status, links, choices) if is_sound else None

    @property
    def best(self) -> bytes:
        """The choice of the highest priority, of several the first."""
        return max(self.choices, key=lambda path: int(self.choices[path].priority))

    def text(self) -> bytes:
        slaves = [*self.links][1:]
        (master, *_) = self.links.values()
        lines = [self.status, master]
        for slave in slaves:
            lines += [slave, self.links[slave]]
        lines.append(b"")
        for path, choice in sorted(self.choices.items()):
            lines += [path, choice.priority, *(choice.slaves.get(slave, b"") for slave in slaves)]
        return b"\n".join([*lines, b"", b""])


_EMPTY = _Group(b"auto", {}, {})


def merge_alternatives(sides: Sides, changes: Changes) -> None:
    """Put every group together that both sides have changed; of others that side's stands that did."""
    names = {name for tree in (sides.app, sides.new) for name in tree.names(FOLDER)}
    for name in sorted(names):
        path = FOLDER + b"/" + name
        texts = [tree.text(path) for tree in (sides.old, sides.app, sides.new)]
        was, ours, theirs = texts
        old, app, new = (_Group.parse(name, text or b"") for text in texts)
        if ours == was:
            _follow(sides, changes, path, new)
        elif theirs == was:
            changes.copy(path, sides.app, Kind.CACHES)
        elif (app is None) == (ours is None) and (new is None) == (theirs is None):  # in a known form
            group = _merged(old or _EMPTY, app or _EMPTY, new or _EMPTY, changes)
            if group is None:
                _take_away(changes, name, path, [one for one in (app, new) if one is not None])
            else:
                _put(changes, name, path, group)


def _follow(sides: Sides, changes: Changes, path: bytes, new: _Group | None) -> None:
    """A group that the image did not change, in its layers or not: with what they hold of its links."""
    changes.copy(path, sides.new, Kind.CACHES)
    for link in new.links if new is not None else ():
        if sides.is_as_old(LINKS + link):
            changes.copy(LINKS + link, sides.new, Kind.CACHES)


def _is_lost(changes: Changes, path: bytes) -> bool:
    """Whether a file that one side had is not in the result. What neither had, as a program that was
    diverted, is as it was."""
    bare = path.strip(b"/")
    sides = changes.sides
    return not changes.leads(bare) and (sides.app.leads(bare) or sides.new.leads(bare))


def _merged(old: _Group, app: _Group, new: _Group, changes: Changes) -> _Group | None:
    choices = {
        path: choice
        for path, choice in merge_keyed(old.choices, app.choices, new.choices).items()
        if not _is_lost(changes, path)
    }
    links = (
        merge_keyed(old.links, app.links, new.links) if app.links and new.links else app.links or new.links
    )
    if not choices or not links:
        return None
    status = new.status if app.status == old.status and new.links else app.status
    return _Group(status, links, choices)


def _put(changes: Changes, name: bytes, path: bytes, group: _Group) -> None:
    chosen, by_hand = group.best, _target(changes.sides, LINKS + name)
    is_by_hand = group.status != b"auto" or by_hand not in (b"", _best_of(changes.sides, path))
    if is_by_hand and by_hand in group.choices:
        chosen = by_hand  # also where only the link was changed: update-alternatives leaves it so
    elif group.status != b"auto":
        group = _Group(b"auto", group.links, group.choices)
    changes.put(path, group.text(), Kind.CACHES)
    slaves = group.choices[chosen].slaves
    for link, place in group.links.items():
        target = chosen if link == name else slaves.get(link, b"")
        if target and not _is_lost(changes, target) and _is_linked(changes, link, target):
            changes.link(LINKS + link, target, Kind.CACHES)
            _link_place(changes, link, place)
        else:
            _hide_links(changes, link, place)


def _is_linked(changes: Changes, link: bytes, target: bytes) -> bool:
    """Whether a link is to be there: to a file, or where one of the sides has it so."""
    path = LINKS + link
    return changes.leads(target.strip(b"/")) or _target(changes.sides, path) == target


def _take_away(changes: Changes, name: bytes, path: bytes, groups: Sequence[_Group]) -> None:
    """A name for which nothing is left, with its links."""
    changes.hide(path, Kind.CACHES)
    for group in groups:
        for link, place in group.links.items():
            _hide_links(changes, link, place)


def _best_of(sides: Sides, path: bytes) -> bytes:
    """What the image's own group would choose."""
    group = _Group.parse(path.rpartition(b"/")[2], sides.app.text(path) or b"")
    return group.best if group is not None and group.choices else b""


def _link_place(changes: Changes, link: bytes, place: bytes) -> None:
    """The link from where people look for it, unless the image has put something else there."""
    real = changes.sides.result.real(place.strip(b"/"))
    there = changes.sides.app.node(real)
    if there is None or _target(changes.sides, real) == b"/" + LINKS + link:
        changes.link(real, b"/" + LINKS + link, Kind.CACHES)


def _hide_links(changes: Changes, link: bytes, place: bytes) -> None:
    """A link of a group, and the one from where people look for it, if that is one."""
    changes.hide(LINKS + link, Kind.CACHES)
    real = changes.sides.result.real(place.strip(b"/"))
    if _target(changes.sides, real) == b"/" + LINKS + link:
        changes.hide(real, Kind.CACHES)


def _target(sides: Sides, path: bytes) -> bytes:
    """Where a symlink of the image leads, or of the result; nothing where it is none."""
    for tree in (sides.app, sides.result):
        node = tree.node(path)
        if isinstance(node, Inode) and node.entry.typeflag == SYMLINK:
            return node.entry.linkname
    return b""
