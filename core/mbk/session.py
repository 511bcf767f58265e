"""The library face: one composition root for shell, REST and programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mbk.model.backup import BackupSummary, CheckResult, RunReport
from mbk.model.events import Event
from mbk.model.options import CreateOptions, RestoreOptions

if TYPE_CHECKING:
    from mbk.config.schema import Settings

OnEvent = Callable[[Event], None]


def connect(
    config: str | PathLike[str] | Settings | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    storage: str | None = None,
    backup_storage: str | None = None,
) -> Session:
    """Opens a session. Nothing is contacted before it is needed."""
    raise NotImplementedError


class Session:
    """Milvus, its storage and the backup storage, opened on first use and closed with the session."""

    settings: Settings

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def create(
        self,
        name: str | None = None,
        options: CreateOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        **changes: Any,
    ) -> RunReport:
        """Backs up. ``changes`` are fields of `CreateOptions`; ``filter`` and ``strategy`` may be text."""
        raise NotImplementedError

    def restore(
        self,
        name: str,
        options: RestoreOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        **changes: Any,
    ) -> RunReport:
        """Restores. ``changes`` are fields of `RestoreOptions`; also ``suffix``, ``rename``, ``filter`` as text."""
        raise NotImplementedError

    def list(self) -> Iterable[BackupSummary]:
        raise NotImplementedError

    def get(self, name: str, *, detail: bool = False) -> dict[str, Any]:
        """The brief view of a backup (``BackupInfoBrief``, PARITY.md 1.2), whole with ``detail``."""
        raise NotImplementedError

    def delete(self, name: str, *, on_event: OnEvent | None = None) -> int:
        """Deletes a backup, also an incomplete one; returns how many objects went."""
        raise NotImplementedError

    def check(self) -> Iterable[CheckResult]:
        raise NotImplementedError
