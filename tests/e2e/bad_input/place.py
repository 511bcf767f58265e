"""A user's shell before the shared Milvus, and the collection that is backed up there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.data import Coll, assert_same
from tests.shell import Shell

GOOD = "good"
#: What the backup of ``docs`` holds: two segments of five fields.
ROWS, OBJECTS = 200, 10


@dataclass(frozen=True, slots=True)
class Place:
    """One user's shell before the shared Milvus, and the collection that is backed up there."""

    shell: Shell
    docs: Coll
    root: Path

    def create(self, name: str, *words: str) -> tuple[str, ...]:
        return ("create", "-n", name, "--filter", str(self.docs), *words)

    def restore(self, name: str, suffix: str, *words: str) -> tuple[str, ...]:
        return ("restore", "-n", name, "-s", suffix, "--rebuild_index", "--load", *words)

    def target(self, suffix: str) -> Coll:
        return self.docs.moved(f"{self.docs.name}{suffix}")

    def assert_nothing_of(self, suffix: str) -> None:
        """Neither a half-restored collection nor copies for one."""
        assert not self.target(suffix).exists()
        self.assert_no_copies()

    def assert_no_copies(self) -> None:
        assert [path.name for path in self.root.glob("restore-temp-*")] == []

    def assert_restores(self, name: str, suffix: str) -> None:
        self.shell.run(*self.restore(name, suffix))
        assert_same(self.docs, self.target(suffix))
        self.assert_no_copies()

    def assert_can_be_finished(self, name: str) -> None:
        """The name is free still, or held by what is shown as incomplete; the same command goes on from there."""
        state = self.shell.states().get(name)
        assert state in (None, "incomplete")
        self.shell.run(*self.create(name, *(["--resume"] if state else [])))
        assert self.shell.states()[name] == "complete"
        (plan,) = self.shell.json(*self.restore(name, "_plan", "--dry-run"))["collections"]
        assert (plan["rows_expected"], plan["objects"]) == (ROWS, OBJECTS)


Make = Callable[..., Place]
