"""Probing a storage with one small object: every operation that a backup or a restore will need.

Each operation is tried and reported separately. The probe objects are deleted at the end, whatever the results.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from mbk.engine.runtime.locked import require_locks
from mbk.engine.runtime.run import Run
from mbk.errors import (
    AccessError,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    Unsupported,
    VerificationFailed,
)
from mbk.frozen import frozen
from mbk.model.locking import LockMode
from mbk.model.reports import CheckResult
from mbk.ports.storage import Retention, Storage, WriteOptions

DATA = b"mbk check"
#: Longer than clocks differ, so that the service takes it for a time to come.
LOCKED = timedelta(minutes=1)


def ask(what: str, question: Callable[[], str], *, optional: str = "") -> CheckResult:
    """The result of a check that may raise. With ``optional``, the consequence, `Unsupported` is only a warning."""
    try:
        return CheckResult(what, True, question())
    except Unsupported as error:
        if optional:
            return CheckResult(what, True, f"{error.message}: {optional}", warning=True)
        return CheckResult(what, False, error.message, error.hint, exit_code=error.exit_code)
    except MbkError as error:
        return CheckResult(what, False, error.message, error.hint, exit_code=error.exit_code)


def ask_optional(what: str, question: Callable[[], str], consequence: str) -> CheckResult:
    """A check of something optional: a failure is a warning with its consequence."""
    result = ask(what, question, optional=consequence)
    if result.ok:
        return result
    return replace(result, ok=True, warning=True, detail=f"{result.detail}: {consequence}")


@frozen
class Probe:
    """The probe objects of one storage, below their own prefix in its root."""

    storage: Storage
    prefix: str

    @classmethod
    def of(cls, storage: Storage) -> Probe:
        return cls(storage, f"{storage.location.root}mbk_check_{uuid.uuid4().hex}/")

    @property
    def key(self) -> str:
        return f"{self.prefix}probe"

    @property
    def copied(self) -> str:
        return f"{self.prefix}copied"

    @property
    def held(self) -> str:
        return f"{self.prefix}locked"

    @property
    def parts(self) -> str:
        return f"{self.prefix}parts"

    def results(self, name: str, run: Run, *, copies: bool = True) -> Iterator[CheckResult]:
        """One result per operation; ``name`` is the name of the side. ``copies``: also those within it."""
        written = ask(f"{name}: write", self.write)
        try:
            yield written
            yield ask(f"{name}: list", lambda: self._list(written=written.ok))
            for operation, question, optional in self._of_what_is_written(copies=copies):
                what = f"{name}: {operation}"
                yield ask(what, question, optional=optional) if written.ok else _not_tried(what, written)
        finally:
            # A write that was refused may have arrived all the same.
            removed = ask(f"{name}: delete", lambda: self._remove(run))
            cleaned = ask_optional(
                f"{name}: unfinished uploads",
                lambda: self._clean(run),
                "what killed runs left of large objects stays",
            )
        yield removed if written.ok else _not_tried(removed.what, written)
        if written.ok:
            yield cleaned

    def _of_what_is_written(self, *, copies: bool) -> Iterator[tuple[str, Callable[[], str], str]]:
        limits = self.storage.capabilities
        whole = limits.server_side_copy and limits.max_copy_size is None
        yield "read", self.read, ""
        yield (
            "conditional create",
            self._conditional,
            "concurrent runs under one backup name are not detected",
        )
        if not copies:
            return
        yield "server-side copy", self._copy, "copies within it pass through this process"
        large = "large objects are copied whole" if whole else "large objects are streamed"
        yield "part copy", self._part_copy, large

    @contextmanager
    def removed(self, run: Run) -> Iterator[None]:
        """Removes the probe afterwards. An error of the block says more than one of the cleanup."""
        try:
            yield
        except BaseException:
            self._remove_if_possible(run)
            raise
        with suppress(MbkError):
            self._clean(run)
        self._remove(run)

    def _remove_if_possible(self, run: Run) -> None:
        for remove in (self._clean, self._remove):
            with suppress(MbkError):
                remove(run)

    def write(self) -> str:
        self.storage.write(self.key, [DATA], size=len(DATA))
        return "works"

    def note(self, run: Run) -> str:
        """Writes the probe and removes it."""
        with self.removed(run):
            return self.write()

    def lock(self, run: Run, mode: LockMode) -> str:
        """Locks a probe for a minute, in both ways that a backup needs. Where locked objects cannot be hidden, it stays for so long."""
        locking = require_locks(self.storage, run)
        until = datetime.now(UTC) + LOCKED
        retention = Retention(mode=mode, until=until)
        self.storage.write(self.held, [DATA], size=len(DATA), options=WriteOptions(retention=retention))
        try:
            locking.lock(self.held, replace(retention, until=until + LOCKED))
            found = locking.locked(self.held)
        finally:
            with suppress(MbkError):
                self.storage.delete([self.held])
        if found is None or not found.covers(retention):
            raise Unsupported(
                "the lock of {key} was ignored: nothing would be kept", code="probe-not-locked", key=self.held
            )
        return "works"

    def read(self, key: str = "") -> str:
        with self.storage.read(key or self.key) as chunks:
            if b"".join(chunks) != DATA:
                raise VerificationFailed(
                    "{key} reads back differently from what was written",
                    code="probe-differs",
                    key=key or self.key,
                )
        return "works"

    def _list(self, *, written: bool) -> str:
        keys = [entry.key for entry in self.storage.list(self.prefix)]
        if written and keys != [self.key]:
            raise VerificationFailed(
                "{key} was written but is not listed", code="probe-not-listed", key=self.key
            )
        return "works"

    def _conditional(self) -> str:
        try:
            self.storage.write_if_absent(self.key, [DATA], size=len(DATA))
        except ObjectExists:
            return "works"
        raise VerificationFailed(
            "{key} was overwritten by a write that must not overwrite",
            code="probe-overwritten",
            key=self.key,
        )

    def _copy(self) -> str:
        self.storage.copy(self.storage, self.key, self.copied)
        return self._same(self.copied)

    def _part_copy(self) -> str:
        if not self.storage.capabilities.part_copy:
            raise Unsupported("part copy is not supported", code="probe-part-copy-unsupported")
        try:
            with self.storage.multipart(self.parts) as upload:
                upload.copy_part(1, self.storage, self.key, offset=0, length=len(DATA))
                upload.complete()
        except StorageError as error:
            if error.retryable or isinstance(error, Unsupported):
                raise
            # Amazon documents ranges only for sources above 5 MB; the probe is smaller.
            raise Unsupported(
                "refused for an object as small as the probe ({reason})",
                code="probe-part-copy-refused",
                reason=error.message,
            ) from error
        return self._same(self.parts)

    def _same(self, key: str) -> str:
        size = self.storage.stat(key).size
        if size != len(DATA):
            raise VerificationFailed(
                "{key} has {size} bytes, its source has {expected}",
                code="probe-size-differs",
                key=key,
                size=size,
                expected=len(DATA),
            )
        return "works"

    def _clean(self, run: Run) -> str:
        run.retry.call(f"clean {self.prefix}", self.storage.clean, self.prefix)
        return "can be found"

    def _remove(self, run: Run) -> str:
        """Deletes by name: permission to write need not include listing."""
        keys = [self.key, self.copied, self.parts]
        run.retry.call(f"delete {self.prefix}", self.storage.delete, keys)
        # Without permission to read this cannot be verified; the check of reading reports that.
        with suppress(ObjectNotFound, AccessError):
            self.storage.stat(self.key)
            raise VerificationFailed(
                "{key} was deleted but still exists", code="probe-not-deleted", key=self.key
            )
        return "works"


def _not_tried(what: str, written: CheckResult) -> CheckResult:
    return CheckResult(what, False, "not tried: nothing could be written", exit_code=written.exit_code)
