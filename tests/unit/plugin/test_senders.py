"""Parts of a large object go up several at a time, and nothing is on its way once it is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mbk.errors import Throttled
from mbk.plugin.senders import AT_ONCE, Senders
from tests.limits import no_more_threads


def test_parts_go_up_at_once_and_no_more_are_held_than_that() -> None:
    meeting = threading.Barrier(AT_ONCE, timeout=10)
    sent: dict[int, bytes] = {}
    held: list[int] = []

    def put_part(number: int, data: bytes) -> None:
        # Passed only if as many parts are on their way together.
        meeting.wait()
        sent[number] = data

    def pieces() -> Iterator[bytes]:
        for number in range(4 * AT_ONCE):
            held.append(number - len(sent))
            yield b"%d" % number

    senders = Senders()
    senders.send(put_part, pieces())
    senders.close()
    assert sent == {number + 1: b"%d" % number for number in range(4 * AT_ONCE)}
    assert max(held) <= AT_ONCE


def test_the_first_error_ends_it_and_nothing_is_sent_afterwards() -> None:
    calls: list[int] = []

    def put_part(number: int, data: bytes) -> None:
        calls.append(number)
        if number == 2:
            raise Throttled("slow down")

    senders = Senders()
    with pytest.raises(Throttled):
        senders.send(put_part, (b"x" for _ in range(1000)))
    seen = len(calls)
    senders.close()
    assert len(calls) == seen < 1000


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_what_the_iterable_raises_passes_once_the_parts_under_way_have_ended(error: BaseException) -> None:
    begun, going = threading.Event(), threading.Event()
    ended: list[int] = []

    def put_part(number: int, data: bytes) -> None:
        begun.set()
        going.wait(10)
        ended.append(number)

    def pieces() -> Iterator[bytes]:
        yield b"a"
        assert begun.wait(10)
        threading.Timer(0.05, going.set).start()
        raise error

    senders = Senders()
    with pytest.raises(type(error)) as caught:
        senders.send(put_part, pieces())
    assert caught.value is error
    assert ended == [1]
    senders.close()


def test_what_was_closed_can_be_used_again() -> None:
    senders = Senders()
    for _ in range(2):
        sent: list[int] = []
        senders.send(lambda number, _data, sent=sent: sent.append(number), [b"a", b"b"])
        assert sorted(sent) == [1, 2]
        senders.close()


def test_without_threads_parts_go_up_one_after_the_other() -> None:
    senders, sent = Senders(), list[tuple[int, bytes]]()
    with no_more_threads():
        senders.send(lambda number, data: sent.append((number, bytes(data))), [b"a", b"b", b"c"] * 4)
    assert sent == [(number + 1, b"abc"[number % 3 : number % 3 + 1]) for number in range(12)]
    senders.close()
