"""One object from one storage to the other: kept if it is there, else the way that was decided for the pair."""

from __future__ import annotations

from mbk.engine.runtime.budget import Room
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer.existing import Existing
from mbk.engine.transfer.items import CopyItem, Known
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.proof import Proof
from mbk.engine.transfer.ways.decision import Decision
from mbk.engine.transfer.ways.server import ByServer
from mbk.engine.transfer.ways.stream import ByStream
from mbk.errors import UsageError
from mbk.ports.storage import ObjectInfo


class Copier:
    """Does one item a call, and counts nothing: items and what is known of their copies are values, which can be made in
    one process and used in another. Several threads may call it, except those of ``parts``.

    ``parts``: the threads that copy parts of large objects. ``room``: the memory that streamed objects share.
    """

    def __init__(self, pair: Pair, proof: Proof, *, parts: Pool, room: Room) -> None:
        self._one_bucket = pair.source.location.same_bucket(pair.destination.location)
        self._by_server = ByServer(pair, proof, parts)
        self._by_stream = ByStream(pair, proof, room)
        self._decision = Decision(pair, by_server=self._served, by_stream=self._by_stream.copy)
        self._existing = Existing(pair, proof, self._afresh)

    def close(self) -> None:
        """Ends the threads that read ahead."""
        self._by_stream.close()

    @property
    def streams_because(self) -> str | None:
        """Why objects are streamed; None if they are not."""
        return self._decision.reason

    @property
    def streams_unless(self) -> str | None:
        """What would make the storage copy them; None if nothing would, or if it does."""
        return self._decision.hint

    @property
    def way(self) -> str | None:
        """The way that objects go, None until the first of them decided it."""
        return self._decision.way

    def decide(self, way: str) -> None:
        """The objects go this way, as was decided by another copier of the same storages."""
        self._decision.decide(way)

    def copy(self, item: CopyItem, existing: ObjectInfo | None = None) -> Known:
        """Copies the object, unless ``existing``, which is at its key, is the same already.

        Raises what the storages raise once the retries are used up, `VerificationFailed` if the copy differs from its
        source again and again, `UsageError` for an object onto itself, and `Interrupted`.
        """
        return self._afresh(item) if existing is None else self._existing.kept_or_copied(item, existing)

    def write(self, item: CopyItem, data: bytes) -> Known:
        """Writes an object that was made here, of objects of the source; one attempt at its verification."""
        return self._by_stream.made(item, data)

    def _afresh(self, item: CopyItem) -> Known:
        if item.source_key == item.key and self._one_bucket:
            raise UsageError(
                "{key} would be copied onto itself",
                code="object-onto-itself",
                key=item.key,
                hint="choose a root path for backups outside Milvus' own",
            )
        return self._decision.copy(item)

    def _served(self, item: CopyItem) -> Known:
        way = self._by_server if self._by_server.takes(item) else self._by_stream
        return way.copy(item)
