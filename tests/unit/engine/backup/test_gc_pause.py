"""Leases of the garbage collection's pause: renewed, given back, and honest about gaps."""

from __future__ import annotations

import threading

import pytest

from mbk.engine.backup.gc_pause import gc_paused
from mbk.engine.runtime.run import Run
from mbk.errors import MilvusUnavailable, Unsupported
from mbk.ports.milvus.values import Feature
from tests.fakes.milvus import V2_3, V2_6
from tests.fakes.world import QUICK, World


@pytest.mark.parametrize("features", [V2_3, V2_6], ids=["for all", "by collection"])
def test_a_long_run_renews_its_pause_and_gives_all_of_it_back(features: frozenset[Feature]) -> None:
    world = World(features=features)
    renewed = threading.Event()
    held: list[int] = []

    def fault(call: str, _what: str) -> None:
        if call == "pause_gc":
            held.append(world.milvus.gc_paused)
            if len(held) > 3:
                renewed.set()

    world.milvus.fault = fault
    run = Run(policy=QUICK)
    with gc_paused(world.milvus.gc, run, seconds=0, collection_id=7):  # a lease that is always running out
        assert renewed.wait(10)
    assert world.milvus.gc_paused == 0
    assert max(held) == 1, "an older ticket is given back as soon as a newer one is held"
    assert not run.notices


def test_a_lease_that_lapsed_before_it_could_be_renewed_is_no_unbroken_pause() -> None:
    world = World(features=V2_6)
    failed, failing = threading.Event(), threading.Event()

    def fault(call: str, _what: str) -> None:
        if call == "pause_gc" and failing.is_set():
            failed.set()
            raise MilvusUnavailable("no answer")

    world.milvus.fault = fault
    with gc_paused(world.milvus.gc, world.run(), seconds=3600) as long:
        assert long
    with gc_paused(world.milvus.gc, world.run(), seconds=0) as lease:
        failing.set()
        assert failed.wait(10)
    assert not lease
    assert world.milvus.gc_paused == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [(Unsupported("404"), "gc-pause-unsupported"), (MilvusUnavailable("no answer"), "gc-pause-failed")],
)
def test_a_pause_that_cannot_be_had_is_a_notice(error: Exception, code: str) -> None:
    world = World()

    def fault(call: str, _what: str) -> None:
        if call == "pause_gc":
            raise error

    world.milvus.fault = fault
    with gc_paused(world.milvus.gc, world.run(), seconds=3600) as held:
        assert not held
    assert code in world.notices
    assert ("resume_gc", "") not in world.milvus.calls
