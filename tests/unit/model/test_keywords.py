"""What a program may hand to `Session.create` and `Session.restore` by keyword."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.errors import UsageError
from mbk.model.keywords import create_options, restore_options
from mbk.model.mapping import parse_mapping
from mbk.model.options import CreateOptions, RestoreOptions, Strategy
from mbk.model.selection import Renaming, Selection

PLAN = [{"source": "a", "target": "b"}]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({}, {}),
        ({"filter": "a.*,b"}, {"selection": Selection.parse("a.*,b")}),
        ({"filter": {"a": [], "": ["b"]}}, {"selection": Selection.parse("a.*,b")}),
        ({"filter": Selection.parse("a")}, {"selection": Selection.parse("a")}),
        ({"exclude": "a*"}, {"selection": Selection.parse("", exclude="a*")}),
        (
            {"filter": "a*", "exclude": {"default": ["ab"]}},
            {"selection": Selection.parse("a*", exclude="ab")},
        ),
        ({"strategy": "skip_flush"}, {"strategy": Strategy.SKIP_FLUSH}),
        ({"pause_gc": False}, {"pause_gc": False}),
    ],
)
def test_create_by_keyword(given: dict[str, Any], meant: dict[str, Any]) -> None:
    assert create_options(CreateOptions(), dict(given)) == CreateOptions(**meant)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"suffix": "_x"}, {"renaming": Renaming(suffix="_x")}),
        ({"rename": "a:b"}, {"renaming": Renaming.parse("a:b")}),
        ({"rename": {"a": "b"}}, {"renaming": Renaming.parse("a:b")}),
        ({"filter": "a", "exclude": "b"}, {"selection": Selection.parse("a", exclude="b")}),
        (
            {"source_filter": "a/p*", "source_exclude": "a/p1"},
            {"source_selection": Selection.parse("a/p*", exclude="a/p1")},
        ),
        ({"mapping": PLAN}, {"mapping": parse_mapping(PLAN)}),
        ({"mapping": parse_mapping(PLAN)}, {"mapping": parse_mapping(PLAN)}),
        ({"mapping": None}, {}),
        ({"skip_params": {"indexParams": ["a"]}}, {"skip_params": {"indexParams": frozenset({"a"})}}),
    ],
)
def test_restore_by_keyword(given: dict[str, Any], meant: dict[str, Any]) -> None:
    assert restore_options(RestoreOptions(), dict(given)) == RestoreOptions(**meant)


def test_excludes_are_added_to_the_selection_of_ready_options() -> None:
    ready = CreateOptions(selection=Selection.parse("a*"))
    assert create_options(ready, {"exclude": "ab"}).selection == Selection.parse("a*", exclude="ab")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"filtre": "a"}, "filtre"),
        ({"suffix": "_x", "mapping": PLAN}, "excludes"),
        ({"mapping": {"a": "b"}}, "mapping is no list"),
        ({"skip_params": {"indexParam": ["a"]}}, "unknown key 'indexParam'"),
        ({"skip_params": {"indexParams": "a"}}, "no list of keys"),
        ({"filter": "a..b"}, "not understood"),
    ],
)
def test_what_cannot_be_meant_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        restore_options(RestoreOptions(), dict(given))


def test_a_strategy_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match="strategy 'fast' is unknown"):
        create_options(CreateOptions(), {"strategy": "fast"})


def test_zone_keys_are_in_no_representation() -> None:
    assert "secret" not in repr(RestoreOptions(ezk_mapping={"old-secret": "new-secret"}))
