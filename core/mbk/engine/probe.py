"""Trying out a storage with one small object: every operation that a backup or a restore will need of it.

Each operation is tried and answered by itself. Whatever the answers, nothing stays behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mbk.engine.run import Run
from mbk.errors import MbkError, ObjectExists, Unsupported, VerificationFailed
from mbk.model.backup import CheckResult
from mbk.ports.storage import Storage

DATA = b"mbk check"


def ask(what: str, question: Callable[[], str], *, optional: str = "") -> CheckResult:
    """The answer to a question that may raise. ``optional`` says what it means where `Unsupported` is no failure."""
    try:
        return CheckResult(what, True, question())
    except Unsupported as error:
        if optional:
            return CheckResult(what, True, f"{error.message}: {optional}", warning=True)
        return CheckResult(what, False, error.message, error.hint, exit_code=error.exit_code)
    except MbkError as error:
        return CheckResult(what, False, error.message, error.hint, exit_code=error.exit_code)


@dataclass(frozen=True, slots=True)
class Probe:
    """The probe objects of one storage, below a prefix of their own in its root."""

    storage: Storage
    prefix: str

    @classmethod
    def of(cls, storage: Storage) -> Probe:
        return cls(storage, f"{storage.location.root}mbk_check_{uuid.uuid4().hex}/")

    def results(self, name: str, run: Run) -> Iterator[CheckResult]:
        """One answer for each operation; ``name`` is the side's."""
        key = f"{self.prefix}probe"
        try:
            written = ask(f"{name}: write", lambda: self._write(key))
            yield written
            if not written.ok:
                return
            yield ask(f"{name}: list", lambda: self._list(key))
            yield ask(f"{name}: read", lambda: self._read(key))
            yield ask(
                f"{name}: conditional create",
                lambda: self._conditional(key),
                optional="two runs that take one backup name at once are not told apart",
            )
            streams = "copies inside of it pass through this process"
            yield ask(f"{name}: server-side copy", lambda: self._copy(key), optional=streams)
            limits = self.storage.capabilities
            whole = limits.server_side_copy and limits.max_copy_size is None
            large = "large objects are copied whole" if whole else "large objects are streamed"
            yield ask(f"{name}: part copy", lambda: self._part_copy(key), optional=large)
        finally:
            removed = ask(f"{name}: delete", self._remove)
            run.retry.call("clean", lambda: self.storage.clean(self.prefix))
        yield removed

    def _write(self, key: str) -> str:
        self.storage.write(key, [DATA], size=len(DATA))
        return "works"

    def _list(self, key: str) -> str:
        if [entry.key for entry in self.storage.list(self.prefix)] != [key]:
            raise VerificationFailed(f"{key} was written and is not listed")
        return "works"

    def _read(self, key: str) -> str:
        with self.storage.read(key) as chunks:
            if b"".join(chunks) != DATA:
                raise VerificationFailed(f"{key} reads differently from what was written")
        return "works"

    def _conditional(self, key: str) -> str:
        try:
            self.storage.write_if_absent(key, [DATA], size=len(DATA))
        except ObjectExists:
            return "works"
        raise VerificationFailed(f"{key} was overwritten by a write that must not")

    def _copy(self, key: str) -> str:
        self.storage.copy(self.storage, key, f"{self.prefix}copied")
        return self._same(f"{self.prefix}copied")

    def _part_copy(self, key: str) -> str:
        if not self.storage.capabilities.part_copy:
            raise Unsupported("no part copy")
        with self.storage.multipart(f"{self.prefix}parts") as upload:
            upload.copy_part(1, self.storage, key, offset=0, length=len(DATA))
            upload.complete()
        return self._same(f"{self.prefix}parts")

    def _same(self, key: str) -> str:
        if self.storage.stat(key).size != len(DATA):
            raise VerificationFailed(f"{key} is not as large as what it was copied from")
        return "works"

    def _remove(self) -> str:
        self.storage.delete([entry.key for entry in self.storage.list(self.prefix)])
        if next(iter(self.storage.list(self.prefix)), None) is not None:
            raise VerificationFailed(f"{self.prefix} was deleted and is still listed")
        return "works"
