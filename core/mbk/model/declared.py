"""How an option is declared: once, as the annotation of a field, for the command line, REST bodies, keywords and docs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar, dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from mbk.errors import UsageError

#: How the text after a flag is read: as it is, as JSON, as the JSON in a file, or as the classic tool wrote filters.
Form = Literal["text", "json", "file", "collections", "databases", "by_database"]
#: A text without a limit of its own may be this long in a request: filters of some thousand names fit.
LONGEST_TEXT = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Also:
    """A further spelling on the command line, which its help does not show.

    A flag stands for ``value``; one with a ``metavar`` takes text, read as ``form`` says. ``since``: it is the spelling
    of that release of the classic tool, and whoever uses it is told the one of today. ``excludes``: fields that cannot
    be given beside it.
    """

    flags: tuple[str, ...]
    help: str
    more: str = ""
    value: object = None
    metavar: str = ""
    form: Form = "text"
    since: str = ""
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """``help`` is one line for every face; ``more`` follows it in the reference (Markdown).

    ``default``: what happens without it, where its default value does not tell.
    ``flags`` switch it on or take its value, ``off`` switches it off; with neither it is not on the command line.
    ``rest`` is its name in a request: empty for the field's, None for none. ``json`` is its type there, and ``accepts``
    the name of its type as a keyword (in :mod:`mbk.model.options`), where they differ from the field's.
    ``choices`` are the texts that it may be; an enumeration's need not be given.
    ``read(value, name)`` makes the field's value of what was given, and raises `UsageError`.
    A ``secret`` is never shown nor written down, and stands in a file on the command line.
    """

    help: str
    more: str = ""
    default: str = ""
    flags: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    also: tuple[Also, ...] = ()
    metavar: str = ""
    form: Form = "text"
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    longest: int = LONGEST_TEXT
    rest: str | None = ""
    json: Any = None
    accepts: str = ""
    secret: bool = False
    read: Callable[[Any, str], object] | None = None

    @property
    def sentence(self) -> str:
        """Its help as prose, with the default."""
        return self.help.rstrip(".") + "." + (f" Default: {self.default}." if self.default else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A field with its declaration. ``is_stored`` False: it goes into other fields (`InitVar`)."""

    name: str
    type: Any
    option: Option
    default: object
    is_stored: bool

    @property
    def rest_name(self) -> str | None:
        return self.option.rest if self.option.rest is None else self.option.rest or self.name

    @property
    def is_required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def is_flag(self) -> bool:
        return bool in self._types

    @property
    def is_number(self) -> bool:
        return self._types == {int}

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that it may be; empty where any will do."""
        return tuple(map(str, self.type)) if self._is_enum else self.option.choices

    @property
    def _is_enum(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, StrEnum)

    @property
    def _types(self) -> set[Any]:
        is_union = get_origin(self.type) in (Union, UnionType)
        return {*(get_args(self.type) if is_union else (self.type,))} - {NoneType}

    def checked(self, value: Any) -> object:
        """The value as the field holds it; `UsageError` names the option and what it takes."""
        option = self.option
        if option.read is not None:
            return option.read(value, self.name)
        if not self.is_stored:
            return value
        if self.choices:
            return self._choice(value)
        if value is None and self.default is None:
            return None
        if not isinstance(value, tuple(self._types)) or (self.is_number and isinstance(value, bool)):
            raise UsageError(
                "{reason} is {kind_of}",
                code="told",
                reason=self.name,
                kind_of=kind_of(value),
                expected=self._expected,
                hint="give {expected}",
            )
        if isinstance(value, int) and self.is_number:
            self._check_range(value)
        elif isinstance(value, str) and self.is_required and not value:
            raise UsageError(
                "{reason} is empty", code="empty", reason=self.name, help=option.help, hint="{help}"
            )
        return value

    def _check_range(self, value: int) -> None:
        low, high = self.option.minimum, self.option.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise UsageError(
                "{reason} is {value}",
                code="told",
                reason=self.name,
                value=value,
                low=low,
                high=high,
                hint="give a number from {low} to {high}",
            )

    def _choice(self, value: object) -> object:
        if value not in self.choices:
            near = nearest(str(value), self.choices)
            raise UsageError(
                "{reason} {value!r} is unknown",
                code="unknown",
                reason=self.name,
                value=value,
                hint=near or f"use one of {', '.join(self.choices)}",
            )
        return self.type(value)

    @property
    def _expected(self) -> str:
        if self.is_flag:
            return "True or False" if self.default is not None else "True, False or None"
        return "a number" if self.is_number else "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one operation may be told: the annotated fields of a subclass are its options."""

    @classmethod
    def declared(cls) -> tuple[Declared, ...]:
        """Its options, in the order in which they are shown."""
        return _declared(cls)  # type: ignore[arg-type]  # a class can be hashed, whatever its instances do

    @classmethod
    def of(cls, options: object, changes: Mapping[str, object]) -> Self:
        """``options`` (None: the defaults) with the changes by keyword.

        `UsageError` for what is no such value, for a keyword that is none, and for a value that cannot be meant.
        """
        fields = cls.__dataclass_fields__
        if options is not None and not isinstance(options, cls):
            raise UsageError(
                "options is {kind_of}, not {name}",
                code="options",
                kind_of=kind_of(options),
                name=cls.__name__,
                names=", ".join(fields),
                hint="give {name}(...), or keywords: {names}",
            )
        for name in changes:
            if name not in fields:
                near = cls._meant(name) or nearest(name, fields)
                raise UsageError(
                    "unknown option {name!r}",
                    code="unknown-option",
                    name=name,
                    hint=near or f"the options are {', '.join(fields)}",
                )
        required = [item.name for item in cls.declared() if item.is_required and item.name not in changes]
        if options is None and required:
            raise UsageError(
                "{required} is missing",
                code="missing",
                required=required[0],
                names=", ".join(fields),
                hint="the options are {names}",
            )
        return cls(**changes) if options is None else dataclasses.replace(options, **changes)

    @classmethod
    def _meant(cls, name: str) -> str:
        """For one who writes a keyword as the command line spells it."""
        flag = "--" + name.strip("-").replace("_", "-")
        for item in cls.declared():
            if flag in (
                *item.option.flags,
                *item.option.off,
                *(one for also in item.option.also for one in also.flags),
            ):
                return f"did you mean {item.name!r}?"
        return ""

    def __post_init__(self) -> None:
        """Makes every stored field what it must be; a class with fields that are not stored calls `_check` itself."""
        self._check()

    def _check(self) -> None:
        for item in self.declared():
            if item.is_stored:
                object.__setattr__(self, item.name, item.checked(getattr(self, item.name)))


@cache
def _declared(kind: type[Options]) -> tuple[Declared, ...]:
    found = []
    fields = kind.__dataclass_fields__
    for name, hint in get_type_hints(kind, include_extras=True).items():
        is_stored = not isinstance(hint, InitVar)
        annotated = hint if is_stored else hint.type
        if get_origin(annotated) is Annotated:
            bare, option = get_args(annotated)
            found.append(
                Declared(
                    name=name, type=bare, option=option, default=_default(fields[name]), is_stored=is_stored
                )
            )
    return tuple(found)


def _default(field: dataclasses.Field[Any]) -> object:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean '…'?``, or nothing where no known word is near."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean {found[0]!r}?" if found else ""


def kind_of(value: object) -> str:
    """What a value of the wrong kind is called in an error; its text may be a secret."""
    names = {
        str: "text",
        NoneType: "None",
        list: "a list",
        dict: "a mapping",
        int: "a number",
        bool: "true or false",
    }
    return names.get(type(value), f"a {type(value).__name__}")
