"""`verify` of snapshots: compared with the record byte for byte, and never parsed."""

from __future__ import annotations

from typing import cast

import pytest

from mbk.engine.operations import verify
from mbk.errors import DamageFound
from mbk.model.options import VerifyOptions
from mbk.model.reports import VerifyReport
from mbk.model.states import Depth, FindingKind
from tests.unit.engine.formats.snapshot.test_snapshots import SnapshotWorld


@pytest.fixture
def made() -> SnapshotWorld:
    world = SnapshotWorld()
    world.create()
    return world


def run(world: SnapshotWorld, depth: Depth) -> VerifyReport:
    try:
        return verify.execute(world.context(), "nightly", VerifyOptions(depth=depth))
    except DamageFound as found:
        return cast("VerifyReport", found.report)


def kinds(report: VerifyReport) -> dict[str, FindingKind]:
    return {item.key: item.kind for item in report.findings}


@pytest.mark.parametrize("depth", [Depth.LISTING, Depth.DIGESTS, Depth.CONTENTS, Depth.DRILL])
def test_nothing_is_found_in_a_whole_snapshot(made: SnapshotWorld, depth: Depth) -> None:
    report = run(made, depth)
    assert (report.findings, report.recorded) == ((), True)
    assert {item.name for item in report.collections} == {"default.docs", "other.logs"}
    if depth is Depth.CONTENTS:
        assert all(item.read == item.proven == item.objects for item in report.collections)
        assert not any(item.parsed for item in report.collections)


@pytest.mark.parametrize("depth", [Depth.LISTING, Depth.DIGESTS, Depth.CONTENTS])
def test_missing_and_strange_files_of_a_bundle_are_found(made: SnapshotWorld, depth: Depth) -> None:
    keys = sorted(made.bundle)
    made.backup.delete([keys[0]])
    made.backup.write("backup/nightly/bundle/strange", [b"?"])
    made.backup.write("backup/nightly/bundle/files/insert_log/1/2/3/4/5", [b"?"])
    assert kinds(run(made, depth)) == {
        keys[0].removeprefix("backup/nightly/"): FindingKind.MISSING,
        "bundle/strange": FindingKind.EXTRA,
        "bundle/files/insert_log/1/2/3/4/5": FindingKind.EXTRA,
    }


def test_other_bytes_in_a_bundle_are_found(made: SnapshotWorld) -> None:
    key, content = max(made.bundle.items(), key=lambda item: len(item[1]))
    made.backup.write(key, [bytes([content[0] ^ 1]) + content[1:]])
    name = key.removeprefix("backup/nightly/")
    assert kinds(run(made, Depth.DIGESTS)) == {name: FindingKind.CHANGED}
    assert kinds(run(made, Depth.CONTENTS)) == {name: FindingKind.DAMAGED}
