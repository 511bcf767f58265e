"""Reads an object once, from its first byte to its last: for its digests, and for whoever parses it on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import field

from mbk.engine.runtime.budget import Room
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.digests import MD5, OWN, Digests, cheapest
from mbk.frozen import frozen
from mbk.ports.storage import MIB, Reader

#: Objects up to this size are in memory while they are parsed; of larger ones the parser reads its parts once more.
WHOLE = 64 * MIB
#: How often such an object is in memory, as was measured: as it came, what the parser reads of it, and the values, which
#: the parser's pool gives back late.
HELD = 6

#: What a record that is made by reading knows of each object: the cheapest digest, and the one that etags are.
RECORDED = frozenset({OWN, MD5})


@frozen
class Content:
    """An object that was read. ``size`` is how many bytes came; ``fetch(offset, length)`` returns some of them."""

    key: str
    size: int
    fetch: Callable[[int, int], bytes]
    digests: Mapping[str, str] = field(default_factory=dict)


@frozen
class ObjectReader:
    """Several threads may call it. ``room``: the memory that they share."""

    storage: Reader
    run: Run
    room: Room
    whole: int = WHOLE

    @contextmanager
    def read(self, key: str, size: int, kinds: frozenset[str]) -> Iterator[Content]:
        """Reads the object; ``size`` is what is expected. ``kinds``: the digests to compute, those unknown are left out.

        Raises what the storage raises once the retries are used up, and `Interrupted`.
        """
        made = Digests(kind for kind in kinds if cheapest([kind]))
        kept = bytearray() if size <= self.whole else None
        with self.room.taken(size * HELD if kept is not None else 0):
            for chunk in chunks_of(self.storage, key, self.run):
                made.update(chunk)
                if kept is not None:
                    kept += chunk
            fetch = ranges_of(self.storage, key, self.run) if kept is None else _within(kept)
            yield Content(key, made.size, fetch, made.by_kind)


def chunks_of(storage: Reader, key: str, run: Run) -> Iterator[bytes]:
    """The bytes of an object; a stream that breaks is resumed."""

    def open_at(offset: int) -> AbstractContextManager[Iterator[bytes]]:
        return storage.read(key, offset=offset)

    for chunk in run.retry.stream(f"read {key}", open_at):
        run.check_cancelled()
        yield chunk


def ranges_of(storage: Reader, key: str, run: Run) -> Callable[[int, int], bytes]:
    """``fetch(offset, length)`` of an object: so many of its bytes, fewer only past its end."""

    def fetch(offset: int, length: int) -> bytes:
        run.check_cancelled()

        def once() -> bytes:
            with storage.read(key, offset=offset, length=length) as chunks:
                return b"".join(chunks)

        return run.retry.call(f"read {key}", once)

    return fetch


def _within(data: bytearray) -> Callable[[int, int], bytes]:
    view = memoryview(data)
    return lambda offset, length: bytes(view[offset : offset + length])
