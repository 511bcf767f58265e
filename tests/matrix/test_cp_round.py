"""A backup copied by URL from a directory to each vendor's test server and back, and by worker processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbk.config.schema import Settings, StorageChoice, TransferSettings
from mbk.model.states import Depth
from mbk.registry.registry import Registry
from mbk.session import Session
from tests.fakes.world import AT_ONCE, World
from tests.matrix.places import TO, Place, Places


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with backup ``nightly``."""
    world, home = World(), tmp_path_factory.mktemp("backups")
    world.milvus.add("docs")
    world.milvus.insert("docs", range(40))
    world.create()
    for key, data in world.backed_up.items():
        file = home / key.partition("/")[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return home / "nightly"


def files(directory: Path) -> dict[str, bytes]:
    found = (file for file in directory.rglob("*") if file.is_file())
    return {file.relative_to(directory).as_posix(): file.read_bytes() for file in found}


def session(place: Place, registry: Registry, transfer: TransferSettings) -> Session:
    choice = StorageChoice(type=place.type, values={**place.values(place.buckets[TO]), "root_path": "cp"})
    settings = Settings(storage=choice, backup_storage=choice, transfer=transfer)
    return Session(settings, registry=registry, pace=AT_ONCE)


@pytest.mark.parametrize(
    ("kind", "scheme", "executor"),
    [
        ("gcp", "gs", "threads"),
        ("ali", "oss", "threads"),
        ("tc", "cos", "threads"),
        ("minio", "s3", "processes"),
    ],
)
def test_a_backup_comes_back_byte_for_byte(
    kind: str, scheme: str, executor: str, backup: Path, places: Places, registry: Registry, tmp_path: Path
) -> None:
    transfer = TransferSettings.model_validate({"executor": executor, "workers": 2})
    url = f"{scheme}://{places[kind].buckets[TO]}/cp {executor}/nightly"
    count = len(files(backup))
    with session(places[kind], registry, transfer) as opened:
        there = opened.copy(f"file://{backup}", url)
        assert there.transfer.objects == {"stream": count}
        assert not [notice for notice in there.notices if "by size" in notice]
        assert opened.copy(url, f"{tmp_path}/back/").transfer.objects == {"stream": count}
        assert opened.copy(f"file://{backup}", url).transfer.objects == {"kept": count}
    assert files(tmp_path / "back/nightly") == files(backup)


def objects_in(directory: Path) -> dict[str, bytes]:
    return {name: data for name, data in files(directory).items() if name.startswith("binlogs/")}


@pytest.mark.parametrize("kind", ["minio", "azure", "gcp", "ali", "tc"])
def test_a_backup_goes_into_the_pool_of_each_vendor_and_comes_back_self_contained(
    kind: str, backup: Path, places: Places, registry: Registry, tmp_path: Path
) -> None:
    count = len(objects_in(backup))
    with session(places[kind], registry, TransferSettings()) as opened:
        opened.copy(f"file://{backup}", "shared_there")
        taken = opened.import_backup("shared_there")
        assert sum(taken.transfer.objects.values()) == count
        assert not [entry for entry in opened.ls("shared_there") if entry.name == "binlogs/"]
        assert opened.verify("shared_there", depth=Depth.DIGESTS).is_whole
        assert opened.copy("shared_there", "second").transfer.objects["kept"] == count
        opened.copy("shared_there", f"{tmp_path}/pooled/")
        assert opened.copy("second", f"{tmp_path}/pooled/").transfer.objects["kept"] == count
        opened.copy("second", f"{tmp_path}/alone/", layout="classic")
        # Back into the pool, which has all of it already.
        again = opened.copy(f"file://{tmp_path}/alone/second", "third", layout="shared")
        assert again.transfer.objects["kept"] == count
    assert objects_in(tmp_path / "alone/second") == objects_in(backup)
    assert not objects_in(tmp_path / "pooled/second")
