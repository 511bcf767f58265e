"""What a user meets who asks for the wrong thing, where no Milvus is needed to find out. Real processes and servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM
from typing import Any

import pytest

from tests.servers.faults import Fault, fault_proxy
from tests.servers.process import HOST, free_port
from tests.servers.s3 import S3Server, ministack
from tests.shell import Shell, shell

Tree = dict[str, Any]


def bucket(server: S3Server, name: str, **more: Any) -> Tree:
    auth = {"type": "static", "accessKeyID": server.access_key, "secretAccessKey": server.secret_key}
    tree = {"provider": "s3", "address": server.host, "port": server.port, "useSSL": False, "auth": auth}
    return {**tree, "bucketName": name, "rootPath": "backup", **more}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """An account that may do everything with bucket ``mine``; bucket ``theirs`` is somebody else's."""
    with ministack() as server:
        server.make_bucket("mine")
        server.make_bucket("theirs")
        yield server.user("alice", "mine", "nowhere")


@pytest.fixture
def local(tmp_path: Path) -> Tree:
    (tmp_path / "data").mkdir()
    return {"provider": "local", "rootPath": str(tmp_path / "data")}


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        listener.listen(16)
        yield listener.getsockname()[1]


def make(
    tmp_path: Path, storage: Tree, *, backup: Tree | None = None, port: int | None = None, **env: str
) -> Shell:
    grpc = {"address": HOST, "port": port or free_port()}
    made = shell(
        tmp_path / "backup.yaml", milvus={"grpc": grpc}, storage=storage, backup=backup or {"rootPath": "b"}
    )
    return Shell(made.config, made.secrets, env)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "meant"), [("minoi", "'minio'"), ("loacl", "'local'"), ("awz", "'aws'")])
@pytest.mark.parametrize("option", ["", "--storage", "--backup-storage"])
def test_an_unknown_storage_type_is_told_with_the_nearest_name(
    typed: str, meant: str, option: str, tmp_path: Path, local: Tree
) -> None:
    user = make(tmp_path, local if option else local | {"provider": typed})
    line = user.complaint(*([option, typed] if option else []), "list", code=2)
    assert repr(typed) in line
    assert meant in line


@pytest.mark.parametrize("name", ["a/b", "../up", "a b", "9lives", "tag-1", "…", "a" * 129])
def test_an_invalid_backup_name_is_told_with_the_rule(name: str, tmp_path: Path, local: Tree) -> None:
    line = make(tmp_path, local).complaint("create", "-n", name, code=2)
    assert repr(name) in line
    assert "digits" in line


@pytest.mark.parametrize("command", [("get",), ("delete", "--yes")], ids=lambda words: words[0])
def test_a_backup_that_is_not_there_is_told_with_the_place(
    command: tuple[str, ...], tmp_path: Path, local: Tree
) -> None:
    backups = tmp_path / "backups"
    user = make(tmp_path, local, backup={"rootPath": str(backups)})
    backups.mkdir()
    line = user.complaint(*command, "-n", "never_made", code=4)
    assert "'never_made'" in line
    assert str(backups) in line
    assert "mbk list" in line


# -- what is missing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["minio", "s3", "aws"])
def test_a_missing_sdk_is_told_as_the_pip_install(storage: str, tmp_path: Path, s3: S3Server) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    hide = "import sys\nsys.modules |= dict.fromkeys(['boto3', 'botocore', 's3transfer'])\n"
    (hidden / "sitecustomize.py").write_text(hide, encoding="utf-8")
    user = make(tmp_path, bucket(s3, "mine", provider=storage), PYTHONPATH=str(hidden))
    line = user.complaint("list", code=2)
    assert "boto3" in line
    assert "pip install 'boto3>=" in line


# -- the wrong bucket, the wrong key -----------------------------------------------------------------------------------


def test_a_wrong_secret_key_is_an_authentication_failure(tmp_path: Path, s3: S3Server) -> None:
    tree = bucket(s3, "mine")
    tree["auth"]["secretAccessKey"] = "wrong-and-still-a-secret"
    line = make(tmp_path, tree).complaint("list", code=6)
    assert f"{s3.host}:{s3.port}" in line
    assert "secretaccesskey" in "".join(line.lower().split())


def test_an_unknown_access_key_is_an_authentication_failure(tmp_path: Path, s3: S3Server) -> None:
    tree = bucket(s3, "mine")
    tree["auth"]["accessKeyID"] = "AKIDNOBODY"
    line = make(tmp_path, tree).complaint("list", code=6)
    assert "accesskeyid" in "".join(line.lower().split())


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, s3: S3Server) -> None:
    line = make(tmp_path, bucket(s3, "nowhere")).complaint("list", code=4)
    assert "nowhere" in line
    assert "bucketName" in line


def test_a_bucket_of_somebody_else_is_a_denied_permission(tmp_path: Path, s3: S3Server) -> None:
    assert "theirs" in make(tmp_path, bucket(s3, "theirs")).complaint("list", code=6)


# -- who does not answer -----------------------------------------------------------------------------------------------


def test_an_s3_server_that_is_away_is_named(tmp_path: Path, s3: S3Server) -> None:
    port = free_port()
    line = make(tmp_path, bucket(s3.behind(port), "mine")).complaint("list", code=7)
    assert f"{HOST}:{port}" in line


@pytest.mark.parametrize(
    "command",
    [("create", "-n", "nightly"), ("restore", "-n", "nightly", "-s", "_back")],
    ids=lambda words: words[0],
)
def test_a_milvus_that_is_away_is_named_and_no_backup_is_begun(
    command: tuple[str, ...], tmp_path: Path, local: Tree
) -> None:
    port = free_port()
    user = make(tmp_path, local, backup={"rootPath": str(tmp_path / "backups")}, port=port)
    (tmp_path / "backups").mkdir()
    line = user.complaint(*command, code=7)
    assert f"{HOST}:{port}" in line
    assert "milvus.grpc.address" in line
    assert user.states() == {}


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_milvus_does_not_answer_ends_the_run(tmp_path: Path, local: Tree, silent: int) -> None:
    user = make(tmp_path, local, backup={"rootPath": str(tmp_path / "backups")}, port=silent)
    (tmp_path / "backups").mkdir()
    command = user.start("create", "-n", "nightly")
    command.until("run.started")
    assert "mbk create -n nightly --resume" in command.interrupted()
    assert user.states() == {}


def test_one_signal_ends_a_run_whose_storage_is_silent(s3: S3Server, tmp_path: Path) -> None:
    user = make(tmp_path, bucket(s3, "mine"))
    s3.client().put_object(Bucket="mine", Key="b/nightly/meta/backup_meta.json", Body=b"{}")
    with fault_proxy(s3.port, Fault("stall", method="GET", target="meta", times=100)) as proxy:
        command = user.start("--set", f"milvus.storage.port={proxy.port}", "list")
        command.until_true(lambda: any("meta" in request.target for request in proxy.requests), "request")
        assert command.interrupted(SIGINT) == "interrupted"


def test_a_third_ctrl_c_does_not_wait_for_a_server_that_has_stalled(tmp_path: Path, s3: S3Server) -> None:
    user = make(tmp_path, bucket(s3, "mine"))
    s3.client().put_object(Bucket="mine", Key="b/nightly/meta/backup_meta.json", Body=b"{}")
    with fault_proxy(s3.port, Fault("stall", method="GET", target="meta", times=100)) as proxy:
        command = user.start("--set", f"milvus.storage.port={proxy.port}", "list")
        command.until_true(lambda: any("meta" in request.target for request in proxy.requests), "request")
        # Three kinds, because signals of one kind that wait are delivered as one.
        command.send(SIGINT)
        command.send(SIGTERM)
        assert command.interrupted(SIGHUP) == "interrupted"
