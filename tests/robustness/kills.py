"""A command that is killed at one of its calls, and run again: what must hold in between and afterwards, for each command."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mbk.model.layout import POOL, POOL_INDEX
from mbk.model.states import BackupState
from tests.milvus_double.server import MilvusDouble
from tests.robustness.forks import Ended, Forks
from tests.robustness.killing import AFTER, AMID, BEFORE, Executioner, Fate, killing, no_answer
from tests.robustness.scene import BACKUP, NAME, Scene
from tests.robustness.table import Table, sample
from tests.sharing import named_in, share_in
from tests.versions.everything import rows_of

STORAGE, MILVUS = "storage", "milvus"
Tree = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Instant:
    """Call ``at`` of the storages or of Milvus, counted from 1; ``when`` before, amid or after it. ``what`` is the call."""

    side: str
    at: int
    when: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.when} call {self.at} to {self.side} ({self.what})"


@dataclass(slots=True)
class Place:
    """Where one trial happens: its own directory of backups, its own target."""

    backups: Path
    config: Path
    number: int

    @property
    def copied(self) -> Path:
        return self.backups.with_name(f"{self.backups.name}-copy")

    @property
    def target(self) -> str:
        return f"{NAME}_t{self.number}"


@dataclass
class Command(ABC):
    """One command. A method that finds something wrong says so by an AssertionError."""

    scene: Scene
    forks: Forks
    _fate: Fate = field(default_factory=lambda: Fate(0, "", lambda: None))
    _made: int = 0
    #: The rows that lived under the name before a trial.
    before: Any = None

    name: ClassVar[str]
    begins_empty: ClassVar[bool] = False

    @property
    def double(self) -> MilvusDouble:
        assert isinstance(self.scene.server, MilvusDouble)
        return self.scene.server

    @abstractmethod
    def options(self, place: Place) -> Mapping[str, Any]: ...

    def begin(self, place: Place) -> None:  # noqa: B027 - most need nothing more
        """Makes what the command needs, besides a copy of the template."""

    @abstractmethod
    def between(self, place: Place) -> None:
        """After the kill: nothing is half and says that it is whole."""

    @abstractmethod
    def again(self, place: Place) -> Ended:
        """The re-run, as a user does it: with what the messages say."""

    @abstractmethod
    def ended(self, place: Place) -> None:
        """After the re-run: all is there, and nothing is left over."""

    # -- one trial -----------------------------------------------------------------------------------------------------

    def place(self) -> Place:
        self._made += 1
        backups = self.scene.fresh(empty=self.begins_empty)
        made = Place(backups, self.scene.config(backups), self._made)
        self.begin(made)
        return made

    def run(self, place: Place, instant: Instant | None = None, *, fails: bool = False, **more: Any) -> Ended:
        """``fails``: the call fails once, with an error that passes, and the process goes on."""
        at, when = (instant.at, instant.when) if instant and instant.side == STORAGE else (0, "")
        name = more.pop("name", BACKUP)
        options = {**self.options(place), **more}
        self.forks.pid = 0
        with self._watched(instant if instant and instant.side == MILVUS else None, fails=fails):
            return self.forks.run(place.config, self.name, name, options, at=at, when=when, fails=fails)

    @contextmanager
    def _watched(self, instant: Instant | None, *, fails: bool) -> Iterator[None]:
        at, when = (instant.at, instant.when) if instant else (0, "")
        end = no_answer if fails else killing(lambda: self.forks.pid, when)
        fate = self._fate = Fate(at, when, end)
        hook = Executioner(fate)
        self.double.hooks.append(hook)
        self.double.faults.http("*", times=None, when=lambda _asked: bool(hook.over_http()))
        try:
            yield
        finally:
            self.double.hooks.remove(hook)
            self.double.faults.clear()

    def instants(self) -> list[Instant]:
        """All of them, as an undisturbed run shows."""
        for _ in range(2):
            # The first one flushes rows that later ones find flushed.
            place = self.place()
            ended = self.run(place)
            assert ended.exit == 0, ended.error
            calls = {STORAGE: [*ended.calls], MILVUS: [*self._fate.names]}
            self.ended(place)
        return [
            Instant(side, at, when, name)
            for side, names in calls.items()
            for at, name in enumerate(names, 1)
            for when in ((BEFORE, AMID, AFTER) if name.startswith("write ") else (BEFORE, AFTER))
        ]

    def trial(self, instant: Instant) -> None:
        place = self.place()
        ended = self.run(place, instant)
        if not ended.killed:
            # Polls and threads: this run had fewer calls.
            assert ended.exit == 0, f"{ended.exit}: {ended.error}"
        self.between(place)
        again = self.again(place)
        assert again.exit == 0, f"the re-run: {again.exit}: {again.error}"
        self.ended(place)

    def fault(self, instant: Instant) -> None:
        """One call fails for a moment: nobody notices."""
        place = self.place()
        ended = self.run(place, instant, fails=True)
        assert ended.exit == 0, f"{ended.exit}: {ended.error}"
        self.ended(place)

    # -- looking -------------------------------------------------------------------------------------------------------

    def state(self, directory: Path, name: str = BACKUP) -> str:
        """As `list` tells it; empty where there is no such backup."""
        with self.scene.session(directory) as session:
            found = [item for item in session.list() if item.name == name]
        return str(found[0].state) if found else ""

    def rows(self, name: str) -> Any:
        if name not in self.names():
            return None
        return rows_of(self.double, "default", name)

    def names(self) -> set[str]:
        with self.double.state.lock:
            return {collection.name for collection in self.double.state.collections.values()}

    def no_leftovers(self, *directories: Path) -> None:
        """No lease, no temporary file, nothing staged. What is in the pool is no leftover by itself."""
        for directory in (*directories, self.scene.server.storage_root):
            own = [key for key in tree(directory) if not key.startswith(POOL)]
            left = [key for key in own if ".mbk" in key or "restore-temp" in key or ".tmp" in key]
            assert not left, f"left over: {left}"
        strangers = self.names() - {NAME}
        assert not strangers, f"collections left over: {strangers}"


def tree(directory: Path) -> Tree:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def data_of(directory: Path, name: str = BACKUP) -> Tree:
    return {
        key.removeprefix(f"{name}/"): data
        for key, data in tree(directory).items()
        if key.startswith(f"{name}/binlogs/")
    }


def pool_of(directory: Path) -> Tree:
    """As `data_of`, of what lies in the pool, below whatever id."""
    found = ((key.partition("/binlogs/"), data) for key, data in tree(directory).items())
    return {
        f"binlogs/{name}": data for (place, _, name), data in found if name and place.startswith(".mbk/pool/")
    }


def meta_of(directory: Path, name: str = BACKUP) -> list[str]:
    """The names of the metadata files; the record is named after its commit."""
    names = [key.removeprefix(f"{name}/meta/") for key in tree(directory) if key.startswith(f"{name}/meta/")]
    return sorted("objects" if key.startswith("objects-") else key for key in names)


class Create(Command):
    name = "create"
    begins_empty = True
    whole: Tree | None = None

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"format": "binlog"}

    def between(self, place: Place) -> None:
        if self.state(place.backups) == BackupState.COMPLETE:
            self._is_whole(place)
        else:
            assert self.state(place.backups) in ("", BackupState.INCOMPLETE)

    def again(self, place: Place) -> Ended:
        match self.state(place.backups):
            case BackupState.COMPLETE:
                # A user who does not know that it was committed runs it again, and is told so.
                ended = self.run(place, resume=True)
                return Ended(0) if ended.exit == 5 else ended
            case BackupState.INCOMPLETE:
                return self.run(place, resume=True)
            case _:
                return self.run(place)

    def ended(self, place: Place) -> None:
        assert self.state(place.backups) == BackupState.COMPLETE
        self._is_whole(place)
        self.no_leftovers(place.backups)

    def _is_whole(self, place: Place) -> None:
        """The rows do not change any more, so all backups have the same objects, and those are Milvus' own."""
        source = {*tree(self.scene.server.storage_root).values()}
        copied = data_of(place.backups)
        assert {*copied.values()} <= source, "bytes that Milvus does not have"
        self.whole = self.whole or copied
        assert copied == self.whole, f"{len(copied)} of {len(self.whole)} objects"
        assert meta_of(place.backups) == meta_of(self.scene.template)


class Incremental(Create):
    """Of which an earlier backup has a part."""

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"format": "binlog", "incremental": True}

    def begin(self, place: Place) -> None:
        with self.scene.session(place.backups) as session:
            session.create("base", filter=f"{NAME}/cold", incremental=True)

    def _is_whole(self, place: Place) -> None:
        """And what is in the pool is what both name."""
        source = {*tree(self.scene.server.storage_root).values()}
        pooled = {
            key.removeprefix(POOL): data
            for key, data in tree(place.backups).items()
            if key.startswith(POOL) and "/binlogs/" in key
        }
        assert {*pooled.values()} <= source, "bytes that Milvus does not have"
        assert {key: len(data) for key, data in pooled.items()} == named_in(place.backups, "base", BACKUP)
        assert not data_of(place.backups)
        with self.scene.session(place.backups) as session:
            session.verify(BACKUP, depth="contents")


class Restore(Command):
    name = "restore"

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"suffix": f"_t{place.number}"}

    def between(self, place: Place) -> None:
        pass

    def again(self, place: Place) -> Ended:
        ended = self.run(place)
        # Killed after the last step: the collection is there, whole, and nobody remembers who made it.
        done = ended.exit == 5 and self.rows(place.target) == self.scene.exact
        return Ended(0) if done else ended

    def ended(self, place: Place) -> None:
        assert self.rows(place.target) == self.scene.exact, "other rows than in the backup"
        self.scene.coll.client.drop_collection(place.target)
        self.no_leftovers(place.backups)


class Replace(Command):
    """A restore in place of a collection with other rows."""

    name = "restore"

    def begin(self, place: Place) -> None:
        if self.rows(NAME) == self.scene.exact:
            self.scene.change()
        self.before = self.rows(NAME)

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"drop_existing": True}

    def between(self, place: Place) -> None:
        now = self.rows(NAME)
        if now is None:
            # Right between the two renames, of which Milvus makes no one step: both wait, complete.
            waiting = [self.rows(name) for name in self.names()]
            assert self.before in waiting, "the old collection is gone"
            assert self.scene.exact in waiting, "the new collection is gone"
            return
        assert now in (self.before, self.scene.exact), "neither the old nor the new collection"

    def again(self, place: Place) -> Ended:
        return self.run(place)

    def ended(self, place: Place) -> None:
        assert self.rows(NAME) == self.scene.exact, "other rows than in the backup"
        self.no_leftovers(place.backups)


class Delete(Command):
    name = "delete"

    def options(self, place: Place) -> Mapping[str, Any]:
        return {}

    def between(self, place: Place) -> None:
        if self.state(place.backups) == BackupState.COMPLETE:
            assert data_of(place.backups) == data_of(self.scene.template), "a ruin that says that it is whole"

    def again(self, place: Place) -> Ended:
        ended = self.run(place)
        return Ended(0) if ended.exit == 4 else ended

    def ended(self, place: Place) -> None:
        assert not tree(place.backups)
        self.no_leftovers(place.backups)


class DeleteShared(Command):
    """Of a pool that another backup has objects in, too."""

    name = "delete"
    begins_empty = True
    other: ClassVar[str] = "stays"

    def begin(self, place: Place) -> None:
        """The one that goes is the older one."""
        with self.scene.session(place.backups) as session:
            session.create(BACKUP, filter=NAME, incremental=True)
            session.create(self.other, filter=f"{NAME}/cold", incremental=True)

    def options(self, place: Place) -> Mapping[str, Any]:
        return {}

    def between(self, place: Place) -> None:
        with self.scene.session(place.backups) as session:
            for item in session.list():
                if item.state is BackupState.COMPLETE:
                    session.verify(item.name, depth="contents")
        assert self.state(place.backups, self.other) == BackupState.COMPLETE

    def again(self, place: Place) -> Ended:
        ended = self.run(place)
        return Ended(0) if ended.exit == 4 else ended

    def ended(self, place: Place) -> None:
        self.between(place)
        assert self.state(place.backups) == ""
        own = [key for key in tree(place.backups) if key.startswith(POOL) and key != POOL_INDEX]
        assert {key.removeprefix(POOL) for key in own} == {*named_in(place.backups, self.other)}
        self.no_leftovers(place.backups)


class Prune(DeleteShared):
    name = "prune"

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"keep_last": 1}


class Gc(DeleteShared):
    """Of what a backup had in the pool whose own directory somebody removed."""

    name = "gc"

    def begin(self, place: Place) -> None:
        super().begin(place)
        shutil.rmtree(place.backups / BACKUP)

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"grace": "0h"}


class Copy(Command):
    name = "copy"

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"path": str(place.copied)}

    def between(self, place: Place) -> None:
        if place.copied.exists() and self.state(place.copied) == BackupState.COMPLETE:
            assert data_of(place.copied) == data_of(place.backups)

    def again(self, place: Place) -> Ended:
        return self.run(place)

    def ended(self, place: Place) -> None:
        assert tree(place.copied) == tree(place.backups)
        self.no_leftovers(place.backups, place.copied)


class CopyShared(Copy):
    def begin(self, place: Place) -> None:
        share_in(place.backups, BACKUP)

    def between(self, place: Place) -> None:
        if place.copied.exists() and self.state(place.copied) == BackupState.COMPLETE:
            assert self.objects(place.copied) == data_of(self.scene.template)

    def ended(self, place: Place) -> None:
        assert self.state(place.copied) == BackupState.COMPLETE
        assert self.objects(place.copied) == data_of(self.scene.template)
        self.no_leftovers(place.backups, place.copied)

    def objects(self, directory: Path) -> Tree:
        assert not data_of(directory)
        return pool_of(directory)


class CopyToClassic(CopyShared):
    def options(self, place: Place) -> Mapping[str, Any]:
        return {"path": str(place.copied), "layout": "classic"}

    def objects(self, directory: Path) -> Tree:
        assert not pool_of(directory)
        return data_of(directory)


class CopyToShared(CopyShared):
    def begin(self, place: Place) -> None:
        """The template is classic."""

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"path": str(place.copied), "layout": "shared"}


class Import(Command):
    name = "import"

    def options(self, place: Place) -> Mapping[str, Any]:
        return {}

    def between(self, place: Place) -> None:
        """Either backup is whole, at every moment."""
        with self.scene.session(place.backups) as session:
            (found,) = session.list()
        assert found.state == BackupState.COMPLETE
        there = (pool_of if found.format == "shared" else data_of)(place.backups)
        assert there == data_of(self.scene.template)

    def again(self, place: Place) -> Ended:
        return self.run(place)

    def ended(self, place: Place) -> None:
        assert pool_of(place.backups) == data_of(self.scene.template)
        assert not data_of(place.backups)
        assert sum(name == "objects" for name in meta_of(place.backups)) == 1
        self.no_leftovers(place.backups)


class Compact(Command):
    name = "l0compact"
    output: ClassVar[str] = "flat"
    whole: Tree | None = None

    def options(self, place: Place) -> Mapping[str, Any]:
        return {"output": self.output}

    def between(self, place: Place) -> None:
        if self.state(place.backups, self.output) == BackupState.COMPLETE:
            self._is_whole(place)

    def again(self, place: Place) -> Ended:
        ended = self.run(place)
        if ended.exit == 5 and self.state(place.backups, self.output) != BackupState.COMPLETE:
            return self.run(place, force=True)
        return Ended(0) if ended.exit == 5 else ended

    def ended(self, place: Place) -> None:
        assert self.state(place.backups, self.output) == BackupState.COMPLETE
        self._is_whole(place)
        assert data_of(place.backups) == data_of(self.scene.template), "the source changed"
        self.no_leftovers(place.backups)

    def _is_whole(self, place: Place) -> None:
        made = data_of(place.backups, self.output)
        self.whole = self.whole or made
        assert made == self.whole


COMMANDS: dict[str, type[Command]] = {
    "create": Create,
    "create --incremental": Incremental,
    "restore": Restore,
    "restore, replacing": Replace,
    "delete": Delete,
    "delete, shared": DeleteShared,
    "prune, shared": Prune,
    "gc": Gc,
    "copy": Copy,
    "copy, shared": CopyShared,
    "copy, shared to classic": CopyToClassic,
    "copy, classic to shared": CopyToShared,
    "import": Import,
    "l0compact": Compact,
}


def sweep(
    trials: Command,
    label: str,
    table: Table,
    trial: Callable[[Command, Instant], None],
    *,
    count: int = 0,
    seed: int = 0,
) -> None:
    for instant in sample(trials.instants(), count, seed):
        why = ""
        try:
            trial(trials, instant)
        except AssertionError as wrong:
            why = str(wrong).partition("\nassert")[0]
        table.count(label, instant.side, good=not why, what=f"{instant}: {why}")
