"""The requests that a plan tells are those that the run then makes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mbk.engine.operations import copy, create, restore, verify
from mbk.engine.runtime.context import CopyContext
from mbk.engine.runtime.limits import Limits
from mbk.model.flows import METADATA, Flow, requests_of
from mbk.model.options import CopyOptions, CreateOptions, RestoreOptions, VerifyOptions
from mbk.model.plans import Plan
from mbk.ports.storage import MIB
from mbk.testing import MemoryStorage
from tests.fakes.world import World

#: As the storage calls them, and as a plan does.
KINDS = {"read": "get", "write": "put", "copy": "copy", "stat": "stat"}

#: Of a lease, at most, while a copy of a few objects is made.
RENEWALS = 1


@pytest.fixture
def world() -> World:
    return filled(World(), segments=3)


def filled(world: World, *, segments: int) -> World:
    """Two collections of so many segments each."""
    for name in ("docs", "logs"):
        world.milvus.add(name)
        for number in range(segments):
            world.milvus.insert(name, range(10 * number, 10 * number + 6))
            world.milvus.points.flush("default", name)
    return world


def watched(*storages: MemoryStorage, about: str = "_log/") -> Counter[tuple[str, str]]:
    """What is asked from now on of the objects whose keys hold ``about``, by bucket and kind."""
    seen: Counter[tuple[str, str]] = Counter()

    def watch(storage: MemoryStorage) -> None:
        def fault(operation: str, key: str) -> None:
            if operation in KINDS and about in key:
                seen[storage.location.bucket, KINDS[operation]] += 1

        storage.fault = fault

    for storage in storages:
        watch(storage)
    return seen


def told(plan: Plan) -> dict[tuple[str, str], int]:
    """By side and kind, without listings and what is written beside the objects."""
    counts = Counter(
        {
            (str(side.side), str(kind)): number
            for side in plan.requests
            for kind, number in side.counts.items()
        }
    )
    beside = {"create": ("backups", METADATA), "copy": ("target", 2), "verify": ("backups", 1)}
    if plan.command in beside:
        side, files = beside[plan.command]
        counts[side, "put"] -= files
    return {key: number for key, number in counts.items() if number and key[1] != "list"}


def planned(world: World) -> Plan:
    context = world.context()
    return create.preview(context, create.plan(context, "nightly", CreateOptions()))


def test_a_backup_that_the_service_copies(world: World) -> None:
    plan = planned(world)
    seen = watched(world.storage, world.backup)
    world.create()
    assert told(plan) == {("backups", "copy"): plan.objects}
    assert seen["backups", "copy"] == plan.objects
    assert sum(flow.passing for flow in plan.flows) == 0


def test_a_backup_that_passes_through(world: World) -> None:
    world.transfer = "streaming"
    plan = planned(world)
    assert told(plan) == {("storage", "get"): plan.objects, ("backups", "put"): plan.objects}
    assert [flow.passing for flow in plan.flows] == [plan.size]


@pytest.mark.parametrize("mode", ["auto", "streaming"])
@pytest.mark.parametrize("to", ["", "renamed"])
def test_every_write_of_a_copy_is_told(mode: str, to: str, world: World) -> None:
    """Also the lease, but for its renewals, the manifest and what is written anew for the name: each of them once."""
    world.create()
    world.transfer = mode
    target = MemoryStorage(world.service, "backups", root="archive/")
    context = CopyContext(
        run=world.run(), backup_storage=world.backup, target=target, limits=Limits(transfer=world.limits)
    )
    for _ in range(2):
        options = CopyOptions(to=to, path="archive")
        plan = copy.preview(context, copy.plan(context, "nightly", options))
        seen = watched(target, about="")
        copy.execute(context, "nightly", options)
        counts = {side.side: side.counts for side in plan.requests}["target"]
        assert seen["backups", "copy"] == counts.get("copy", 0)
        assert 0 <= seen["backups", "put"] - counts["put"] <= RENEWALS


@pytest.mark.parametrize("mode", ["auto", "streaming"])
def test_the_writes_of_a_backup_are_told_but_for_two(mode: str, world: World) -> None:
    world.transfer = mode
    plan = planned(world)
    seen = watched(world.backup, about="")
    world.create()
    counts = {side.side: side.counts for side in plan.requests}["backups"]
    assert abs(seen["backups", "put"] - counts["put"]) <= 2


def test_a_large_object_that_passes_through_is_read_and_written_in_parts() -> None:
    flow = Flow(source="storage", to="backups", way="stream", objects=3, size=80 * MIB, large=1, parts=10)
    counts = {side.side: side.counts for side in requests_of([flow])}
    assert counts == {"storage": {"get": 12}, "backups": {"put": 14}}


def test_every_listing_takes_a_page_for_each_thousand_objects(world: World) -> None:
    counts = {side.side: side.counts for side in planned(world).requests}
    assert counts["storage"]["list"] == counts["backups"]["list"] == 2


def test_a_copy_asks_only_for_what_the_target_lacks(world: World) -> None:
    world.create()
    target = MemoryStorage(world.service, "backups", root="archive/")
    context = CopyContext(
        run=world.run(), backup_storage=world.backup, target=target, limits=Limits(transfer=world.limits)
    )

    def plan() -> Plan:
        return copy.preview(context, copy.plan(context, "nightly", CopyOptions(path="archive")))

    first = plan()
    assert told(first) == {("target", "copy"): first.objects}

    def stop(operation: str, key: str) -> None:
        if operation == "copy" and len(world.objects("backups", "archive/nightly/binlogs/")) == 4:
            raise KeyboardInterrupt

    target.fault = stop
    with pytest.raises(KeyboardInterrupt):
        copy.execute(context, "nightly", CopyOptions(path="archive"))
    target.fault = lambda _operation, _key: None
    there = len(world.objects("backups", "archive/nightly/binlogs/"))
    assert told(plan()) == {("target", "copy"): (first.objects or 0) - there}


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"depth": "listing"}, {}),
        ({"depth": "digests"}, {"stat": 1.0}),
        ({"depth": "contents"}, {"get": 1.0}),
        ({"depth": "contents", "sample": 50}, {"get": 0.5}),
    ],
)
def test_a_verification_asks_as_deep_as_it_looks(
    options: dict[str, Any], kinds: dict[str, float], world: World
) -> None:
    world.create()
    context, chosen = world.context(), VerifyOptions.of(None, options)
    plan = verify.preview(context, verify.plan(context, "nightly", chosen))
    wanted = {("backups", kind): int((plan.objects or 0) * share) for kind, share in kinds.items()}
    assert told(plan) == wanted


@pytest.mark.parametrize(
    ("same", "segments", "staged"), [(True, 1, False), (True, 3, True), (False, 1, True), (False, 3, True)]
)
def test_a_restore_tells_what_is_copied_before_milvus_imports_it(
    same: bool, segments: int, staged: bool
) -> None:
    """Milvus reads a backup in its own bucket where it is, but for small segments, which are imported together."""
    world = filled(World(same=same), segments=segments)
    world.create()
    context = world.context()
    plan = restore.preview(
        context, restore.plan(context, "nightly", RestoreOptions.of(None, {"suffix": "_b"}))
    )
    seen = watched(world.storage, world.backup, about="restore-temp")
    world.restore(suffix="_b")
    copies = seen["milvus", "copy"]
    assert (copies > 0) == staged
    assert told(plan) == ({("storage", "copy"): copies} if staged else {})
