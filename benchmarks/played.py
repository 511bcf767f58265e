"""One whole `create` of mbk in a process of its own, over real storages and a played Milvus.

    python -m benchmarks.played '<json file>'

`Played` says which collections and segments there are; their objects lie in the storage, where `benchmarks.copying` put
them.
"""

# ruff: noqa: ARG002 - the port says which arguments there are

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbk.engine.operations import create
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.limits import Limits, TransferLimits
from mbk.engine.runtime.run import Run
from mbk.model.options import CreateOptions
from mbk.ports.milvus.values import SegmentInfo
from mbk.ports.storage import Storage

FIRST = 460_000_000_000_000_000
ROOT = "files/"


@dataclass(frozen=True, slots=True)
class Shape:
    """``collections`` of as many ``segments`` each, of one log for each of ``fields``."""

    collections: int = 6
    segments: int = 69
    fields: int = 10

    @property
    def objects(self) -> int:
        return self.collections * self.segments * self.fields

    def collection(self, number: int) -> int:
        return FIRST + number

    def partition(self, number: int) -> int:
        return FIRST + 1000 + number

    def segment(self, collection: int, number: int) -> int:
        """Ids as a time service gives them: they grow, and others lie between them."""
        return FIRST + 10_000_000 * (collection + 1) + 137 * self.fields * number

    def names(self) -> list[str]:
        """Of all objects, below the root."""
        return [
            f"insert_log/{self.collection(c)}/{self.partition(c)}/{segment}/{field if field < 2 else 98 + field}/"
            f"{segment + 1 + field}"
            for c in range(self.collections)
            for number in range(self.segments)
            for segment in (self.segment(c, number),)
            for field in range(self.fields)
        ]


def played(shape: Shape, storage: Storage) -> Any:
    from tests.fakes.milvus import V2_3, FakeMilvus, Feature

    class Played(FakeMilvus):
        def persistent_segments(self, database: str, collection: str) -> list[SegmentInfo]:
            number = int(collection.removeprefix("c"))
            return [
                SegmentInfo(shape.segment(number, segment), shape.partition(number), 1000)
                for segment in range(shape.segments)
            ]

    server = Played(storage, features=V2_3 - {Feature.COUNT})
    for number in range(shape.collections):
        made = server.add(f"c{number}")
        made.id, made.partitions = shape.collection(number), {"_default": shape.partition(number)}
    return server


def opened(kind: str, settings: dict[str, Any]) -> Storage:
    """``kind``: ``s3`` with mbk's settings, or ``local`` with a directory."""
    if kind == "s3":
        from mbk_s3.settings import GenericSettings
        from mbk_s3.storage import open_storage

        return open_storage(GenericSettings(**settings))
    from mbk_local.storage import LocalStorage

    return LocalStorage(settings["directory"])


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    source, backup = opened(*job["source"]), opened(*job["backup"])
    context = ClusterContext(
        run=Run(),
        milvus=played(Shape(**job["shape"]), source),
        storage=source,
        backup_storage=backup,
        limits=Limits(transfer=TransferLimits(mode=job["mode"])),
    )
    report = create.execute(context, job["name"], CreateOptions())
    copied = sum(item.objects for item in report.collections)
    if copied != Shape(**job["shape"]).objects:
        raise SystemExit(f"{copied} objects copied")


if __name__ == "__main__":
    main()
