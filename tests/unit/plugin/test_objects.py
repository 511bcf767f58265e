"""A whole storage over a wire: what the kit cannot see from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from mbk.errors import (
    DeleteFailed,
    InvalidKey,
    PermissionDenied,
    StorageError,
    StorageUnavailable,
    Throttled,
    Unsupported,
)
from mbk.plugin.failures import Translation
from mbk.plugin.objects import ObjectStorage
from mbk.plugin.wire import Body, Marker, Page, Part, Terms, Unfinished, Upload, WireError
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import (
    MIB,
    Capabilities,
    Location,
    ObjectInfo,
    Receipt,
    Storage,
    WriteOptions,
    ability,
)
from tests.raising import raised

LOCATION = Location("acme", "acme:443", "b")


class SdkError(Exception):
    pass


class Wire:
    """A service in a dictionary; ``asked`` are the requests that it got."""

    failures = Translation(
        foreign=(SdkError,),
        kind_of=lambda _exc: StorageUnavailable,
        reason_of=str,
        hint_of=lambda _exc: None,
    )

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.pages: list[Page] = [Page()]
        self.batch_failures: Mapping[str, str] | Exception = {}

    def open(self) -> None:
        self.asked.append("open")

    def close(self) -> None: ...

    def fault_of_key(self, key: str) -> str:
        return "it is empty" if not key else ""

    def create_bucket(self) -> None: ...

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        return self.pages[int(token or 0)]

    def head(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self.objects[key]))

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        raise SdkError("no route")

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        self.asked.append(f"put {key}")
        if key == "odd":
            raise WireError(Unsupported, "the answer is odd", hint="ask Acme")
        self.objects[key] = data
        return Receipt(etag="e", checksums={"md5": "abc"})

    def start(self, key: str, terms: Terms) -> Upload:
        return Upload(key=key, id="1", terms=terms)

    def put_part(self, upload: Upload, number: int, data: bytes) -> str:
        return "e"

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        return "e"

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        return Receipt()

    def abort(self, upload: Upload) -> bool:
        return upload.id != "gone"

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        if marker == ("", ""):
            return Unfinished(uploads=[("p/a", "1"), ("q/a", "2")], next=("p/a", "1"))
        return Unfinished(uploads=[("p/b", "gone"), ("p/c", "3")])

    def delete(self, key: str) -> None:
        self.asked.append(f"delete {key}")

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(f"batch {len(keys)}")
        if isinstance(self.batch_failures, Exception):
            raise self.batch_failures
        return self.batch_failures

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        self.asked.append(f"copy {key}")
        return Receipt()

    def sign(self) -> str:
        return "an ability of the wire's own"


def opened(wire: Wire, **capabilities: object) -> ObjectStorage[Wire]:
    limits = Capabilities(**capabilities)
    return ObjectStorage(wire, location=LOCATION, capabilities=limits)


def test_the_wire_is_opened_once_and_not_before_it_is_needed() -> None:
    storage = opened(wire := Wire())
    assert wire.asked == []
    storage.write("a", [b"x"])
    storage.write("b", [b"x"])
    assert wire.asked == ["open", "put a", "put b"]


def test_what_the_service_told_of_a_write_is_passed_on() -> None:
    assert opened(Wire()).write("a", [b"xy"]) == ObjectInfo("a", 2, "e", checksums={"md5": "abc"})


def test_failures_name_what_could_not_be_done_and_where() -> None:
    storage = opened(Wire())
    with pytest.raises(StorageUnavailable) as caught, storage.read("a"):
        pass
    assert {**caught.value.facts, "key": "a", "doing": "read", "reason": "no route"} == caught.value.facts
    with pytest.raises(Unsupported) as odd:
        storage.write("odd", [b"x"])
    assert {**odd.value.facts, "key": "odd", "reason": "the answer is odd"} == odd.value.facts
    assert odd.value.hint == "ask Acme"


def test_pages_that_are_empty_in_the_middle_are_no_end() -> None:
    wire = Wire()
    found = ObjectInfo("a", 1)
    wire.pages = [
        Page(next="1"),
        Page(objects=[found, ObjectInfo("dir/", 0)], next="2"),
        Page(prefixes=["d/"]),
    ]
    assert list(opened(wire).list()) == [found]
    level = opened(wire).list_level()
    assert (level.objects, level.prefixes) == ((found,), ("d/",))


@pytest.mark.parametrize(
    "pages",
    [
        [Page(objects=[ObjectInfo("a", 1)], next="0")],
        [Page(next="1"), Page(next="1")],
        [Page(next="1"), *(Page(objects=[ObjectInfo(f"{n}", 1)], next=f"{n % 7 + 1}") for n in range(1, 8))],
        [Page(objects=[ObjectInfo("a", 1), ObjectInfo("b", 1)], next=f"{number + 1}") for number in range(3)],
    ],
    ids=["the same page", "empty pages", "a circle of pages", "the same page under other markers"],
)
def test_a_listing_without_an_end_is_refused(pages: list[Page]) -> None:
    wire = Wire()
    wire.pages = pages
    for listing in (opened(wire).list, opened(wire).list_level):
        with raised(StorageError, "listing-repeats", bucket="b") as caught:
            list(listing())
        assert not caught.value.retryable


def test_unfinished_uploads_without_an_end_are_refused() -> None:
    class Circling(Wire):
        def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
            return Unfinished(uploads=[("p/a", "1")], next=("p/a", "1"))

    with raised(StorageError, "listing-repeats"):
        opened(Circling()).clean("p/")


def test_a_listing_of_many_pages_comes_to_its_end() -> None:
    wire = Wire()
    wire.pages = [Page(objects=[ObjectInfo(f"{n:03}", 1)], next=f"{n + 1}") for n in range(500)] + [Page()]
    assert len(list(opened(wire).list())) == 500


def test_an_object_that_is_too_large_is_refused_before_it_is_read() -> None:
    def chunks() -> Iterator[bytes]:
        pytest.fail("the chunks were asked for")
        yield b""

    with raised(StorageError, "size-wrong", key="a"):
        opened(Wire(), max_object_size=10).write("a", chunks(), size=11)


def test_without_uploads_in_parts_a_large_object_is_one_request() -> None:
    storage = opened(wire := Wire())
    assert storage.write("a", [b"x" * MIB] * 20).size == 20 * MIB
    assert len(wire.objects["a"]) == 20 * MIB


def test_a_reason_that_a_batch_leaves_open_is_found_out_alone() -> None:
    wire = Wire()
    wire.batch_failures = {"a": "", "b": "it is locked"}
    with pytest.raises(DeleteFailed) as caught:
        opened(wire, delete_batch=10).delete(["a", "b", "c"])
    assert caught.value.failures == {"b": "it is locked"}
    assert wire.asked == ["open", "batch 3", "delete a"]


def test_a_batch_refused_for_one_of_its_keys_is_deleted_key_by_key() -> None:
    wire = Wire()
    wire.batch_failures = PermissionDenied("no")
    opened(wire, delete_batch=2).delete(["a", "b", "c"])
    assert wire.asked == ["open", "batch 2", "delete a", "delete b", "batch 1", "delete c"]


@pytest.mark.parametrize("refusal", [Unsupported("no"), StorageError("bad request")])
def test_a_service_that_refuses_batches_is_asked_for_one(refusal: Exception) -> None:
    wire = Wire()
    wire.batch_failures = refusal
    opened(wire, delete_batch=2).delete(["a", "b", "c"])
    assert wire.asked == ["open", "batch 2", "delete a", "delete b", "delete c"]


def test_a_batch_that_may_pass_another_time_is_not_taken_apart() -> None:
    wire = Wire()
    wire.batch_failures = Throttled("slow down")
    with pytest.raises(Throttled):
        opened(wire, delete_batch=2).delete(["a", "b"])
    assert wire.asked == ["open", "batch 2"]


def test_a_service_without_batches_is_asked_for_none() -> None:
    opened(wire := Wire()).delete(["a", "b"])
    assert wire.asked == ["open", "delete a", "delete b"]


def test_a_key_that_cannot_be_is_refused_before_any_request() -> None:
    storage = opened(wire := Wire(), server_side_copy=True)
    for call in (
        lambda: storage.stat(""),
        lambda: storage.write("", []),
        lambda: storage.delete([""]),
        lambda: storage.copy(storage, "", "a"),
    ):
        with pytest.raises(InvalidKey):
            call()
    assert wire.asked == []


def test_cleaning_counts_what_there_was_below_the_prefix_on_every_page() -> None:
    assert opened(Wire()).clean("p/") == 2


def test_an_ability_of_the_wire_is_found_through_every_wrapper() -> None:
    wire = Wire()
    wrapped = StorageWrapper(StorageWrapper(opened(wire)))
    assert ability(wrapped, Wire) is wire
    assert ability(wrapped, Storage) is wrapped
    assert ability(wrapped, Marked) is None


class Marked:
    """What nothing here is."""
