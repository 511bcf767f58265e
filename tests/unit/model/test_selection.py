from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbk.errors import InvalidName, UsageError
from mbk.model.selection import CollectionName, Renaming, Selection

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


def name(text: str) -> CollectionName:
    return CollectionName.parse(text)


def test_an_empty_filter_chooses_everything() -> None:
    for text in ("", " ", ",", " , "):
        assert Selection.parse(text).everything
        assert Selection.parse(text).wants(name("a.b"))
        assert Selection.parse(text).wants_database("a")


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("db.*", ["db.a", "db.b"], ["a", "dbx.a", "d.a"]),
        ("db.coll", ["db.coll"], ["db.coll2", "coll", "db.a"]),
        ("coll", ["default.coll", "coll"], ["db.coll"]),
        ("db.", [], ["db.a", "a"]),
        ("*", ["a", "default.b"], ["db.a"]),
        (" db.* , coll ,", ["db.x", "coll"], ["other"]),
    ],
)
def test_the_filter_grammar(text: str, wanted: list[str], unwanted: list[str]) -> None:
    selection = Selection.parse(text)
    assert [item for item in wanted if not selection.wants(name(item))] == []
    assert [item for item in unwanted if selection.wants(name(item))] == []


def test_a_database_alone_is_chosen_without_its_collections() -> None:
    selection = Selection.parse("db.")
    assert not selection.everything
    assert selection.wants_database("db")
    assert not selection.wants_database("default")
    assert Selection.parse("db.c").wants_database("db")


@pytest.mark.parametrize("text", ["a.b.c", "a-b", "db.a-b", ".a", "d b.*", "db.a*", ".*", "a:b"])
def test_a_bad_item_is_named(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Selection.parse(f"good,{text}")
    assert text in caught.value.message
    assert caught.value.exit_code == 2


def test_selections_of_a_mapping() -> None:
    selection = Selection.of({"a": [], "b": ["*"], "": ["x"], "c": ["y", "z"]})
    assert selection.databases == {"a", "b"}
    assert selection.collections == {name("default.x"), name("c.y"), name("c.z")}
    assert Selection.of({}).everything


@settings(deadline=None)
@given(NAMES, NAMES)
def test_a_name_prints_as_it_is_read(database: str, collection: str) -> None:
    assert CollectionName.parse(str(CollectionName(database, collection))) == CollectionName(
        database, collection
    )


# -- renaming ----------------------------------------------------------------------------------------------------


def test_a_suffix_stays_in_the_database() -> None:
    renaming = Renaming.parse("", suffix="_back")
    assert str(renaming.collection(name("db.c"))) == "db.c_back"
    assert renaming.database("db") == "db"


@pytest.mark.parametrize(
    ("rules", "old", "new"),
    [
        ("c1:c2", "c1", "default.c2"),
        ("c1:c2", "db.c1", "db.c1"),
        ("db1.c1:db2.c2", "db1.c1", "db2.c2"),
        ("db1.c1:c2", "db1.c1", "default.c2"),
        ("db1.*:db2.*", "db1.any", "db2.any"),
        ("db1.*:db2.*", "db3.any", "db3.any"),
        ("db1.*:db2.*,db1.c1:db3.c2", "db1.c1", "db3.c2"),
        ("db1.:db2.", "db1.any", "db1.any"),
        (" a : b , c : d ", "c", "default.d"),
        ("", "a", "default.a"),
    ],
)
def test_the_forms_of_renaming(rules: str, old: str, new: str) -> None:
    assert str(Renaming.parse(rules).collection(name(old))) == new


def test_a_database_rule_renames_the_database_itself() -> None:
    assert Renaming.parse("a.*:b.*").database("a") == "b"


@pytest.mark.parametrize("rules", ["a", "a:", ":b", "a.*:b", "a.:b", "a.*:b.", "a:b:c", "a-b:c", "x:a,y:a"])
def test_rules_that_cannot_be_meant_are_refused(rules: str) -> None:
    with pytest.raises(UsageError):
        Renaming.parse(rules)


def test_rename_and_suffix_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude"):
        Renaming.parse("a:b", suffix="_x")


@pytest.mark.parametrize("suffix", ["-x", "a b", "名", "a.b", "/"])
def test_a_suffix_against_the_rule_is_refused(suffix: str) -> None:
    with pytest.raises(InvalidName, match="suffix"):
        Renaming.parse("", suffix=suffix)


@settings(deadline=None)
@given(st.dictionaries(NAMES, NAMES), NAMES)
def test_every_single_rule_is_kept(rules: dict[str, str], other: str) -> None:
    targets = list(rules.values())
    if len(set(targets)) < len(targets):
        with pytest.raises(UsageError):
            Renaming.of(rules)
        return
    renaming = Renaming.of(rules)
    for old, new in rules.items():
        assert renaming.collection(name(old)) == name(new)
    if other not in rules:
        assert renaming.collection(name(other)) == name(other)
