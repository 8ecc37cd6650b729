"""Which relations between installed packages are not met, as `apt-get check` looks for them (Debian policy,
chapter 7)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from squashkit.plan.packages.paragraphs import fields_of, paragraphs
from squashkit.plan.packages.versions import is_later

_ATOM = re.compile(rb"\s*([\w+.-]+)(?::[\w-]+)?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^)\s]+)\s*\))?")
_WANTED, _UNWANTED = (b"Pre-Depends", b"Depends"), (b"Breaks", b"Conflicts")


class Unmet(NamedTuple):
    """A relation of an installed package that does not hold."""

    package: bytes
    version: bytes
    field: bytes
    relation: bytes
    """As it stands in the field: alternatives, or what must not be there."""
    found: bytes
    """What is there of the first package that it names: its version, or nothing."""

    @property
    def about(self) -> tuple[bytes, bytes, bytes]:
        """What stays the same where only versions change."""
        return self.package, self.field, _target(self.relation)


def find_unmet(status: bytes) -> list[Unmet]:
    """Of all packages that dpkg's status file has as installed."""
    stanzas = [
        fields
        for fields in map(fields_of, paragraphs(status))
        if fields.get(b"Status", b"").endswith(b" installed")
    ]
    versions: dict[bytes, dict[bytes, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    """By name and version who provides it; no version where that is not said."""
    real: dict[bytes, bytes] = {}
    for fields in stanzas:
        name, version = fields.get(b"Package", b""), fields.get(b"Version", b"")
        real.setdefault(name, version)
        versions[name][version].add(name)
        for part in _parts(fields.get(b"Provides", b""), b","):
            atom = _ATOM.match(part)
            if atom is not None:
                versions[atom[1]][atom[3] or b""].add(name)

    def is_there(part: bytes, without: bytes = b"") -> bool:
        atom = _ATOM.match(part)
        return atom is None or any(
            _holds(version, atom[2], atom[3])
            for version, owners in versions[atom[1]].items()
            if owners != {without}
        )

    found = []
    for fields in stanzas:
        name = fields.get(b"Package", b"")
        for field in (*_WANTED, *_UNWANTED):
            for relation in _parts(fields.get(field, b""), b","):
                if field in _WANTED:
                    holds = any(is_there(part) for part in _parts(relation, b"|"))
                else:
                    holds = not is_there(relation, without=name)
                if not holds:
                    there = real.get(_target(relation), b"")
                    found.append(Unmet(name, fields.get(b"Version", b""), field, relation, there))
    return [*found, *_apart(stanzas)]


def _apart(stanzas: list[dict[bytes, bytes]]) -> Iterator[Unmet]:
    """Packages of one name for several architectures must have one version (Multi-Arch: same)."""
    first: dict[bytes, dict[bytes, bytes]] = {}
    for fields in stanzas:
        if fields.get(b"Multi-Arch") != b"same":
            continue
        name, version = fields.get(b"Package", b""), fields.get(b"Version", b"")
        other = first.setdefault(name, fields)
        if other.get(b"Version") != version:
            sibling = name + b":" + other.get(b"Architecture", b"") + b" (= " + version + b")"
            yield Unmet(name, version, b"Multi-Arch", sibling, other.get(b"Version", b""))


def _target(relation: bytes) -> bytes:
    """The first package that a relation names."""
    atom = _ATOM.match(relation)
    return atom[1] if atom is not None else b""


def _parts(text: bytes, separator: bytes) -> Iterator[bytes]:
    return (part.strip() for part in text.split(separator) if part.strip())


def _holds(version: bytes, sign: bytes | None, wanted: bytes | None) -> bool:
    """Whether a version is as a relation wants it; one that is not known is so only where any will do."""
    if not sign or not wanted:
        return True
    if not version:
        return False
    later, earlier = is_later(version, wanted), is_later(wanted, version)
    if sign == b"=":
        return not later and not earlier
    if sign == b"<<":
        return earlier
    if sign == b">>":
        return later
    return not later if sign in (b"<=", b"<") else not earlier
