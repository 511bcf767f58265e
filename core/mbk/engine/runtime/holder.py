"""Who holds a lease, as other runs see it: the small object, and whether its run is still there."""

from __future__ import annotations

import hashlib
from enum import Enum, auto

import msgspec

from mbk.engine.runtime import sign
from mbk.engine.runtime.clock import elapsed
from mbk.engine.runtime.decoding import Undecodable, decoded
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import ObjectNotFound
from mbk.ports.storage import Reader, Storage

#: Tokens of the leases that this process holds.
held: set[str] = set()


class Holder(msgspec.Struct, frozen=True):
    """The content of the object. ``what``, ``machine`` and ``pid`` describe the run to people; nothing is concluded from
    them. ``targets`` are the collections of a restore.

    ``beat`` differs at each renewal. ``deletes``: the run deletes the backup. ``ousted``: tokens of runs that were silent
    when theirs was taken over: they may come back, and then find out what happened. For them the lease stays when its
    holder has ``ended``, having ``done`` its work or not.
    """

    token: str
    machine: str
    pid: int
    what: str
    beat: int = 0
    targets: tuple[str, ...] = ()
    deletes: bool = False
    ousted: tuple[str, ...] = ()
    ended: bool = False
    done: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether this process holds it."""
        return self.token in held


class Standing(Enum):
    """What is known of the run behind a lease. ``SILENT``: it did not renew it for a while; it may come back."""

    ALIVE = auto()
    SILENT = auto()
    DEAD = auto()


def read(storage: Reader, key: str, run: Run) -> Holder | None:
    """None if there is no lease. One that cannot be decoded is somebody's, until it no longer changes."""

    def once() -> bytes:
        with storage.read(key) as chunks:
            return b"".join(chunks)

    try:
        data = run.retry.call(f"read {key}", once)
    except ObjectNotFound:
        return None
    try:
        return decoded(data, Holder)
    except Undecodable:
        return Holder(hashlib.sha256(data).hexdigest(), "another machine", 0, "a run of an unknown version")


def write(storage: Storage, key: str, data: bytes, run: Run) -> None:
    run.retry.call(f"write {key}", lambda: storage.write(key, [data], size=len(data)))


def standing(storage: Reader, key: str, seen: Holder, run: Run, pace: LeasePace) -> Standing:
    """Looks at a lease until it changes, or for `LeasePace.expiry` by the clock of this machine."""
    until = elapsed() + pace.expiry
    while not seen.ended and not sign.is_dead(seen.token):
        if seen.is_ours:
            return Standing.ALIVE
        if elapsed() >= until:
            return Standing.SILENT
        run.sleep(pace.poll)
        if read(storage, key, run) != seen:
            return Standing.ALIVE
    return Standing.DEAD
