"""Storages that lie while a backup is made (tests/fakes/lying.py): caught at `create`, copied again, or refused."""

from __future__ import annotations

import pytest

from mbk.errors import VerificationFailed
from mbk.ports.storage import Capabilities
from mbk.testing.memory import EVERYTHING, MemoryStorage
from tests.fakes.digests import Digesting
from tests.fakes.lying import Lying
from tests.fakes.world import World
from tests.raising import raised

#: The lie, the side that tells it, how objects are copied, and what its object is refused as in the end.
LIES = [
    ("flipped read", "source", "streaming", "read-differs"),
    ("short read", "source", "streaming", "read-size-differs"),
    ("flipped write", "backup", "streaming", "copied-object-differs"),
    ("half write", "backup", "streaming", "copied-size-differs"),
    ("lost write", "backup", "streaming", "copied-object-missing"),
    ("flipped copy", "backup", "auto", "copied-object-differs"),
    ("lost copy", "backup", "auto", "copied-object-missing"),
]
NO_DIGESTS = Capabilities(
    server_side_copy=True, multipart=True, part_copy=True, conditional_write=True, min_part_size=1
)


def world_of(kind: type[MemoryStorage], transfer: str, capabilities: Capabilities = EVERYTHING) -> World:
    world = World(transfer=transfer)
    world.storage = kind(world.service, "milvus", root="files/", capabilities=capabilities)
    world.backup = kind(world.service, "backups", root="backup/", capabilities=capabilities)
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    return world


def lie_to(world: World, lie: str, side: str, *, times: int = 1, silent: bool = False) -> Lying:
    if side == "source":
        world.storage = liar = Lying(world.storage, lie, times=times, silent=silent)
    else:
        world.backup = liar = Lying(world.backup, lie, times=times, silent=silent)
    return liar


def contents(world: World, bucket: str) -> list[bytes]:
    return sorted(data for key, data in world.objects(bucket).items() if "_log/" in key)


@pytest.mark.parametrize("kind", [MemoryStorage, Digesting], ids=["checksums", "etags"])
@pytest.mark.parametrize(("lie", "side", "transfer", "code"), LIES, ids=[lie[0] for lie in LIES])
def test_what_was_lied_about_once_is_copied_again(
    kind: type[MemoryStorage], lie: str, side: str, transfer: str, code: str
) -> None:
    world = world_of(kind, transfer)
    liar = lie_to(world, lie, side)
    report = world.create()
    assert len(liar.lied) == 1
    assert "copied-again" in world.notices
    assert contents(world, "backups") == contents(world, "milvus")
    assert sum(report.transfer.objects.values()) == len(contents(world, "milvus"))


@pytest.mark.parametrize(("lie", "side", "transfer", "code"), LIES, ids=[lie[0] for lie in LIES])
def test_what_is_lied_about_again_and_again_fails_and_names_the_object(
    lie: str, side: str, transfer: str, code: str
) -> None:
    world = world_of(MemoryStorage, transfer)
    liar = lie_to(world, lie, side, times=10**6)
    with raised(VerificationFailed, code) as caught:
        world.create()
    assert caught.value.exit_code == 8
    assert caught.value.facts["key"] in liar.lied
    assert "backup/nightly/meta/full_meta.json" not in world.backed_up


@pytest.mark.parametrize("lie", ["flipped copy", "flipped write"])
def test_full_reads_back_what_a_service_tells_no_digest_of(lie: str) -> None:
    transfer = "auto" if lie == "flipped copy" else "streaming"
    world = world_of(MemoryStorage, transfer, NO_DIGESTS)
    lie_to(world, lie, "backup", silent=True)
    world.create(checksum="full")
    assert "copied-again" in world.notices
    assert contents(world, "backups") == contents(world, "milvus")

    world = world_of(MemoryStorage, transfer, NO_DIGESTS)
    lie_to(world, lie, "backup", silent=True, times=10**6)
    with raised(VerificationFailed, "copied-object-differs"):
        world.create(checksum="full")


@pytest.mark.parametrize(
    ("transfer", "notice"),
    [("auto", "copies-compared-by-size"), ("streaming", "writes-compared-by-size")],
)
def test_a_missing_protection_is_said_once(transfer: str, notice: str) -> None:
    world = world_of(MemoryStorage, transfer, NO_DIGESTS)
    world.create()
    assert world.notices.count(notice) == 1
    world.create("again", checksum="full")
    assert world.notices.count(notice) == 1

    world = world_of(MemoryStorage, transfer)
    world.create()
    assert notice not in world.notices


@pytest.mark.parametrize("transfer", ["auto", "streaming"])
def test_etags_of_encrypted_bytes_are_no_reason_to_fail(transfer: str) -> None:
    """Each side has a salt of its own, so that no etag is a digest of the contents, and none is its copy's."""
    world = world_of(Digesting, transfer)
    world.storage.salt = b"ours"
    world.backup.salt = b"theirs"
    world.create()
    assert contents(world, "backups") == contents(world, "milvus")
