"""What a backup finds of one segment in Milvus' storage."""

from __future__ import annotations

from mbk.engine.formats.binlog.discover import SegmentFiles, discover
from mbk.engine.formats.binlog.groups import Group, listed
from mbk.engine.runtime.run import Run
from mbk.model.layout import BackupLayout
from mbk.ports.milvus.values import SegmentInfo
from mbk.ports.storage import Storage
from tests.fakes.world import QUICK

COLLECTION = 10


def discovered(storage: Storage, segment: SegmentInfo, run: Run | None = None) -> SegmentFiles | None:
    run = run or Run(policy=QUICK)
    group = Group(COLLECTION, segment.partition_id, [segment])
    [(_, logs)] = listed(storage, run, storage.location.root, group, inserts=not segment.is_l0)
    place = BackupLayout("backup/", "nightly")
    return discover(storage, place, COLLECTION, segment, logs[segment.id], run)
