"""Through this process: read from the source, hashed on the way, written to the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mbk.engine.runtime.budget import Room
from mbk.engine.transfer import ahead
from mbk.engine.transfer.digests import Digests
from mbk.engine.transfer.items import CONVERT, STREAM, CopyItem, Known
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.proof import Proof
from mbk.engine.transfer.reading import chunks_of
from mbk.engine.transfer.tries import tried
from mbk.ports.storage import MIB, ObjectInfo

#: The most memory that the destination of one streamed object uses: the parts that it is collecting and sending.
HELD = 48 * MIB
#: Objects from here on are read in ranges: a smaller one is sent in one request, and read in one.
LARGE = 16 * MIB
#: One chunk read from the source, one being written to the destination.
CHUNKS = 2 * MIB


class ByStream:
    """``room``: the memory that all streamed objects share. Several threads may call it.

    It raises what the storages raise, and `VerificationFailed` if each attempt differs from its source.
    """

    def __init__(self, pair: Pair, proof: Proof, room: Room) -> None:
        self._pair = pair
        self._proof = proof
        self._room = room
        self._ahead = ahead.Ahead(pair.source, pair.run)

    def close(self) -> None:
        """Ends the threads that read ahead."""
        self._ahead.close()

    def copy(self, item: CopyItem) -> Known:
        before: list[str] = []
        # A file is read by the system itself ahead of whoever reads it.
        is_large = item.size > LARGE and not self._pair.source.location.mount

        def chunks() -> Iterator[bytes]:
            if is_large:
                return self._ahead.chunks(item.source_key, item.size)
            return chunks_of(self._pair.source, item.source_key, self._pair.run)

        # Collected and joined, a part is in memory twice.
        held = min(2 * item.size, HELD) + (ahead.HELD if is_large else CHUNKS)
        with self._room.taken(held):
            return tried(self._pair.run, lambda: self._stored(item, STREAM, chunks, before))

    def made(self, item: CopyItem, data: bytes) -> Known:
        """Writes an object that was made here, once."""
        return self._stored(item, CONVERT, lambda: iter([data]), [])

    def _stored(
        self, item: CopyItem, how: str, chunks: Callable[[], Iterator[bytes]], before: list[str]
    ) -> Known:
        """Writes the chunks: what was misread is never visible."""
        kinds = self._proof.kinds(item)
        made = Digests(kinds)

        def hashed() -> Iterator[bytes]:
            for chunk in chunks():
                made.update(chunk)
                if made.size > item.size:
                    break
                yield chunk
            self._proof.require_read(item, made.size, made.by_kind, before)

        def once() -> ObjectInfo:
            nonlocal made
            made = Digests(kinds)
            return self._pair.destination.write(item.key, hashed(), size=item.size)

        told = self._pair.run.retry.call(f"write {item.key}", once)
        self._proof.learn(told, item.size)
        return self._proof.stored(item, Known(how=how, digests=made.by_kind), told)
