"""The small databases beside dpkg's status: each has lines or paragraphs of its own, merged one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from squashkit.plan.packages.owners import STATUS_D
from squashkit.plan.packages.paragraphs import fields_of, joined, paragraphs
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.dpkg import Choice, Key, Winner
from squashkit.plan.rebase.merge.keyed import merge_keyed
from squashkit.plan.rebase.merge.sides import Sides
from squashkit.plan.rebase.model import Kind
from squashkit.values import frozen

DPKG = b"var/lib/dpkg/"
DIVERSIONS = DPKG + b"diversions"
TRIGGERS = DPKG + b"triggers"
_STATES = b"var/lib/apt/extended_states"
CONF, SHARED = b"etc/ca-certificates.conf", b"usr/share/ca-certificates/"
"""Which certificates are wanted, and where they are."""


@frozen
class _Form:
    """How a database is taken apart into parts with keys, and put together."""

    parts: Callable[[bytes], Sequence[bytes]]
    key: Callable[[bytes], object]
    join: Callable[[Iterable[bytes]], bytes]
    is_sorted: bool = False
    """Whether its writer sorts it."""

    def parse(self, text: bytes) -> dict[object, bytes]:
        found: dict[object, bytes] = {}
        for part in self.parts(text):
            key = self.key(part)
            while key in found:  # comments and repeated lines stand where they stand
                key = (key, part, len(found))
            found[key] = part
        return found


def _lines(text: bytes) -> list[bytes]:
    return [line + b"\n" for line in text.splitlines()]


def _triples(text: bytes) -> list[bytes]:
    lines = _lines(text)
    return [b"".join(lines[at : at + 3]) for at in range(0, len(lines) - 2, 3)]


def _whole(line: bytes) -> bytes:
    return line.strip()


def _last_word(line: bytes) -> bytes:
    return (line.split() or [b""])[-1]


def _conf(line: bytes) -> bytes:
    """A certificate that is not wanted stands there with a mark: it is the same certificate."""
    return line.strip().removeprefix(b"!")


def _package(paragraph: bytes) -> tuple[bytes, bytes]:
    fields = fields_of(paragraph)
    return fields.get(b"Package", b""), fields.get(b"Architecture", b"")


def _name(paragraph: bytes) -> bytes:
    return fields_of(paragraph).get(b"Name", b"")


def _first_line(triple: bytes) -> bytes:
    return triple.partition(b"\n")[0]


_SET = _Form(_lines, _whole, b"".join)
_DEBCONF = _Form(paragraphs, _name, joined, is_sorted=True)
_FORMS: Mapping[bytes, _Form] = {
    DIVERSIONS: _Form(_triples, _first_line, b"".join),
    DPKG + b"statoverride": _Form(_lines, _last_word, b"".join),
    DPKG + b"arch": _SET,
    _STATES: _Form(paragraphs, _package, joined),
    b"var/cache/debconf/config.dat": _DEBCONF,
    b"var/cache/debconf/templates.dat": _DEBCONF,
    b"var/cache/debconf/passwords.dat": _DEBCONF,
    b"var/lib/ucf/hashfile": _Form(_lines, _last_word, b"".join),
    b"var/lib/ucf/registry": _Form(_lines, _last_word, b"".join),
    b"etc/shells": _SET,
    CONF: _Form(_lines, _conf, b"".join),
}


def merge_databases(sides: Sides, changes: Changes, choices: Sequence[Choice]) -> None:
    """Put every database together that a layer above has written."""
    gone = {choice.key for choice in choices if choice.text is None}
    for path, form in _FORMS.items():
        if sides.is_above(path):
            _merge(sides, changes, path, form, gone if path == _STATES else set())
    for name in {*sides.app.names(STATUS_D), *sides.new.names(STATUS_D)}:
        path = STATUS_D + b"/" + name
        if sides.is_above(path) and sides.is_as_old(path):  # distroless: a file a package
            changes.copy(path, sides.new, Kind.PACKAGES)
    if choices:
        _merge_triggers(sides, changes, choices)


def _merge(sides: Sides, changes: Changes, path: bytes, form: _Form, gone: set[Key]) -> None:
    ours, theirs = sides.app.text(path), sides.new.text(path)
    if ours is None or theirs is None:
        if theirs is None and sides.is_as_old(path):
            changes.hide(path, Kind.PACKAGES)
        return
    old, app, new = (form.parse(text) for text in (sides.old.text(path) or b"", ours, theirs))
    merged = merge_keyed(old, app, new)
    parts = [part for part in merged.values() if not gone or not _is_gone(_package(part), gone)]
    if form.is_sorted and [*new] == sorted(new, key=_as_bytes):
        parts = [part for _, part in sorted(merged.items(), key=lambda item: _as_bytes(item[0]))]
    shown = sides.result.text(path) or b""
    # In whatever order its writer has it; but certificates are bundled in the order of their list.
    is_there = path != CONF and sorted(parts) == sorted(form.parse(shown).values())
    changes.put(path, shown if is_there else form.join(parts), Kind.PACKAGES)


def _is_gone(package: tuple[bytes, bytes], gone: set[Key]) -> bool:
    """Whether a package is not in the result: of one architecture, or of the only one that there was."""
    return package in gone or (package[0], b"") in gone


def _as_bytes(key: object) -> bytes:
    return key if isinstance(key, bytes) else b""


def diversions(text: bytes) -> dict[bytes, tuple[bytes, bytes]]:
    """Where dpkg puts a file instead, and for which package it does not: by where the file would lie. None
    of these paths has a slash at its start."""
    found = {}
    for triple in _triples(text):
        path, target, package = triple.splitlines()
        found[path.strip(b"/")] = target.strip(b"/"), package
    return found


def _merge_triggers(sides: Sides, changes: Changes, choices: Sequence[Choice]) -> None:
    """Which packages want to hear of what. A line is its package's, and follows that one's stanza."""
    names = {name for tree in (sides.app, sides.new) for name in tree.names(TRIGGERS)}
    ours = {choice.key[0] for choice in choices if choice.winner is Winner.APP}
    theirs = {choice.key[0] for choice in choices if choice.text is not None} - ours
    for name in sorted(names - {b"Lock", b"Unincorp"}):
        path = TRIGGERS + b"/" + name
        if not sides.is_above(path):
            continue
        has_path = name == b"File"
        kept = [
            line
            for tree, packages in ((sides.new, theirs), (sides.app, ours))
            for line in _lines(tree.text(path) or b"")
            if _wants(line, has_path=has_path) in packages
        ]
        if kept or has_path:
            changes.put(path, b"".join(kept), Kind.PACKAGES)
        else:
            changes.hide(path, Kind.PACKAGES)


def _wants(line: bytes, *, has_path: bool) -> bytes:
    """The package of a line: `/path package/noawait`, or without the path."""
    words = line.split()
    word = words[-1] if len(words) == 1 + has_path else b""
    return word.partition(b"/")[0].partition(b":")[0]
