"""Runs command lines in this process, on a session that needs no server: what is seen here is the shell's side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mbk.cli.main import main
from mbk.model.contents import BackupInfo
from mbk.model.declared import Options
from mbk.model.events import Event
from mbk.model.plans import Plan, total
from mbk.model.reports import (
    BackupSummary,
    CheckResult,
    CollectionOutcome,
    DeletionReport,
    RunReport,
    TransferStats,
)
from mbk.testing import MemoryStorage
from tests.fixtures.backups.builder import OldBackup

BIG = 2**63 - 1


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


def report(command: str = "create", *collections: CollectionOutcome, **changes: Any) -> RunReport:
    values: dict[str, Any] = {
        "command": command,
        "name": "nightly",
        "id": "1",
        "location": "local://backups",
        "milvus_version": "v2.3.5",
        "seconds": 1.5,
        "collections": collections,
        "transfer": TransferStats(),
    }
    return RunReport(**values | changes)


@dataclass
class Session:
    """Remembers what it was asked. ``error`` is raised by every command, after ``events`` were told."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    settings: Any = None
    error: BaseException | None = None
    events: list[Event] = field(default_factory=list)
    result: Any = field(default_factory=report)
    backups: list[BackupSummary] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    backup_storage: MemoryStorage = field(default_factory=lambda: MemoryStorage(root="backup/"))
    closed: bool = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def nearby(self) -> Sequence[str]:
        return ()

    def _asked(self, *call: Any, on_event: Callable[[Event], None] | None = None) -> None:
        self.calls.append(call)
        for event in self.events:
            assert on_event is not None
            on_event(event)
        if self.error is not None:
            raise self.error

    def run(self, operation: str, name: str | None, options: Options, *, on_event: Any = None) -> Any:
        self._asked(operation, name, options, on_event=on_event)
        return DeletionReport(name or "", 7) if operation == "delete" else self.result

    def plan(self, operation: str, name: str | None, options: Options, *, on_event: Any = None) -> Plan:
        self._asked(f"plan {operation}", name, options, on_event=on_event)
        collections = self.result.collections
        return Plan(
            command=operation,
            name=name or "",
            location="local://backups/nightly",
            format="binlog",
            collections=collections,
            objects=total([item.objects for item in collections]),
            size=total([item.size for item in collections]),
            removes=("collection default.old",),
        )

    def list(self) -> list[BackupSummary]:
        self._asked("list")
        return self.backups

    def names(self) -> Sequence[str]:
        self._asked("names")
        return [backup.name for backup in self.backups]

    def get(self, name: str, *, detail: bool = False) -> BackupInfo:
        self._asked("get", name, detail)
        return BackupInfo.of({"name": name, "state": "complete"} | self.info)

    def check(self, command: str = "all") -> Iterator[CheckResult]:
        self._asked("check", *([] if command == "all" else [command]))
        yield from self.checks


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MILVUSCONF", "MILVUS_PORT", "MINIO_PORT", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """With a configuration file, unless the test wrote one: without any, every error tells so."""
    fake = Session()
    if not (config := Path("backup.yaml")).exists():
        config.write_text("log: {level: info}\n", encoding="utf-8")

    def connect(settings: Any) -> Session:
        fake.settings = settings
        return fake

    monkeypatch.setattr("mbk.session.connect", connect)
    return fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def go(*args: str) -> Result:
        capsys.readouterr()
        code = main(list(args))
        seen = capsys.readouterr()
        return Result(code, seen.out, seen.err)

    return go


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    """A directory with the backup ``old``, and a configuration ``backup.yaml`` that names it."""
    storage = MemoryStorage()
    made = OldBackup(storage)
    made.segment(1, range(3))
    made.commit()
    for item in storage.list("backup/"):
        path = tmp_path / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with storage.read(item.key) as chunks:
            path.write_bytes(b"".join(chunks))
    place = tmp_path / "backup"
    config = f"minio:\n  storageType: local\n  rootPath: {tmp_path}/milvus\n  backupRootPath: {place}\n"
    Path("backup.yaml").write_text(config, encoding="utf-8")
    return place
