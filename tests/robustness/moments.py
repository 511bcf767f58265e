"""Rounds of backup and restore under writers, on doubles and on real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mbk.demo.embedded import EmbeddedMilvus
from mbk.model.manifest import Manifest
from mbk.session import Session
from tests.e2e.site import local_storage, make_site
from tests.robustness.writing import ALWAYS, CHURN, Findings, Rows, Wire, Writers, by_key, compared
from tests.versions.places import place

#: Seconds at most from the time of a row to its segment, and that a compaction takes, on doubles.
UNDER_WAY = 0.02
COMPACTION = 1.0
THREADS = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with a place for backups. ``rows`` reads a collection, every version of a key."""

    address: str
    session: Callable[[], Session]
    backups: Path
    rows: Callable[[Wire, str], Rows]
    upserts: bool = True

    def round(
        self, name: str, seed: int, *, foreign: bool = False, loaded: bool = True, **options: Any
    ) -> tuple[Findings, tuple[str, ...]]:
        """One backup while clients write, and its restore. Returns also the notices of the backup."""
        wire = Wire(self.address)
        wire.create(name, shards=2)
        writers = Writers(
            self.address, name, seed=seed, threads=THREADS, upserts=self.upserts, foreign=foreign
        )
        writers.fill(wire)
        if loaded:
            wire.load(name)
        with writers.working(), self.session() as session:
            writers.wait()
            made = session.create(name, filter=name, format="binlog")
        with self.session() as session:
            session.restore(name, suffix="_back", **options)
        found = compared(writers, self.rows(wire, f"{name}_back"), self._point(name))
        for each in (name, f"{name}_back"):
            wire.drop(each)
        wire.close()
        return found, made.notices

    def _point(self, name: str) -> int:
        manifest = msgspec.json.decode(
            (self.backups / name / "meta" / "mbk.json").read_bytes(), type=Manifest
        )
        (protection,) = manifest.protection.values()
        assert protection.point, "the backup has no consistency point"
        return protection.point


@contextmanager
def on_double(home: Path, version: str) -> Iterator[Scene]:
    with place(home, version) as found:
        state = found.double.state
        state.under_way_seconds, state.compaction_seconds = UNDER_WAY, COMPACTION

        def rows(_wire: Wire, name: str) -> Rows:
            with state.lock:
                collection = state.collection("default", name)
                field = next(item.fieldID for item in collection.fields if item.name == "version")
                return by_key(
                    (int(row.pk), row.values[field])
                    for segment in collection.live_segments()
                    if segment.readable and not segment.is_l0
                    for row in state.live_rows(collection, segment)
                )

        address = f"{found.double.address}:{found.double.port}"
        yield Scene(address, found.session, home / "backups", rows)


def on_real(home: Path, server: EmbeddedMilvus, *, upserts: bool) -> Scene:
    """A query shows each key once: rows that are there twice show in the count, where the server counts."""
    storage = local_storage(server.storage_root)
    site = make_site(home / "backup.yaml", server, storage, local_storage(home / "backups"))

    def rows(wire: Wire, name: str) -> Rows:
        wire.load(name)
        found = by_key(wire.rows(name, range(ALWAYS + THREADS * CHURN)))
        assert not upserts or wire.count(name) == len(found), "rows are there twice"
        return found

    return Scene(f"{server.address}:{server.port}", site.session, home / "backups", rows, upserts)
