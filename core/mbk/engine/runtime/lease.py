"""Leases: two runs never work on the same backup, or restore into the same collection, even from different machines.

A lease is a small object below ``.mbk/leases/`` of the storage's root, written with a conditional create. Its holder
renews it every few seconds. Clocks of different machines are never compared: a lease counts as abandoned when it has not
changed for `LeasePace.expiry`, or at once when its process ran on this machine and is dead. So a killed run blocks others
no longer than that, and the next run of the same name takes its lease over; later runs remove all other abandoned leases.

Taking over a lease is not atomic, as not every storage has a conditional replace: the new holder checks again after a
moment, and at every renewal; a holder that finds another's token stops its run.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec

from mbk.engine.runtime.decoding import decoder
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, Busy, MbkError, ObjectExists, ObjectNotFound, Unsupported
from mbk.ports.storage import Reader, Storage

PREFIX = ".mbk/leases/"

log = logging.getLogger(__name__)
#: Tokens of the leases that this process holds: a lease with its process id and another token belongs to an earlier one.
_held: set[str] = set()


class Holder(msgspec.Struct, frozen=True):
    """The content of the object. ``what`` describes the run to people; ``targets`` are the collections of a restore."""

    token: str
    machine: str
    pid: int
    what: str
    beat: int = 0
    targets: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether this process holds it."""
        return self.token in _held

    @property
    def is_dead(self) -> bool:
        """Whether its process has certainly ended, which can be known on its own machine only."""
        if self.machine != _machine() or self.is_ours:
            return False
        if self.pid == os.getpid():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


@dataclass(slots=True)
class Lease:
    """One lease: taken, renewed by a thread, released."""

    storage: Storage
    key: str
    what: str
    run: Run
    pace: LeasePace = field(default_factory=LeasePace)
    targets: tuple[str, ...] = ()
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _beat: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def take(self, *, patience: float = 0.0) -> None:
        """Takes the lease. `Busy` if a live run holds it, and still does after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        _held.add(self._token)
        try:
            while not self.run.retry.call(f"take the lease {self.key}", self._try):
                other = self.run.retry.call(f"read {self.key}", self._read)
                if other is None:
                    continue
                if left_behind(self.storage, self.key, other, self.run, self.pace):
                    self._write()
                    self.run.sleep(self.pace.settle)
                    if self._is_mine():
                        break
                elif time.monotonic() >= deadline:
                    raise Busy(
                        "another run is in progress: {operation} (process {pid} on {machine})",
                        code="run-in-progress",
                        operation=other.what,
                        pid=other.pid,
                        machine=other.machine,
                        hint="wait for it to finish",
                    )
                else:
                    self.run.sleep(self.pace.poll)
        except BaseException:
            _held.discard(self._token)
            raise
        self._thread = threading.Thread(target=self._renew, name="mbk-lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Releases the lease, also when the run is cancelled. If it cannot be deleted, it expires."""
        self._stop.set()
        if self._token not in _held:
            return
        _held.discard(self._token)
        if self._thread is not None:
            self._thread.join()
        try:
            if self._is_mine():
                self.storage.delete([self.key])
        except MbkError as error:
            log.debug("lease %s stays until it expires: %s", self.key, error)

    def _try(self) -> bool:
        data = self._data()
        if self.storage.capabilities.conditional_write:
            try:
                self.storage.write_if_absent(self.key, [data], size=len(data))
                return True
            except ObjectExists:
                return self._is_mine()  # an earlier attempt may have succeeded
            except Unsupported:
                pass  # the profile promises what this server does not support
        if self._read() is not None:
            return False
        self._write()
        self.run.sleep(self.pace.settle)
        return self._is_mine()

    def _renew(self) -> None:
        while not self._stop.wait(self.pace.beat):
            try:
                if not self._is_mine():
                    self._lost()
                    return
                self._beat += 1
                self._write()
            except MbkError as error:
                log.debug("lease %s was not renewed: %s", self.key, error)

    def _lost(self) -> None:
        self.run.notice(
            "lease-lost", "another run has taken over the {operation}: stopping this one", operation=self.what
        )
        self.run.cancelled.set()

    def _read(self) -> Holder | None:
        return read(self.storage, self.key)

    def _is_mine(self) -> bool:
        holder = self._read()
        return holder is not None and holder.token == self._token

    def _write(self) -> None:
        data = self._data()
        self.storage.write(self.key, [data], size=len(data))

    def _data(self) -> bytes:
        holder = Holder(self._token, _machine(), os.getpid(), self.what, self._beat, self.targets)
        return msgspec.json.encode(holder)


@contextmanager
def hold(
    storage: Storage, name: str, what: str, run: Run, *, pace: LeasePace | None = None
) -> Iterator[None]:
    """Exclusive access to the backup ``name``. `Busy` if another run has it."""
    place = f"{storage.location.root}{PREFIX}"
    pace = pace or LeasePace()
    _sweep(storage, place, pace)
    lease = Lease(storage, f"{place}{name}", what, run, pace)
    try:
        _take(lease)
        yield
    finally:
        lease.release()


@contextmanager
def hold_targets(
    storage: Storage, targets: Iterable[str], what: str, run: Run, *, pace: LeasePace | None = None
) -> Iterator[None]:
    """Exclusive access to these collections. `Busy` if another run restores into one of them."""
    place = f"{storage.location.root}{PREFIX}"
    pace = pace or LeasePace()
    _sweep(storage, place, pace)
    door = Lease(storage, f"{place}restores", "the start of a restore", run, pace)
    claim = Lease(storage, f"{place}restore-{uuid.uuid4().hex}", what, run, pace, tuple(sorted(targets)))
    try:
        try:
            _take(door, patience=4 * pace.expiry)
            _refuse_shared(claim, place)
            _take(claim)
        finally:
            door.release()
        yield
    finally:
        claim.release()


def left_behind(storage: Reader, key: str, seen: Holder, run: Run, pace: LeasePace) -> bool:
    """Whether this lease is abandoned: its process is dead, or it has not changed for a while."""
    until = time.monotonic() + pace.expiry
    while not seen.is_dead:
        if seen.is_ours:
            return False
        if time.monotonic() >= until:
            return True
        run.sleep(pace.poll)
        now = read(storage, key)
        if now is None or now != seen:
            return False
    return True


def read(storage: Reader, key: str) -> Holder | None:
    """None if there is no lease. One that cannot be decoded belongs to no run and can be taken over."""
    try:
        with storage.read(key) as chunks:
            return decoder(Holder).decode(b"".join(chunks))
    except ObjectNotFound:
        return None
    except msgspec.DecodeError:
        return Holder("", _machine(), os.getpid(), "an unreadable lease")


def _take(lease: Lease, *, patience: float = 0.0) -> None:
    """Without permission to write leases the run continues with a notice: it may be allowed to write elsewhere."""
    try:
        lease.take(patience=patience)
    except AccessError as error:
        lease.run.notice(
            "no-lease",
            "other runs are not locked out, no lease can be written: {reason}",
            reason=error.message,
        )


def _refuse_shared(claim: Lease, place: str) -> None:
    with suppress(AccessError):
        for key in [entry.key for entry in claim.storage.list(f"{place}") if "/restore-" in entry.key]:
            other = read(claim.storage, key)
            shared = sorted({*claim.targets} & {*(other.targets if other else ())})
            if not other or not shared:
                continue
            if left_behind(claim.storage, key, other, claim.run, claim.pace):
                claim.storage.delete([key])
                continue
            raise Busy(
                "another run is restoring into {collection}: {operation} (process {pid} on {machine})",
                code="restore-in-progress",
                collection=shared[0],
                operation=other.what,
                pid=other.pid,
                machine=other.machine,
                hint="wait for it to finish",
            )


def _sweep(storage: Storage, place: str, pace: LeasePace) -> None:
    """Removes abandoned leases; what fails here is left to the next run."""
    before = datetime.now(UTC) - pace.abandoned
    with suppress(MbkError):
        old = [entry.key for entry in storage.list(place) if entry.modified and entry.modified < before]
        if old:
            storage.delete(old)


@cache
def _machine() -> str:
    """This machine, and the process namespace in which its process ids are valid."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {space}".strip()
