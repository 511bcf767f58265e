"""`frozen`: dataclasses that cannot be changed, at a quarter of what they usually cost when their module is imported.

``dataclass(frozen=True, slots=True)`` writes the source of six methods for each class and compiles them: for a small command,
a third of its processor time. Here only ``__init__`` is compiled, and the other methods are closures. It stores values
by the descriptors of the slots, which takes half as long as looking them up by name for each object of a listing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(kind: type[T], /) -> type[T]: ...


@overload
def frozen(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def frozen(kind: type[T] | None = None, /, *, kw_only: bool = False) -> Any:
    """As ``dataclass(frozen=True, slots=True)``, in modules whose annotations are texts; bases with fields are `frozen`, too."""

    def made(bare: type[T]) -> type[T]:
        # Without a docstring dataclass writes one from the signature, which takes longer than all the rest.
        bare.__doc__ = bare.__doc__ or f"{bare.__name__}."
        # Python itself writes None: an own __eq__ without a __hash__.
        own = {name for name, value in vars(bare).items() if value is not None}
        done = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(bare)
        for name, method in _methods(done).items():
            if name not in own:
                setattr(done, name, method)
        return done

    return made if kind is None else made(kind)


def _methods(kind: Any) -> Mapping[str, Callable[..., Any]]:
    items = fields(kind)
    shown = [item.name for item in items if item.repr]
    compared = _values([item.name for item in items if item.compare])
    hashed = _values([item.name for item in items if (item.compare if item.hash is None else item.hash)])

    def __repr__(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{self.__class__.__qualname__}({values})"

    def __eq__(self: object, other: object) -> Any:
        return compared(self) == compared(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: object) -> int:
        return hash(hashed(self))

    return {
        "__init__": _initializer(kind),
        "__repr__": __repr__,
        "__eq__": __eq__,
        "__hash__": __hash__,
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        "__getstate__": _state,
        "__setstate__": _set_state,
    }


def _values(names: Sequence[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _initializer(kind: Any) -> Callable[..., None]:
    known: dict[str, Any] = {"_absent": MISSING}
    stored = {item.name for item in fields(kind)}
    given = [item for item in kind.__dataclass_fields__.values() if not item.type.startswith("ClassVar")]
    by_place: list[str] = []
    by_name: list[str] = []
    lines: list[str] = []
    for item in given:
        name, value = item.name, item.name
        (by_name if item.kw_only else by_place).append(name + _default(item, known))
        if item.default_factory is not MISSING:
            known[f"_make_{name}"] = item.default_factory
            value = f"_make_{name}() if {name} is _absent else {name}"
        if name in stored:
            known[f"_set_{name}"] = getattr(kind, name).__set__
            lines.append(f"_set_{name}(self, {value})")
    if hasattr(kind, "__post_init__"):
        lines.append(
            f"self.__post_init__({', '.join(item.name for item in given if item.name not in stored)})"
        )
    parameters = ", ".join(["self", *by_place, *(["*", *by_name] if by_name else [])])
    exec(f"def __init__({parameters}):\n " + "\n ".join(lines or ["pass"]), known)
    made: Callable[..., None] = known["__init__"]
    made.__annotations__ = {item.name: item.type for item in given}
    return made


def _default(item: Field[Any], known: dict[str, Any]) -> str:
    if item.default_factory is not MISSING:
        return "=_absent"
    if item.default is MISSING:
        return ""
    known[f"_default_{item.name}"] = item.default
    return f"=_default_{item.name}"


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, item.name) for item in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for item, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, item.name, value)
