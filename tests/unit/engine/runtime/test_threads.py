"""Work that is done several at a time where the system gives threads, and one after the other where not."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from mbk.ports.threads import Threads
from mbk.ports.waiting import asked, asking
from tests.limits import no_more_threads


def name() -> str:
    return threading.current_thread().name


def test_as_many_threads_as_there_is_work_for_and_no_more() -> None:
    threads = Threads(3, "mine")
    meeting = threading.Barrier(3, timeout=10)
    futures = [threads.submit(lambda: (meeting.wait(), name())[1]) for _ in range(6)]
    assert {future.result() for future in futures} == {"mine_0", "mine_1", "mine_2"}
    threads.close()
    assert threads.submit(name).result() == "mine_0"
    threads.close()


def test_an_idle_thread_is_used_again() -> None:
    threads = Threads(9, "mine")
    for _ in range(20):
        assert threads.submit(name).result().startswith("mine_")
    assert sum(thread.name.startswith("mine_") for thread in threading.enumerate()) <= 2
    threads.close()


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
@pytest.mark.parametrize("alone", [False, True])
def test_what_is_raised_is_whoever_waits_for_it(error: BaseException, alone: bool) -> None:
    def fail() -> None:
        raise error

    threads = Threads(2, "mine")
    if alone:
        with no_more_threads():
            future = threads.submit(fail)
    else:
        future = threads.submit(fail)
    with pytest.raises(type(error)):
        future.result()
    threads.close()


def test_where_no_thread_can_be_had_work_is_done_at_once() -> None:
    threads = Threads(3, "mine")
    with no_more_threads():
        assert [threads.submit(name).result() for _ in range(3)] == [name()] * 3
    threads.close()


def test_where_no_further_thread_can_be_had_those_that_are_there_do_the_work() -> None:
    threads = Threads(3, "mine")
    go = threading.Event()
    futures: list[Future[str]] = [threads.submit(lambda: (go.wait(10), name())[1])]
    with no_more_threads():
        futures += [threads.submit(name) for _ in range(5)]
    go.set()
    assert {future.result() for future in futures} == {"mine_0"}
    threads.close()


def test_threads_that_nobody_closes_end_with_whoever_had_them() -> None:
    threads = Threads(3, "left")
    meeting = threading.Barrier(3, timeout=10)
    for future in [threads.submit(meeting.wait) for _ in range(3)]:
        future.result()
    left = [thread for thread in threading.enumerate() if thread.name.startswith("left_")]
    del threads
    for thread in left:
        thread.join(10)
    assert [thread.is_alive() for thread in left] == [False] * 3


def test_what_was_taken_back_is_not_begun() -> None:
    threads = Threads(1, "mine")
    go = threading.Event()
    first, second = threads.submit(lambda: go.wait(10)), threads.submit(name)
    assert second.cancel()
    go.set()
    assert first.result()
    threads.close()


def test_who_is_asked_amid_a_wait_goes_along() -> None:
    def ask(since: float) -> None: ...

    threads = Threads(1, "mine")
    before = asking(ask)
    inside = threads.submit(asked)
    asking(before)
    assert inside.result() is ask
    assert threads.submit(asked).result() is before
    threads.close()
