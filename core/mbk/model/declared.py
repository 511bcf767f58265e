"""Options are declared once, as annotated fields, for the command line, REST bodies, keywords and docs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import InitVar
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from mbk.errors import UsageError
from mbk.frozen import frozen

#: How the text after a flag is read: as it is, as JSON, as JSON in a file, or as one of the classic tool's filters.
Form = Literal["text", "json", "file", "collections", "databases", "by_database"]
#: Default limit of a string in a request: long enough for filters of a few thousand names.
LONGEST_TEXT = 65_536


@frozen(kw_only=True)
class Also:
    """Another spelling on the command line, hidden in its help.

    A flag stands for ``value``; one with a ``metavar`` takes text, read according to ``form``. ``since``: the spelling of
    that release of the classic tool; its use prints the current one. ``excludes``: fields that it cannot be combined with.
    """

    flags: tuple[str, ...]
    help: str
    more: str = ""
    value: object = None
    metavar: str = ""
    form: Form = "text"
    since: str = ""
    excludes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Option:
    """``help`` is one line for all interfaces; ``more`` follows it in the reference (Markdown).

    ``default``: describes the default if its value is not self-explanatory.
    ``flags`` switch it on or take its value, ``off`` switches it off; a ``plain`` one is an argument without a flag; without
    any of them it is not on the command line.
    ``rest`` is its name in a request: empty for the field's name, None for none. ``json`` is its type there, and ``accepts``
    the name of its type as a keyword (in :mod:`mbk.model.options`), if they differ from the field's.
    ``many``: its flag may be repeated, and gives a tuple. ``bare``: the number that its flag alone stands for.
    ``choices`` are the allowed strings; not needed for an enumeration.
    ``read(value, name)`` converts the given value to the field's, or raises `UsageError`.
    A ``secret`` is never shown or stored, and is passed in a file on the command line.
    """

    help: str
    more: str = ""
    default: str = ""
    flags: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    plain: bool = False
    many: bool = False
    also: tuple[Also, ...] = ()
    metavar: str = ""
    form: Form = "text"
    choices: tuple[str, ...] = ()
    bare: int | None = None
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
        """The help as a sentence, with the default."""
        return self.help.rstrip(".") + "." + (f" Default: {self.default}." if self.default else "")


@frozen(kw_only=True)
class Declared:
    """A field with its declaration. ``is_stored`` False: it sets other fields (`InitVar`)."""

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
        """The allowed strings; empty if there is no restriction."""
        return tuple(map(str, self.type)) if self._is_enum else self.option.choices

    @property
    def _is_enum(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, StrEnum)

    @property
    def _types(self) -> set[Any]:
        is_union = get_origin(self.type) in (Union, UnionType)
        return {*(get_args(self.type) if is_union else (self.type,))} - {NoneType}

    def checked(self, value: Any) -> object:
        """The value for the field; `UsageError` names the option and what it accepts."""
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
            raise wrong_type(self.name, value, self._expected)
        if isinstance(value, int) and self.is_number:
            self._check_range(value)
        elif isinstance(value, str) and self.is_required and not value:
            raise UsageError(
                "{option} must not be empty",
                code="option-empty",
                option=self.name,
                help=option.help,
                hint="{help}",
            )
        return value

    def _check_range(self, value: int) -> None:
        low, high = self.option.minimum, self.option.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise UsageError(
                "{option} must be {range}, not {value}",
                code="option-out-of-range",
                option=self.name,
                value=value,
                range=f"at least {low}" if high is None else f"from {low} to {high}",
            )

    def _choice(self, value: object) -> object:
        if value not in self.choices:
            near = nearest(str(value), self.choices)
            raise UsageError(
                "unknown {option} {value!r}",
                code="option-value-unknown",
                option=self.name,
                value=value,
                hint=near or f"use one of {', '.join(self.choices)}",
            )
        return self.type(value)

    @property
    def _expected(self) -> str:
        if self.is_flag:
            return "True or False" if self.default is not None else "True, False or None"
        return "a number" if self.is_number else "a string"


@frozen(kw_only=True)
class Options:
    """The options of one operation: the annotated fields of a subclass."""

    @classmethod
    def declared(cls) -> tuple[Declared, ...]:
        """The options, in the order in which they are shown."""
        return _declared(cls)  # type: ignore[arg-type]  # a class can be hashed, whatever its instances do

    @classmethod
    def of(cls, options: object, changes: Mapping[str, object]) -> Self:
        """``options`` (None: the defaults) with ``changes``.

        `UsageError` for options of another class, unknown keywords and invalid values.
        """
        fields = cls.__dataclass_fields__
        if options is not None and not isinstance(options, cls):
            raise UsageError(
                "options must be {expected}, not {actual}",
                code="options-type-wrong",
                actual=kind_of(options),
                expected=cls.__name__,
                options=", ".join(fields),
                hint="pass {expected}(...), or keywords: {options}",
            )
        for name in changes:
            if name not in fields:
                near = cls._by_flag(name) or nearest(name, fields)
                raise UsageError(
                    "unknown option {option!r}",
                    code="unknown-option",
                    option=name,
                    hint=near or f"the options are {', '.join(fields)}",
                )
        required = [item.name for item in cls.declared() if item.is_required and item.name not in changes]
        if options is None and required:
            raise UsageError(
                "option {option} is required",
                code="option-missing",
                option=required[0],
                options=", ".join(fields),
                hint="the options are {options}",
            )
        return cls(**changes) if options is None else dataclasses.replace(options, **changes)

    @classmethod
    def _by_flag(cls, name: str) -> str:
        """A suggestion for a keyword spelled as on the command line."""
        flag = "--" + name.strip("-").replace("_", "-")
        for item in cls.declared():
            if flag in (
                *item.option.flags,
                *item.option.off,
                *(one for also in item.option.also for one in also.flags),
            ):
                return f"did you mean {item.name!r}?"
        return ""

    @property
    def finds_backup(self) -> bool:
        """Whether they say which backup to take, so that none need be named."""
        return False

    def confirmed(self, backups: Iterable[str]) -> Self:  # noqa: ARG002 - for options that choose backups
        """For a run that somebody agreed to who saw these backups go."""
        return self

    def __post_init__(self) -> None:
        """Converts every stored field; a class with fields that are not stored calls `_check` itself."""
        self._check()

    def _check(self) -> None:
        for item in self.declared():
            if item.is_stored:
                object.__setattr__(self, item.name, item.checked(getattr(self, item.name)))


@cache
def _declared(kind: type[Options]) -> tuple[Declared, ...]:
    options = []
    fields = kind.__dataclass_fields__
    for name, hint in get_type_hints(kind, include_extras=True).items():
        is_stored = not isinstance(hint, InitVar)
        annotated = hint if is_stored else hint.type
        if get_origin(annotated) is Annotated:
            bare, option = get_args(annotated)
            options.append(
                Declared(
                    name=name, type=bare, option=option, default=_default(fields[name]), is_stored=is_stored
                )
            )
    return tuple(options)


def _default(field: dataclasses.Field[Any]) -> object:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean '…'?``, or ``""`` without a similar known word."""
    match = near(word, known)
    return f"did you mean {match!r}?" if match else ""


def near(word: str, known: Iterable[str]) -> str:
    """The similar known word, or ``""``."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.7)), "")


def text_of(value: object, name: str) -> str:
    """The value as it is, if it is a string; `UsageError` otherwise."""
    if not isinstance(value, str):
        raise wrong_type(name, value, "a string")
    return value


def wrong_type(option: str, value: object, expected: str) -> UsageError:
    return UsageError(
        "{option} must be {expected}, not {actual}",
        code="option-type-wrong",
        option=option,
        expected=expected,
        actual=kind_of(value),
    )


def empty_list(option: str) -> UsageError:
    """An empty list was given where none would mean everything: most likely a variable that was never set."""
    return UsageError(
        "{option} is empty",
        code="option-list-empty",
        option=option,
        hint="name something in {option}, or leave it out",
    )


def unknown_key(option: str, key: object, known: Iterable[str]) -> UsageError:
    return UsageError(
        "{option}: unknown key {key!r}",
        code="option-key-unknown",
        option=option,
        key=key,
        keys=", ".join(known),
        hint="the keys are {keys}",
    )


def conflict(option: str, other: str) -> UsageError:
    return UsageError(
        "{option} and {other} cannot be combined",
        code="options-conflict",
        option=option,
        other=other,
        hint="use only one of them",
    )


def kind_of(value: object) -> str:
    """Describes a value by its type: its text may be a secret."""
    names = {
        str: "a string",
        NoneType: "None",
        list: "a list",
        dict: "a mapping",
        int: "a number",
        bool: "a boolean",
    }
    return names.get(type(value), f"a {type(value).__name__}")
