"""Ctrl-C at any instant: what was begun is taken back or can be gone on with, and nothing half done is visible."""

from __future__ import annotations

import threading

import pytest

from mbk.errors import Interrupted
from tests.fakes.milvus import V2_3, V2_4
from tests.fakes.world import Life, World

#: The thread that meets it, and those that were only told.
STOPPED = (KeyboardInterrupt, Interrupted)


class CtrlC(Life):
    """Interrupts once, at operation ``ends_at``; what comes after is the tidying up."""

    def __call__(self, operation: str, what: str) -> None:
        with self._lock:
            self.operations += 1
            now = self.operations == self.ends_at
        if now:
            raise KeyboardInterrupt


class UntilCommit(Life):
    """Notes the operation that commits the backup."""

    committed_at = 0

    def __call__(self, operation: str, what: str) -> None:
        super().__call__(operation, what)
        if operation == "write" and what.endswith("full_meta.json"):
            self.committed_at = self.operations


def ready(*, same: bool) -> World:
    world = World(features=V2_3 if same else V2_4, same=same)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12))
    world.milvus.insert("docs", range(12, 15), partition="cold")
    world.milvus.delete("docs", [1, 9])
    return world


@pytest.mark.parametrize("same", [True, False], ids=["same bucket", "other bucket"])
def test_an_interrupted_restore_leaves_no_half_collection_and_no_copies(same: bool) -> None:
    backed_up = ready(same=same)
    backed_up.create()
    world, whole = backed_up.copy(), Life()
    world.live(whole)
    world.restore(suffix="_back")
    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(CtrlC(ends_at=instant))
        with pytest.raises(STOPPED):
            world.restore(suffix="_back")
        left = world.objects("milvus", "files/restore-temp")
        rows = world.milvus.visible_rows("docs_back") if "default.docs_back" in world.milvus.names else None
        assert rows in (None, world.milvus.visible_rows("docs")) or left, f"interrupted at {instant}"
        world.live(Life())
        if rows != world.milvus.visible_rows("docs"):
            world.restore(suffix="_back")
        assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs"), (
            f"interrupted at {instant}"
        )


def test_an_interrupted_create_commits_nothing_and_gives_the_pause_back() -> None:
    world = ready(same=False)
    whole = UntilCommit()
    world.live(whole)
    world.create()
    assert 0 < whole.committed_at < whole.operations
    for instant in range(1, whole.committed_at + 1):
        world = ready(same=False)
        world.live(CtrlC(ends_at=instant))
        with pytest.raises(STOPPED):
            world.create()
        assert world.milvus.gc_paused == 0 or instant_of_resume(world), f"interrupted at {instant}"
        states = [summary.state for summary in world.catalog().summaries()]
        assert states in ([], ["incomplete"]), f"interrupted at {instant}"
        world.live(Life())
        world.create(resume=bool(states))
        world.restore(suffix="_back")
        assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs"), (
            f"interrupted at {instant}"
        )


def test_a_backup_whose_lease_is_given_back_when_ctrl_c_comes_is_complete() -> None:
    world = ready(same=False)
    whole = Life()
    world.live(whole)
    world.create()
    world = ready(same=False)
    world.live(CtrlC(ends_at=whole.operations))
    with pytest.raises(STOPPED):
        world.create()
    assert [summary.state for summary in world.catalog().summaries()] == ["complete"]


def instant_of_resume(world: World) -> bool:
    """The very call that gives the pause back was interrupted: the lease ends by itself."""
    return ("resume_gc", "") not in world.milvus.calls


def test_no_thread_outlives_an_interrupted_run() -> None:
    world = ready(same=False)
    world.live(CtrlC(ends_at=30))
    with pytest.raises(STOPPED):
        world.create()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mbk")]


def test_a_run_that_was_cancelled_begins_nothing() -> None:
    world = ready(same=False)
    run = world.run()
    run.cancelled.set()
    with pytest.raises(Interrupted):
        world.create(run=run)
    assert not world.objects("backups")
