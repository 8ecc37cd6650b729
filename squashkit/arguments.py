"""Arguments held against their types: a number where a text belongs is told at once, by its option's name.

A wrong type is the program's fault, and raises TypeError; a word that is none of those that an option takes
raises UsageError, as other values do that are wrong.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from squashkit.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Path: "a path",
    NoneType: "None",
}
_LONG = 60


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, whose arguments are held against its signature before it does anything."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            given = {}  # the call itself says better what is wrong
        for name, value in given.items():
            several = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            for one in value if several else [value]:
                _check(f"{function.__name__}: {name}", name, one, _hints(function)[name])
        return function(*args, **kwargs)

    return call


def check_fields(group: Any) -> None:
    """Hold the fields of a dataclass against their types, but for defaults, which are the class's own.
    Raises TypeError, UsageError."""
    kind: Any = type(group)
    for one in fields(kind):
        given = getattr(group, one.name)
        if given is not one.default:
            _check(f"{kind.__name__}.{one.name}", one.name, given, _hints(kind)[one.name])


def texts(value: Sequence[str] | str) -> tuple[str, ...]:
    """Several texts, where one may stand for itself."""
    return (value,) if isinstance(value, str) else tuple(value)


@functools.cache
def _hints(owner: Any) -> dict[str, Any]:
    return get_type_hints(owner)


def _check(subject: str, option: str, value: object, hint: Any) -> None:
    kinds = list(_kinds(hint))
    if any(_fits(value, kind) for kind in kinds):
        return
    choices = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if choices and isinstance(value, str):
        raise UsageError(f"{option}: {value!r} is none of {', '.join(choices)}")
    *most, last = dict.fromkeys(map(_word, kinds))
    wanted = f"{', '.join(most)} or {last}" if most else last
    shown = repr(value)
    shown = shown if len(shown) <= _LONG else f"{shown[:_LONG]}..."
    way_out = "; str() makes a text of a path" if isinstance(value, os.PathLike) and str in kinds else ""
    raise TypeError(f"{subject} takes {wanted}, not {shown}{way_out}")


def _kinds(hint: Any) -> Iterator[Any]:
    """The types of a union, else the one type."""
    if get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            yield from _kinds(one)
    else:
        yield hint


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is of a type. How a function is called is not looked at."""
    origin = get_origin(kind)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin is Sequence:
        (item,) = get_args(kind)
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and all(_fits(one, item) for one in value)
        )
    if origin is Callable:
        return callable(value)
    if getattr(kind, "_is_protocol", False):
        return all(hasattr(value, name) for name in vars(kind) if not name.startswith("_"))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _word(kind: Any) -> str:
    """A type in a message."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is Sequence:
        return "several texts"
    return _WORDS.get(kind) or ("a function" if get_origin(kind) else kind.__name__)
