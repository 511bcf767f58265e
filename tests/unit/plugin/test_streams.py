"""The toolbox for storages that upload in parts: streams."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, repeat
from typing import Any

import pytest

from mbk.errors import StorageError
from mbk.plugin.streams import PART, SINGLE_WRITE, counted, cut, part_sizes
from mbk.ports.storage import GIB, MIB, TIB, Capabilities
from tests.raising import raised

SERVICES = [
    Capabilities(),
    Capabilities(min_part_size=1, max_part_size=4000 * MIB, max_parts=50_000),
    Capabilities(min_part_size=100 * MIB, max_part_size=GIB, max_parts=10_000),
]


@pytest.mark.parametrize("size", [None, 0, 1, 16 * MIB, 16 * MIB + 1, 80 * GIB, TIB, 5 * TIB])
@pytest.mark.parametrize("limits", SERVICES)
def test_the_parts_of_any_object_are_few_enough_and_reach(size: int | None, limits: Capabilities) -> None:
    sizes = list(part_sizes(size, limits))
    assert len(sizes) <= limits.max_parts
    assert sum(sizes) >= (5 * TIB if size is None else size)
    assert min(sizes) >= PART
    assert max(sizes) <= limits.max_part_size
    assert all(size % MIB == 0 for size in sizes)


def test_a_known_small_object_is_one_part() -> None:
    assert next(part_sizes(SINGLE_WRITE, Capabilities())) == SINGLE_WRITE


def test_parts_of_an_unknown_length_begin_small() -> None:
    sizes = list(part_sizes(None, Capabilities()))
    needed = next(n for n, total in enumerate(accumulate(sizes), 1) if total >= GIB)
    assert sizes[needed] <= 2 * PART


@pytest.mark.parametrize("sizes", [[1], [3], [9], [4, 2, 5], [100]])
def test_cutting_keeps_the_bytes(sizes: list[int]) -> None:
    pieces = list(cut([b"", b"abc", b"defgh", b"i", b""], iter(sizes * 20)))
    assert b"".join(pieces) == b"abcdefghi"
    assert all(pieces)
    assert [len(piece) for piece in pieces[:-1]] == (sizes * 20)[: len(pieces) - 1]


@pytest.mark.parametrize("lengths", [[], [0], [3], [4], [5], [1, 1, 1, 1, 1], [9, 0, 9], [4, 4]])
def test_chunks_of_any_size_become_pieces_of_one(lengths: list[int]) -> None:
    chunks = [bytes([65 + number]) * length for number, length in enumerate(lengths)]
    pieces = list(cut(chunks, repeat(4)))
    assert b"".join(pieces) == b"".join(chunks)
    assert all(len(piece) == 4 for piece in pieces[:-1])
    assert all(pieces)


def test_parts_of_one_chunk_are_views_of_it() -> None:
    chunk = b"abcdefgh"
    first, second, last = cut([chunk], repeat(3))
    assert [bytes(first), bytes(second), bytes(last)] == [b"abc", b"def", b"gh"]
    assert all(isinstance(piece, memoryview) and piece.obj is chunk for piece in (first, second, last))


def test_a_buffer_that_the_source_uses_again_is_copied() -> None:
    buffer = bytearray(b"abcd")

    def chunks() -> Iterator[Any]:
        yield buffer
        buffer[:] = b"efgh"
        yield buffer

    assert list(cut(chunks(), repeat(2))) == [b"ab", b"cd", b"ef", b"gh"]


def test_bytes_that_fill_the_last_part_fit() -> None:
    assert list(cut([b"abcd", b""], [2, 2])) == [b"ab", b"cd"]


def test_one_byte_more_than_the_parts_hold_is_an_error() -> None:
    pieces = cut([b"abcde"], [2, 2])
    assert [next(pieces), next(pieces)] == [b"ab", b"cd"]
    with raised(StorageError, "parts-exhausted"):
        next(pieces)


def test_pieces_are_given_away_before_the_next_chunk_is_asked_for() -> None:
    asked = []

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            asked.append(number)
            yield b"abcd"

    pieces = cut(chunks(), repeat(4))
    assert (next(pieces), asked) == (b"abcd", [0])


@pytest.mark.parametrize("size", [None, 5])
def test_as_many_bytes_as_announced_pass(size: int | None) -> None:
    assert list(counted([b"abc", b"de"], size, StorageError)) == [b"abc", b"de"]


def test_a_byte_too_many_is_never_given_away() -> None:
    chunks = counted([b"abc", b"de"], 4, StorageError)
    assert next(chunks) == b"abc"
    with pytest.raises(StorageError):
        next(chunks)


def test_missing_bytes_are_an_error_of_the_caller_s_making() -> None:
    def failure(why: str) -> StorageError:
        return StorageError("cannot write: {reason}", code="of-the-caller", reason=why)

    with raised(StorageError, "of-the-caller"):
        list(counted([b"abc"], 4, failure))
