"""Files that live in a root file system and are not needed there: rules that say so, and what they find.

A rule is a set of globs with conditions. Its own rules squashkit has in `rules.toml`, which says what a
rule may have and what its words mean; people's rules have the same form.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from importlib import resources
from typing import Any, NamedTuple

from squashkit.errors import UsageError, show_text
from squashkit.layers.search import Pattern, parse_pattern
from squashkit.plan.globs import Globs, any_of, decode_path
from squashkit.plan.waste.model import Finding, Kind, LiveFile
from squashkit.values import frozen

KINDS = (Kind.CACHE_MOUNT, Kind.REMOVE, Kind.MULTI_STAGE, Kind.NO_RECOMMENDS, Kind.IGNORE)
"""What the mend of a rule may do."""
MIN_PROGRAM = 1_000_000
"""Bytes of the smallest file that passes for a program: those that Go makes are larger."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_ARCHIVE = re.compile(rb"(.+?)(?:\.tar(?:\.\w+)?|\.t(?:gz|xz|bz2|zst)|\.tbz|\.zip|\.7z)")
_WHEEL = re.compile(rb"([^-]+-[^-]+)-.*\.whl")
_UNPACKED = (b".", b"-", b"_")
"""What follows an archive's name in that of a folder unpacked from it."""
_SOURCES = (b".c", b".cc", b".cpp", b".cxx", b".S")
_PLACES_OF_PROGRAMS = (b"", b"usr/local/bin")
_BROUGHT_ALONG = re.compile(
    rb"usr/(?:lib|share|local/go)/|(?:.*/)?(?:pkg/mod|\.?cargo/registry|\.?cargo/git|\.?rustup)/", re.DOTALL
)
"""Paths of what packages brought along."""


class _Part(IntEnum):
    """What a file that a glob means does."""

    FITS = 0
    """A rule, which its number tells."""
    FORBIDS = 1
    """A rule in the whole image."""
    PROVES = 2
    """That something was compiled in its layer."""
    OBJECT = 3
    """It proves that if its source lies beside it."""
    MODULE = 4
    """It proves that if it is the program's own and a program is there."""


_TRACES = {
    "**/target/release/.fingerprint": _Part.PROVES,
    "**/target/debug/.fingerprint": _Part.PROVES,
    "**/build/Release/obj.target": _Part.PROVES,
    "**/build/temp.*/**/*.o": _Part.PROVES,
    "CMakeCache.txt": _Part.PROVES,
    "config.status": _Part.PROVES,
    "*.o": _Part.OBJECT,
    "go.mod": _Part.MODULE,
}
"""What a compiler, or what calls it, leaves beside its sources and nobody ships."""
_Role = tuple[_Part, int]
"""What a glob is there for, and the number of its rule; 0 where it has none."""


@frozen
class Rule:
    """Which files are not needed, why, and what to write instead. See `rules.toml`."""

    name: str
    paths: tuple[Pattern, ...]
    reason: str
    mend: str
    kind: Kind
    excepted: tuple[Pattern, ...] = ()
    """Globs, of which none may mean the file."""
    unless: tuple[Pattern, ...] = ()
    """Globs, of which none may mean any file of the image."""
    min_size: int = 0
    beside: bool = False
    """Whether what was unpacked from the file must lie beside it."""
    built: bool = False
    """Whether something must have been compiled in its layer or above."""
    cache: str = ""
    """The package manager that keeps such files for itself, and does as well without."""


# --- rules from text --------------------------------------------------------------------------


def own_rules() -> tuple[Rule, ...]:
    """squashkit's own rules."""
    return parse_rules(own_text(), "rules.toml")


def own_text() -> str:
    """The file that they stand in. It is a part of the program, as a module is."""
    return (resources.files("squashkit.plan.waste") / "rules.toml").read_text(encoding="utf-8")


def parse_rules(text: str, where: str) -> tuple[Rule, ...]:
    """Rules from TOML, in its order. `where` names the file in errors.

    Raises UsageError for what is no TOML, a key that is missing or that no rule has, a value of a wrong
    type, an unknown kind, a text that is no glob, and a second rule of a name.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{where}: not TOML: {show_text(str(error))}") from None
    for key in document:
        if key != "rule":
            raise UsageError(f"{where}: unknown key {show_text(repr(key))}; rules are tables [[rule]]")
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{where}: rule is no list of tables; write [[rule]]")
    rules: dict[str, Rule] = {}
    for number, table in enumerate(tables, 1):
        rule = _parse_rule(table, f"{where}: rule {_name_for_errors(table) or number}")
        if rule.name in rules:
            raise UsageError(f"{where}: rule {rule.name}: there are two rules of this name")
        rules[rule.name] = rule
    return tuple(rules.values())


def _name_for_errors(table: Mapping[str, Any]) -> str:
    name = table.get("name")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def _parse_rule(table: Mapping[str, Any], where: str) -> Rule:
    """A rule from its table. `where` names it in errors."""
    for key, value in table.items():
        if key not in _READERS:
            known = ", ".join(_READERS)
            raise UsageError(f"{where}: unknown key {show_text(repr(key))}; a rule may have {known}")
        if not _READERS[key].fits(value):
            raise UsageError(f"{where}: {key} must be {_READERS[key].shape}")
    for key in ("name", "paths", "reason", "mend", "kind"):
        if key not in table:
            raise UsageError(f"{where}: {key} is missing")
    kinds = {kind.value: kind for kind in KINDS}
    if table["kind"] not in kinds:
        said = show_text(repr(table["kind"]))
        raise UsageError(f"{where}: unknown kind {said}; there are {', '.join(kinds)}")
    return Rule(
        name=table["name"],
        paths=_globs(table["paths"], f"{where}: paths"),
        reason=table["reason"],
        mend=table["mend"],
        kind=kinds[table["kind"]],
        excepted=_globs(table.get("except", ()), f"{where}: except"),
        unless=_globs(table.get("unless", ()), f"{where}: unless"),
        min_size=table.get("min-size", 0),
        beside=table.get("beside", False),
        built=table.get("built", False),
        cache=table.get("cache", ""),
    )


def _globs(texts: Iterable[str], where: str) -> tuple[Pattern, ...]:
    """Globs of paths. Raises UsageError for what is none."""
    found = []
    for text in texts:
        try:
            pattern = parse_pattern(text)
        except ValueError as error:
            raise UsageError(f"{where}: {show_text(str(error))}") from None
        if pattern.is_content:
            raise UsageError(f"{where}: {pattern.text} is a digest and no glob")
        found.append(pattern)
    return tuple(found)


class _Reader(NamedTuple):
    """What a key takes, for a program and in words."""

    fits: Callable[[Any], bool]
    shape: str


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != "" and value.isprintable()


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(one, str) for one in value)


_LIST = _Reader(_is_list, "a list of globs")
_SENTENCE = _Reader(_is_sentence, "a text on one line")
_WORD = _Reader(
    lambda value: isinstance(value, str) and _NAME.fullmatch(value) is not None,
    "a text of letters, digits, dots and hyphens",
)
_FLAG = _Reader(lambda value: isinstance(value, bool), "true or false")
_READERS = {
    "name": _WORD,
    "paths": _LIST,
    "except": _LIST,
    "unless": _LIST,
    "min-size": _Reader(lambda value: type(value) is int and value >= 0, "a number of bytes"),
    "beside": _FLAG,
    "built": _FLAG,
    "cache": _WORD,
    "reason": _SENTENCE,
    "mend": _SENTENCE,
    "kind": _Reader(lambda value: isinstance(value, str), "a text"),
}
"""Every key that a rule may have."""


# --- what they find ---------------------------------------------------------------------------


def find_live(
    files: Iterable[LiveFile], directories: Collection[bytes], rules: Sequence[Rule]
) -> list[Finding]:
    """What rules find among all files of a root file system, whose directories are given too.

    Every file counts under the first rule that fits it and all of its names, since whoever deletes one name
    of several gains nothing; those of 0 bytes count under none. A finding is what
    one rule found in one layer, its size that of the payloads. The largest comes first, then by rule and
    layer; among its paths the largest too, then by name.
    """
    image = _Image(tuple(files), directories, rules)
    excepted = [any_of(rule.excepted) for rule in rules]
    found: defaultdict[tuple[int, int], list[LiveFile]] = defaultdict(list)
    for file, roles in image.meant:
        for part, number in roles:
            if part is not _Part.FITS or not file.size:
                break
            rule, spared = rules[number], excepted[number]
            if (
                file.size >= rule.min_size
                and not (rule.built and file.layer > image.last_build)
                and number not in image.forbidden
                and not (spared is not None and spared(decode_path(file.path)))
                and not (file.others and not _fits_all(rule, file.others))
                and not (rule.beside and not image.is_unpacked(file.path))
            ):
                found[number, file.layer].append(file)
                break
    findings = [_finding(rules[number], layer, ones) for (number, layer), ones in found.items()]
    return sorted(findings, key=lambda one: (-one.size, one.rule, one.layer))


def _fits_all(rule: Rule, paths: Iterable[bytes]) -> bool:
    means = any_of(rule.paths)
    return means is not None and all(means(decode_path(path)) for path in paths)


def _finding(rule: Rule, layer: int, files: Iterable[LiveFile]) -> Finding:
    largest = sorted(files, key=lambda file: (-file.size, file.path))
    size = sum(file.size for file in largest)
    paths = tuple(file.path for file in largest)
    return Finding(rule.name, size, layer, paths, rule.reason, rule.mend, rule.kind)


@dataclass(frozen=True)
class _Image:
    """A root file system, and what the conditions of rules ask of it, answered once."""

    files: tuple[LiveFile, ...]
    directories: Collection[bytes]
    rules: Sequence[Rule]

    @cached_property
    def meant(self) -> list[tuple[LiveFile, Sequence[_Role]]]:
        """The files that some glob means, with the roles of all that do, those of rules first."""
        roles = [((_Part.FITS, n), glob) for n, rule in enumerate(self.rules) for glob in rule.paths]
        roles += [((_Part.FORBIDS, n), glob) for n, rule in enumerate(self.rules) for glob in rule.unless]
        if any(rule.built for rule in self.rules):
            roles += [((part, 0), parse_pattern(text)) for text, part in _TRACES.items()]
        globs = Globs(roles)
        return [(file, meant) for file in self.files if (meant := globs.roles_of(file.path))]

    @cached_property
    def others(self) -> list[tuple[LiveFile, _Part, int]]:
        """The files with roles other than to fit a rule."""
        return [
            (file, part, number)
            for file, roles in self.meant
            if roles[-1][0] is not _Part.FITS
            for part, number in roles
            if part is not _Part.FITS
        ]

    @cached_property
    def forbidden(self) -> Set[int]:
        """The rules that fit nothing in this image."""
        return {number for _, part, number in self.others if part is _Part.FORBIDS}

    def is_unpacked(self, path: bytes) -> bool:
        """Whether beside an archive lies what was unpacked from it, to go by its name."""
        folder, _, name = path.rpartition(b"/")
        made = _ARCHIVE.fullmatch(name) or _WHEEL.fullmatch(name)
        if made is None:
            return False
        names = self._folders.get(folder, ())
        if made[1] in _at(names, made[1]):
            return True
        starts = [made[1] + sign for sign in _UNPACKED]
        return any(other.startswith(start) for start in starts for other in _at(names, start))

    @cached_property
    def _folders(self) -> Mapping[bytes, Sequence[bytes]]:
        """The names of the folders in each folder that has some, in order."""
        found: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for path in self.directories:
            parent, _, name = path.rpartition(b"/")
            found[parent].append(name)
        return {parent: sorted(names) for parent, names in found.items()}

    @cached_property
    def last_build(self) -> int:
        """The highest layer in which something was compiled; -1 where nothing was."""
        traces: dict[_Part, list[LiveFile]] = {part: [] for part in _Part}
        for file, part, _ in self.others:
            if not _BROUGHT_ALONG.match(file.path):
                traces[part].append(file)
        layers = [file.layer for file in traces[_Part.PROVES]]
        return max(
            [*layers, *self._made(traces[_Part.OBJECT]), *self._built(traces[_Part.MODULE])], default=-1
        )

    def _made(self, objects: Sequence[LiveFile]) -> Iterator[int]:
        """The layers of object files that lie beside their source."""
        paths = {file.path for file in self.files} if objects else ()
        for file in objects:
            if any(file.path[:-2] + ending in paths for ending in _SOURCES):
                yield file.layer

    def _built(self, modules: Sequence[LiveFile]) -> Iterator[int]:
        """The layers of Go modules that a program was made of, each told by its `go.mod`."""
        own = {_folder(file.path): file.layer for file in modules if _is_own(file.path)}
        installed = -1
        for file in self.files if own else ():
            if file.size >= MIN_PROGRAM and _may_be_program(file.path):
                folder = _folder(file.path)
                if folder in _PLACES_OF_PROGRAMS:
                    installed = max(installed, file.layer)
                yield from (own[one] for one in _upwards(folder) if own.get(one, file.layer) < file.layer)
        yield from (layer for layer in own.values() if layer < installed)


def _folder(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _upwards(folder: bytes) -> Iterator[bytes]:
    """A folder and those that it is in, but for the root, in which everything is."""
    yield folder
    while b"/" in folder:
        folder = _folder(folder)
        yield folder


def _is_own(path: bytes) -> bool:
    """Whether a `go.mod` belongs to sources that are neither copied from elsewhere nor there for tests."""
    return not any(name.startswith(b".") or name in (b"vendor", b"testdata") for name in path.split(b"/"))


def _may_be_program(path: bytes) -> bool:
    """Whether a path may be that of a program that was built: nothing is hidden, the name has no ending."""
    folder, _, name = path.rpartition(b"/")
    return b"." not in name and b"/." not in b"/" + folder and not _BROUGHT_ALONG.match(path)


def _at(names: Sequence[bytes], start: bytes) -> Sequence[bytes]:
    """The first of sorted names that begins so or comes after; none where all come before."""
    place = bisect_left(names, start)
    return names[place : place + 1]
