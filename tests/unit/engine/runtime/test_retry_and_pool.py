from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.retry import Retrier, RetryPolicy
from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted, MbkError, MilvusError, PermissionDenied, StorageUnavailable, Throttled
from mbk.model.events import Event, RunFinished
from tests.limits import no_more_threads


class ListingBroke(Exception):
    pass


def retrier(
    policy: RetryPolicy | None = None, cancelled: threading.Event | None = None
) -> tuple[Retrier, list[Event]]:
    events: list[Event] = []
    return Retrier(
        events.append, cancelled or threading.Event(), policy=policy or RetryPolicy(first=0.0001)
    ), events


def test_a_result_is_given_back_at_once() -> None:
    retry, events = retrier()
    assert retry.call("x", lambda: 5) == 5
    assert not events


def test_every_attempt_gets_the_arguments() -> None:
    retry, _ = retrier()
    given: list[tuple[str, int]] = []

    def listed(prefix: str, *, what: int) -> str:
        given.append((prefix, what))
        if len(given) < 3:
            raise Throttled("slow down")
        return prefix.upper()

    assert retry.call("list a/", listed, "a/", what=7) == "A/"
    assert given == [("a/", 7)] * 3


def test_another_kind_of_error_is_not_touched() -> None:
    retry, events = retrier()
    for error in (PermissionDenied("no"), ValueError("bug")):
        with pytest.raises(type(error)):
            retry.call("x", lambda error=error: (_ for _ in ()).throw(error))
    assert not events


def test_an_error_given_up_on_says_so_and_an_outer_loop_leaves_it_alone() -> None:
    retry, events = retrier()
    calls = []

    def inner() -> None:
        calls.append(1)
        raise Throttled("slow down")

    with pytest.raises(Throttled) as caught:
        retry.call("outer", lambda: retry.call("inner", inner))
    assert len(calls) == RetryPolicy().attempts
    assert len(events) == len(calls) - 1
    assert caught.value.retryable is False
    assert Throttled.retryable is True


def test_giving_up_changes_no_error_and_keeps_its_cause() -> None:
    retry, _ = retrier()
    cause, error = OSError("reset"), MilvusError("the node left", server_code=7, hint="wait", retryable=True)

    def failing() -> None:
        raise error from cause

    with pytest.raises(MilvusError) as caught:
        retry.call("x", failing)
    assert error.retryable
    assert (caught.value.server_code, caught.value.message, caught.value.hint) == (7, "the node left", "wait")
    assert caught.value.__cause__ is cause


def test_a_cancelled_run_does_not_sit_out_its_pause() -> None:
    cancelled = threading.Event()
    retry, _ = retrier(RetryPolicy(first=3600, ceiling=3600), cancelled)
    cancelled.set()
    with pytest.raises(Interrupted):
        retry.call("x", lambda: (_ for _ in ()).throw(Throttled("slow down")))


def test_successes_give_a_part_of_the_budget_back() -> None:
    retry, events = retrier(RetryPolicy(attempts=3, first=0.0001, ceiling=0.0001, budget=2, refund=0.5))

    def once_broken() -> object:
        state = iter([StorageUnavailable("no answer"), None])

        def call() -> None:
            error = next(state)
            if error:
                raise error

        return call

    retry.call("x", once_broken())
    retry.call("x", once_broken())
    retry.call("x", once_broken())
    with pytest.raises(StorageUnavailable):
        retry.call("x", once_broken())
    assert len(events) == 3, "two tokens, and half of one back after each"


def test_a_refused_call_waits_for_as_long_as_the_storage_serves_others() -> None:
    retry, events = retrier(RetryPolicy(attempts=3, first=0.0001, ceiling=0.0001, budget=2))
    refusals = iter(range(20))

    def refused_often() -> str:
        for _ in refusals:
            threading.Thread(target=retry.call, args=("other", lambda: None)).run()
            raise Throttled("slow down")
        return "served"

    assert retry.call("x", refused_often) == "served"
    assert len(events) == 20, "many more than the attempts and the budget, as others were served meanwhile"


def test_a_storage_that_refuses_everything_is_given_up_after_the_usual_attempts() -> None:
    retry, events = retrier(RetryPolicy(attempts=3, first=0.0001, ceiling=0.0001))
    for _ in range(2):
        with pytest.raises(Throttled):
            retry.call("x", lambda: (_ for _ in ()).throw(Throttled("slow down")))
    assert len(events) == 2 * 2


# -- the pool ----------------------------------------------------------------------------------------------------


def test_items_are_drawn_no_faster_than_they_are_worked_on() -> None:
    drawn = []
    gate = threading.Event()

    def items() -> Iterator[int]:
        for number in range(1000):
            drawn.append(number)
            yield number

    with Pool(2, threading.Event()) as pool:
        results = pool.map(lambda number: gate.wait() and number, items())
        waiter = threading.Thread(target=lambda: gate.set())
        waiter.start()
        next(results)
        waiter.join()
        assert len(drawn) <= 8
        assert len(list(results)) == 999


def test_all_results_come_once() -> None:
    with Pool(4, threading.Event()) as pool:
        assert sorted(pool.map(lambda number: number * 2, range(100))) == [
            number * 2 for number in range(100)
        ]


def test_all_results_are_gathered_whatever_is_in_them() -> None:
    with Pool(4, threading.Event()) as pool:
        assert sorted(pool.gather(lambda number: number * 2, range(1000))) == [*range(0, 2000, 2)]
        assert pool.gather(print, []) == []
        assert pool.gather(lambda _: None, [1, 2]) == [None, None]


def test_work_of_several_callers_is_done_at_once_by_as_many_workers() -> None:
    meeting = threading.Barrier(4)

    with Pool(4, threading.Event()) as pool:
        pool.run(lambda _: None, range(4))  # workers that are idle from now on
        callers = [
            threading.Thread(target=pool.run, args=(lambda _: meeting.wait(30), [number]))
            for number in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert not meeting.broken


def test_results_that_are_abandoned_leave_nothing_running() -> None:
    done: list[int] = []
    with Pool(2, threading.Event()) as pool:
        results = pool.map(lambda number: done.append(number) or number, range(1000))
        next(results)
        results.close()
        count = len(done)
        assert pool.gather(lambda number: number, [1]) == [1]
        assert len(done) == count < 1000


def test_an_item_is_begun_while_the_next_one_is_drawn() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert begun.wait(30)
        yield 2

    with Pool(2, threading.Event()) as pool:
        pool.run(lambda _: begun.set(), items())


def test_where_the_system_gives_no_more_threads_those_that_are_there_do_the_work() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert begun.wait(30)
        yield from range(1, 9)

    def work(number: int) -> int:
        if not number:
            limit.enter_context(no_more_threads())
            begun.set()
        return number

    with ExitStack() as limit, Pool(4, threading.Event()) as pool:
        assert sorted(pool.map(work, items())) == [*range(9)]


def test_where_the_system_gives_no_thread_at_all_whoever_has_the_work_does_it() -> None:
    with no_more_threads(), Pool(4, threading.Event()) as pool:
        for _ in range(2):
            assert sorted(pool.map(lambda number: 2 * number, range(50))) == [*range(0, 100, 2)]
            assert len(pool.gather(str, [*range(20)])) == 20
        with pytest.raises(ZeroDivisionError):
            pool.run(lambda number: 1 // number, [1, 0])
    seen: list[str] = []
    with Pool(4, threading.Event(), name="later") as pool:
        with no_more_threads():
            pool.run(print, [1])
        pool.run(lambda _: seen.append(threading.current_thread().name), range(9))
    assert {name[:5] for name in seen} == {"later"}


def test_a_closed_pool_takes_no_work() -> None:
    pool = Pool(1, threading.Event(), name="mbk-x")
    pool.close()
    with pytest.raises(RuntimeError, match="mbk-x"):
        pool.run(print, [1])


def test_after_an_error_nothing_new_is_begun_and_what_runs_is_waited_for() -> None:
    running = [0]
    lock = threading.Lock()
    begun: list[int] = []

    def work(number: int) -> None:
        with lock:
            running[0] += 1
            begun.append(number)
        try:
            if number == 3:
                raise PermissionDenied("no")
        finally:
            with lock:
                running[0] -= 1

    with Pool(2, threading.Event()) as pool:
        with pytest.raises(PermissionDenied):
            pool.run(work, range(1000))
        assert running == [0]
        assert len(begun) < 100
        pool.run(work, [1, 2])


def test_an_error_of_the_source_of_items_is_raised_and_work_is_joined() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ListingBroke

    done: list[int] = []
    with Pool(2, threading.Event()) as pool, pytest.raises(ListingBroke):
        pool.run(done.append, items())
    assert done in ([], [1])


def test_a_cancelled_run_stops_the_pool() -> None:
    cancelled = threading.Event()
    cancelled.set()
    with Pool(2, cancelled) as pool, pytest.raises(Interrupted):
        pool.run(print, [1])


def test_an_interrupted_caller_cancels_the_run() -> None:
    cancelled = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with Pool(2, cancelled) as pool, pytest.raises(KeyboardInterrupt):
        pool.run(lambda _number: None, items())
    assert cancelled.is_set()


# -- the run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "line"),
    [(MbkError("wrong", hint="mend"), "wrong: mend"), (KeyboardInterrupt(), "KeyboardInterrupt")],
    ids=["understood", "ctrl-c"],
)
def test_a_run_that_fails_ends_with_its_error_and_cancels_what_works(error: BaseException, line: str) -> None:
    events: list[Event] = []
    run = Run(events.append)
    with pytest.raises(type(error)), run.command("create", "nightly"):
        raise error
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert last.error == line
    assert run.cancelled.is_set()


def test_events_come_one_at_a_time() -> None:
    inside = [0]
    worst = [0]

    def listener(_event: Event) -> None:
        inside[0] += 1
        worst[0] = max(worst[0], inside[0])
        inside[0] -= 1

    run = Run(listener)
    with Pool(8, threading.Event()) as pool:
        pool.run(lambda number: run.notice("n", str(number)), range(200))
    assert worst == [1]


def test_workers_are_spread_over_those_who_have_work() -> None:
    """No caller's items are all begun before the next one's."""
    begun: list[str] = []
    together, lock = threading.Barrier(4, timeout=60), threading.Lock()
    held = threading.Barrier(5, timeout=60)
    offered = [threading.Event() for _ in range(4)]

    def items(number: int) -> Iterator[int]:
        for count in range(50):
            if count == 1:  # the first one was offered
                offered[number].set()
            yield number

    def one(number: int) -> None:
        with lock:
            is_early = len(begun) < 4
            begun.append(str(number))
        if is_early:
            together.wait()

    with Pool(4, threading.Event()) as pool:
        threads = [threading.Thread(target=pool.run, args=(lambda _: held.wait(), range(4)))]
        threads += [threading.Thread(target=pool.run, args=(one, items(number))) for number in range(4)]
        for thread in threads:
            thread.start()
            while thread is threads[0] and held.n_waiting < 4:
                threading.Event().wait(0.001)
        for event in offered:
            assert event.wait(60)
        held.wait()
        for thread in threads:
            thread.join()
    assert sorted(begun[:4]) == ["0", "1", "2", "3"]
    assert len(begun) == 200


def test_threads_begin_as_they_become_useful() -> None:
    useful, met = 1, threading.Barrier(3)

    def wait(number: int) -> int:
        nonlocal useful
        if number < 2:
            useful += 1
        else:
            met.wait(timeout=60)
        return threading.get_ident()

    with Pool(8, threading.Event(), useful=lambda: useful) as pool:
        threads = pool.gather(wait, range(8))
    assert len(set(threads)) == 3
