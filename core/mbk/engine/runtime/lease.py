"""Leases: two runs never work on the same backup, or restore into the same collection, even from different machines.

A lease is a small object below ``.mbk/leases/`` of the storage's root, written with a conditional create. Its holder
renews it every few seconds. Clocks of different machines are never compared: a lease counts as abandoned when an observer
has not seen it change for `LeasePace.expiry`, or at once when its process is proven dead (`mbk.engine.runtime.sign`).

Taking over a lease is not atomic, as storages have no conditional replace: the new holder looks again after a moment. Its
predecessor may come back, having stood still: it looks at every renewal, and at every step that cannot be taken back
(`Fence.require`), and stops when it finds another's token. For it the lease of its successor stays, marked as ended.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from mbk.engine.runtime import sign
from mbk.engine.runtime.clock import elapsed
from mbk.engine.runtime.holder import Holder, Standing, held, read, standing, write
from mbk.engine.runtime.layer import peeled, reach
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.run import Run
from mbk.engine.runtime.sign import Sign
from mbk.engine.runtime.threads import started
from mbk.errors import (
    AccessError,
    Busy,
    Interrupted,
    LeaseLost,
    MbkError,
    ObjectExists,
    StorageFull,
    Unreachable,
    Unsupported,
)
from mbk.ports.storage import ObjectInfo, Storage, Tidying

PREFIX = ".mbk/leases/"
#: What storages write for a moment to find out whether they keep conditions.
PROBE = "/.mbk-probe-"
#: So many runs that may come back are remembered.
_OUSTED = 16

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Lease:
    """One lease: taken, renewed by a thread, asked by the steps of the run, released.

    ``before``: who held it, if anything was left of that.
    """

    storage: Storage
    key: str
    what: str
    run: Run
    pace: LeasePace = field(default_factory=LeasePace)
    targets: tuple[str, ...] = ()
    deletes: bool = False
    before: Holder | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    #: Whether the run did its work; set at its end.
    done: bool = False
    _ousted: tuple[str, ...] = ()
    _ousted_claims: list[str] = field(default_factory=list)
    #: The beat that was written last; where an answer was lost, those that may be there.
    _beats: frozenset[int] = frozenset()
    _renewed: float = 0.0
    _lost: LeaseLost | None = None
    _sign: Sign | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _renewing: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        """A renewal that queued behind the run's own copies would come too late."""
        self.storage = retried(peeled(self.storage), self.run, urgent=True)

    # -- taking ----------------------------------------------------------------------------------------------------

    def take(self, *, patience: float = 0.0) -> None:
        """Takes the lease. `Busy` if a live run holds it, and still does after ``patience`` seconds."""
        deadline = elapsed() + patience
        held.add(self.token)
        self._sign = Sign.show(self.token)
        try:
            while not self._create():
                other = read(self.storage, self.key, self.run)
                if other is None:
                    continue
                found = standing(self.storage, self.key, other, self.run, self.pace)
                if found is not Standing.ALIVE:
                    if self._take_over(other, found):
                        break
                elif elapsed() >= deadline:
                    raise _busy(other)
                else:
                    self.run.sleep(self.pace.poll)
        except BaseException as error:
            refused = isinstance(error, MbkError) and not isinstance(error, (Interrupted, Unreachable))
            self._let_go(left=not refused)
            raise
        thread = threading.Thread(target=self._renew, name="mbk-lease", daemon=True)
        try:
            self._thread = started(thread)
        except MbkError:
            with suppress(MbkError):
                self._remove()
            self._let_go(left=False)
            raise

    def _create(self) -> bool:
        """False if there is a lease, of whomever."""
        try:
            return self._written_if_absent()
        except StorageFull:
            # What frees space goes on without a lease where there is none, but never beside a live run.
            if not self.deletes or read(self.storage, self.key, self.run) is None:
                raise
            return False

    def _written_if_absent(self) -> bool:
        if self.storage.capabilities.conditional_write:
            data = self._data()
            self._renewed = elapsed()
            try:
                self.run.retry.call(
                    f"take the lease {self.key}",
                    lambda: self.storage.write_if_absent(self.key, [data], size=len(data)),
                )
            except ObjectExists:
                return self._is_mine()  # an earlier attempt, whose answer was lost, may have written it
            except Unsupported:
                pass  # the profile promises what this server does not support
            else:
                return True
        if read(self.storage, self.key, self.run) is not None:
            return False
        self._write()
        self.run.sleep(self.pace.settle)
        return self._is_mine()

    def _take_over(self, other: Holder, found: Standing) -> bool:
        come_back = (other.token,) if found is Standing.SILENT else ()
        self._ousted = (*other.ousted, *come_back)[-_OUSTED:]
        self.before = other
        try:
            self._write()
        except StorageFull:
            if not self.deletes:
                raise
            # Its holder must not believe that it still has it.
            self._remove()
            return self._create()
        self.run.sleep(self.pace.handover if come_back else self.pace.settle)
        if not self._is_mine():
            return False
        sign.forget(other.token)
        return True

    # -- holding ---------------------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        return self._thread is not None

    @property
    def is_lost(self) -> bool:
        return self._lost is not None

    def require(self) -> None:
        """As `Fence.require`. Passes where no lease could be taken."""
        with self._renewing:
            pass  # a renewal that hides a successor says so at its end
        if self._lost is None and self._thread is not None:
            now = read(self.storage, self.key, self.run)
            if now is None or now.token != self.token:
                self._lose(now)
        if self._lost is not None:
            raise self._lost.final()

    def _renew(self) -> None:
        while not self._stop.wait(self.pace.beat):
            try:
                with self._renewing:
                    self._renew_once()
            except MbkError as error:
                log.debug("lease %s was not renewed: %s", self.key, error)
            if self.is_lost:
                return

    def _renew_once(self) -> None:
        # What is read is true at some moment from now on.
        before, looked = self._renewed, elapsed()
        seen = read(self.storage, self.key, self.run)
        # Another beat is that of a twin: this machine was cloned while the run was in progress.
        if seen is None or seen.token != self.token or seen.beat not in self._beats:
            return self._lose(seen)
        self._write()
        now = elapsed()
        if now - before >= self.pace.expiry and now - looked >= self.pace.handover:
            # Between the look and the write another may have taken it over, worked, and ended: this write hides it.
            self._lose(None)
        return None

    def _lose(self, successor: Holder | None) -> None:
        if self._lost is None:
            self._lost = self._told(successor)
        self.run.cancelled.set()

    def _told(self, successor: Holder | None) -> LeaseLost:
        hint = "look at what is there, then run this again if it is still needed"
        if successor is None:
            return LeaseLost(
                "another run may have taken over while the {operation} stood still: its lease is gone",
                code="lease-gone",
                operation=self.what,
                hint=hint,
            )
        return LeaseLost(
            "another run took over while the {operation} stood still: {successor} (process {pid} on {machine})",
            code="lease-lost",
            operation=self.what,
            successor=successor.what,
            pid=successor.pid,
            machine=successor.machine,
            hint=hint,
        )

    # -- releasing -------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Releases the lease, also when the run is cancelled. If it cannot be deleted, it expires."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self.run = self.run.afterwards()
        self.storage = retried(self.storage, self.run, urgent=True)
        left = True
        try:
            self._end()
            left = False
        except MbkError as error:
            log.debug("lease %s stays until it expires: %s", self.key, error)
        finally:
            self._let_go(left=left)

    def _end(self) -> None:
        now = read(self.storage, self.key, self.run)
        if now is None or now.token != self.token:
            return
        for key in self._ousted_claims if self.done else ():
            claim = read(self.storage, key, self.run)
            if claim is not None and claim.token == self.token:
                write(self.storage, key, self._data(ended=True), self.run)
        if self._ousted:
            self._write(ended=True)
        else:
            self._remove()

    def returned(self, token: str) -> None:
        """The run with this token has come back: nothing needs to stay for it."""
        self._ousted = tuple(other for other in self._ousted if other != token)

    def oust(self, key: str, found: Standing) -> bool:
        """Puts an end to the claim of another run at ``key``; False if that run came back at this very moment."""
        if found is Standing.DEAD:
            self.run.retry.call(f"delete {key}", self.storage.delete, [key])
            return True
        write(self.storage, key, self._data(ended=True), self.run)
        self._ousted_claims.append(key)
        self.run.sleep(self.pace.handover)
        now = read(self.storage, key, self.run)
        return now is None or now.token == self.token

    def _let_go(self, *, left: bool) -> None:
        """``left``: the lease may still be there, and this process is not."""
        held.discard(self.token)
        if self._sign is None:
            return
        if left:
            self._sign.leave()
        else:
            self._sign.withdraw()

    # -- the object ------------------------------------------------------------------------------------------------

    def _is_mine(self) -> bool:
        holder = read(self.storage, self.key, self.run)
        return holder is not None and holder.token == self.token

    def _write(self, *, ended: bool = False) -> None:
        """`_renewed` is the time before the write: whoever sees it sees it later."""
        began = elapsed()
        data = self._data(ended=ended)
        write(self.storage, self.key, data, self.run)
        self._renewed, self._beats = began, frozenset([max(self._beats)])

    def _remove(self) -> None:
        self.run.retry.call(f"delete {self.key}", self.storage.delete, [self.key])

    def _data(self, *, ended: bool = False) -> bytes:
        beat = max([int(elapsed() * 1e6), *(other + 1 for other in self._beats)])
        self._beats |= {beat}
        holder = Holder(
            token=self.token,
            machine=socket.gethostname(),
            pid=os.getpid(),
            what=self.what,
            beat=beat,
            targets=self.targets,
            deletes=self.deletes,
            ousted=self._ousted,
            ended=ended,
            done=ended and self.done,
        )
        return msgspec.json.encode(holder)


@contextmanager
def hold(
    storage: Storage,
    name: str,
    what: str,
    run: Run,
    *,
    pace: LeasePace | None = None,
    deletes: bool = False,
    aftermath: Callable[[Lease], None] | None = None,
) -> Iterator[Lease]:
    """Exclusive access to the backup ``name``. `Busy` if another run has it; `LeaseLost` if another run took it over.

    ``deletes``: the run deletes the backup, and goes on where no space is left for a lease. ``aftermath`` tidies up what
    the run left behind, if it lost its lease: it is called once the successor has ended, with a lease of its own.
    """
    place = f"{storage.location.root}{PREFIX}"
    pace = pace or LeasePace()
    lease = Lease(storage, f"{place}{name}", what, run, pace, deletes=deletes)
    with holding(lease, lambda: _come_back(lease, aftermath)):
        taken(lease)
        sweep(lease, place)
        yield lease


@contextmanager
def holding(lease: Lease, lost: Callable[[], None]) -> Iterator[None]:
    """Around the work under a lease. A run that lost it says so, whatever it made of that, and never succeeds."""
    try:
        with lease.run.stopping():
            yield
        _look(lease)
        lease.done = True
    except MbkError as error:
        with suppress(MbkError):
            lease.require()
        if lease.is_lost and not isinstance(error, LeaseLost):
            lease.require()
        raise
    finally:
        lease.release()
        if lease.is_lost:
            with suppress(MbkError):
                lost()


def _look(lease: Lease) -> None:
    try:
        lease.require()
    except LeaseLost:
        raise
    except MbkError as error:
        log.debug("the lease %s could not be read at the end: %s", lease.key, error)


def _come_back(lost: Lease, aftermath: Callable[[Lease], None] | None) -> None:
    """Waits until the successor has ended, and tidies up under the lease."""
    lease = Lease(lost.storage, lost.key, f"end of the {lost.what}", lost.run, lost.pace)
    lease.take(patience=lost.pace.expiry)
    try:
        lease.returned(lost.token)
        if aftermath is not None:
            aftermath(lease)
    finally:
        lease.release()


def taken(lease: Lease, *, patience: float = 0.0) -> None:
    """Without permission to write leases the run continues with a notice: it may be allowed to write elsewhere. So does
    one that frees space where there is none left."""
    try:
        lease.take(patience=patience)
    except (AccessError, StorageFull) as error:
        if isinstance(error, StorageFull) and not lease.deletes:
            raise
        lease.run.notice(
            "no-lease",
            "other runs are not locked out, no lease can be written: {reason}",
            reason=error.message,
        )


def _busy(other: Holder) -> Busy:
    return Busy(
        "another run is in progress: {operation} (process {pid} on {machine})",
        code="run-in-progress",
        operation=other.what,
        pid=other.pid,
        machine=other.machine,
        hint="wait for it to finish",
    )


def sweep(lease: Lease, place: str) -> None:
    """Removes abandoned leases, and what killed runs left while they wrote theirs; what fails here is left to the next
    run. How old something is, the storage's own clock tells: this run's lease was renewed just now.
    """
    with suppress(MbkError):
        entries = listed(lease, place)
        now = max((entry.modified for entry in entries if entry.modified), default=None)
        if now is None:
            return
        old = [
            entry.key
            for entry in entries
            if entry.modified and now - entry.modified > _lifetime(entry.key, lease.pace)
        ]
        if old:
            lease.run.retry.call(f"delete {old[0]}", lease.storage.delete, old)
    with suppress(MbkError):
        if (tidying := reach(lease.storage, Tidying)) is not None:
            tidying.tidy(place)


def _lifetime(key: str, pace: LeasePace) -> timedelta:
    return timedelta(seconds=pace.expiry) if PROBE in key else pace.abandoned


def listed(lease: Lease, place: str) -> list[ObjectInfo]:
    return lease.run.retry.call(f"list {place}", lambda: [*lease.storage.list(place)])
