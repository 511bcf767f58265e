"""Objects of a prefix that become durable together, and what a crash of the machine may have cost."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mbk.errors import InvalidKey, StorageUnavailable
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import Deferring, ability
from mbk.testing import MemoryStorage
from mbk_local import deferral
from mbk_local.names import MARKER
from mbk_local.storage import LocalStorage
from tests.fakes.world import World


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    LocalStorage(root).write("source", [b"bytes"])
    return root


def opened(root: Path) -> LocalStorage:
    return LocalStorage(root, can_defer=lambda _: True)


def begun(root: Path) -> LocalStorage:
    """With one object each of the ways to make one, not settled."""
    storage = opened(root)
    storage.defer("backup/data/")
    storage.copy(storage, "source", "backup/data/a/copied")
    storage.write("backup/data/b/written", [b"bytes"])
    with storage.multipart("backup/data/joined") as upload:
        upload.put_part(1, b"bytes")
        upload.complete()
    return storage


def keys(root: Path) -> list[str]:
    return sorted(entry.key for entry in LocalStorage(root).list("backup/"))


def crash(root: Path) -> None:
    """As if the machine had been started anew."""
    (root / "backup/data" / MARKER).write_bytes(b"another boot")


MADE = ["backup/data/a/copied", "backup/data/b/written", "backup/data/joined"]


def test_objects_are_there_at_once_and_nothing_else_is_left(root: Path) -> None:
    storage = begun(root)
    assert keys(root) == MADE
    found = ability(StorageWrapper(storage), Deferring)
    assert found is not None
    found.settle("backup/data/")
    assert keys(root) == MADE
    assert not (root / "backup/data" / MARKER).exists()
    storage.settle("backup/data/")


def test_what_a_crash_may_have_damaged_is_made_anew(root: Path) -> None:
    begun(root).close()
    LocalStorage(root).write("backup/meta", [b"x"])
    crash(root)
    storage = opened(root)
    assert storage.clean("backup/") == 0
    assert storage.tidy("backup/") == 0
    storage.defer("backup/data/")
    assert keys(root) == ["backup/meta"]
    storage.settle("backup/data/")


def test_a_deleted_backup_leaves_nothing_after_a_crash(root: Path) -> None:
    begun(root).close()
    crash(root)
    storage = opened(root)
    storage.delete(MADE)
    assert storage.clean("backup/") == 1
    assert not (root / "backup").exists()


def test_what_a_killed_run_made_becomes_durable_when_its_leavings_are_removed(root: Path) -> None:
    begun(root).close()
    storage = opened(root)
    assert storage.clean("backup/") == 1
    storage.defer("backup/data/")
    assert keys(root) == MADE


def test_a_run_that_goes_on_is_not_tidied_away(root: Path) -> None:
    storage = begun(root)
    assert opened(root).tidy("backup/") == 0
    storage.close()
    assert opened(root).tidy("backup/") == 1
    assert keys(root) == MADE


def test_what_a_run_that_goes_on_is_writing_is_not_tidied_away(root: Path) -> None:
    storage = opened(root)
    storage.defer("backup/data/")

    def chunks() -> Iterator[bytes]:
        yield b"one"
        assert opened(root).tidy("") == 0
        assert opened(root).tidy("backup/data/") == 0
        yield b"two"

    storage.write("backup/data/a/b", chunks())
    assert keys(root) == ["backup/data/a/b"]


def test_a_look_at_the_mark_does_not_keep_a_run_from_locking_it(root: Path) -> None:
    """Another process looks in the moment in which the run begins."""
    begun(root).close()
    descriptor = os.open(root / "backup/data" / MARKER, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with ThreadPoolExecutor() as pool:
        storage = opened(root)
        beginning = pool.submit(storage.defer, "backup/data/")
        os.close(descriptor)
        beginning.result()
    assert opened(root).tidy("backup/") == 0
    storage.close()
    assert opened(root).tidy("backup/") == 1


def test_bytes_that_the_disk_lost_are_never_believed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of them once."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    storage = begun(root)
    with monkeypatch.context() as patched:
        patched.setattr(deferral, "_syncfs", fail)
        with pytest.raises(StorageUnavailable) as caught:
            storage.settle("backup/data/")
    assert not caught.value.retryable
    storage.close()
    storage = opened(root)
    assert storage.clean("backup/") == 0
    storage.defer("backup/data/")
    assert keys(root) == []


def test_a_file_system_that_cannot_makes_each_object_durable(root: Path) -> None:
    storage = LocalStorage(root, can_defer=lambda _: False)
    storage.defer("backup/data/")
    storage.write("backup/data/a", [b"x"])
    storage.settle("backup/data/")
    assert keys(root) == ["backup/data/a"]
    assert not (root / "backup/data" / MARKER).exists()


def test_the_mark_is_no_object(root: Path) -> None:
    with pytest.raises(InvalidKey):
        opened(root).write(f"backup/{MARKER}", [b"x"])


class Told(StorageWrapper):
    """Remembers the order in which objects were made and settled."""

    def __init__(self, wrapped: MemoryStorage) -> None:
        super().__init__(wrapped)
        self.calls: list[str] = []

    def defer(self, prefix: str) -> None:
        self.calls.append(f"defer {prefix}")

    def settle(self, prefix: str) -> None:
        made = [entry.key for entry in self.wrapped.list("backup/nightly/")]
        assert any("/binlogs/" in key for key in made)
        assert [key for key in made if "/meta/" in key] == ["backup/nightly/meta/mbk.json"]
        self.calls.append(f"settle {prefix}")


def test_a_backup_is_durable_before_anything_says_that_it_is_complete() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    told = Told(world.backup)
    world.backup = told  # type: ignore[assignment]  # it is wrapped
    world.create()
    assert told.calls == ["defer backup/nightly/binlogs/", "settle backup/nightly/binlogs/"]
