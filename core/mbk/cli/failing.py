"""How an error is told: as lines for people, or as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from mbk.cli import terminal
from mbk.cli.app import App

_CHAIN_LIMIT = 20


def is_for_programs(app: App) -> bool:
    """Whether results or logs are JSON: then the last line on standard error is the error, as one object."""
    return app.output == "json" or terminal.is_json()


def told_as_json(error: BaseException, app: App, *, lacks: str = "", backup: str = "") -> bool:
    """Tells the error in the words of the library, if that is how it is to be told.

    ``lacks``: what to do without a configuration; part of the hint, as nothing follows the error. ``backup``: the one of
    several that it is about.
    """
    if not is_for_programs(app):
        return False

    from mbk.model.jobs import Failure

    chain(error, app)
    told = asdict(Failure.of(error))
    hint = own_hint(told["hint"], told["facts"], app)
    told["hint"] = "; ".join(filter(None, (hint, lacks))) or None
    about = {"backup": backup} if backup else {}
    terminal.record("error", **{"class": told.pop("kind"), **told, "facts": {**about, **told["facts"]}})
    return True


def own_hint(hint: str | None, facts: Mapping[str, object], app: App) -> str:
    """The hint with the user's own keys, empty if there is none."""
    return app.own(hint, facts.get("side")) if hint else ""


def chain(error: BaseException, app: App) -> None:
    """With ``-v``: the causes of an error and its notes, one line each."""
    if not app.verbose:
        return
    for _ in range(_CHAIN_LIMIT):
        for note in getattr(error, "__notes__", ()):
            terminal.line(note)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            return
        terminal.line(f"  caused by {type(cause).__name__}: {line(cause)}")
        error = cause


def line(error: BaseException) -> str:
    """Its text as one line."""
    return flat(str(error))


def flat(text: str) -> str:
    return " ".join(text.split())
