"""Many globs at once: which of them mean a path.

Most paths fit no glob, so each glob is filed under a name that whatever it means must have in its path. A
path is held against those globs alone that its names lead to.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from squashkit.layers.search import Pattern

_GLOB_SIGNS = re.compile(r"[*?\[\]\\]")
_ANY = b""
"""The name for globs that need none. No name is empty."""
Role = TypeVar("Role", bound=tuple[Any, ...])
"""What a glob is there for."""


class _Glob(NamedTuple, Generic[Role]):
    role: Role
    search: Callable[[str], object]
    """Tells whether a path is meant."""
    last: bytes
    """What the last name of a path that is meant has, as `_keys` gives it."""
    depth: int
    """How many names such a path has; 0 where that differs."""


_Index = Mapping[bytes, Sequence[_Glob[Role]]]


class Globs(Generic[Role]):
    """Globs of paths, each with a role; several may have one role, and roles can be sorted."""

    def __init__(self, globs: Iterable[tuple[Role, Pattern]]) -> None:
        index: defaultdict[bytes, list[_Glob[Role]]] = defaultdict(list)
        for role, pattern in globs:
            assert isinstance(pattern.paths, re.Pattern)
            names = [_key_of(name) for name in pattern.glob.split("/")]
            known = [key for key in names if key != _ANY]
            literal = [key for key in known if b"*" not in key]
            needed = (literal or known or [_ANY])[-1]
            fixed = len(names) > 1 and "**" not in pattern.glob
            depth = len(names) if fixed else 0
            index[needed].append(_Glob(role, pattern.paths.search, names[-1], depth))
        self._index: _Index[Role] = index
        self._folders: dict[bytes, tuple[Sequence[Role], _Index[Role]]] = {}

    def roles_of(self, path: bytes) -> Sequence[Role]:
        """The roles of the globs that mean a path, or a directory above it, in order."""
        index = self._index
        folder, _, name = path.rpartition(b"/")
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._of_folder(folder)
        whole, inside = known
        near = list(inside.get(_ANY, ()))
        for key in _keys(name):
            if key in index:
                near += index[key]
            if key in inside:
                near += inside[key]
        if near:
            text = decode_path(path)
            more = {glob.role for glob in near if glob.search(text)}
            if more:
                return sorted(more.union(whole))
        return whole

    def _of_folder(self, folder: bytes) -> tuple[Sequence[Role], _Index[Role]]:
        """The roles of the globs that mean a folder, and so all in it; and the globs that may mean what is
        in it, each under what their names have."""
        keys = {key for name in folder.split(b"/") if name for key in _keys(name)} | {_ANY}
        near = [glob for key in keys if key in self._index for glob in self._index[key]]
        text = decode_path(folder)
        depth = folder.count(b"/") + 2
        whole = {glob.role for glob in near if folder and glob.search(text)}
        inside: defaultdict[bytes, list[_Glob[Role]]] = defaultdict(list)
        for glob in near:
            if glob.role not in whole and glob.depth in (0, depth):
                inside[glob.last].append(glob)
        return sorted(whole), inside


def _key_of(name: str) -> bytes:
    """What all names have that one of a glob means: all of it, or its start or end as `_keys` gives it."""
    pieces = _GLOB_SIGNS.split(name)
    start, end = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return encode_path(name)
    if "." in start[1:]:
        return encode_path(start[: start.index(".", 1) + 1]) + b"*"
    return b"*" + encode_path(end[end.rindex(".") :]) if "." in end else _ANY


def _keys(name: bytes) -> tuple[bytes, ...]:
    """A name, and its start up to the first dot inside and its end from the last dot, with stars."""
    dot = name.find(b".", 1)
    if dot > 0:
        return name, name[: dot + 1] + b"*", b"*" + name[name.rindex(b".") :]
    return (name, b"*" + name) if name.startswith(b".") else (name,)


def any_of(patterns: Sequence[Pattern]) -> Callable[[str], object] | None:
    """What tells whether any of some globs means a path; None where there are none."""
    shapes = [one.paths.pattern for one in patterns if isinstance(one.paths, re.Pattern)]
    return re.compile("|".join(f"(?:{shape})" for shape in shapes), re.DOTALL).search if shapes else None


def encode_path(text: str) -> bytes:
    """The path that a text stands for."""
    return text.encode("utf-8", "surrogateescape")


def decode_path(path: bytes) -> str:
    """A path as globs are held against it."""
    return path.decode("utf-8", "surrogateescape")
