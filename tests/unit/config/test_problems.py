"""What is wrong is told, all of it at once, in the user's own words, and no secret with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbk.config.load import LoadedConfig, load
from mbk.config.migrate import migrate
from mbk.errors import ConfigError, Problem

Load = Callable[..., LoadedConfig]

SECRET = "hunter2secret"


def problems(load_text: Load, text: str, **options: Any) -> dict[str, Problem]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, **options)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return {problem.key: problem for problem in caught.value.problems}


def only(load_text: Load, text: str, **options: Any) -> Problem:
    (problem,) = problems(load_text, text, **options).values()
    return problem


def test_every_problem_of_file_environment_and_set_is_told_at_once(load_text: Load) -> None:
    text = """
        log: {level: warning}
        milvus: {tlsMode: 5, authorizationEnabled: true}
        minio: {port: 99999, useSSL: perhaps, address: "http://localhost"}
        backup:
          maxSegmentGroupSize: big
          parallelism: {copydata: 0, backupCollection: many}
          gcPause: {address: localhost:9091}
    """
    found = problems(
        load_text,
        text,
        environ={"MILVUS_PORT": "70000", "BACKUP_KEEP_TEMP_FILES": "maybe"},
        sets=["backup.parallelism.restoreCollection=-1", "nonsense", "minio.adress=x"],
    )
    assert set(found) == {
        "log.level",
        "milvus.tlsMode",
        "milvus.authorizationEnabled",
        "minio.port",
        "minio.useSSL",
        "minio.address",
        "backup.maxSegmentGroupSize",
        "backup.parallelism.copydata",
        "backup.parallelism.backupCollection",
        "backup.gcPause.address",
        "MILVUS_PORT",
        "BACKUP_KEEP_TEMP_FILES",
        "--set backup.parallelism.restoreCollection",
        "--set",
        "--set minio.adress",
    }
    assert found["log.level"].suggestion == "did you mean warn?"
    assert found["milvus.tlsMode"].message == "expected 0, 1 or 2, not '5'"
    assert found["backup.parallelism.copydata"].message == "must be at least 1, not 0"
    assert found["MILVUS_PORT"].message == "must be at most 65535, not 70000"
    assert found["--set minio.adress"].suggestion == "did you mean minio.address?"


@pytest.mark.parametrize(
    ("text", "unknown", "meant"),
    [
        ("minio: {adress: h}", "minio.adress", "did you mean minio.address?"),
        ("mino: {address: h}", "mino", "did you mean minio?"),
        ("backup: {paralelism: {copydata: 1}}", "backup.paralelism", "did you mean backup.parallelism?"),
        ("log: {file: {path: a}}", "log.file.path", "use log.file.filename in v1"),
        ("transfer.concurrency: 3", "transfer.concurrency", "use backup.parallelism.copydata in v1"),
        ("something: {else: 1}", "something", "unknown key, ignored"),
    ],
)
def test_an_unknown_key_is_a_warning_with_the_nearest_name(
    load_text: Load, text: str, unknown: str, meant: str
) -> None:
    (warning,) = load_text(text).warnings
    assert f"test.yaml: {unknown}: " in warning
    assert meant in warning


@pytest.mark.parametrize("path", ["C:\\Users\\mbk", "D:\\data", "C:\\xampp"])
def test_a_windows_path_in_double_quotes_is_told_how_to_be_written(load_text: Load, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(f'minio: {{storageType: local, rootPath: "{path}"}}')
    (problem,) = caught.value.problems
    assert problem.suggestion == "put a path with backslashes between single quotes"


@pytest.mark.parametrize("key", ["keepDayly", "keep_daily", "keepDaily.count"])
def test_a_rule_of_retention_that_is_not_known_is_refused(load_text: Load, key: str) -> None:
    """Ignored, it would keep nothing, and a prune would go by the other rules."""
    with pytest.raises(ConfigError) as caught:
        load_text(f"retention: {{keepLast: 1, {key}: 30}}")
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == (f"retention.{key}", "unknown key")
    assert problem.suggestion == "did you mean retention.keepDaily?"


@pytest.mark.parametrize(
    ("text", "lost", "remedy"),
    [
        (
            "configVersion: v2\nminio: {address: a.example, bucketName: b}",
            "minio.address, minio.bucketName",
            "write milvus.storage.address, milvus.storage.bucketName",
        ),
        ("configVersion: v2\nmilvus: {address: a.example}", "milvus.address", "remove configVersion"),
        ("milvus: {storage: {rootPath: a}}", "milvus.storage.rootPath", "begin it with configVersion: v2"),
        ("backup: {storage: {bucketName: b}}", "backup.storage.bucketName", "write minio.backupBucketName"),
    ],
)
def test_places_and_logins_in_keys_of_the_other_dialect_are_refused(
    load_text: Load, text: str, lost: str, remedy: str
) -> None:
    """Otherwise defaults would take their place: another server, another bucket."""
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    (problem,) = caught.value.problems
    assert problem.key == lost
    assert remedy in (problem.suggestion or "")


def test_keys_of_the_other_dialect_are_ignored_where_their_own_name_says_it_too(load_text: Load) -> None:
    both = "configVersion: v2\nminio: {address: old}\nmilvus: {storage: {address: new}}"
    loaded = load_text(both)
    assert loaded.settings.storage.values["address"] == "new"
    (warning,) = loaded.warnings
    assert "minio.address" in warning
    assert "use milvus.storage.address in v2" in warning


def test_two_names_of_one_setting_that_disagree_are_a_warning(load_text: Load) -> None:
    loaded = load_text("minio: {storageType: s3, cloudProvider: aws}")
    assert loaded.settings.storage.type == "s3"
    assert loaded.warnings == (
        "test.yaml: minio.cloudProvider: ignored, minio.storageType has another value",
    )
    assert load_text("minio: {storageType: s3, cloudProvider: s3}").warnings == ()


def test_authorization_without_a_user_is_a_problem(load_text: Load) -> None:
    problem = only(load_text, "milvus: {authorizationEnabled: true}")
    assert "no user" in problem.message
    load_text("milvus: {authorizationEnabled: true}", environ={"MILVUS_USER": "root"})


def test_authorization_switched_off_sends_the_user_all_the_same(load_text: Load) -> None:
    assert load_text("milvus: {authorizationEnabled: false, user: root}").settings.milvus.user == "root"


def test_tls_on_both_sides_needs_certificate_and_key(load_text: Load) -> None:
    found = problems(load_text, "milvus: {tlsMode: 2}")
    assert set(found) == {"milvus.mtlsCertPath", "milvus.mtlsKeyPath"}
    assert "milvus.tlsMode" in found["milvus.mtlsKeyPath"].message


def test_a_certificate_that_is_not_there_is_named(load_text: Load) -> None:
    found = problems(
        load_text,
        "milvus: {tlsMode: 1, tlsCertPath: nowhere.pem}\nminio: {caCert: gone.pem}",
        environ={},
    )
    assert set(found) == {"milvus.tlsCertPath", "minio.caCert"}
    assert "nowhere.pem" in found["milvus.tlsCertPath"].message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("milvus:\n  port: 1\n bad: [\n", "line 3"),
        ("milvus:\n\tport: 1\n", "line 2, column 1"),
        ("milvus: {port: 1\n", "line 2"),
        ("a: 1\n---\nb: 2\n", "one document"),
        ("a: \x07\n", "control characters"),
        ("just text\n", "top level"),
        ("- a\n- b\n", "top level"),
        ("configVersion: v3\n", "unknown version 'v3'"),
        ("milvus: localhost\n", "milvus: expected a section"),
        ("milvus: [a]\n", "milvus: expected a section"),
        ("milvus: {port: {a: 1}}\n", "milvus.port: expected a value"),
        ("milvus: {port: [1, 2]}\n", "milvus.port: expected a single value"),
        ("milvus: {etcd: {endpoints: [[a]]}}\n", "expected a list of plain values"),
        ("milvus: {? [a] : b}\n", "milvus: the key on line 1 is not a plain name"),
    ],
)
def test_a_malformed_file_is_one_clear_line(load_text: Load, text: str, expected: str) -> None:
    assert expected in str(ConfigError("test.yaml", [only(load_text, text)]))


def test_an_unquoted_star_is_explained_without_repeating_the_value(load_text: Load) -> None:
    problem = only(load_text, f"milvus:\n  password: *{SECRET}\n")
    assert "line 2" in problem.message
    assert problem.suggestion is not None
    assert "quote" in problem.suggestion


def test_a_file_that_contains_itself_ends(load_text: Load) -> None:
    assert load_text("milvus: &m\n  port: 7\n  again: *m\n").settings.milvus.port == 7


def test_a_key_written_twice_is_a_problem_with_both_lines(load_text: Load) -> None:
    problem = only(load_text, "milvus:\n  port: 1\n  address: h\n  port: 2\n")
    assert (problem.key, problem.message) == ("milvus.port", "set twice, on lines 2 and 4")
    assert only(load_text, "milvus: {port: 1}\nmilvus: {port: 2}\n").key == "milvus"


def test_a_file_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gbk.yaml").write_bytes("milvus: {user: 用户}".encode("gbk"))
    with pytest.raises(ConfigError) as caught:
        load("gbk.yaml", environ={}, cwd=tmp_path)
    (problem,) = caught.value.problems
    assert caught.value.source == "gbk.yaml"
    assert (problem.message, problem.suggestion) == ("not UTF-8 text (byte 16)", "save the file as UTF-8")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(ConfigError) as caught:
        load("d.yaml", environ={}, cwd=tmp_path)
    assert caught.value.source == "d.yaml"
    assert "is a directory" in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (f"milvus: {{password: [{SECRET}]}}", {}),
        (f"milvus: {{password: {{{SECRET}: 1}}}}", {}),
        (f"milvus: {{password: '{SECRET}}}", {}),
        (f'milvus: {{password: "\\q{SECRET}"}}', {}),
        (f"minio: {{address: 'http://me:{SECRET}@host'}}", {}),
        (f"backup: {{gcPause: {{address: 'ftp://me:{SECRET}@host'}}}}", {}),
        ("", {"sets": [f"milvus.password=a,{SECRET}"]}),
        ("", {"sets": [f"milvus.password=a,{SECRET}=b"]}),
        ("log: {level: x}", {"environ": {"MILVUS_PASSWORD": SECRET}}),
    ],
)
def test_no_problem_shows_a_secret(load_text: Load, text: str, options: dict[str, Any]) -> None:
    problems(load_text, text, **options)


def test_no_warning_shows_a_password_in_a_service_link(load_text: Load) -> None:
    (warning,) = load_text("", environ={"MINIO_PORT": f"tcp://me:{SECRET}@10.0.0.1:9000"}).warnings
    assert SECRET not in warning


@pytest.mark.parametrize("text", [f"milvus: {{password: {SECRET}}}", f"minio: {{secretAccessKey: {SECRET}}}"])
def test_settings_show_no_secret(load_text: Load, text: str) -> None:
    loaded = load_text(text)
    assert SECRET not in f"{loaded!r} {loaded.settings} {loaded.settings.model_dump_json()}"


def test_a_credential_under_the_variable_of_the_other_dialect_is_told(load_text: Load) -> None:
    environ = {"MILVUS_STORAGE_AUTH_SECRET_ACCESS_KEY": SECRET}
    (warning,) = load_text("", environ=environ).warnings
    assert "MINIO_SECRET_KEY" in warning
    assert SECRET not in warning
    assert load_text("", environ={**environ, "MINIO_SECRET_KEY": "s"}).warnings == ()
    assert load_text("configVersion: v2", environ=environ).warnings == ()


def test_a_migration_shows_no_secret_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "v1.yaml").write_text(f"milvus: {{password: {SECRET}}}")
    migration = migrate("v1.yaml", environ={}, cwd=tmp_path)
    assert SECRET in migration.text
    assert SECRET not in repr(migration)


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        (
            "maxRate: fast",
            "transfer.maxRate",
            "expected requests a second such as 200, 3000/min or unlimited",
        ),
        ("maxRate: 0", "transfer.maxRate", "not '0'"),
        (
            "maxBandwidth: 50 apples",
            "transfer.maxBandwidth",
            "expected a rate such as 50MiB/s, 400Mbit/s or unlimited",
        ),
        (
            "maxBandwidth: [{from: 8, to: 9, limit: 1M}]",
            "transfer.maxBandwidth",
            "a time of day such as 08:00",
        ),
        ("maxBandwidth: [[1M]]", "transfer.maxBandwidth", "expected a list of plain values"),
        (
            "timeZone: Mars",
            "transfer.timeZone",
            "expected a time zone such as Europe/Berlin or UTC, not 'Mars'",
        ),
        ("memory: 1M", "transfer.memory", "must be at least 16777216"),
    ],
)
def test_nonsense_about_rates_is_refused_in_one_line(
    load_text: Load, line: str, key: str, message: str
) -> None:
    problem = only(load_text, f"configVersion: v2\ntransfer: {{{line}}}")
    assert problem.key == key
    assert message in problem.message
