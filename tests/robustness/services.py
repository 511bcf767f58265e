"""A double whose data and backups lie in a real S3 service, through a proxy that a sweep may make fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

import mbk
from mbk.engine.runtime.pace import Pace
from mbk.registry.registry import Registry
from mbk.session import Session
from mbk_s3.settings import MinioSettings
from mbk_s3.storage import open_storage
from tests.e2e.data import Clients, Coll
from tests.e2e.site import s3_storage
from tests.milvus_double.server import MilvusDouble
from tests.robustness.pace import CALM
from tests.robustness.scene import NAME, fill
from tests.servers.faults import FaultProxy, fault_proxy
from tests.servers.s3 import S3Server, ministack
from tests.versions.everything import rows_of

MILVUS, BACKUPS, ROOT = "milvus", "backups", "files"


@dataclass(slots=True)
class Services:
    """``exact`` are the rows of the one collection, as the double keeps them, ``data`` the bytes of its objects, sorted."""

    double: MilvusDouble
    direct: S3Server
    proxy: FaultProxy
    directory: Path
    coll: Coll
    exact: Any
    data: list[bytes] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def fresh(self) -> str:
        """A root for the backups of one trial."""
        return f"trial-{next(self._numbers)}"

    def session(
        self, root: str, *, registry: Registry | None = None, pace: Pace = CALM, **sections: Any
    ) -> Session:
        through = self.direct.behind(self.proxy.port)
        tree = {
            "configVersion": "v2",
            "log": {"level": "error"},
            "milvus": {
                "grpc": {"address": self.double.address, "port": self.double.port},
                "rest": {"endpoint": self.double.rest_url},
                "management": {"endpoint": self.double.management_url},
                "storage": s3_storage(through, MILVUS, ROOT),
            },
            "backup": {"storage": s3_storage(through, BACKUPS, root)},
            **sections,
        }
        file = self.directory / f"{root}.yaml"
        file.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return mbk.connect(file, registry=registry, pace=pace)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """By key below the prefix, read past the proxy and past mbk."""
        client = self.direct.client()
        found: dict[str, bytes] = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                found[entry["Key"].removeprefix(prefix)] = body
        return found

    def uploads(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys of uploads that nobody ended."""
        answer = self.direct.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for item in answer.get("Uploads", ())]

    def rows(self, name: str) -> Any:
        return rows_of(self.double, "default", name)


@contextmanager
def services(directory: Path, version: str) -> Iterator[Services]:
    with ministack() as service, fault_proxy(service.port) as proxy:
        for bucket in (MILVUS, BACKUPS):
            service.make_bucket(bucket)
        storage = open_storage(MinioSettings(**service.settings(MILVUS), root_path=ROOT))
        with (
            MilvusDouble(f"v{version}", storage=storage, root=ROOT, flush_rate=0) as double,
            Clients(double) as clients,
        ):  # type: ignore[arg-type]  # has what a client asks for
            coll = Coll(clients, "default", NAME)
            fill(coll)
            found = Services(double, service, proxy, directory, coll, rows_of(double, "default", NAME))
            found.data = sorted(
                data
                for kind in ("insert_log", "delta_log")
                for data in found.objects(MILVUS, f"{ROOT}/{kind}/").values()
            )
            yield found
