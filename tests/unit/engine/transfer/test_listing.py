from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.verify import verify
from mbk.errors import Interrupted, PermissionDenied, StorageUnavailable, VerificationFailed
from mbk.ports.storage import ObjectInfo
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import QUICK
from tests.raising import raised


class BreaksOff(MemoryStorage):
    """Its listings break off behind the first object, ``times`` times."""

    times = 2

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for entry in super().list(prefix, start_after=start_after):
            yield entry
            if self.times:
                self.times -= 1
                raise StorageUnavailable("the connection broke")


def holding(*keys: str, kind: type[MemoryStorage] = MemoryStorage) -> MemoryStorage:
    storage = kind(MemoryService("b"), "b")
    for number, key in enumerate(keys):
        storage.write(key, [b"x" * number])
    return storage


def test_a_listing_that_breaks_off_is_begun_again_and_tells_nothing_twice() -> None:
    storage = holding("a/1", "a/2", "a/3", "b/4", kind=BreaksOff)
    found = listing.objects(storage, Run(policy=QUICK), "a/", "b/")
    assert sorted(entry.key for entry in found) == ["a/1", "a/2", "a/3", "b/4"]


def test_what_reads_a_listing_one_by_one_is_called_anew_where_it_breaks_off() -> None:
    storage = holding("a/1", "a/2", kind=BreaksOff)
    assert listing.consume(storage, Run(policy=QUICK), lambda entries: sum(1 for _ in entries), "a/") == 2


def test_objects_are_told_by_key_over_all_prefixes() -> None:
    found = listing.by_key(holding("a/1", "a/b/2", "c/3"), Run(), "a/", "missing/")
    assert {key: entry.size for key, entry in found.items()} == {"a/1": 0, "a/b/2": 1}


def test_no_prefix_is_no_listing() -> None:
    assert listing.by_key(holding("a/1"), Run()) == {}


def test_a_level_tells_objects_and_prefixes_apart() -> None:
    found = listing.level(holding("a/1", "a/b/2", "a/b/3", "c/4"), Run(), "a/")
    assert [entry.key for entry in found.objects] == ["a/1"]
    assert found.prefixes == ("a/b/",)
    assert not listing.level(holding("c/4"), Run(), "a/")


def test_whether_a_prefix_holds_anything_is_known_from_the_first_object() -> None:
    storage = holding("a/b/1", "a/b/2", kind=BreaksOff)
    assert listing.holds_any(storage, Run(), "a/")
    assert not listing.holds_any(storage, Run(), "c/")


def test_a_listing_that_is_forbidden_is_not_tried_again() -> None:
    storage, asked = holding("a/1"), []

    def fault(operation: str, _key: str) -> None:
        asked.append(operation)
        raise PermissionDenied("no")

    storage.fault = fault
    with pytest.raises(PermissionDenied):
        listing.objects(storage, Run(policy=QUICK), "a/")
    assert asked == ["list"]


def test_a_cancelled_run_lists_no_further() -> None:
    run = Run(policy=QUICK)
    run.cancelled.set()
    with pytest.raises(Interrupted):
        listing.objects(holding("a/1", kind=BreaksOff), run, "a/")


@pytest.mark.parametrize(
    ("present", "code", "facts"),
    [
        ({}, "copied-object-missing", {}),
        ({"b/1": ObjectInfo("b/1", 2)}, "copied-size-differs", {"size": 2, "expected": 3}),
    ],
    ids=["missing", "other size"],
)
def test_a_copy_that_is_not_there_with_its_size_is_named(
    present: dict[str, ObjectInfo], code: str, facts: dict[str, int]
) -> None:
    items = [CopyItem(source_key="a/1", key="b/1", size=3)]
    with raised(VerificationFailed, code, key="b/1", location="memory://b", **facts):
        verify(items, present, where="memory://b")
    verify(items, {"b/1": ObjectInfo("b/1", 3), "b/more": ObjectInfo("b/more", 9)}, where="memory://b")
