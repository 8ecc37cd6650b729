"""Versions as rpm compares them (rpm's rpmio/rpmvercmp.c), and what packages need of one another (lib/
rpmds.c)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from squashkit.plan.packages.owners import one_place
from squashkit.plan.packages.rpm.header import Relation, RpmPackage

_RUN = re.compile(rb"\d+|[a-zA-Z]+|~|\^")
_LESS, _GREATER, _EQUAL = 2, 4, 8
_ANY = _LESS | _GREATER | _EQUAL
_MOST = 1000
"""How many versions of a name may be given for it to be held against what is asked for."""
_OF_RPM = 1 << 24
"""What rpm itself must be able to do."""
Key = tuple[int, list[tuple[int, int, bytes]], list[tuple[int, int, bytes]] | None]


def is_later_rpm(version: bytes, other: bytes) -> bool:
    """Whether a version is later than another one."""
    return _compare(_key(version), _key(other)) > 0


def _key(version: bytes) -> Key:
    epoch, colon, rest = version.partition(b":")
    upstream, dash, release = (rest if colon else version).partition(b"-")
    number = int(epoch) if colon and epoch.isdigit() and len(epoch) < 11 else 0
    return number, _ranks(upstream), _ranks(release) if dash else None


def _compare(one: Key, other: Key) -> int:
    """Less, equal or more than 0; the release counts where both have one."""
    ours, theirs = one[:2], other[:2]
    if ours == theirs and one[2] is not None and other[2] is not None:
        return (one[2] > other[2]) - (one[2] < other[2])
    return (ours > theirs) - (ours < theirs)


def _ranks(text: bytes) -> list[tuple[int, int, bytes]]:
    """Runs of digits and of letters: a tilde before the end, a caret behind it, letters, then numbers."""
    ranks = []
    for run in _RUN.findall(text):
        if run == b"~":
            ranks.append((0, 0, b""))
        elif run == b"^":
            ranks.append((2, 0, b""))
        elif run.isdigit():
            bare = run.lstrip(b"0")
            ranks.append((4, len(bare), bare))
        else:
            ranks.append((3, 0, run))
    return [*ranks, (1, 0, b"")]


class RpmUnmet(NamedTuple):
    """A relation of a package that does not hold."""

    package: RpmPackage
    relation: Relation
    is_conflict: bool

    @property
    def shown(self) -> bytes:
        """What is asked for, as rpm writes it."""
        name, flags, version = self.relation
        sign = b"<" * bool(flags & _LESS) + b">" * bool(flags & _GREATER) + b"=" * bool(flags & _EQUAL)
        return b" ".join((name, sign, version)) if sign and version else name


def rpm_unmet(packages: Iterable[RpmPackage]) -> Iterator[RpmUnmet]:
    """What packages need and do not have, and what they must not have beside them. Conditions in
    parentheses, as `(this if that)`, count as met, and so do names that are given in too many versions."""
    all_of_them = list(packages)
    given: dict[bytes, dict[tuple[Relation, int], RpmPackage]] = defaultdict(dict)
    files = {one_place(path) for one in all_of_them for path in one.files}
    for one in all_of_them:
        for relation in one.provides:
            given[relation.name][relation, id(one)] = one
    for one in all_of_them:
        for relation in dict.fromkeys(one.requires):
            is_file = relation.name.startswith(b"/") and one_place(relation.name.strip(b"/")) in files
            if relation.name.startswith(b"(") or relation.flags & _OF_RPM or is_file:
                continue
            there = given[relation.name]
            if len(there) <= _MOST and not any(_do_overlap(relation, other) for other, _ in there):
                yield RpmUnmet(one, relation, is_conflict=False)
        for relation in dict.fromkeys(one.conflicts):
            there = given[relation.name] if len(given[relation.name]) <= _MOST else {}
            if any(
                owner is not one and _do_overlap(relation, other) for (other, _), owner in there.items()
            ):
                yield RpmUnmet(one, relation, is_conflict=True)


def _do_overlap(one: Relation, other: Relation) -> bool:
    """Whether a version may be in both: any is where one of them says none."""
    if not one.version or not other.version or not one.flags & _ANY or not other.flags & _ANY:
        return True
    order = _compare(_key(one.version), _key(other.version))
    if order == 0:
        return bool(one.flags & other.flags & _ANY)
    upwards, downwards = (one, other) if order < 0 else (other, one)
    return bool(upwards.flags & _GREATER or downwards.flags & _LESS)
