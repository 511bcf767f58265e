"""What a program may hand to `Session.create` and `Session.restore` by keyword, or as an options object."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mbk.errors import UsageError
from mbk.model.mapping import parse_mapping
from mbk.model.options import CreateOptions, RestoreOptions, Strategy
from mbk.model.selection import Renaming, Selection
from tests.raising import raised

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
    assert CreateOptions.of(None, given) == CreateOptions(**meant)


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
    assert RestoreOptions.of(None, given) == RestoreOptions(**meant)


def test_excludes_are_added_to_the_selection_of_ready_options() -> None:
    ready = CreateOptions(selection=Selection.parse("a*"))
    assert CreateOptions.of(ready, {"exclude": "ab"}).selection == Selection.parse("a*", exclude="ab")


@pytest.mark.parametrize(
    ("given", "code", "facts"),
    [
        ({"filtre": "a"}, "unknown-option", {"option": "filtre"}),
        ({"suffix": "_x", "mapping": PLAN}, "options-conflict", {"other": "suffix or rename"}),
        ({"mapping": {"a": "b"}}, "option-type-wrong", {"option": "mapping", "expected": "a list"}),
        ({"skip_params": {"indexParam": ["a"]}}, "option-key-unknown", {"key": "indexParam"}),
        ({"skip_params": {"indexParams": "a"}}, "option-type-wrong", {"option": "skip_params.indexParams"}),
        ({"filter": "a..b"}, "filter-item-invalid", {"item": "a..b"}),
    ],
)
def test_what_cannot_be_meant_is_told(given: dict[str, Any], code: str, facts: dict[str, str]) -> None:
    with raised(UsageError, code, **facts):
        RestoreOptions.of(None, given)


def test_a_strategy_that_is_none_is_told() -> None:
    with raised(UsageError, "option-value-unknown", option="strategy", value="fast"):
        CreateOptions.of(None, {"strategy": "fast"})


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ({"filtre": "a"}, "did you mean 'filter'?"),
        ({"sufix": "_x"}, "did you mean 'suffix'?"),
        ({"use_auto_index": True}, "did you mean 'auto_index'?"),
        ({"no_wait_index": True}, "did you mean 'wait_index'?"),
        ({"restore_index": True}, "did you mean 'rebuild_index'?"),
        ({"filter": ["a"]}, "a Selection"),
        ({"filter": {"a": "b"}}, "a Selection"),
        ({"rename": ["a"]}, "'old:new"),
        ({"suffix": 1}, "a string"),
        ({"rbac": "yes"}, "True or False"),
        ({"rest_import": 1}, "True, False or None"),
        ({"max_shards": "2"}, "a number"),
        ({"max_shards": True}, "a number"),
        ({"max_shards": -1}, "from 0 to 1024"),
        ({"ezk_mapping": ["key"]}, "key of the target"),
        ({"selection": "a"}, None),
    ],
)
def test_natural_misuse_is_told_with_what_is_right(given: dict[str, Any], near: str | None) -> None:
    if near is None:
        assert RestoreOptions.of(None, given).selection == Selection.parse("a")
        return
    with pytest.raises(UsageError) as caught:
        RestoreOptions.of(None, given)
    assert near in str(caught.value)


@pytest.mark.parametrize("empty", ["", "  ", ",", ", ,\n", {}])
@pytest.mark.parametrize("name", ["filter", "exclude", "source_filter", "source_exclude", "rename"])
def test_an_empty_list_does_not_mean_everything(name: str, empty: object) -> None:
    for kind in (CreateOptions, RestoreOptions):
        if name in kind.__dataclass_fields__:
            with raised(UsageError, "option-list-empty", option=name):
                kind.of(None, {name: empty})
            kind.of(None, {name: None})


def test_a_mapping_that_maps_nothing_does_not_mean_everything() -> None:
    with raised(UsageError, "option-list-empty", option="mapping"):
        RestoreOptions.of(None, {"mapping": []})
    assert RestoreOptions.of(None, {"mapping": None}).mapping == ()


@pytest.mark.parametrize("options", [1, "_x", {"suffix": "_x"}, CreateOptions()])
def test_what_is_no_options_object_is_told_with_the_keywords(options: object) -> None:
    with raised(UsageError, "options-type-wrong", expected="RestoreOptions") as caught:
        RestoreOptions.of(options, {})
    assert "suffix" in str(caught.value.facts["options"])


def test_options_are_normalised_however_they_are_made() -> None:
    made = RestoreOptions(filter="a", source_filter={"b": []}, suffix="_x")
    assert made == RestoreOptions(
        selection=Selection.parse("a"),
        source_selection=Selection.parse("b.*"),
        renaming=Renaming(suffix="_x"),
    )
    assert dataclasses.replace(made, dry_run=True).selection == made.selection


def test_zone_keys_are_in_no_representation() -> None:
    assert "secret" not in repr(RestoreOptions(ezk_mapping={"old-secret": "new-secret"}))
