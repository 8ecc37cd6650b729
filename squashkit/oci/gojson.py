"""JSON as Go's encoding/json reads it: docker, containerd, podman, skopeo and umoci are written in Go.

Where Go decodes an object into a struct it takes keys without regard to case (`Layers` is `layers`), and
merges what stands twice, field by field. Where it decodes one into a map it takes keys as they are, and of
two equal ones the last. Python does the latter everywhere. What the two would understand differently is
refused: keys that Go takes for one, other spellings of keys that squashkit reads, and values that Go does
not decode. A `Shape` says of a value what Go decodes it into.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Any

from squashkit.errors import InvalidImage, show_text
from squashkit.values import frozen

JSONObject = Mapping[str, Any]


class Leaf(Enum):
    """A value without values in it. `null` is taken for each, as Go leaves a field as it is then."""

    TEXT = "a string"
    NUMBER = "an integer"
    FLAG = "true or false"
    TIME = "a string, which should be a time"
    """Go decodes no other. Any is carried: it means nothing here, and `verify` tells it."""
    WORDS = "a string or a list of strings"
    """docker's strslice: a command."""


@frozen
class ListOf:
    """A list."""

    items: Shape


@frozen
class MapOf:
    """An object that Go decodes into a map: keys are data, and differ by case."""

    values: Shape = None


@frozen
class Struct:
    """An object that Go decodes into a struct."""

    reads: Mapping[str, Shape]
    """The keys that squashkit reads or drops: no other spelling of them is taken."""
    carries: Mapping[str, Shape] = field(default_factory=dict)
    """Further keys that Go reads: these are carried, however they are spelled."""
    _names: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {fold(name): name for name in (*self.reads, *self.carries)}
        object.__setattr__(self, "_names", names)

    def exact(self, key: str) -> str:
        """The name that Go takes a key for; the key itself where it is none of them."""
        return self._names.get(fold(key), key)

    def of(self, key: str) -> Shape:
        """The shape of a key's value, however it is spelled."""
        name = self.exact(key)
        return self.reads.get(name, self.carries.get(name))


Shape = Struct | MapOf | ListOf | Leaf | None
"""None: Go does not decode it, or keeps it as it is. There too no key may stand twice in an object, since
one of them would be lost."""

TEXTS = ListOf(Leaf.TEXT)
_TO_ASCII = {0x17F: "s", 0x212A: "k"}  # the two signs beyond ASCII that fold to a letter in it
_INT64 = 1 << 63
_SHOWN = 60  # signs of a key or a value in a message
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def fold(key: str) -> str:
    """What Go compares keys of a struct by: two with one fold are one to it."""
    return _known_fold(key) if len(key) <= _SHOWN else _fold(key)


def _fold(key: str) -> str:
    ascii_ = key.translate(_TO_ASCII)
    return ascii_.lower() if ascii_.isascii() else key


_known_fold = lru_cache(4096)(_fold)


class _Repeated(dict[str, Any]):
    """An object in which a key stands twice. `check` lets none pass."""

    key = ""


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its members; `check` refuses it where a key stands twice among them."""
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeated = _Repeated(value)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            repeated.key = key
        seen.add(key)
    return repeated


def load_json(data: bytes, where: str, shape: Shape = None) -> Any:
    """JSON that can be written again as it was (UTF-8, finite numbers, no lone surrogates), and that Go
    understands as Python does. Raises InvalidImage, which names the place."""
    try:
        value = json.loads(
            data.decode(), parse_constant=_no_number, parse_float=_finite, object_pairs_hook=object_of
        )
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
        check(value, shape, where)
        return value
    except (ValueError, RecursionError) as error:
        raise InvalidImage(f"not JSON: {error}", where=where) from error


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if isfinite(value) else _no_number(text)


class _Wrong(Exception):
    """What is wrong in a value; on its way up it learns the place, the innermost part first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.parts: list[str] = []


def check(value: Any, shape: Shape, where: str) -> None:
    """Raises InvalidImage where Go does not decode a value into what its shape says, or understands other
    keys than Python does."""
    try:
        if not _is_right(value, shape):
            _check(value, shape)
    except _Wrong as wrong:
        raise InvalidImage(str(wrong), where=where + "".join(reversed(wrong.parts))) from None


def _check(value: Any, shape: Shape) -> None:
    if isinstance(shape, Leaf):
        raise _Wrong(f"expected {shape.value}, found {_short(value)}")
    if isinstance(value, dict):
        if isinstance(shape, ListOf):
            raise _Wrong("expected a list, found an object")
        _check_keys(value, shape)
        for key, below in value.items():
            if isinstance(shape, Struct):
                inner = shape.of(key)
            else:
                inner = shape.values if isinstance(shape, MapOf) else None
            if _is_right(below, inner):
                continue
            try:
                _check(below, inner)
            except _Wrong as wrong:
                name = show_text(key[:_SHOWN])
                wrong.parts.append(f"[{name}]" if isinstance(shape, MapOf) else f".{name}")
                raise
    elif isinstance(value, list):
        if isinstance(shape, (Struct, MapOf)):
            raise _Wrong("expected an object, found a list")
        items = shape.items if isinstance(shape, ListOf) else None
        for i, item in enumerate(value):
            if _is_right(item, items):
                continue
            try:
                _check(item, items)
            except _Wrong as wrong:
                wrong.parts.append(f"[{i}]")
                raise
    else:
        expected = "a list" if isinstance(shape, ListOf) else "an object"
        raise _Wrong(f"expected {expected}, found {_short(value)}")


def _check_keys(value: dict[str, Any], shape: Shape) -> None:
    if isinstance(value, _Repeated):
        raise _Wrong(f"the key {_shown(value.key)} stands twice")
    if not isinstance(shape, Struct):
        return
    seen: dict[str, str] = {}
    for key in value:
        other = seen.setdefault(fold(key), key)
        if other != key:
            both = f"{_shown(other)} and {_shown(key)}"
            raise _Wrong(f"the keys {both} are one to docker, podman and containerd")
    for key in value:
        name = shape.exact(key)
        if name != key and name in shape.reads:
            raise _Wrong(f"the key {_shown(key)}, which docker, podman and containerd take for {name!r}")


def _is_right(value: Any, shape: Shape) -> bool:
    """Whether a value is plainly what it should be, and nothing in it need be looked at."""
    if value is None:
        return True
    if shape is None:
        return not isinstance(value, (dict, list))
    if not isinstance(shape, Leaf):
        return False
    if shape is Leaf.NUMBER:
        return isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
    if shape is Leaf.FLAG:
        return isinstance(value, bool)
    if shape is Leaf.WORDS:
        words = value if isinstance(value, list) else [value]
        return all(word is None or isinstance(word, str) for word in words)
    return isinstance(value, str)


def is_time(text: str) -> bool:
    """Whether a text is a time that every version of Go reads (RFC 3339, section 5.6)."""
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    year, month, day = (int(found[i]) for i in (1, 2, 3))
    if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1]:
        return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return leap or (month, day) != (2, 29)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def _shown(key: str) -> str:
    """A key in quotes; one that only looks like ASCII is told apart."""
    return _short(key) if key.isascii() else ascii(key[:_SHOWN])
