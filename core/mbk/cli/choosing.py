"""How a backup is named on the command line."""

from __future__ import annotations

import click

from mbk.cli.options import Documented, PlainArgument
from mbk.cli.parsing import completer
from mbk.errors import UsageError
from mbk.model.declared import Options
from mbk.model.operations import Operation
from mbk.model.reports import check_name

_BACKUPS = completer("backups")
_RULE = "Also as a plain argument: 1 to 128 letters, digits and `_`, not beginning with a digit."


def name_parameters(word: str = "NAME") -> list[click.Parameter]:
    """``-n NAME``, or just ``NAME``; ``word``: what the help calls it, if it can be more than a name."""
    if word == "NAME":
        named = Documented(
            ["--name", "-n"], metavar=word, help="Name of the backup.", more=_RULE, shell_complete=_BACKUPS
        )
        argument = click.Argument(["argument"], metavar=f"[{word}]", required=False, shell_complete=_BACKUPS)
        return [named, argument]
    what, more = "The backup: its name, a URL or a directory.", "An [address](#addresses)."
    return [
        Documented(["--name", "-n"], metavar=word, help=what, more=more, shell_complete=_BACKUPS),
        PlainArgument(
            ["argument"], metavar=f"[{word}]", required=False, help=what, more=more, shell_complete=_BACKUPS
        ),
    ]


def help_of(operation: Operation) -> str:
    return f"{operation.summary} {operation.more}".rstrip()


def chosen_name(name: str | None, argument: str | None) -> str:
    """The given name. Raises `UsageError` if there is none, or two."""
    chosen = _one(name, argument)
    if chosen is None:
        raise UsageError(
            "no backup name given", code="backup-name-missing", hint="use -n NAME; 'mbk list' shows the names"
        )
    return chosen


def chosen_backup(
    operation: Operation, name: str | None, argument: str | None, options: Options
) -> str | None:
    """The given name; None for a new backup without one, and for one that the options find."""
    if options.finds_backup:
        return _one(name, argument)
    if operation.name_of_backup in ("required", "or moment"):
        return chosen_name(name, argument)
    chosen = _one(name, argument)
    return chosen if chosen is None else check_name(chosen)


def _one(name: str | None, argument: str | None) -> str | None:
    if name and argument and name != argument:
        raise UsageError(
            "two backup names given: {name!r} and {other!r}",
            code="backup-names-conflict",
            name=name,
            other=argument,
            hint="give only one",
        )
    return name or argument or None
