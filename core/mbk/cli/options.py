"""From the declared options of an operation to those of the command line, and back to its frozen value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from mbk.cli import terminal
from mbk.cli.parsing import Choice, Number, completer
from mbk.errors import UsageError
from mbk.model.declared import Also, Declared, Form, Options, empty_list
from mbk.model.selection import CollectionName, Selection

Kind = TypeVar("Kind", bound=Options)
#: Facts of errors that are names of options.
_NAMING = ("option", "other", "options")
_WORD = re.compile(r"(?<![-\w])[a-z_]+")


class Documented(click.Option):
    """An option with additional text (``more``) for the reference."""

    def __init__(self, declarations: Sequence[str], *, more: str = "", **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.more = more


class PlainArgument(click.Argument):
    """An argument with a help, which click's own have none of: for the help of the command and the reference."""

    hidden = False

    def __init__(self, declarations: Sequence[str], *, help: str, more: str = "", **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.help: str = help
        self.more = more

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx).strip("[]"), self.help or ""


def generated(kind: type[Options]) -> list[click.Parameter]:
    """The options of one operation, hidden spellings included."""
    return [option for item in kind.declared() for option in _of(item)]


def value_of(kind: type[Kind], given: Mapping[str, Any]) -> Kind:
    """The operation's options from the parsed ones. Raises `UsageError` for invalid or contradictory ones, by their flags."""
    try:
        return _value_of(kind, given)
    except UsageError as error:
        told = {name: _in_flags(kind, str(error.facts[name])) for name in _NAMING if name in error.facts}
        raise error.saying(**told) from error.__cause__


def _in_flags(kind: type[Options], text: str) -> str:
    """The text with the flags of the options that it names: as fields, or as the flags are in request bodies."""
    flags: dict[str, str] = {}
    for item in kind.declared():
        if flag := _flag(item, None):
            flags |= {item.name: flag, flag.strip("-").replace("-", "_"): flag}
    return _WORD.sub(lambda found: flags.get(found[0], found[0]), text)


def _value_of(kind: type[Kind], given: Mapping[str, Any]) -> Kind:
    values = {item.name: list(_values(item, given)) for item in kind.declared()}
    for item in kind.declared():
        for spelling, _ in values[item.name]:
            _refuse_excluded(item, spelling, values)
    return kind.of(
        None, {item.name: _agreed(item, values[item.name]) for item in kind.declared() if values[item.name]}
    )


# -- to click ----------------------------------------------------------------------------------------------------------


def _of(item: Declared) -> Iterator[click.Parameter]:
    option = item.option
    if option.plain:
        yield PlainArgument(
            [item.name], metavar=f"[{option.metavar}]", required=False, help=_help(item), more=option.more
        )
    if option.flags or option.off:
        yield Documented(
            [*_declarations(item), item.name],
            help=_help(item),
            more=option.more,
            required=item.is_required,
            **_kind(item),
        )
    for number, also in enumerate(option.also):
        takes = {"metavar": also.metavar} if also.metavar else {"is_flag": True, "default": None}
        yield Documented(
            [*also.flags, _hidden(item, number)], help=also.help, more=also.more, hidden=True, **takes
        )


def _declarations(item: Declared) -> Sequence[str]:
    """click wants the flags for on and off in one string."""
    flags, off = item.option.flags, item.option.off
    return ["/".join([*flags, *off])] if flags and off else flags or off


def _help(item: Declared) -> str:
    text = item.option.help
    default = item.option.default or (item.default if item.choices else "")
    shown = text if item.option.flags or item.option.plain else f"Do not {text[:1].lower()}{text[1:]}"
    return f"{shown}  [default: {default}]" if default else shown


def _kind(item: Declared) -> dict[str, Any]:
    option = item.option
    if item.is_flag:
        only_off = {} if option.flags else {"flag_value": False}
        return {"is_flag": True, "default": None, **only_off}
    if item.choices:
        return {"type": Choice(item.choices), "metavar": f"[{'|'.join(item.choices)}]"}
    if item.is_number and option.read is None:
        bare = {} if option.bare is None else {"is_flag": False, "flag_value": option.bare}
        return {
            **bare,
            "type": Number(min=option.minimum, max=option.maximum),
            "metavar": option.metavar or None,
        }
    completed: dict[str, Any] = {}
    if option.metavar == "LIST":
        completed = {"shell_complete": completer("collections")}
    elif option.form == "file":
        completed = {"type": click.Path()}
    return {"metavar": option.metavar or None, "multiple": option.many, **completed}


def _hidden(item: Declared, number: int) -> str:
    return f"{item.name}_also_{number}"


# -- from click --------------------------------------------------------------------------------------------------------


def _values(item: Declared, given: Mapping[str, Any]) -> Iterator[tuple[Also | None, object]]:
    """The values given for an option, by its main flag (None) and by its other spellings."""
    text = given.get(item.name)
    if item.option.many and not text:
        text = None  # click gives an empty tuple
    # An empty text is no name and no path, but a list that names nothing.
    if text is not None and (text != "" or item.option.read is not None):
        yield None, _read(item, text)
    for number, also in enumerate(item.option.also):
        if (text := given.get(_hidden(item, number))) is not None:
            yield also, _READERS[also.form](text, also.flags[0]) if also.metavar else also.value


def _read(item: Declared, text: Any) -> object:
    if item.option.form == "file":
        return _from_file(item, text)
    if item.option.form == "json":
        return item.checked(json_of(text, item.option.flags[0]))
    return item.checked(text)


def _agreed(item: Declared, values: Sequence[tuple[Also | None, object]]) -> object:
    """The one value of all spellings given. Warns about spellings of an old release."""
    value = values[0][1]
    flags = [_flag(item, spelling) for spelling, _ in values]
    main = _flag(item, None)
    if any(other != value for _, other in values):
        raise _conflict(*flags, use=main)
    for spelling, _ in values:
        if spelling is not None and spelling.since:
            same = main if spelling.metavar else f"{main} {spelling.value}"
            terminal.warning(
                f"{_flag(item, spelling)} is the spelling of {spelling.since}; use {same} instead"
            )
    return value


def _flag(item: Declared, spelling: Also | None) -> str:
    return spelling.flags[0] if spelling else (*item.option.flags, *item.option.off, item.option.metavar)[0]


def _refuse_excluded(item: Declared, spelling: Also | None, values: Mapping[str, Sequence[object]]) -> None:
    for name in spelling.excludes if spelling else ():
        if values[name]:
            raise _conflict(_flag(item, spelling), f"--{name}", use=_flag(item, None))


def _conflict(*flags: str, use: str) -> UsageError:
    return UsageError(
        "{options} cannot be combined",
        code="spellings-conflict",
        options=" and ".join(flags),
        use=use,
        hint="use only {use}",
    )


def _from_file(item: Declared, path: str) -> object:
    """The file contains secrets, which no message repeats."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(
            "cannot read {path}: {reason}", code="file-unreadable", path=path, reason=type(exc).__name__
        ) from exc
    value = json_of(text, path, quote=False)
    try:
        return item.checked(value)
    except UsageError as exc:
        raise UsageError(
            "{path}: {reason}",
            code="option-file-invalid",
            path=path,
            reason=exc.message,
            advice=exc.hint,
            hint="{advice}" if exc.hint else None,
        ) from None


def json_of(text: str, place: str, *, expected: str = "", quote: bool = True) -> object:
    """Parses JSON. Raises `UsageError` that names its ``place`` and what is ``expected``; ``quote`` False: it is secret."""
    import json

    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise UsageError(
            "{place} is not valid JSON: {reason}",
            code="json-invalid",
            place=place,
            reason=exc if quote else type(exc).__name__,
            expected=expected,
            hint="write {expected}" if expected else None,
        ) from (exc if quote else None)
    return value


def _collections(text: str, flag: str) -> Selection:
    return Selection(collections=frozenset(map(CollectionName.parse, _items(text, flag))))


def _databases(text: str, flag: str) -> Selection:
    return Selection.of(dict.fromkeys(_items(text, flag), ()))


def _by_database(text: str, flag: str) -> Selection:
    expected = """{"db1": ["coll1", "coll2"], "db2": []}"""
    value = json_of(text, flag, expected=expected)
    if not isinstance(value, dict):
        raise UsageError(
            "{option} is not a JSON object",
            code="option-not-object",
            option=flag,
            expected=expected,
            hint="write {expected}",
        )
    if not value:
        raise empty_list(flag)
    for database, names in value.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError(
                "{option}: the collections of {database!r} are not a list of names",
                code="option-collections-invalid",
                option=flag,
                database=database,
                expected=expected,
                hint="write {expected}",
            )
    return Selection.of(value)


def _items(text: str, flag: str) -> list[str]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise empty_list(flag)
    return items


_READERS: Mapping[Form, Callable[[str, str], object]] = {
    "text": lambda text, _: text,
    "collections": _collections,
    "databases": _databases,
    "by_database": _by_database,
}
