from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mbk.config.load import load
from mbk.connections import budget
from mbk.engine.runtime.budget import Room
from mbk.errors import Interrupted


def test_what_the_configuration_asks_for_is_given_as_it_is(tmp_path: Path) -> None:
    sets = [
        "backup.parallelism.copydata=300",
        "backup.parallelism.backupSegment=1024",
        "backup.parallelism.backupCollection=3",
        "backup.parallelism.restoreCollection=7",
    ]
    settings = load(sets=sets, environ={}, cwd=tmp_path).settings
    given = budget(settings, restores=False)
    assert (given.copies, given.parts, given.segments, given.collections) == (300, 300, 1024, 3)
    assert budget(settings, restores=True).collections == 7


def test_room_is_shared_and_comes_back() -> None:
    room = Room(100, threading.Event())
    with room.taken(60), room.taken(40):
        assert not room.was_short
    with pytest.raises(EOFError), room.taken(100):
        raise EOFError
    with room.taken(100):
        assert not room.was_short


def test_more_than_there_is_is_had_by_one_alone() -> None:
    room = Room(100, threading.Event())
    with room.taken(5000):
        assert not room.was_short


def test_who_waits_gets_what_another_gives_back() -> None:
    room, got = Room(100, threading.Event()), threading.Event()

    def wait() -> None:
        with room.taken(80):
            got.set()

    other = threading.Thread(target=wait)
    with room.taken(50):
        other.start()
        assert not got.wait(0.05)
    other.join(timeout=60)
    assert got.is_set()
    assert room.was_short


def test_a_cancelled_run_waits_for_no_room() -> None:
    cancelled = threading.Event()
    room = Room(100, cancelled)
    cancelled.set()
    with room.taken(50), pytest.raises(Interrupted), room.taken(80):
        pass
