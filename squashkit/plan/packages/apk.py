"""apk's database, `installed`: its paragraphs, its versions, and what packages need (apk-tools' doc/
apk-v2.5.scd, apk-package.5.scd, and src/version.c)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from squashkit.plan.packages.owners import apk_files, one_place
from squashkit.plan.packages.paragraphs import fields_of, paragraphs
from squashkit.values import frozen

_VERSION = re.compile(rb"(\d{1,99})((?:\.\d{1,99})*)([a-z]?)((?:_[a-z]+\d{0,99})*)(?:-r(\d{1,99}))?")
_SUFFIX = re.compile(rb"_([a-z]+)(\d*)")
_RANKS = {
    b"alpha": -4,
    b"beta": -3,
    b"pre": -2,
    b"rc": -1,
    b"cvs": 1,
    b"svn": 2,
    b"git": 3,
    b"hg": 4,
    b"p": 5,
}
_DEPENDENCY = re.compile(rb"(!?)([^<>=~@]+)(?:@[^<>=~]*)?(?:([<>=~]+)(.*))?")


@frozen
class ApkPackage:
    """A paragraph of the database, byte for byte, and what it says."""

    text: bytes
    name: bytes
    version: bytes
    checksum: bytes
    """By which scripts and triggers are its own."""
    depends: tuple[bytes, ...]
    provides: tuple[bytes, ...]

    @property
    def files(self) -> tuple[bytes, ...]:
        """Paths without a slash at the start."""
        return tuple(apk_files(self.text))

    @classmethod
    def of(cls, text: bytes) -> ApkPackage:
        fields = fields_of(text)
        name, version, checksum = (fields.get(key, b"") for key in (b"P", b"V", b"C"))
        depends, provides = (tuple(fields.get(key, b"").split()) for key in (b"D", b"p"))
        return cls(text, name, version, checksum, depends, provides)


def apk_packages(database: bytes) -> dict[bytes, ApkPackage]:
    """The packages, by name."""
    return {one.name: one for one in map(ApkPackage.of, paragraphs(database))}


def is_later_apk(version: bytes, other: bytes) -> bool:
    """Whether a version is later than another one; no version that is none is."""
    ours, theirs = _key(version), _key(other)
    return ours is not None and theirs is not None and ours > theirs


def _key(version: bytes) -> tuple[object, ...] | None:
    found = _VERSION.fullmatch(version)
    if found is None:
        return None
    first, rest, letter, suffixes, revision = found.groups()
    ranked = [(_RANKS.get(name, 0), int(number or b"0")) for name, number in _SUFFIX.findall(suffixes)]
    return int(first), [*map(_part, rest.split(b".")[1:])], letter, [*ranked, (0, 0)], int(revision or b"0")


def _part(digits: bytes) -> tuple[int, ...]:
    """A further number: zeros at its front make it less than any other, as in a fraction."""
    bare = digits.lstrip(b"0")
    zeros = len(digits) - len(bare)
    numbers = (int(bare),) if bare else ()
    return (-zeros, *numbers) if zeros else numbers


class ApkUnmet(NamedTuple):
    """A dependency of a package that does not hold."""

    package: ApkPackage
    dependency: bytes


def apk_unmet(packages: Iterable[ApkPackage]) -> Iterator[ApkUnmet]:
    """What packages need and do not have, and what they must not have beside them."""
    all_of_them = list(packages)
    there: dict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
    for one in all_of_them:
        there[one.name].append((one.name, one.version))
        for provided in one.provides:
            name, _, version = provided.partition(b"=")
            there[name].append((one.name, version))
    files: set[bytes] | None = None
    for one in all_of_them:
        for dependency in one.depends:
            found = _DEPENDENCY.fullmatch(dependency)
            if found is None:
                continue
            is_not, name, sign, version = found.groups()
            owners = [v for owner, v in there[name] if not is_not or owner != one.name]
            holds = any(_holds(v, sign, version) for v in owners)
            if not holds and name.startswith(b"/"):
                if files is None:
                    files = {one_place(path) for package in all_of_them for path in package.files}
                holds = one_place(name.strip(b"/")) in files
            if holds == bool(is_not):
                yield ApkUnmet(one, dependency)


def _holds(version: bytes, sign: bytes | None, wanted: bytes | None) -> bool:
    if not sign or not wanted:
        return True
    if sign == b"~":
        return version.startswith(wanted)
    later, earlier = is_later_apk(version, wanted), is_later_apk(wanted, version)
    same = not later and not earlier
    return (b"=" in sign and same) or (b">" in sign and later) or (b"<" in sign and earlier)
