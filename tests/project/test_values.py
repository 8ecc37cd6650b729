"""Values are everywhere as the dataclasses that they stand for."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from squashkit.values import frozen, mutable


class _Fields:
    """What both are made of."""

    name: str
    sizes: tuple[int, ...] = (1, 2)
    rest: list[str] = field(default_factory=list, repr=False, compare=False)
    folded: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folded", self.name.lower())


def _class_of(make: Callable[[Any], Any]) -> Any:
    return make(type("Thing", (), {**vars(_Fields), "__qualname__": "Thing", "__module__": __name__}))


Thing = _class_of(frozen)
Other = _class_of(dataclass(frozen=True, slots=True))


def test_a_value_is_what_a_frozen_dataclass_is() -> None:
    """Arguments, defaults, comparison, hash, text, `fields` and `replace` are those of the dataclass."""
    for make in (Thing, Other):
        one = make("A", rest=["x"])
        assert (one.sizes, one.rest, one.folded) == ((1, 2), ["x"], "a")
        assert make("A").rest == []
        assert make("A").rest is not make("A").rest
        assert one == make("A") != make("B")
        assert hash(one) == hash(make("A"))
        assert replace(one, name="B") == make("B")
        assert is_dataclass(one)
        assert not hasattr(one, "__dict__")
    assert Thing("A") != Other("A")
    assert repr(Thing("A")) == repr(Other("A"))
    assert hash(Thing("A")) == hash(Other("A"))
    for mine, theirs in zip(
        *(inspect.signature(one).parameters.values() for one in (Thing, Other)), strict=True
    ):
        assert (mine.name, mine.kind, mine.annotation) == (theirs.name, theirs.kind, theirs.annotation)
    assert [one.name for one in fields(Thing)] == [one.name for one in fields(Other)]
    assert Thing.__match_args__ == Other.__match_args__


def test_a_value_stays_as_it_is() -> None:
    """Nothing is set or taken away; a copy, and what pickle makes of it, is equal."""
    one = Thing("A", (3,), ["x"])
    with pytest.raises(FrozenInstanceError, match="Thing is frozen: 'name' stays as it is"):
        one.name = "B"
    with pytest.raises(FrozenInstanceError):
        del one.name
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert (twin, twin.rest, twin.folded) == (one, ["x"], "a")


def test_wrong_arguments_are_told_by_name() -> None:
    """As of any other call."""
    with pytest.raises(TypeError, match=r"Thing.__init__\(\) got an unexpected keyword argument 'size'"):
        Thing("A", size=1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Thing()


def test_a_class_keeps_its_own_methods() -> None:
    """A `__repr__` that a class has is not written over."""

    @frozen
    class Named:
        """Text."""

        name: str

        def __repr__(self) -> str:
            return f"<{self.name}>"

    assert repr(Named("A")) == "<A>"


def test_what_is_no_such_value_is_refused() -> None:
    """Without a field to compare, or with one that is given by name alone."""
    for bad in (field(compare=False), field(kw_only=True)):
        with pytest.raises(TypeError, match="Bad: a frozen value is made and compared by its fields"):
            frozen(type("Bad", (), {"__annotations__": {"name": "str"}, "name": bad}))


def test_what_may_change_is_equal_to_itself_alone() -> None:
    """And has no place for a field that it does not name."""
    Counter: Any = mutable(type("Counter", (), {"__annotations__": {"count": "int"}}))
    one = Counter(1)
    one.count += 1
    assert (one.count, one == one, one == Counter(2)) == (2, True, False)
    with pytest.raises(AttributeError):
        one.counts = 1
