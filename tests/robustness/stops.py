"""A command that is stopped at one of its calls (SIGSTOP), while another process takes its lease over, does its work and
ends; then it goes on (SIGCONT). What must hold afterwards, for each pair of commands."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mbk.model.states import BackupState
from tests.robustness.forks import Ended, Forks
from tests.robustness.killing import AFTER, AMID, Executioner, Fate
from tests.robustness.kills import (
    MILVUS,
    STORAGE,
    Command,
    Compact,
    Copy,
    Create,
    Delete,
    Instant,
    Place,
    Replace,
    Restore,
    tree,
)
from tests.robustness.scene import BACKUP, NAME

#: How a run says that it was overtaken.
LOST = ("lease-lost", "lease-gone")


@dataclass
class Stopped:
    """``command`` is stopped; ``other`` are the processes of whoever takes over."""

    command: Command
    other: Forks

    #: The command, and the exit codes with which it may find the other's work before it has a lease.
    kind: ClassVar[type[Command]]
    found: ClassVar[tuple[int, ...]] = ()

    def instants(self) -> list[Instant]:
        """Milvus does each call before the client stops; right before a call the client looks at its lease."""
        return [
            instant
            for instant in self.command.instants()
            if (instant.side == STORAGE or instant.when == AFTER) and instant.when != AMID
        ]

    def trial(self, instant: Instant) -> None:
        place = self.command.place()
        with ThreadPoolExecutor(1) as thread, self._watched(instant):
            ended = thread.submit(self._run, place, instant)
            stopped = self._stands(ended)
            overtaker = self.overtake(place) if stopped else Ended(0)
            if stopped:
                os.kill(self.command.forks.pid, signal.SIGCONT)
            self.judge(place, instant, ended.result(), overtaker)

    def _run(self, place: Place, instant: Instant) -> Ended:
        at, when = (instant.at, instant.when) if instant.side == STORAGE else (0, "")
        command = self.command
        return command.forks.run(
            place.config, command.name, BACKUP, command.options(place), at=at, when=when, stops=True
        )

    @contextmanager
    def _watched(self, instant: Instant) -> Iterator[None]:
        """Stops the client once its call to Milvus is done."""
        forks = self.command.forks
        forks.pid = 0
        if instant.side != MILVUS:
            yield
            return

        def stop() -> None:
            os.kill(forks.pid, signal.SIGSTOP)

        hook = Executioner(Fate(instant.at, instant.when, stop))
        self.command.double.hooks.append(hook)
        try:
            yield
        finally:
            self.command.double.hooks.remove(hook)

    def _stands(self, ended: Future[Ended]) -> bool:
        """Waits until the process is stopped; False if it has ended: threads make one run have fewer calls."""
        while not ended.done():
            if self.command.forks.pid and _state(self.command.forks.pid) == "T":
                return True
            time.sleep(0.01)
        return False

    def overtake(self, place: Place) -> Ended:
        raise NotImplementedError

    def judge(self, place: Place, instant: Instant, ended: Ended, other: Ended) -> None:
        raise NotImplementedError

    def said(self, ended: Ended) -> None:
        fine = ended.exit == 0 or ended.code in LOST or ended.exit in self.found
        assert fine, f"{ended.exit} {ended.code}: {ended.error}"


class ByDeletion(Stopped):
    """The backup that the command makes is deleted meanwhile."""

    directory: ClassVar[str] = "backups"
    made: ClassVar[str] = BACKUP

    def where(self, place: Place) -> Path:
        found: Path = getattr(place, self.directory)
        return found

    def overtake(self, place: Place) -> Ended:
        backups = self.where(place)
        if not backups.exists():
            return Ended(4)
        return self.other.run(self.command.scene.config(backups), "delete", self.made)

    def judge(self, place: Place, instant: Instant, ended: Ended, other: Ended) -> None:
        self.said(ended)
        assert other.exit in (0, 4), f"the deletion: {other.exit}: {other.error}"
        backups = self.where(place)
        left = [key for key in tree(backups) if key.startswith(f"{self.made}/")]
        if ended.exit:
            assert not left, f"left in a deleted backup: {left}"
        elif left:
            assert self.command.state(backups, self.made) == BackupState.COMPLETE
            self.is_whole(place)
        else:
            assert "/leases/" in _where(instant, ended), "success, and nothing is there"

    def is_whole(self, place: Place) -> None:
        """All objects of the backup are there."""
        self.command.between(place)


class CreateByDeletion(ByDeletion):
    kind = Create


class CopyByDeletion(ByDeletion):
    kind = Copy
    directory = "copied"


class CompactByDeletion(ByDeletion):
    kind = Compact
    made = Compact.output


class DeleteByDeletion(ByDeletion):
    """The deletion itself is stopped."""

    kind = Delete
    found = (4,)

    def judge(self, place: Place, instant: Instant, ended: Ended, other: Ended) -> None:
        self.said(ended)
        left = [key for key in tree(place.backups) if key.startswith(f"{BACKUP}/")]
        assert not left, f"left: {left}"


class ByRestore(Stopped):
    """The same restore is run once more meanwhile, as somebody does who believes the first one dead."""

    found = (5,)

    def target(self, place: Place) -> str:
        return place.target

    def overtake(self, place: Place) -> Ended:
        return self.other.run(place.config, self.command.name, BACKUP, self.command.options(place))

    def judge(self, place: Place, instant: Instant, ended: Ended, other: Ended) -> None:
        self.said(ended)
        rows = self.command.rows(self.target(place))
        whole = rows == self.command.scene.exact
        if other.exit == 0 or ended.exit == 0:
            assert whole, f"other rows than in the backup, and {'one' if ended.exit else 'both'} succeeded"
        self.tidy(place)

    def tidy(self, place: Place) -> None:
        self.command.scene.coll.client.drop_collection(self.target(place))


class RestoreByRestore(ByRestore):
    kind = Restore


class ReplaceByReplace(ByRestore):
    kind = Replace

    def target(self, place: Place) -> str:
        return NAME

    def tidy(self, place: Place) -> None:
        """What is there is what the next trial replaces."""


PAIRS: Mapping[str, type[Stopped]] = {
    "create, deleted": CreateByDeletion,
    "copy, deleted": CopyByDeletion,
    "l0compact, deleted": CompactByDeletion,
    "delete, deleted": DeleteByDeletion,
    "restore, restored": RestoreByRestore,
    "restore, replaced": ReplaceByReplace,
}


def _where(instant: Instant, ended: Ended) -> str:
    """The call at which the process was stopped; with threads and renewals it is another one in each run."""
    return ended.calls[instant.at - 1] if instant.side == STORAGE else instant.what


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]
