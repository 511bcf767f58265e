from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbk.errors import InvalidName, UsageError
from mbk.model.selection import CollectionName, Renaming, Selection
from tests.raising import raised

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
        ("db.a$b,c$*", ["db.a$b", "c$1"], ["db.ab", "c1"]),
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


@pytest.mark.parametrize(
    "text",
    [
        "a.b.c",
        "a-b",
        "db.a-b",
        ".a",
        "d b.*",
        ".*",
        "a:b",
        "a[b",
        "a]",
        "[]x",
        "a/",
        "db./p",
        "/p",
        "a/p/q",
    ],
)
def test_a_bad_item_is_named(text: str) -> None:
    with raised(UsageError, "filter-item-invalid", item=text) as caught:
        Selection.parse(f"good,{text}")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("db.a*", ["db.a", "db.abc"], ["db.ba", "a", "db2.a"]),
        ("log_?", ["log_1", "log_x"], ["log_", "log_12", "db.log_1"]),
        ("log_[13]", ["log_1", "log_3"], ["log_2", "log_13"]),
        ("log_[!13]", ["log_2"], ["log_1", "log_3"]),
        ("log_[1-3]", ["log_2"], ["log_4"]),
        ("t*.*", ["t.a", "test.b"], ["db.a", "a"]),
        ("*.keep", ["a.keep", "keep"], ["a.drop"]),
        ("*.*", ["a.b", "c"], []),
        ("A*", ["Ab"], ["ab"]),
    ],
)
def test_globs_stand_inside_names(text: str, wanted: list[str], unwanted: list[str]) -> None:
    test_the_filter_grammar(text, wanted, unwanted)


@pytest.mark.parametrize(
    ("text", "exclude", "wanted", "unwanted"),
    [
        ("", "db.*", ["a", "db2.a"], ["db.a", "db.b"]),
        ("", "a,db.b*", ["b", "db.a"], ["a", "db.b", "db.bc"]),
        ("db.*", "db.tmp_*", ["db.a"], ["db.tmp_1", "a"]),
        ("db.a,db.b", "db.b", ["db.a"], ["db.b"]),
        ("", "*", ["db.a"], ["a", "default.b"]),
        ("", "a/old*", ["a", "b"], []),
        ("", " , ", ["a", "db.b"], []),
    ],
)
def test_what_is_excluded_is_left_out_of_what_is_included(
    text: str, exclude: str, wanted: list[str], unwanted: list[str]
) -> None:
    selection = Selection.parse(text, exclude=exclude)
    assert [item for item in wanted if not selection.wants(name(item))] == []
    assert [item for item in unwanted if selection.wants(name(item))] == []


def test_an_excluded_database_is_left_out_itself() -> None:
    selection = Selection.parse("", exclude="db.*,t*.*,x.a")
    assert [selection.wants_database(at) for at in ("db", "test", "x", "default")] == [
        False,
        False,
        True,
        True,
    ]


def test_a_database_without_its_collections_cannot_be_left_out() -> None:
    for text in ("db.", "d*."):
        with raised(UsageError, "database-not-excludable"):
            Selection.parse("", exclude=text)


def test_excluding_twice_leaves_out_both() -> None:
    selection = Selection.parse("", exclude="a").excluding(Selection.parse("b,c*"))
    assert [selection.wants(name(at)) for at in ("a", "b", "cc", "d")] == [False, False, False, True]


def partitions(selection: Selection, collection: str, *of: str) -> list[str]:
    return [at for at in of if selection.wants_partition(name(collection), at)]


@pytest.mark.parametrize(
    ("text", "exclude", "chosen"),
    [
        ("a", "", ["_default", "p1", "p2", "q"]),
        ("a/p1", "", ["p1"]),
        ("a/p*", "", ["p1", "p2"]),
        ("a/p*,a/q", "", ["p1", "p2", "q"]),
        ("a/p*,a", "", ["_default", "p1", "p2", "q"]),
        ("a/*", "", ["_default", "p1", "p2", "q"]),
        ("*.a/p[!1]", "", ["p2"]),
        ("a", "a/p1", ["_default", "p2", "q"]),
        ("a/p*", "a/p2", ["p1"]),
        ("", "*/p?", ["_default", "q"]),
        ("b/p1", "", []),
    ],
)
def test_partitions_are_chosen_behind_a_slash(text: str, exclude: str, chosen: list[str]) -> None:
    selection = Selection.parse(text, exclude=exclude)
    assert partitions(selection, "a", "_default", "p1", "p2", "q") == chosen
    assert selection.wants(name("a")) == bool(chosen)
    assert selection.narrows(name("a")) == (0 < len(chosen) < 4)


def test_what_is_named_one_by_one_is_known_and_globs_are_not() -> None:
    selection = Selection.parse("a,db.b*,db.c/p1,db.c/q*,x.*,y.,*.z,a2", exclude="a2,db.c/p9")
    assert selection.named == {name("a"), name("db.c")}
    assert selection.named_databases == {"x", "y"}
    assert selection.named_partitions(name("db.c")) == {"p1"}


def test_items_that_fit_nothing_are_told_as_they_are_written() -> None:
    selection = Selection.parse("a*,b*,db.*,n*.*,missing", exclude="c*,bx,gone.x")
    present = [name("ab"), name("bx")]
    assert selection.idle(["default", "db"], present) == ["default.c*", "gone.x", "n*.*"]


def test_a_database_is_chosen_for_itself_or_for_its_collections() -> None:
    selection = Selection.parse("a.x*,b.,c.*,d*.,e.y")
    assert [at for at in "abcdefg" if selection.wants_database(at)] == ["a", "b", "c", "d", "e"]
    assert [at for at in "abcdefg" if selection.wants_empty(at)] == ["b", "c", "d"]


def test_selections_of_a_mapping() -> None:
    selection = Selection.of({"a": [], "b": ["*"], "": ["x"], "c": ["y", "z"]})
    assert selection.databases == {"a", "b"}
    assert selection.collections == {name("default.x"), name("c.y"), name("c.z")}
    assert Selection.of({}).everything
    assert Selection.of({"d": ["x*"], "e": ["y/p1"]}) == Selection.parse("d.x*,e.y/p1")


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
    with raised(UsageError, "options-conflict", option="rename", other="suffix"):
        Renaming.parse("a:b", suffix="_x")


@pytest.mark.parametrize("suffix", ["-x", "a b", "名", "a.b", "/"])
def test_a_suffix_against_the_rule_is_refused(suffix: str) -> None:
    with raised(InvalidName, "suffix-invalid", suffix=suffix):
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
