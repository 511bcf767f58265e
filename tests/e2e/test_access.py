"""A Milvus that wants a login, and one that is not there: one clear line and the right exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.milvus_servers import milvus_local
from tests.e2e.site import Site, Tree, local_storage, make_site
from tests.shell import said_in

LOGIN = {"user": "root", "password": "Milvus"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    settings = {"common.security.authorizationEnabled": True}
    with milvus_local(tmp_path_factory.mktemp("guarded"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def coll(guarded: EmbeddedMilvus) -> Iterator[Coll]:
    with Clients(guarded, **LOGIN) as clients:
        yield data.plain(clients, "default", "coll")


def _site(server: EmbeddedMilvus, home: Path, milvus: Tree) -> Site:
    (home / "backups").mkdir(exist_ok=True)
    return make_site(
        home / "backup.yaml",
        server,
        local_storage(server.storage_root),
        local_storage(home / "backups"),
        milvus=milvus,
    )


def test_with_the_right_password_everything_works(
    guarded: EmbeddedMilvus, coll: Coll, tmp_path: Path
) -> None:
    site = _site(guarded, tmp_path, LOGIN)
    site.mbk("create", "-n", "login", "--filter", "coll")
    site.mbk("restore", "-n", "login", "-s", "_back", "--rebuild_index")
    assert_same(coll, coll.moved("coll_back"))


@pytest.mark.parametrize(
    "login",
    [{}, {"user": "root", "password": "Wr0ng-secret"}, {"user": "nobody", "password": "Wr0ng-secret"}],
)
@pytest.mark.parametrize("command", ["create", "restore", "check"])
def test_a_wrong_login_is_one_line_and_exit_code_6(
    login: Tree, command: str, guarded: EmbeddedMilvus, coll: Coll, tmp_path: Path
) -> None:
    if command == "restore":
        _site(guarded, tmp_path, LOGIN).mbk("create", "-n", "login", "--strategy", "meta_only")
    site = _site(guarded, tmp_path, login)
    words = (
        (command,) if command == "check" else (command, "-n", "login" if command == "restore" else "denied")
    )
    done = site.mbk(*words, code=6)
    assert "Wr0ng-secret" not in done.stdout + done.stderr
    if command != "check":
        assert len(said_in(done.stderr)) == 1
    assert "denied" not in [item["name"] for item in site.json("list")]


def test_a_server_that_is_not_there_is_one_line_and_exit_code_7(
    guarded: EmbeddedMilvus, tmp_path: Path
) -> None:
    # Nobody listens on port 1.
    site = _site(guarded, tmp_path, {"grpc": {"address": "127.0.0.1", "port": 1}})
    done = site.mbk("create", "-n", "unreachable", code=7)
    assert len([line for line in done.stderr.splitlines() if "error" in line.lower()]) == 1
    assert site.json("list") == []
