"""`frozen` makes what ``dataclass(frozen=True, slots=True)`` makes."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, InitVar, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

import pytest

from mbk.frozen import frozen


@frozen
class Point:
    unit: ClassVar[str] = "m"
    x: int
    y: int = 0
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    note: str = field(default="", repr=False, compare=False)


@frozen
class Named(Point):
    name: str = ""


@frozen(kw_only=True)
class Checked:
    limit: int
    more: InitVar[int] = 0

    def __post_init__(self, more: int) -> None:
        object.__setattr__(self, "limit", self.limit + more)


@frozen
class Nothing:
    pass


@frozen
class Own:
    x: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


class Standard:
    """What the standard library makes of the same fields."""

    @dataclass(frozen=True, slots=True)
    class Point:
        unit: ClassVar[str] = "m"
        x: int
        y: int = 0
        tags: Mapping[str, str] = field(default_factory=dict, hash=False)
        note: str = field(default="", repr=False, compare=False)


def test_it_is_a_dataclass() -> None:
    assert [item.name for item in fields(Named)] == ["x", "y", "tags", "note", "name"]
    assert replace(Named(1, name="a"), y=2) == Named(1, 2, name="a")
    assert asdict(Point(1)) == {"x": 1, "y": 0, "tags": {}, "note": ""}
    assert Named.__match_args__ == ("x", "y", "tags", "note", "name")
    assert (inspect.signature(Point).parameters.keys()) == inspect.signature(Standard.Point).parameters.keys()


def test_it_looks_like_the_standard_one_and_is_hashed_like_it() -> None:
    ours, theirs = Point(1, tags={"a": "b"}, note="n"), Standard.Point(1, tags={"a": "b"}, note="n")
    assert f"Standard.{ours!r}" == repr(theirs)
    assert hash(ours) == hash(theirs)


def test_values_are_equal_by_the_fields_that_are_compared() -> None:
    assert Point(1, note="a") == Point(1, note="b")
    assert hash(Point(1, tags={"a": "b"})) == hash(Point(1))
    assert Point(1) != Point(1, tags={"a": "b"})
    assert Point(1) != Named(1)
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())


def test_nothing_can_be_changed_or_added() -> None:
    value: Any = Point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        value.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del value.x
    with pytest.raises(AttributeError):
        value.other = 1
    assert not hasattr(value, "__dict__")


def test_each_instance_has_its_own_default() -> None:
    assert Point(1).tags is not Point(1).tags


def test_arguments_are_checked_as_those_of_a_function() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]  # what is tested
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Point(1, z=2)  # type: ignore[call-arg]  # what is tested
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        Checked(1)  # type: ignore[misc]  # what is tested


def test_what_is_not_stored_is_handed_on() -> None:
    assert Checked(limit=1, more=2).limit == 3
    assert asdict(Checked(limit=1)) == {"limit": 1}


@pytest.mark.parametrize(
    "value", [Point(1, tags={"a": "b"}), Named(1, name="n"), Nothing(), Checked(limit=3)]
)
def test_it_travels_by_pickle_and_copy(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
    assert copy.copy(value) == value


def test_own_methods_count() -> None:
    assert Own(1) == Own(2)
    assert hash(Own(1)) == 7
    assert repr(Own(1)) == "own"
