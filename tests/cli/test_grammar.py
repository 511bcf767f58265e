"""What may be typed, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mbk.model.options import CreateOptions, RestoreOptions, Strategy
from mbk.model.selection import CollectionName, Renaming, Selection
from tests.cli.conftest import Run, Session

A = CollectionName("default", "a")
DB_B = CollectionName("db", "b")


@pytest.mark.parametrize("empty", ["", " ", ",", " , ,"])
@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *(("create", flag) for flag in ("--filter", "--exclude", "--colls", "-c", "--databases", "-d", "-a")),
        *(
            ("restore", flag)
            for flag in (
                "--filter",
                "--exclude",
                "--source-filter",
                "--source_exclude",
                "--collections",
                "-d",
                "-a",
                "--rename",
                "-r",
                "--skip-params",
            )
        ),
    ],
)
def test_an_empty_list_does_not_mean_everything(
    command: str, flag: str, empty: str, run: Run, session: Session
) -> None:
    """A variable that was never set: with --drop_exist_collection everything would be replaced."""
    yes = ["--drop_exist_collection", "--yes"] if command == "restore" else []
    result = run(command, "-n", "nightly", *yes, flag, empty)
    assert (result.code, session.calls) == (2, [])
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "typed", ["list --since", "list -c", "verify", "verify -n", "get", "delete --yes -n", "migrate -c"]
)
def test_an_empty_text_is_not_taken_for_none(typed: str, run: Run, session: Session) -> None:
    assert run(*typed.split(), "").code == 2
    assert session.calls == []


@pytest.mark.parametrize(
    ("typed", "flag"),
    [
        ("create x --filter ,", "--filter is empty"),
        ("create x -c ,", "--colls is empty"),
        ("create x --max-rate fast", "--max-rate: "),
        ("restore x --source_exclude ,", "--source-exclude is empty"),
        ('restore x --skip-params {"a":1}', "--skip-params: unknown key 'a'"),
        ("restore x -s a -r b:c", "--rename and --suffix cannot"),
        (
            "restore x --drop_exist_collection --skip_create_collection",
            "--drop-exist-collection and --skip-create-",
        ),
        ("restore x --at-backup-time --no-cut", "--at-backup-time and --no-cut cannot"),
        ("verify x --record --depth listing", "--record and --depth listing cannot"),
        ("verify x --sample 0", "--sample must be"),
    ],
)
def test_what_is_wrong_with_an_option_is_told_by_its_flag(typed: str, flag: str, run: Run) -> None:
    assert run(*typed.split()).err.startswith(f"mbk: error: {flag}")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("create x --strategy bulk-flsh", "bulk_flush"),
        ("restore x --verify lsting", "listing"),
        ("check --for creat", "create"),
        ("list -o jsn", "json"),
        ("completion bsh", "bash"),
        ("list --sort nme", "name"),
    ],
)
def test_a_mistyped_choice_is_answered_with_the_nearest_one(typed: str, meant: str, run: Run) -> None:
    told = run(*typed.split())
    assert told.code == 2
    assert f"did you mean {meant!r}?" in told.err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("prune --keep-last three", "'--keep-last': 'three' is not a whole number: see 'mbk prune --help'"),
        ("prune --keep-last 1.5", "'--keep-last': '1.5' is not a whole number: see 'mbk prune --help'"),
        ("server --port http", "'http' is not a whole number: see 'mbk server --help'"),
        ("prune --keep-last", "option '--keep-last' requires an argument: see 'mbk prune --help'"),
        ("restore -n", "option '-n' requires an argument: see 'mbk restore --help'"),
    ],
)
def test_a_wrong_value_is_told_in_words_with_the_help_of_its_command(typed: str, told: str, run: Run) -> None:
    result = run(*typed.split())
    assert result.code == 2
    assert told in result.err


@pytest.mark.parametrize("command", ["create", "restore"])
def test_an_empty_object_does_not_mean_everything(command: str, run: Run, session: Session) -> None:
    assert run(command, "-n", "nightly", "-a", "{}").code == 2
    assert session.calls == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", {}),
        (
            "--filter a,db.*",
            {"selection": Selection(databases=frozenset({"db"}), collections=frozenset({A}))},
        ),
        ("--filter db.", {"selection": Selection(bare=frozenset({"db"}))}),
        ("--colls a,db.b", {"selection": Selection(collections=frozenset({A, DB_B}))}),
        ("-c a", {"selection": Selection(collections=frozenset({A}))}),
        ("--databases db,default", {"selection": Selection(databases=frozenset({"db", "default"}))}),
        ("-d db", {"selection": Selection(databases=frozenset({"db"}))}),
        (
            '--database_collections {"db":["b"],"x":[]}',
            {"selection": Selection(databases=frozenset({"x"}), collections=frozenset({DB_B}))},
        ),
        ('-a {"":["a"]}', {"selection": Selection(collections=frozenset({A}))}),
        ("--strategy serial_flush", {"strategy": Strategy.SERIAL_FLUSH}),
        ("--strategy=skip-flush", {"strategy": Strategy.SKIP_FLUSH}),
        ("--force", {"strategy": Strategy.SKIP_FLUSH}),
        ("-f", {"strategy": Strategy.SKIP_FLUSH}),
        ("--meta_only", {"strategy": Strategy.META_ONLY}),
        ("--meta-only=true --strategy meta_only", {"strategy": Strategy.META_ONLY}),
        ("--meta_only=false --rbac=1", {"rbac": True}),
        ("--format binlog", {"format": "binlog"}),
        ("--format snapshot", {"format": "snapshot"}),
        ("--filter db*.x --exclude db1.x", {"selection": Selection.parse("db*.x", exclude="db1.x")}),
        ("-c a,b --exclude b", {"selection": Selection.parse("a,b", exclude="b")}),
        ("--backup_index_extra", {"index_extra": True}),
        ("--pause_gc", {"pause_gc": True}),
        ("--no-pause-gc", {"pause_gc": False}),
        ("--pause_gc=false", {"pause_gc": False}),
        ("--resume --fail_fast", {"resume": True, "fail_fast": True}),
    ],
)
def test_create_in_every_spelling(typed: str, meant: dict[str, Any], run: Run, session: Session) -> None:
    assert run("create", "-n", "nightly", *typed.split()).code == 0
    assert session.calls == [("create", "nightly", CreateOptions(**meant))]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("-s _recover", {"renaming": Renaming(suffix="_recover")}),
        ("--suffix=_recover", {"renaming": Renaming(suffix="_recover")}),
        ("-r a:c", {"renaming": Renaming(collections={A: CollectionName("default", "c")})}),
        ("--rename db.*:other.*", {"renaming": Renaming(databases={"db": "other"})}),
        ("--filter a_recover", {"selection": Selection.parse("a_recover")}),
        ("--source-filter db.b", {"source_selection": Selection.parse("db.b")}),
        ("--collections a", {"source_selection": Selection.parse("a")}),
        ("-c db.b", {"source_selection": Selection.parse("db.b")}),
        ("-d db", {"source_selection": Selection.parse("db.*")}),
        ('-a {"db":["b"]}', {"source_selection": Selection.parse("db.b")}),
        ("--rebuild_index --use_auto_index", {"rebuild_index": True, "auto_index": True}),
        ("--restore_index", {"rebuild_index": True}),
        ("--drop_exist_index --skip_create_collection", {"drop_index": True, "skip_create": True}),
        ("--drop_exist_collection --yes", {"drop_existing": True}),
        ("--meta_only --rbac", {"meta_only": True, "rbac": True}),
        ("--use_v2_restore", {"rest_import": True}),
        ("--use_v2_restore=false", {"rest_import": False}),
        ("--no-v2-restore", {"rest_import": False}),
        ("--filter a* --exclude ab", {"selection": Selection.parse("a*", exclude="ab")}),
        ("--source-exclude db.*", {"source_selection": Selection.parse("", exclude="db.*")}),
        (
            "--source-filter b/p* --source-exclude b/p1",
            {"source_selection": Selection.parse("b/p*", exclude="b/p1")},
        ),
        ("--at-backup-time", {"truncate": True}),
        (
            '--skip_params {"indexParams":["mmap.enabled"]}',
            {"skip_params": {"indexParams": frozenset({"mmap.enabled"})}},
        ),
        ("--aliases --load --no-wait-index", {"aliases": True, "load": True, "wait_index": False}),
        ("--truncate_binlog_by_ts --max_shard_num 2", {"truncate": True, "max_shards": 2}),
    ],
)
def test_restore_in_every_spelling(typed: str, meant: dict[str, Any], run: Run, session: Session) -> None:
    assert run("restore", "--name", "nightly", *typed.split()).code == 0
    assert session.calls == [("restore", "nightly", RestoreOptions(**meant))]


def test_the_keys_of_encrypted_databases_stand_in_a_file(run: Run, session: Session) -> None:
    Path("keys.json").write_text('{"old": "new"}', encoding="utf-8")
    assert run("restore", "-n", "nightly", "--ezk-mapping", "keys.json").code == 0
    assert session.calls == [("restore", "nightly", RestoreOptions(ezk_mapping={"old": "new"}))]


@pytest.mark.parametrize("text", ['{"old": "tok', '["tok"]', '{"old": 1}', '"tok"', "\udcff"])
def test_a_file_of_keys_that_cannot_be_read_is_told_without_them(
    text: str, run: Run, session: Session
) -> None:
    Path("keys.json").write_bytes(text.encode(errors="surrogateescape"))
    result = run("restore", "-n", "nightly", "-v", "--ezk-mapping", "keys.json")
    assert result.code == 2
    assert "keys.json" in result.err
    assert not {"tok", "old"} & set(result.err.replace('"', " ").split())
    assert session.calls == []


def test_a_backup_without_a_name_is_left_to_the_library(run: Run, session: Session) -> None:
    run("create")
    assert session.calls == [("create", None, CreateOptions())]


@pytest.mark.parametrize("typed", ["get nightly", "get -n nightly", "get --name=nightly", "get -n=nightly"])
def test_the_name_is_an_option_or_an_argument(typed: str, run: Run, session: Session) -> None:
    assert run(*typed.split()).code == 0
    assert session.calls == [("get", "nightly", False)]


@pytest.mark.parametrize("typed", ["get", "restore", "delete --yes", "get -n a b", "create -n a b"])
def test_one_name_is_needed_and_only_one(typed: str, run: Run, session: Session) -> None:
    result = run(*typed.split())
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert session.calls == []


@pytest.mark.parametrize(
    "typed",
    [
        "--config c.yaml --set milvus.port=1 --storage local list",
        "list --config c.yaml --set milvus.port=1 --storage local",
        "--config c.yaml list --set=milvus.port=1 --storage=local",
        "--config c.yaml --set milvus.address=h list --set milvus.port=1,milvus.user=u --storage local",
    ],
)
def test_global_options_stand_before_or_after_the_command(typed: str, run: Run, session: Session) -> None:
    Path("c.yaml").write_text("milvus:\n  address: elsewhere\n", encoding="utf-8")
    assert run(*typed.split()).code == 0
    assert session.settings.milvus.port == 1
    assert session.settings.storage.type == "local"
    assert session.settings.milvus.address in ("elsewhere", "h")


def test_the_backup_side_alone_can_be_another_storage(run: Run, session: Session) -> None:
    run("list", "--backup-storage", "local")
    assert session.settings.backup_storage.type == "local"
    assert session.settings.storage.type != "local"


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("crate", "'create'"),
        ("resotre -n x", "'restore'"),
        ("restore -n x --sufix _r", "'--suffix'"),
        ("restore -n x --drop_exist_colection", "'--drop-exist-collection'"),
        ("config shwo", "'show'"),
    ],
)
def test_a_misspelt_word_gets_the_nearest_one(typed: str, near: str, run: Run, session: Session) -> None:
    result = run(*typed.split())
    assert result.code == 2
    assert f"did you mean {near}?" in result.err
    assert result.err.count("\n") == 1
    assert session.calls == []


@pytest.mark.parametrize(
    "typed",
    [
        "create --filter a -c b",
        "create -c a -d db",
        "create --force --meta_only",
        "create --force --strategy serial_flush",
        "create --rbac=perhaps",
        "create -a [1]",
        'create -a {"db":"c"}',
        "create -a {",
        "create --filter a..b",
        "create --exclude db.",
        "create --filter a[b",
        "create --strategy nonsense",
        "restore -n x -s _r -r a:b",
        "restore -n x -s a-b",
        "restore -n x -r a",
        "restore -n x --filter a -c b",
        "restore -n x --drop_exist_collection --skip_create_collection --yes",
        "restore -n x --max_shard_num -1",
        "restore -n x --skip_params {",
        "restore -n x --skip_params []",
        'restore -n x --skip_params {"indexParam":["a"]}',
        'restore -n x --skip_params {"indexParams":"a"}',
        "restore -n x --ezk_mapping missing.json",
        "-o xml list",
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(
    typed: str, run: Run, session: Session
) -> None:
    result = run(*typed.split())
    assert result.code == 2
    assert result.out == ""
    assert "mbk: error: " in result.err
    assert session.settings is None


def test_without_a_command_the_help_is_an_error(run: Run) -> None:
    result = run()
    assert result.code == 2
    assert result.out == ""
    assert "Commands:" in result.err


def test_help_is_a_command_too(run: Run) -> None:
    assert run("help", "create") == run("create", "--help") == run("create", "-h")


def test_the_version_is_told_in_three_ways(run: Run) -> None:
    assert run("--version").out == run("version").out
    assert '"mbk": ' in run("version", "-o", "json").out
