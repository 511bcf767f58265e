"""The pure parts of the embedded Milvus: what needs no server. The servers themselves are in tests/e2e."""

import json
import lzma
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mbk.demo import _guard, wheel
from mbk.demo.embedded import EmbeddedMilvus
from mbk.demo.server_config import (
    PORT_NAMES,
    S3Target,
    etcd_config,
    free_ports,
    milvus_config,
    parse_template,
    write_configs,
)
from mbk.demo.server_log import dead_server_report, port_was_taken
from mbk.errors import MbkError, MilvusUnavailable, MissingDependency
from tests.raising import raised

TEMPLATE_2_3 = """
etcd:
  endpoints: localhost:{{ etcd_port(int): 2379 }}
  data:
    dir: {{ etcd_data_dir }}
localStorage:
  path: {{ local_storage_dir }} # comment
proxy:
  ip: # none
  port: {{ proxy_port(int): 19530 }}
common:
  security:
    tlsMode: {{ tls_mode(int): 0 }}
log:
  stdout: {{ log_stdout:false }}
"""
TEMPLATE_2_2 = TEMPLATE_2_3.replace("endpoints: localhost", "endpoints:\n    - localhost")
PORTS = {name: 20000 + index for index, name in enumerate(PORT_NAMES)}
S3 = S3Target("127.0.0.1", 9000, "the-key", "the-secret", "a-bucket")


def test_placeholders_become_their_defaults() -> None:
    tree = parse_template(TEMPLATE_2_3)
    assert tree["etcd"]["endpoints"] == "localhost:2379"
    assert tree["proxy"]["port"] == 19530
    assert tree["log"]["stdout"] is False
    assert tree["localStorage"]["path"] is None


def test_every_role_gets_its_own_port_and_the_home_holds_all_data(tmp_path: Path) -> None:
    tree = milvus_config(TEMPLATE_2_3, home=tmp_path, ports=PORTS)
    roles = (
        "rootCoord",
        "queryCoord",
        "queryNode",
        "indexCoord",
        "indexNode",
        "dataCoord",
        "dataNode",
        "proxy",
    )
    assert {role: tree[role]["port"] for role in roles} == {role: PORTS[role] for role in roles}
    assert tree["proxy"]["internalPort"] == PORTS["proxyInternal"]
    assert tree["common"]["storageType"] == "local"
    assert tree["common"]["security"]["tlsMode"] == 0
    for path in (tree["localStorage"]["path"], tree["rocksmq"]["path"], tree["etcd"]["data"]["dir"]):
        assert Path(path).is_relative_to(tmp_path)


def test_etcd_endpoints_keep_the_shape_of_the_server_version(tmp_path: Path) -> None:
    endpoint = f"127.0.0.1:{PORTS['etcdClient']}"
    assert milvus_config(TEMPLATE_2_3, home=tmp_path, ports=PORTS)["etcd"]["endpoints"] == endpoint
    assert milvus_config(TEMPLATE_2_2, home=tmp_path, ports=PORTS)["etcd"]["endpoints"] == [endpoint]


def test_etcd_listens_on_loopback_only(tmp_path: Path) -> None:
    urls = [value for key, value in etcd_config(tmp_path, PORTS).items() if key.endswith("urls")]
    assert len(urls) == 4
    assert all(url.startswith("http://127.0.0.1:") for url in urls)


def test_an_s3_target_becomes_the_minio_section(tmp_path: Path) -> None:
    tree = milvus_config(TEMPLATE_2_3, home=tmp_path, ports=PORTS, storage=S3)
    assert tree["common"]["storageType"] == "minio"
    assert tree["minio"]["secretAccessKey"] == "the-secret"
    assert (tree["minio"]["bucketName"], tree["minio"]["rootPath"]) == ("a-bucket", "files")


def test_overrides_win_and_may_name_new_keys(tmp_path: Path) -> None:
    overrides = {"common.storageType": "else", "dataCoord.segment.assignmentExpiration": 200}
    tree = milvus_config(TEMPLATE_2_3, home=tmp_path, ports=PORTS, overrides=overrides)
    assert tree["common"]["storageType"] == "else"
    assert tree["dataCoord"]["segment"]["assignmentExpiration"] == 200
    assert tree["dataCoord"]["port"] == PORTS["dataCoord"]


def test_the_secret_is_in_no_repr_and_its_file_is_the_owners(tmp_path: Path) -> None:
    assert "the-secret" not in repr(S3)
    home = tmp_path / "home"
    write_configs(
        home, milvus_config(TEMPLATE_2_3, home=home, ports=PORTS, storage=S3), etcd_config(home, PORTS)
    )
    written = home / "configs" / "milvus.yaml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert yaml.safe_load(written.read_text())["minio"]["accessKeyID"] == "the-key"


def test_chosen_ports_are_distinct_and_free() -> None:
    ports = free_ports(12)
    assert len(set(ports)) == 12
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_a_port_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = free_ports(2)
    monkeypatch.setattr("random.sample", lambda *_, **__: [first, second])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", first))
        listener.listen()
        assert free_ports(1) == [second]


@pytest.mark.parametrize(
    ("system", "machine", "libc", "said"),
    [
        ("Darwin", "arm64", "", "macOS on arm64"),
        ("Windows", "AMD64", "", "Windows on AMD64"),
        ("Linux", "aarch64", "glibc", "Linux on aarch64"),
        ("Linux", "x86_64", "", "glibc"),
    ],
)
def test_other_platforms_are_told_why(system: str, machine: str, libc: str, said: str) -> None:
    reason = wheel.platform_reason(system, machine, libc)
    assert reason is not None
    assert said in reason
    assert "\n" not in reason


def test_linux_on_x86_64_is_supported() -> None:
    assert wheel.platform_reason("Linux", "x86_64", "glibc") is None


def test_an_unsupported_platform_is_pointed_at_a_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(wheel, "this_platform_reason", lambda: "no embedded Milvus for macOS on arm64")
    with raised(MilvusUnavailable, "embedded-milvus-unsupported") as caught:
        EmbeddedMilvus(tmp_path)
    assert "mbk demo --milvus-address HOST --milvus-port PORT" in (caught.value.hint or "")


def test_a_missing_package_is_mended_by_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wheel, "this_platform_reason", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with raised(MissingDependency, "embedded-milvus-missing") as caught:
        EmbeddedMilvus(tmp_path)
    assert caught.value.hint == "pip install milvus==2.3.5"
    said = wheel.embedded_supported()
    assert said is not None
    assert "pip install" in said


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    package = tmp_path / "milvus"
    (package / "data" / "bin").mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n__version__ = '9.8.7'\n")
    (package / "data" / "bin" / "milvus.lzma").write_bytes(lzma.compress(b"#!/bin/sh\n"))
    (package / "data" / "bin" / "libx.so.1.lzma").write_bytes(lzma.compress(b"library"))
    return package


def test_binaries_are_unpacked_once(packed: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    binaries = wheel.unpack_server(packed, cache)
    assert binaries.name == "milvus-9.8.7"
    assert (binaries / "libx.so.1").read_bytes() == b"library"
    assert os.access(binaries / "milvus", os.X_OK)
    marker = (binaries / "milvus").stat().st_ino
    assert wheel.unpack_server(packed, cache) == binaries
    assert (binaries / "milvus").stat().st_ino == marker


def test_the_progress_of_unpacking_is_told(packed: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    wheel.unpack_server(packed, tmp_path / "cache", lines.append)
    assert lines[0].startswith("unpacking Milvus (")
    assert lines[-1] == "unpacking Milvus: 100%"
    told = [*lines]
    wheel.unpack_server(packed, tmp_path / "cache", lines.append)
    assert lines == told


def test_a_failed_unpack_leaves_nothing_to_believe(packed: Path, tmp_path: Path) -> None:
    (packed / "data" / "bin" / "libx.so.1.lzma").write_bytes(b"not lzma")
    with raised(MbkError, "embedded-milvus-damaged"):
        wheel.unpack_server(packed, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unwritable_cache_is_said_in_one_line(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raised(MbkError, "embedded-milvus-unpack-failed", path=str(tmp_path / "file" / "cache")) as caught:
        wheel.unpack_server(packed, tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_a_panic_is_the_reason_and_the_stacks_are_not() -> None:
    output = "starting\npanic: listen tcp :1: no luck\n\n" + "goroutine 1 [running]:\n\tmain.go:1\n" * 500
    report = dead_server_report(output)
    assert report.reason == "panic: listen tcp :1: no luck"
    assert report.excerpt.startswith("starting\npanic:")
    assert len(report.excerpt.splitlines()) == 20


def test_without_a_panic_the_last_error_of_its_own_is_the_reason() -> None:
    output = '[ERROR] [error="The key is unknown."]\n[WARN] [error="find no available datacoord"]\n[DEBUG] waiting\n'
    assert dead_server_report(output).reason == "The key is unknown."


def test_a_silent_death_and_secrets_are_handled() -> None:
    assert dead_server_report("").reason == ""
    report = dead_server_report("panic: bad the-secret", secrets=("the-secret",))
    assert "the-secret" not in report.reason + report.excerpt


def test_a_taken_port_is_noticed() -> None:
    assert port_was_taken("panic: listen tcp :38921: bind: address already in use")
    assert port_was_taken('["Proxy get available port when init"] [Port=45881]')
    assert not port_was_taken("Proxy successfully started")


def test_a_server_that_dies_at_once_is_reported_and_leaves_no_process(packed: Path, tmp_path: Path) -> None:
    script = b"#!/bin/sh\necho 'panic: no disk'\nexit 3\n"
    (packed / "data" / "bin" / "milvus.lzma").write_bytes(lzma.compress(script))
    (packed / "data" / "config.yaml.template").write_text(TEMPLATE_2_3)
    server = EmbeddedMilvus(tmp_path / "home", wheel=packed, cache=tmp_path / "cache", storage=S3)
    with raised(
        MilvusUnavailable,
        "embedded-milvus-failed",
        version="9.8.7",
        reason="exited while starting (panic: no disk)",
    ):
        server.start()
    assert server.pid is None


def test_the_guard_ends_its_command_when_its_parent_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ > {note}.part; mv {note}.part {note}; while :; do sleep 0.1; done"
    order = {"grace": 0.2, "command": ["/bin/sh", "-c", script], "env": {"PATH": os.environ["PATH"]}}
    parent_code = (
        "import json, os, subprocess, sys, time;"
        f"order = {order!r} | {{'parent': os.getpid()}};"
        f"subprocess.Popen([sys.executable, '-I', '-S', {_guard.__file__!r}, json.dumps(order)]); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code]) as parent:
        until(note.exists)
        parent.kill()
    command = int(note.read_text())
    until(lambda: not alive(command))


def test_the_guard_starts_nothing_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    order = {"parent": 1, "grace": 0.1, "command": ["/bin/sh", "-c", f"touch {tmp_path}/ran"], "env": {}}
    done = subprocess.run(
        [sys.executable, "-I", "-S", _guard.__file__, json.dumps(order)], timeout=30, check=False
    )
    assert done.returncode == 0
    assert not (tmp_path / "ran").exists()


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.05)
