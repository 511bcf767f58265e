"""What runs tell of themselves is in the reference: each kind of event, and each phase."""

from __future__ import annotations

import ast

import mbk
from mbk.model import events
from tests.architecture.source import CORE
from tests.docs.pages import Page

EVENTS = [
    value
    for value in vars(events).values()
    if isinstance(value, type) and issubclass(value, events.Event) and value is not events.Event
]


def phases() -> set[str]:
    """The names that are given to ``phase(…)``, and those of the steps that end a restore."""
    found = set()
    for module in CORE:
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="phase"), args=[ast.Constant(value=str(name)), *_]):
                    found.add(name)
                case ast.Tuple(elts=[ast.Constant(value=str(name)), ast.Attribute(), ast.Attribute()]):
                    found.add(name)
    return found


def test_each_event_is_documented_and_exported() -> None:
    page = Page("docs/reference/hooks.md").prose
    for event in EVENTS:
        assert f"`{event.kind}`" in page, event
        assert getattr(mbk, event.__name__) is event


def test_each_phase_is_documented() -> None:
    page = Page("docs/reference/output.md").prose
    assert {name for name in phases() if f"`{name}`" not in page} == set()
    assert phases() >= {"connect", "plan", "copy", "commit", "import", "index", "load", "delete"}
