"""Where a value comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mbk.config.keys import KEYS
from mbk.config.layers import Origin
from mbk.config.load import LoadedConfig, load
from mbk.config.show import value_of
from mbk.config.v1 import V1
from mbk.config.v2 import V2
from mbk.connections import Connections, budget
from mbk.errors import ConfigError
from mbk.model.options import DeleteOptions, bandwidth_of
from mbk.model.rates import Bandwidth
from mbk.ports.storage import MIB

Load = Callable[..., LoadedConfig]

V1_TEXT = "milvus:\n  port: 1001\n"


def port_file(directory: Path, port: int, name: str = "backup.yaml") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(f"milvus: {{port: {port}}}", encoding="utf-8")


def test_the_file_is_looked_for_as_given_then_in_milvusconf_then_in_configs(tmp_path: Path) -> None:
    environ = {"MILVUSCONF": str(tmp_path / "conf")}

    def port() -> int:
        return load("sub/my.yaml", environ=environ, cwd=tmp_path).settings.milvus.port

    port_file(tmp_path / "configs", 3, "my.yaml")
    assert port() == 3
    port_file(tmp_path / "conf", 2, "my.yaml")
    assert port() == 2
    port_file(tmp_path / "sub", 1, "my.yaml")
    assert port() == 1


def test_the_default_file_is_backup_yaml(tmp_path: Path) -> None:
    port_file(tmp_path / "configs", 3)
    loaded = load(environ={}, cwd=tmp_path)
    assert (loaded.settings.milvus.port, loaded.path) == (3, Path("configs/backup.yaml"))


def test_without_any_file_the_defaults_and_the_environment_do(tmp_path: Path) -> None:
    loaded = load(environ={"MINIO_BUCKET_NAME": "milvus-bucket"}, cwd=tmp_path)
    assert (loaded.path, loaded.dialect) == (None, "v1")
    assert loaded.settings.milvus.address == "localhost"
    assert loaded.settings.storage.values == {"bucket": "milvus-bucket", "root_path": "files"}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "configVersion: v2\n", "milvus:\n"])
def test_a_file_that_sets_nothing_is_told_of(load_text: Load, text: str) -> None:
    assert load_text(text).lacks == "configuration file test.yaml sets nothing"


def test_without_a_file_it_is_told_where_one_was_looked_for(tmp_path: Path) -> None:
    lacks = load(environ={"MILVUSCONF": "/etc/milvus"}, cwd=tmp_path).lacks
    for place in (tmp_path / "backup.yaml", "/etc/milvus/backup.yaml", tmp_path / "configs/backup.yaml"):
        assert str(place) in lacks


def test_a_named_file_that_is_nowhere_is_an_error_naming_the_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("sub/my.yaml", environ={"MILVUSCONF": "conf"}, cwd=tmp_path)
    for place in ("sub/my.yaml", "conf/my.yaml", "configs/my.yaml"):
        assert place in str(caught.value)


def test_flag_beats_set_beats_environment_beats_file_beats_default(load_text: Load) -> None:
    layers: dict[str, Any] = {}
    ports = [load_text("").settings.milvus.port, load_text(V1_TEXT).settings.milvus.port]
    for more in (
        {"environ": {"MILVUS_PORT": "1002"}},
        {"sets": ["milvus.port=1003"]},
        {"overrides": {"milvus.port": 1004}},
    ):
        layers |= more
        ports.append(load_text(V1_TEXT, **layers).settings.milvus.port)
    assert ports == [19530, 1001, 1002, 1003, 1004]


def test_origins_name_the_layer_and_the_key(load_text: Load) -> None:
    loaded = load_text(
        "minio: {cloudProvider: s3, accessKeyID: a}\nmilvus: {address: h}",
        environ={"MILVUS_PORT": "1002"},
        sets=["milvus.user=u"],
        backup_storage="local",
    )
    assert loaded.origins["storage.type"] == Origin("file", "minio.cloudProvider")
    assert loaded.origins["milvus.address"] == Origin("file", "milvus.address")
    assert loaded.origins["milvus.port"] == Origin("environment", "MILVUS_PORT")
    assert loaded.origins["milvus.user"] == Origin("set", "milvus.user")
    assert loaded.origins["backup_storage.type"] == Origin("flag", "--backup-storage")


def test_set_is_repeatable_and_separated_by_commas(load_text: Load) -> None:
    milvus = load_text("", sets=["milvus.port=1,milvus.user=u", "milvus.user=v"]).settings.milvus
    assert (milvus.port, milvus.user) == (1, "v")


def test_set_takes_a_comma_after_a_backslash_and_an_equals_sign(load_text: Load) -> None:
    password = load_text("", sets=[r"milvus.password=a\,b=c"]).settings.milvus.password
    assert password.get_secret_value() == "a,b=c"


def test_set_takes_the_name_of_a_variable(load_text: Load) -> None:
    settings = load_text("", sets=["MILVUS_PASSWORD=p"], environ={"MILVUS_PASSWORD": "q"}).settings
    assert settings.milvus.password.get_secret_value() == "p"


def test_set_speaks_the_dialect_of_the_file(load_text: Load) -> None:
    text = "configVersion: v2"
    assert load_text(text, sets=["milvus.grpc.port=7"]).settings.milvus.port == 7
    with pytest.raises(ConfigError) as caught:
        load_text(text, sets=["milvus.port=7"])
    (problem,) = caught.value.problems
    assert problem.key == "--set milvus.port"
    assert "milvus.grpc.port" in (problem.suggestion or "")


def test_overrides_take_keys_and_fields_and_typed_values(load_text: Load) -> None:
    settings = load_text(
        "",
        overrides={
            "milvus.tls_mode": "server",
            "backup.gcPause.enable": False,
            "milvus.etcd_endpoints": ["a:1", "b:2"],
            "backup_storage.secret_access_key": SecretStr("s"),
            "milvus.user": None,
        },
    ).settings
    assert (settings.milvus.tls_mode, settings.backup.pause_gc) == ("server", False)
    assert settings.milvus.etcd_endpoints == ("a:1", "b:2")
    assert settings.backup_storage.values["secret_access_key"] == SecretStr("s")
    assert settings.milvus.user == ""


def test_an_empty_variable_is_not_set(load_text: Load) -> None:
    assert load_text(V1_TEXT, environ={"MILVUS_PORT": ""}).settings.milvus.port == 1001


def test_a_v2_file_takes_only_credentials_from_the_environment(load_text: Load) -> None:
    settings = load_text(
        "configVersion: v2",
        environ={
            "MINIO_ADDRESS": "elsewhere",
            "MILVUS_PORT": "1",
            "MILVUS_USER": "u",
            "MILVUS_STORAGE_AUTH_ACCESS_KEY_ID": "a",
            "BACKUP_STORAGE_AUTH_SECRET_ACCESS_KEY": "b",
            "ZILLIZ_CLOUD_API_KEY": "z",
        },
    ).settings
    assert (settings.milvus.port, settings.milvus.user) == (19530, "u")
    assert settings.storage.values["access_key_id"] == "a"
    assert "address" not in settings.storage.values
    assert settings.backup_storage.values["secret_access_key"] == SecretStr("b")
    assert settings.cloud.api_key.get_secret_value() == "z"


@pytest.mark.parametrize(
    ("variable", "value", "target"),
    [
        ("MINIO_PORT", "tcp://10.0.0.1:9000", "storage.port"),
        ("MINIO_BACKUP_PORT", "tcp://10.0.0.1:9000", "backup_storage.port"),
        ("MINIO_ADDRESS", "tcp://10.0.0.1:9000", "storage.address"),
        ("MILVUS_PORT", "tcp://10.0.0.1:19530", "milvus.port"),
        ("MILVUS_PORT", "udp://10.0.0.1:19530", "milvus.port"),
    ],
)
def test_a_kubernetes_service_link_is_ignored_with_a_warning(
    load_text: Load, variable: str, value: str, target: str
) -> None:
    text = """
        milvus: {port: 7}
        minio: {address: h, port: 7, backupPort: 7}
    """
    loaded = load_text(text, environ={variable: value})
    assert value_of(loaded.settings, target) in (7, "h")
    (warning,) = loaded.warnings
    assert variable in warning
    assert "Kubernetes" in warning


@pytest.mark.parametrize("dialect", [V1, V2], ids=["v1", "v2"])
def test_every_key_and_every_variable_reaches_its_setting(dialect: Any, load_text: Load) -> None:
    """Through the tables, so that no row points at nothing."""
    sample = {"boolean": "true", "integer": "7", "port": "7", "size": "7", "url": "http://x:1", "host": "x"}
    words = {
        "log.level": "error",
        "log.format": "json",
        "backup.layout": "shared",
        "backup.object_lock_mode": "compliance",
        "transfer.mode": "direct",
        "server.max_body_size": "2K",
        "transfer.max_rate": "200",
        "transfer.max_bandwidth": "50M",
        "transfer.time_zone": "UTC",
        "retention.time_zone": "UTC",
        "retention.keep_within": "30d",
        "transfer.memory": "64M",
        "transfer.executor": "processes",
        "transfer.dask_credentials": "own",
    }
    head = "configVersion: v2" if dialect is V2 else ""
    for name in dialect.names:
        if not KEYS[name.target].stored or name.target == "milvus.tls_mode":
            continue
        raw = words.get(name.target) or sample.get(getattr(name.parser, "__name__", ""), "other")
        if name.target in ("storage.use_iam", "backup_storage.use_iam") and dialect is V2:
            raw = "iam"
        if name.target == "transfer.mode" and dialect is V1:
            raw = "true"
        if name.target.endswith("ca_cert"):
            raw = "test.yaml"
        for key in name.keys:
            loaded = load_text(head, sets=[f"{key}={raw}"])
            assert value_of(loaded.settings, name.target) not in (None, ""), key
            assert loaded.origins[name.target] == Origin("set", key)
        if name.env:
            loaded = load_text(head, environ={name.env: raw})
            assert value_of(loaded.settings, name.target) not in (None, ""), name.env
            assert loaded.origins[name.target] == Origin("environment", name.env)


def test_keys_are_found_in_any_case_and_in_one_line(load_text: Load) -> None:
    settings = load_text("Milvus.ADDRESS: a\nminio: {accesskeyid: b}").settings
    assert (settings.milvus.address, settings.storage.values["access_key_id"]) == ("a", "b")


def test_a_value_is_the_text_that_stands_there(load_text: Load) -> None:
    milvus = load_text("milvus: {user: 0123, password: 1e5}").settings.milvus
    assert (milvus.user, milvus.password.get_secret_value()) == ("0123", "1e5")


def test_a_key_with_nothing_behind_it_is_not_set(load_text: Load) -> None:
    settings = load_text("milvus:\n  port:\n  address: ~\nminio:\nbackup: {keepTempFiles: ''}").settings
    assert (settings.milvus.port, settings.milvus.address) == (19530, "localhost")


def test_anchors_and_merge_keys_are_understood(load_text: Load) -> None:
    text = """
        milvus: &m {address: a, port: 7}
        minio:
          <<: *m
          port: 8
    """
    settings = load_text(text).settings
    assert (settings.storage.values["address"], settings.storage.values["port"]) == ("a", 8)


@pytest.mark.parametrize("text", ["endpoints: [a:1, b:2]", "endpoints: 'a:1, b:2'"])
def test_a_list_may_be_a_list_or_a_text(load_text: Load, text: str) -> None:
    settings = load_text(f"milvus: {{etcd: {{{text}}}}}").settings
    assert settings.milvus.etcd_endpoints == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2G", 2 << 30),
        ("512mb", 512 << 20),
        ("1GiB", 1 << 30),
        ("0.5T", 1 << 39),
        ("100", 100),
        ("3 k", 3072),
    ],
)
def test_sizes(load_text: Load, text: str, size: int) -> None:
    settings = load_text(f"backup: {{maxSegmentGroupSize: {text}}}").settings
    assert settings.restore.max_group_size == size


@pytest.mark.parametrize(("value", "mode"), [("true", "streaming"), ("false", "auto")])
def test_cross_storage_is_the_transfer_mode(load_text: Load, value: str, mode: str) -> None:
    assert load_text(f"minio: {{crossStorage: {value}}}").settings.transfer.mode == mode


@pytest.mark.parametrize(("number", "word"), [("0", "disabled"), ("1", "server"), ("2", "mutual")])
def test_tls_modes_of_both_dialects(load_text: Load, number: str, word: str) -> None:
    paths = "caCertPath: test.yaml, mtlsCertPath: test.yaml, mtlsKeyPath: test.yaml"
    v1 = load_text(f"milvus: {{tlsMode: {number}, {paths}}}").settings
    v2 = load_text(f"configVersion: v2\nmilvus: {{grpc: {{tlsMode: {word}, {paths}}}}}").settings
    assert v1.milvus == v2.milvus
    assert v1.milvus.tls_mode == word


def test_certificates_are_not_asked_for_while_tls_is_off(load_text: Load) -> None:
    text = "milvus: {tlsMode: 0, tlsCertPath: nowhere.pem, mtlsKeyPath: nowhere.key}"
    assert load_text(text).settings.milvus.ca_cert_path == "nowhere.pem"


@pytest.mark.parametrize("head", ["﻿", "---\n", "# only a comment\n"])
def test_a_byte_order_mark_a_document_start_and_comments_do_no_harm(load_text: Load, head: str) -> None:
    assert load_text(head + V1_TEXT).settings.milvus.port == 1001


def test_an_empty_file_is_all_defaults(load_text: Load) -> None:
    assert load_text("").settings == load_text("# nothing").settings


# -- how fast ----------------------------------------------------------------------------------------------------


def test_rates_are_read_in_the_units_of_everything_else(load_text: Load) -> None:
    text = "transfer: {maxRate: 3000/min, maxBandwidth: 50MiB/s, memory: 64M, timeZone: UTC}"
    for dialect in ("", "configVersion: v2\n"):
        transfer = load_text(dialect + text).settings.transfer
        assert transfer.max_rate.limit == 50
        assert transfer.max_bandwidth == Bandwidth(50 * MIB)
        assert (transfer.memory, transfer.time_zone, transfer.concurrency) == (64 * MIB, "UTC", None)


def test_a_timetable_is_a_list_of_sections_or_one_text(load_text: Load) -> None:
    sections = """
        configVersion: v2
        transfer:
          maxBandwidth:
            - {from: 08:00, to: 18:00, limit: 50MiB/s}
            - limit: 200MiB/s
    """
    text = "08:00-18:00 50MiB/s; 200MiB/s"
    expected = load_text(sections).settings.transfer.max_bandwidth
    assert str(expected) == text
    by_environment = load_text("", environ={"TRANSFER_MAX_BANDWIDTH": text})
    by_set = load_text("", sets=[f"transfer.maxBandwidth={text}"])
    assert by_environment.settings.transfer.max_bandwidth == expected
    assert by_set.settings.transfer.max_bandwidth == expected


def test_what_a_run_says_itself_replaces_what_is_configured(load_text: Load) -> None:
    loaded = load_text("transfer: {maxRate: 200, maxBandwidth: 50M, timeZone: UTC}")
    with Connections(loaded.settings) as connections:
        configured = budget(loaded.settings, restores=False)
        given, shared = connections._steered(configured, DeleteOptions())
        assert (given, shared) == connections._steered(configured)
        assert (given.max_rate, str(given.max_bandwidth)) == (200, "50MiB/s")
        own, alone = connections._steered(
            configured, DeleteOptions(max_bandwidth=bandwidth_of("unlimited", ""))
        )
        assert (own.max_rate, own.max_bandwidth.is_unlimited) == (200, True)
        assert alone is not shared
