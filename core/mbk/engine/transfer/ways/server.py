"""Copied by the service itself: whole, or in parts where an object is large."""

from __future__ import annotations

from contextlib import ExitStack

from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer.items import SERVER, CopyItem, Known
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.proof import Proof
from mbk.engine.transfer.tries import tried
from mbk.engine.transfer.ways.cutting import Part, cut, in_parts, too_large
from mbk.ports.storage import ObjectInfo, Receipt


class ByServer:
    """``parts``: the threads that copy parts, not those that call. Several threads may call it.

    It raises what the storages raise, and `VerificationFailed` if each attempt differs from its source.
    """

    def __init__(self, pair: Pair, proof: Proof, parts: Pool) -> None:
        self._pair = pair
        self._proof = proof
        self._parts = parts
        self._can = pair.destination.capabilities

    def takes(self, item: CopyItem) -> bool:
        """Whether the object can go this way; with ``direct`` the service has to say so itself."""
        return (
            not too_large(item.size, self._can) or self._can.part_copy or self._pair.limits.mode == "direct"
        )

    def copy(self, item: CopyItem) -> Known:
        in_some = in_parts(item.size, self._can, self._pair.limits.part_threshold)
        once = self._by_parts if in_some else self._whole
        return tried(self._pair.run, lambda: self._proof.stored(item, Known(how=SERVER), once(item)))

    def _whole(self, item: CopyItem) -> Receipt:
        pair = self._pair
        return pair.run.retry.call(
            f"copy {item.source_key}", pair.destination.copy, pair.source, item.source_key, item.key
        )

    def _by_parts(self, item: CopyItem) -> ObjectInfo:
        pair, retry = self._pair, self._pair.run.retry
        parts = cut(item.size, self._can, preferred=pair.run.budget.part_size)
        with ExitStack() as stack:
            upload = retry.call(
                f"start {item.key}", lambda: stack.enter_context(pair.destination.multipart(item.key))
            )

            def one(part: Part) -> None:
                retry.call(
                    f"copy part {part.number} of {item.source_key}",
                    upload.copy_part,
                    part.number,
                    pair.source,
                    item.source_key,
                    offset=part.offset,
                    length=part.length,
                )

            self._parts.run(one, parts)
            return retry.call(f"complete {item.key}", upload.complete)
