"""``restore --at`` of incremental backups of a real Milvus that is written to all the time: every row of the moment that is told."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from pathlib import Path

from mbk.engine.repository.timeline import hybrid_of
from tests.e2e.milvus_servers import milvus_local
from tests.robustness.moments import THREADS, Scene, on_real
from tests.robustness.writing import Wire, Writers, compared

BACKUPS = 4
SEED = 1
#: Writes between two of them.
WRITES = 400


def taken(scene: Scene, writers: Writers) -> list[float]:
    """Makes incremental backups while the writers work. Returns the time at which each was complete."""
    complete = list[float]()
    with writers.working(), scene.session() as session:
        for number in range(BACKUPS):
            session.create(f"b{number}", filter="docs", incremental=True)
            complete.append(time.time())
            writers.wait(writers.ops + WRITES)
    return complete


def test_rows_of_any_moment_come_back(tmp_path: Path) -> None:
    with milvus_local(tmp_path / "milvus") as server:
        scene = on_real(tmp_path, server, upserts=True)
        wire = Wire(scene.address)
        wire.create("docs", shards=2)
        writers = Writers(scene.address, "docs", seed=SEED, threads=THREADS)
        writers.fill(wire)
        wire.load("docs")
        complete = taken(scene, writers)
        wire.drop("docs")
        dropped = time.time()
        chance = random.Random(SEED)
        names = set[str]()
        for asked in (*(chance.uniform(start, dropped) for start in complete[:-1]), dropped):
            at = datetime.fromtimestamp(asked, UTC)
            with scene.session() as session:
                report = session.restore(None, at=at, suffix="_back")
            names.add(report.name)
            (outcome,) = report.collections
            assert outcome.moment is not None
            assert outcome.moment <= at
            assert compared(writers, scene.rows(wire, "docs_back"), hybrid_of(outcome.moment)).faults == (
                0,
                0,
                0,
            )
            wire.drop("docs_back")
        assert report.name == f"b{BACKUPS - 1}", (
            "what was there when it was dropped is nearest to the last one"
        )
        assert len(names) > 1
        wire.close()
