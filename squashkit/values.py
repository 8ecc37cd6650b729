"""Classes made of fields, as dataclasses with slots make them, at a fraction of their price.

`@dataclass(frozen=True, slots=True)` compiles seven methods for each class, of which only `__init__`
differs from one to the next. A command has a hundred such classes: to make them took longer than to squash
a small archive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A class of frozen values with slots, as a decorator. To `fields`, `replace`, pickle and everything
    else it is a dataclass. Raises TypeError where no field is compared, or one goes by its name alone."""
    made = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    own: Sequence[Field[Any]] = fields(made)  # type: ignore[arg-type]
    compared = [one.name for one in own if one.compare]
    if not compared or any(one.kw_only for one in own):
        raise TypeError(f"{cls.__name__}: a frozen value is made and compared by its fields, in order")
    content = attrgetter(*compared)

    def equal(self: object, other: object) -> bool:
        return content(self) == content(other) if type(other) is type(self) else NotImplemented

    def hashed(self: object) -> int:
        return hash(content(self))

    methods = {"__init__": _init_of(made, own), "__eq__": equal, "__hash__": hashed, **_ALIKE}
    for name, method in methods.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[T]) -> type[T]:
    """A dataclass with slots of work under way, as a decorator: it changes, is equal to itself alone, and
    nobody prints it."""
    return dataclass(slots=True, eq=False, repr=False)(cls)


def _init_of(made: type, own: Sequence[Field[Any]]) -> Callable[..., None]:
    """What sets the fields, and then calls `__post_init__` where there is one. It is the one method that is
    compiled: to read arguments from a tuple and a dict would cost each value what it saves once."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    parameters, lines = ["self"], []
    for one in own:
        name = content = one.name
        default = ""
        if one.default_factory is not MISSING:
            scope[f"_make_{name}"] = one.default_factory
            default = "_MISSING"
            content = f"_make_{name}()"
            if one.init:
                content += f" if {name} is _MISSING else {name}"
        elif one.default is not MISSING:
            scope[f"_default_{name}"] = one.default
            default = f"_default_{name}"
            content = name if one.init else default
        if one.init:
            parameters.append(f"{name}={default}" if default else name)
        if one.init or default:
            lines.append(f" _set(self, {name!r}, {content})\n")
    if hasattr(made, "__post_init__"):
        lines.append(" self.__post_init__()\n")
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines)}", scope)
    init: Callable[..., None] = scope["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    init.__annotations__ = {**{one.name: one.type for one in own if one.init}, "return": None}
    return init


def _refuse(self: object, name: str, *_: object) -> None:
    raise FrozenInstanceError(f"{type(self).__name__} is frozen: {name!r} stays as it is")


def _shown(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in fields(self)]


def _set_state(self: Any, state: Sequence[Any]) -> None:
    for one, content in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, content)


_ALIKE: dict[str, Callable[..., Any]] = {
    "__repr__": _shown,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__getstate__": _state,
    "__setstate__": _set_state,
}
