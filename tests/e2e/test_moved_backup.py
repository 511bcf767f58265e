"""A backup that was made in a directory is moved by plain file tools into a bucket, and restored from there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Tree, local_storage, make_site, s3_storage
from tests.e2e.world import binary_with_history
from tests.servers.azurite import azurite
from tests.servers.process import HOST
from tests.servers.s3 import ministack


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def colls(clients: Clients) -> tuple[Coll, Coll]:
    """Several segments and deletes; and one plain segment."""
    database = clients.database("moving")
    return binary_with_history(clients, database), data.plain(clients, database, "plain")


@pytest.fixture(scope="module")
def directory(
    milvus: EmbeddedMilvus, colls: tuple[Coll, Coll], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where ``mbk --storage local create`` has put backup ``moved``."""
    home = tmp_path_factory.mktemp("directory")
    backups = home / "backups"
    backups.mkdir()
    site = make_site(home / "backup.yaml", milvus, local_storage(milvus.storage_root), local_storage(backups))
    wanted = ",".join(str(coll) for coll in colls)
    site.mbk("--storage", "local", "create", "-n", "moved", "--filter", wanted)
    return backups


def to_s3(directory: Path, stack: ExitStack, _home: Path) -> Tree:
    server = stack.enter_context(ministack()).user("mover", "moved-*")
    server.make_bucket("moved-here")
    client = server.client()
    for name, file in files(directory):
        client.put_object(Bucket="moved-here", Key=f"some/where/{name}", Body=file.read_bytes())
    return s3_storage(server, "moved-here", "some/where")


def to_azure(directory: Path, stack: ExitStack, _home: Path) -> Tree:
    account = stack.enter_context(azurite())["alpha"]
    account.make_bucket("moved-here")
    container = stack.enter_context(account.client()).get_container_client("moved-here")
    for name, file in files(directory):
        container.upload_blob(name, file.read_bytes())
    return {
        "provider": "azure",
        "address": HOST,
        "port": account.port,
        "useSSL": False,
        "accountName": account.name,
        "bucketName": "moved-here",
        "rootPath": "",
        "auth": {"type": "sharedKey", "accountKey": account.key},
    }


def to_another_directory(directory: Path, _stack: ExitStack, home: Path) -> Tree:
    shutil.copytree(directory, home / "elsewhere")
    return local_storage(home / "elsewhere")


def files(directory: Path) -> Iterator[tuple[str, Path]]:
    for file in directory.rglob("*"):
        if file.is_file():
            yield file.relative_to(directory).as_posix(), file


@pytest.mark.parametrize("move", [to_s3, to_azure, to_another_directory], ids=lambda move: move.__name__)
def test_a_moved_backup_is_restored(
    move: object, directory: Path, milvus: EmbeddedMilvus, colls: tuple[Coll, Coll], tmp_path: Path
) -> None:
    assert callable(move)
    suffix = f"_{move.__name__}"
    with ExitStack() as stack:
        storage = move(directory, stack, tmp_path)
        site = make_site(tmp_path / "backup.yaml", milvus, local_storage(milvus.storage_root), storage)
        (listed,) = site.json("list")
        assert (listed["name"], listed["state"]) == ("moved", "complete")
        site.mbk("restore", "-n", "moved", "-s", suffix, "--rebuild_index")
    for coll in colls:
        assert_same(coll, coll.moved(f"{coll.name}{suffix}"))


def test_a_moved_backup_is_restored_from_the_pool_and_self_contained_again(
    directory: Path, milvus: EmbeddedMilvus, colls: tuple[Coll, Coll], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        storage = to_s3(directory, stack, tmp_path)
        site = make_site(tmp_path / "backup.yaml", milvus, local_storage(milvus.storage_root), storage)
        taken = site.json("import", "-n", "moved", "--yes")
        assert taken["transfer"]["objects"].keys() == {"server"}
        assert [entry["name"] for entry in site.json("ls", "moved")] == ["meta/"]
        site.mbk("verify", "-n", "moved", "--depth", "contents")
        copied = site.json("cp", "moved", "beside")["transfer"]["objects"]
        assert copied["kept"] == taken["transfer"]["objects"]["server"]
        site.mbk("restore", "-n", "beside", "-s", "_pooled", "--rebuild_index")
        alone = tmp_path / "alone"
        site.mbk("cp", "beside", f"{alone}/", "--layout", "classic")
        there = make_site(
            tmp_path / "there.yaml", milvus, local_storage(milvus.storage_root), local_storage(alone)
        )
        there.mbk("--storage", "local", "restore", "-n", "beside", "-s", "_alone", "--rebuild_index")
    for coll in colls:
        assert_same(coll, coll.moved(f"{coll.name}_pooled"))
        assert_same(coll, coll.moved(f"{coll.name}_alone"))
