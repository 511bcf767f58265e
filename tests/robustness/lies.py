"""A storage that acknowledges other bytes than it keeps, or gives other bytes than it has, at any one call of `create`."""

from __future__ import annotations

from dataclasses import replace

from mbk.errors import MbkError
from tests.fakes.milvus import V2_4
from tests.fakes.world import World
from tests.robustness.lying import COPIES, READS, WRITES, Liar, Lie
from tests.robustness.table import Table, sample


def filled(*, tells_digests: bool, mode: str) -> World:
    world = World(features=V2_4, workers=1, transfer=mode)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.delete("docs", [1, 9])
    if not tells_digests:
        for storage in (world.storage, world.backup):
            silent = replace(storage.capabilities, checksums=frozenset())
            storage._capabilities = silent
    return world


def lied_to(world: World, lie: Lie, checksum: str) -> str:
    """What is wrong with the backup that `create` calls complete."""
    honest = world.storage, world.backup
    world.storage, world.backup = (Liar(storage, lie) for storage in honest)  # type: ignore[assignment]  # as good as they
    try:
        world.create(checksum=checksum)
    except MbkError:
        return "" if lie.told else "no lie, and an error"
    finally:
        world.storage, world.backup = honest
    own = sorted(
        data
        for kind in ("insert_log", "delta_log")
        for data in world.objects("milvus", f"files/{kind}/").values()
    )
    copied = sorted(data for key, data in world.backed_up.items() if "/binlogs/" in key)
    if own != copied:
        return "other bytes"
    try:
        world.catalog().read("nightly")
    except MbkError as error:
        return str(error)
    return ""


#: How a backup is made, and what then proves its bytes: mode, whether the storages tell digests, ``--checksum``.
WAYS = {
    "copied": ("auto", True, "auto"),
    "streamed": ("streaming", True, "auto"),
    "copied and read back": ("auto", False, "full"),
    "streamed and read back": ("streaming", False, "full"),
}


def tell_all(way: str, table: Table, *, count: int = 0) -> None:
    """Every lie at every call, or at ``count`` of them."""
    mode, tells_digests, checksum = WAYS[way]
    for kind in (*READS, *WRITES, *(COPIES if mode == "auto" else ())):
        honest = Lie(kind)
        assert lied_to(filled(tells_digests=tells_digests, mode=mode), honest, checksum) == ""
        calls = range(1, len(honest.calls[kind.split()[1]]) + 1)
        for at in sample(calls, count, seed=len(calls)):
            lie = Lie(kind, at)
            wrong = lied_to(filled(tells_digests=tells_digests, mode=mode), lie, checksum)
            table.count(way, kind, good=not wrong, what=f"{lie.told}: {wrong}")
