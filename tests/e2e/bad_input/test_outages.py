"""Servers that refuse the login or die in the middle: one line, and everything comes right when they are back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, assert_same
from tests.e2e.milvus_servers import QUICK_RESTART, STABLE_SEGMENTS, milvus_local
from tests.e2e.site import local_storage, s3_storage
from tests.servers.faults import Fault, fault_proxy
from tests.servers.s3 import S3Server, ministack
from tests.shell import Shell, shell

PASSWORD = "at-three-in-the-morning"
NAMES = ("first", "second")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    """2.3.5 with a login; collections ``first`` and ``second`` of 100 rows each."""
    settings = (STABLE_SEGMENTS, QUICK_RESTART, {"common.security.authorizationEnabled": True})
    with milvus_local(tmp_path_factory.mktemp("guarded"), *settings) as server:
        with Clients(server, user="root", password="Milvus") as clients:
            clients["default"].update_password("root", "Milvus", PASSWORD)
        with Clients(server, user="root", password=PASSWORD) as clients:
            for name in NAMES:
                data.plain(clients, "default", name, rows=100, loaded=False)
        yield server


@pytest.fixture(scope="module")
def keeper() -> Iterator[S3Server]:
    with ministack() as server:
        server.make_bucket("backups")
        yield server.user("keeper", "backups")


def user_of(path: Path, server: EmbeddedMilvus, keeper: S3Server, *, password: str = PASSWORD) -> Shell:
    """A shell before the server as it runs now: each start gives it other ports."""
    milvus = {
        "grpc": {"address": server.address, "port": server.port},
        "management": {"endpoint": server.management_url},
        "password": password,
    }
    return shell(
        path / "backup.yaml",
        milvus=milvus,
        storage=local_storage(server.storage_root),
        backup=s3_storage(keeper, "backups", "backup"),
        backup_settings={"concurrency": {"collections": 1}},
        restore={"concurrency": {"collections": 1}},
    )


def kill(server: EmbeddedMilvus) -> None:
    assert server.pid is not None
    os.killpg(server.pid, signal.SIGKILL)


def start_again(server: EmbeddedMilvus) -> None:
    server.stop()
    server.start()


def assert_restored(server: EmbeddedMilvus, suffix: str) -> None:
    with Clients(server, user="root", password=PASSWORD) as clients:
        for name in NAMES:
            source = data.Coll(clients, "default", name)
            source.load()
            assert_same(source, source.moved(f"{name}{suffix}"))
    assert [path.name for path in server.storage_root.glob("restore-temp-*")] == []


@pytest.mark.parametrize(
    "command",
    [("create", "-n", "refused"), ("restore", "-n", "refused", "-s", "_back")],
    ids=["create", "restore"],
)
def test_a_wrong_password_is_told_and_nothing_is_begun(
    command: tuple[str, ...], guarded: EmbeddedMilvus, keeper: S3Server, tmp_path: Path
) -> None:
    user = user_of(tmp_path, guarded, keeper, password="wrong-and-still-a-secret")
    line = user.complaint(*command, code=6)
    assert f"{guarded.address}:{guarded.port}" in line
    assert "milvus.user and milvus.password" in line
    assert "refused" not in user.states()


def test_an_s3_server_that_dies_during_a_create_is_told_and_the_backup_goes_on(
    guarded: EmbeddedMilvus, keeper: S3Server, tmp_path: Path
) -> None:
    user = user_of(tmp_path, guarded, keeper)
    create = ("create", "-n", "torn", "--filter", ",".join(NAMES))
    fault = Fault("stall", "PUT", "binlogs", skip=3, times=10**6)
    with fault_proxy(keeper.port, fault) as proxy:
        command = user.start("--set", f"backup.storage.port={proxy.port}", *create)
        command.until_true(lambda: fault.seen > fault.skip, "stalled request")
    assert f":{proxy.port}" in command.complaint(7)
    assert user.states() == {"torn": "incomplete"}
    user.run(*create, "--resume")
    user.run("restore", "-n", "torn", "-s", "_torn", "--rebuild_index")
    assert_restored(guarded, "_torn")


def test_a_milvus_that_dies_is_told_and_both_commands_go_on_when_it_is_back(
    guarded: EmbeddedMilvus, keeper: S3Server, tmp_path: Path
) -> None:
    """A start of a used home takes long, hence both commands under one death: one is held until it comes."""
    create = ("create", "-n", "orphan", "--filter", ",".join(NAMES))
    restore = ("restore", "-n", "whole", "-s", "_whole", "--rebuild_index")
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    one, two = (user_of(place, guarded, keeper) for place in places)
    one.run("create", "-n", "whole", "--filter", ",".join(NAMES))
    creating = one.start(*create)
    creating.until(r"phase='flush' collection='default\.first'")
    creating.send(signal.SIGSTOP)
    restoring = two.start(*restore)
    restoring.until(r"phase='import' collection='default\.second_whole'")
    kill(guarded)
    creating.send(signal.SIGCONT)
    assert "does not respond" in restoring.complaint(7)
    assert "does not respond" in creating.complaint(7)
    assert {"whole": "complete", "orphan": "incomplete"}.items() <= one.states().items()

    start_again(guarded)
    user = user_of(tmp_path, guarded, keeper)
    user.run(*create, "--resume")
    user.run("restore", "-n", "orphan", "-s", "_orphan", "--rebuild_index")
    user.run(*restore)
    for suffix in ("_orphan", "_whole"):
        assert_restored(guarded, suffix)
