"""A double with its storage, a directory for the backups, and the configuration that leads there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import mbk
from mbk.engine.runtime.pace import ImportPace, Pace
from mbk.engine.runtime.retry import RetryPolicy
from mbk.session import Session
from tests.e2e.site import local_storage
from tests.milvus_double.server import MilvusDouble

#: The double has little to do, and what a test breaks is mended by its next calls, not by the time between them.
QUICK = Pace(
    index=0.02,
    load=0.02,
    drain=0.0,
    standby=0.02,
    retry=RetryPolicy(first=0.02, ceiling=0.1),
    imports=ImportPace(first=0.02, last=0.02),
)


@dataclass(frozen=True, slots=True)
class Place:
    """``config`` is a file as a user writes it; several places may share ``backups``."""

    double: MilvusDouble
    config: Path
    pace: Pace = QUICK

    def session(self, *, pace: Pace | None = None, **sections: dict[str, Any]) -> Session:
        """``sections`` are merged into the file's, for this session alone."""
        overrides = {
            f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()
        }
        return mbk.connect(self.config, overrides=overrides, pace=pace or self.pace)


@contextmanager
def place(directory: Path, version: str, *, backups: Path | None = None, **options: Any) -> Iterator[Place]:
    """A running double with its data in ``directory``; ``options`` as of `MilvusDouble`.

    It lets any number of flushes in: at Milvus' own one in 10 s, filling a collection would take a minute.
    """
    home = directory / "milvus"
    with MilvusDouble(version, home=home, **({"flush_rate": 0} | options)) as double:
        host = double.address
        tree = {
            "configVersion": "v2",
            "log": {"level": "warn"},
            "milvus": {
                "user": "root",
                "password": "Milvus",
                "grpc": {"address": host, "port": double.port},
                "rest": {"endpoint": double.rest_url},
                "management": {"endpoint": double.management_url},
                "storage": local_storage(home),
            },
            "backup": {"storage": local_storage(backups or directory / "backups")},
        }
        config = directory / "backup.yaml"
        config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        yield Place(double, config)
