"""Which stanza of dpkg's status each package has after a rebase: pure, by package."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum

from squashkit.errors import show_path
from squashkit.plan.packages.owners import STATUS
from squashkit.plan.packages.paragraphs import fields_of, joined, paragraphs
from squashkit.plan.packages.relations import Unmet, find_unmet
from squashkit.plan.packages.versions import is_later
from squashkit.plan.rebase.merge.changes import lower_version
from squashkit.plan.rebase.merge.record import PACKAGES, Record
from squashkit.plan.rebase.model import Kind, Risk
from squashkit.values import frozen

_CLEAN = re.compile(rb"\S+ ok (?:installed|config-files|not-installed)")
"""States in which nothing is half done (dpkg(1), package states)."""


class Winner(Enum):
    """Whose stanza a package has in the result."""

    NEW = "new base"
    APP = "image"
    STATE = "new base's version, image's state"
    NOBODY = "nobody"


@frozen
class Stanza:
    """A paragraph of the status file, byte for byte, and what it says first."""

    text: bytes
    name: bytes
    architecture: bytes
    version: bytes
    state: bytes

    @classmethod
    def of(cls, text: bytes) -> Stanza:
        fields = fields_of(text)
        names = (b"Package", b"Architecture", b"Version", b"Status")
        return cls(text, *(fields.get(name, b"") for name in names))

    @property
    def is_installed(self) -> bool:
        return self.state.endswith(b" installed")

    @property
    def shown(self) -> str:
        """Its name and version, for people."""
        return f"{show_path(self.name)} {show_path(self.version)}"


Key = tuple[bytes, bytes]
"""A package's name, and where one name is there for several architectures, that."""


@frozen
class Choice:
    """What becomes of a package."""

    key: Key
    winner: Winner
    old: Stanza | None
    app: Stanza | None
    new: Stanza | None
    text: bytes | None
    """Its stanza in the result; None where it has none."""
    is_lower: bool = False
    """Whether both sides have another version than the old base, and the image's is the lower one."""

    @property
    def name(self) -> str:
        return show_path(self.key[0])

    @property
    def was_removed(self) -> bool:
        """Whether the image removed what the old base had installed."""
        has = self.app is not None and self.app.is_installed
        return self.old is not None and self.old.is_installed and not has

    @property
    def is_removed(self) -> bool:
        """The same where the new base has it."""
        return self.was_removed and self.new is not None and self.new.is_installed


def unready(status: bytes) -> str:
    """Why a status file cannot be merged: a package that is not cleanly installed; empty where it can."""
    for text in paragraphs(status):
        stanza = Stanza.of(text)
        if not _CLEAN.fullmatch(stanza.state):
            return f"{show_path(stanza.name)} is {show_path(stanza.state) or 'in no state'}"
    return ""


def choose(old: bytes, app: bytes, new: bytes, record: Record) -> list[Choice]:
    """What becomes of each package of three status files, sorted by name as dpkg sorts them. `record` says
    what an earlier rebase knew."""
    sides = [[Stanza.of(text) for text in paragraphs(side)] for side in (old, app, new)]
    several = {
        name
        for side in sides
        for name, count in Counter(stanza.name for stanza in side).items()
        if count > 1
    }
    before, ours, theirs = (_by_key(side, several) for side in sides)
    before = record.seen_from(PACKAGES, before, lambda key: key[0], _stub)
    keys = sorted({*before, *ours, *theirs})
    return [_choose(key, before.get(key), ours.get(key), theirs.get(key)) for key in keys]


def _stub(name: bytes) -> tuple[Key, Stanza]:
    """A package of which nothing is known but that a base had it."""
    text = b"Package: " + name + b"\nStatus: install ok installed\n"
    return (name, b""), Stanza.of(text)


def note_packages(choices: Iterable[Choice], record: Record) -> None:
    """Note what the image removed and the new base lacks, and what it brought in a version of its own and
    the new base has: with that base as the old one nothing else would tell."""
    for one in choices:
        is_own = one.app is not None and (one.old is None or one.old.version != one.app.version)
        if one.was_removed and one.new is None:
            record.removed.setdefault(PACKAGES, set()).add(one.key[0])
        elif is_own and one.new is not None:
            record.own.setdefault(PACKAGES, set()).add(one.key[0])


def _by_key(stanzas: Iterable[Stanza], several: set[bytes]) -> dict[Key, Stanza]:
    return {(one.name, one.architecture if one.name in several else b""): one for one in stanzas}


def _choose(key: Key, old: Stanza | None, app: Stanza | None, new: Stanza | None) -> Choice:
    def choice(winner: Winner, text: bytes | None, *, is_lower: bool = False) -> Choice:
        return Choice(key, winner, old, app, new, text, is_lower)

    was, ours, theirs = (side.text if side is not None else None for side in (old, app, new))
    if ours in (was, theirs):
        return choice(Winner.NOBODY if theirs is None else Winner.NEW, theirs)
    if app is None:  # the image removed and purged it
        return choice(Winner.NOBODY, None)
    if theirs == was or (new is None and old is not None and app.version != old.version):
        return choice(Winner.APP, ours)
    if new is None:
        # The new base dropped a package of which the image changed nothing but the state.
        return choice(Winner.NOBODY, None) if old is not None else choice(Winner.APP, ours)
    if old is not None and app.version == old.version and app.is_installed and not new.is_installed:
        return choice(Winner.NEW, theirs)  # the new base removed it, and the image changed its state alone
    if app.version == new.version or (old is not None and app.version == old.version):
        return choice(Winner.STATE, _with_state(app, new))
    return choice(Winner.APP, ours, is_lower=app.is_installed and is_later(new.version, app.version))


def _with_state(app: Stanza, new: Stanza) -> bytes:
    """The new base's stanza in the state that the image gave it: held, removed, or with configuration files
    alone, of which dpkg keeps fewer fields."""
    fields = _split(new.text)
    fields[b"Status"] = b"Status: " + app.state + b"\n"
    if app.is_installed:
        return b"".join(fields.values())
    kept = []
    for field, text in _split(app.text).items():
        if field == b"Config-Version":
            kept.append(b"Config-Version: " + new.version + b"\n")
        else:
            kept.append(fields.get(field, text))
    return b"".join(kept)


def _split(paragraph: bytes) -> dict[bytes, bytes]:
    """A paragraph's fields with their lines."""
    found = re.findall(rb"(?m)^([^\s:]+):.*\n(?:[ \t].*\n)*", paragraph)
    texts = re.findall(rb"(?m)^[^\s:]+:.*\n(?:[ \t].*\n)*", paragraph)
    return dict(zip(found, texts, strict=True))


def status_of(choices: Iterable[Choice]) -> bytes:
    """The status file that they make."""
    return joined(choice.text for choice in choices if choice.text is not None)


def lower_versions(choices: Iterable[Choice]) -> list[Risk]:
    """The packages whose patch the image's own, lower version hides."""
    return [
        lower_version(STATUS, one.app.shown, one.new.shown, one.name)
        for one in choices
        if one.is_lower and one.app is not None and one.new is not None
    ]


def broken_relations(app: bytes, merged: bytes, choices: Iterable[Choice]) -> list[Risk]:
    """Relations of packages that were met in the image and are not in the result."""
    known = {one.about for one in find_unmet(app)}
    versions: Mapping[bytes, Choice] = {one.key[0]: one for one in choices}
    return [_broken(one, versions) for one in find_unmet(merged) if one.about not in known]


def _broken(one: Unmet, choices: Mapping[bytes, Choice]) -> Risk:
    relation = f"{show_path(one.package)} {show_path(one.version)}"
    word = {b"Breaks": "breaks", b"Conflicts": "conflicts with"}.get(one.field, "needs")
    target = one.about[2]
    there = f"{show_path(target)} {show_path(one.found)}" if one.found else f"no {show_path(target)}"
    choice = choices.get(one.package)
    who = "image" if choice is not None and choice.winner is Winner.APP else "new base"
    effect = f"the {who} brings it; apt would refuse this: build the image anew, or pin fewer packages"
    return Risk(
        Kind.DEPENDS,
        STATUS,
        f"{relation} {word} {show_path(one.relation)}",
        there,
        None,
        effect,
        True,
        show_path(one.package),
    )
