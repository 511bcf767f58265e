"""What is recorded of a copy is true of its bytes, whatever the services tell, and what they tell is believed no further
than it can be."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping

import pytest
import xxhash

from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import Arrived, CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import VerificationFailed
from mbk.ports.storage import PLAIN, Capabilities, ObjectInfo, Receipt, Storage, WriteOptions
from mbk.testing import MemoryService, MemoryStorage
from mbk.testing.memory import EVERYTHING
from mbk_local.storage import LocalStorage
from tests.fakes.digests import Digesting
from tests.fakes.lying import Lying
from tests.fakes.world import QUICK
from tests.raising import raised

DATA = {"a/empty": b"", "a/small": b"small", "a/larger": bytes(range(256)) * 3000}


class Claiming(Digesting):
    """Its answers also tell each etag as the MD5 of the bytes, which with a ``salt`` it is not."""

    def _digested(self, entry: ObjectInfo) -> ObjectInfo:
        found = super()._digested(entry)
        return dataclasses.replace(found, checksums={"md5": found.etag or ""})

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self._digested(super().write(key, chunks, size=size, options=options))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        super().copy(source, source_key, key, options=options)
        made = self.stat(key)
        return Receipt(etag=made.etag, checksums=made.checksums)


def pair(kind: type[MemoryStorage], *, salts: tuple[bytes, bytes] = (b"", b"")) -> tuple[Storage, Storage]:
    service = MemoryService("from", "to")
    source, destination = kind(service, "from"), kind(service, "to")
    if isinstance(source, Digesting) and isinstance(destination, Digesting):
        source.salt, destination.salt = salts
    return source, destination


def arrive(
    source: Storage,
    destination: Storage,
    *,
    mode: str = "auto",
    full: bool = False,
    run: Run | None = None,
    present: Mapping[str, ObjectInfo] | None = None,
) -> list[Arrived]:
    run = run or Run(policy=QUICK)
    with Transfer(
        source=source,
        destination=destination,
        run=run,
        limits=TransferLimits(mode=mode),
        records=True,
        full=full,
    ) as transfer:
        return transfer.arrive(
            [CopyItem.of(entry, f"b/{entry.key}") for entry in source.list("a/")],
            collection="",
            present=present or {},
            listed=lambda: listing.by_key(destination, run, "b/"),
        )


def fill(storage: Storage) -> None:
    for key, data in DATA.items():
        storage.write(key, [data], size=len(data))


def true_digests(data: bytes) -> dict[str, str]:
    return {
        "md5": hashlib.md5(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "xxh128": xxhash.xxh3_128_hexdigest(data),
    }


SALTS = [(b"", b""), (b"x", b"y"), (b"x", b"x"), (b"x", b""), (b"", b"y")]


@pytest.mark.parametrize("full", [False, True], ids=["auto", "full"])
@pytest.mark.parametrize("mode", ["auto", "streaming"])
@pytest.mark.parametrize("salts", SALTS, ids=["digests", "both encrypt", "alike", "source", "destination"])
@pytest.mark.parametrize("kind", [Digesting, Claiming])
def test_recorded_digests_are_those_of_the_bytes_whatever_etags_are(
    kind: type[MemoryStorage], salts: tuple[bytes, bytes], mode: str, full: bool
) -> None:
    source, destination = pair(kind, salts=salts)
    fill(source)
    arrived = arrive(source, destination, mode=mode, full=full)
    assert len(arrived) == len(DATA)
    for item in arrived:
        assert item.known.digests.items() <= true_digests(DATA[item.item.source_key]).items()
        assert item.known.digests or not full


def test_equal_etags_are_recorded_as_digests_once_a_copy_was_read() -> None:
    source, destination = pair(Claiming)
    fill(source)
    reads: list[str] = []
    destination.fault = lambda call, key: reads.append(key) if call == "read" else None
    arrived = arrive(source, destination)
    assert len(reads) == 1
    assert {item.item.source_key for item in arrived if "md5" in item.known.digests} >= {
        "a/small",
        "a/larger",
    }


class Silent(MemoryStorage):
    """Tells nothing of its objects' bytes."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for entry in super().list(prefix, start_after=start_after):
            yield dataclasses.replace(entry, etag=None, checksums={})


class Telling(MemoryStorage):
    """Tells a checksum of what it copied, in its answer and in listings; ``lie`` of which."""

    lie = ""

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        super().copy(source, source_key, key, options=options)
        return Receipt(checksums=self._told(key))

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for entry in super().list(prefix, start_after=start_after):
            yield dataclasses.replace(entry, etag=None, checksums=self._told(entry.key, self.lie))

    def _told(self, key: str, lie: str = "") -> dict[str, str]:
        with self.read(key) as chunks:
            return {"sha256": lie or hashlib.sha256(b"".join(chunks)).hexdigest()}


def test_what_only_the_destination_tells_is_recorded_and_proves_nothing() -> None:
    service = MemoryService("from", "to")
    source, destination = Silent(service, "from"), Telling(service, "to")
    fill(source)
    for item in arrive(source, destination):
        assert item.recorded("").digests["sha256"] == true_digests(DATA[item.item.source_key])["sha256"]
        assert not item.known.proven


def test_a_destination_that_tells_one_digest_and_then_another_is_not_believed() -> None:
    service = MemoryService("from", "to")
    source, destination = Silent(service, "from"), Telling(service, "to")
    fill(source)
    destination.lie = "0" * 64
    with pytest.raises(VerificationFailed):
        arrive(source, destination)


def test_a_file_is_recorded_with_the_digest_of_its_source(tmp_path: object) -> None:
    source, destination = LocalStorage(f"{tmp_path}/from"), LocalStorage(f"{tmp_path}/to")
    source.check(create=True)
    destination.check(create=True)
    fill(source)
    for item in arrive(source, destination):
        recorded = item.recorded("").digests
        assert recorded == {"xxh128": xxhash.xxh3_128_hexdigest(DATA[item.item.source_key])}


def test_a_file_that_is_kept_is_recorded_with_its_digest_too(tmp_path: object) -> None:
    source, destination = LocalStorage(f"{tmp_path}/from"), LocalStorage(f"{tmp_path}/to")
    source.check(create=True)
    destination.check(create=True)
    fill(source)
    arrive(source, destination)
    kept = arrive(source, destination, present=listing.by_key(destination, Run(), "b/"))
    assert {item.known.how for item in kept} == {"kept"}
    for item in kept:
        assert item.known.digests == {"xxh128": xxhash.xxh3_128_hexdigest(DATA[item.item.source_key])}


def test_a_file_that_is_not_what_was_recorded_is_told_as_the_damaged_one(tmp_path: object) -> None:
    source, destination = LocalStorage(f"{tmp_path}/from"), LocalStorage(f"{tmp_path}/to")
    source.check(create=True)
    destination.check(create=True)
    fill(source)
    found = source.stat("a/small")
    recorded = dataclasses.replace(found, checksums={"xxh128": xxhash.xxh3_128_hexdigest(b"other")})
    with (
        Transfer(
            source=source, destination=destination, run=Run(policy=QUICK), limits=TransferLimits()
        ) as transfer,
        raised(VerificationFailed, "read-differs", key="a/small"),
    ):
        transfer.arrive(
            [CopyItem.of(recorded, "b/small")],
            collection="",
            present={},
            listed=lambda: listing.by_key(destination, Run(), "b/"),
        )


def test_a_file_that_was_damaged_on_the_disk_is_found_by_reading_it_back(tmp_path: object) -> None:
    source, destination = LocalStorage(f"{tmp_path}/from"), LocalStorage(f"{tmp_path}/to")
    source.check(create=True)
    destination.check(create=True)
    fill(source)
    liar = Lying(destination, "flipped copy", times=10**6, about="small")
    with raised(VerificationFailed, "copied-object-differs", key="b/a/small"):
        arrive(source, liar, full=True)
    once = Lying(destination, "flipped copy", about="larger")
    run = Run(policy=QUICK)
    arrive(source, once, full=True, run=run)
    assert len(once.lied) == len(run.notices) == 1
    with destination.read("b/a/larger") as chunks:
        assert b"".join(chunks) == DATA["a/larger"]


SILENT = dataclasses.replace(EVERYTHING, checksums=frozenset())
SHA256 = dataclasses.replace(EVERYTHING, checksums=frozenset({"sha256"}))


@pytest.mark.parametrize(
    ("known", "kind", "told", "computed"),
    [
        ("xxh128", Digesting, SILENT, {"xxh128", "md5"}),
        ("md5", Digesting, SILENT, {"md5"}),
        ("sha256", MemoryStorage, SHA256, {"sha256"}),
        ("xxh128", MemoryStorage, SHA256, {"xxh128", "sha256"}),
        ("xxh128", MemoryStorage, SILENT, {"xxh128"}),
    ],
    ids=["an etag", "the etag", "the same", "another", "nothing"],
)
def test_what_is_computed_proves_the_read_and_the_write_and_no_more(
    known: str, kind: type[MemoryStorage], told: Capabilities, computed: set[str]
) -> None:
    """Of objects that are known by one kind, in a storage that tells others."""
    source = MemoryStorage(MemoryService("from"), "from")
    destination, run = kind(MemoryService("to"), "to", capabilities=told), Run(policy=QUICK)
    arrived = arrive_in_turn(source, destination, run, known)
    digests = true_digests(DATA["a/larger"])
    assert arrived[-1].known.digests == {kind: digests[kind] for kind in computed}
    can_tell = kind is Digesting or told is not SILENT
    assert [item.known.proven for item in arrived] == [can_tell] * 3
    assert bool(run.notices) is not can_tell


def test_no_md5_is_computed_for_etags_that_turned_out_to_be_no_digests() -> None:
    service = MemoryService("from", "to")
    source, destination = (Digesting(service, name, capabilities=SILENT) for name in ("from", "to"))
    source.salt, destination.salt = b"x", b"y"
    assert {*arrive_in_turn(source, destination, Run(policy=QUICK), "")[-1].known.digests} == {"xxh128"}


def arrive_in_turn(source: Storage, destination: Storage, run: Run, known: str) -> list[Arrived]:
    """Objects of one size class, of which ``known`` is known beside what the source tells: the last one knows the storages."""
    arrived: list[Arrived] = []
    with Transfer(
        source=source, destination=destination, run=run, limits=TransferLimits(mode="streaming")
    ) as transfer:
        for name in ("first", "again", "larger"):
            data = DATA["a/larger"]
            stored = source.write(f"a/{name}", [data])
            checksums = {known: true_digests(data)[known]} if known else {}
            arrived += transfer.arrive(
                [dataclasses.replace(CopyItem.of(source.stat(stored.key), f"b/{name}"), checksums=checksums)],
                collection="",
                present={},
                listed=lambda: listing.by_key(destination, run, "b/"),
            )
        transfer.tell_unproven()
    return arrived
