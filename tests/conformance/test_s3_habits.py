"""What the S3 plugin makes of services and gateways with habits of their own (`tests.servers.habits`).

Each habit runs through those families of the kit that its requests are in, not through all: a full product would take
minutes, and what has nothing to do with a habit cannot meet it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from mbk.engine.operations import delete, verify
from mbk.engine.operations.check import Check
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import STREAM, CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import MbkError, MilvusUnavailable, StorageError, Unsupported, UsageError
from mbk.model.operations import OPERATIONS
from mbk.model.options import DeleteOptions, VerifyOptions
from mbk.model.states import Depth
from mbk.plugin.objects import ObjectStorage
from mbk.ports.milvus.server import Milvus
from mbk.ports.storage import MIB
from mbk.testing import StorageConformance
from mbk.testing.copying import Copying
from mbk.testing.deleting import Deleting
from mbk.testing.kit import Kit, content, keys_of
from mbk.testing.listing import Listing
from mbk.testing.reading import Reading
from mbk.testing.writing import Writing
from mbk_s3.settings import BY_NAME, GenericSettings, S3Settings
from mbk_s3.storage import open_storage
from mbk_s3.wire import S3Wire
from tests.fakes.world import AT_ONCE, QUICK, World
from tests.raising import raised
from tests.servers.habits import habits
from tests.servers.s3_memory import Bucket, S3Memory, s3_memory

ONE, TWO = "habits-one", "habits-two"


@pytest.fixture(scope="module")
def service() -> Iterator[S3Memory]:
    with s3_memory(buckets=(ONE, TWO)) as service:
        yield service


@pytest.fixture(autouse=True)
def _no_habits(service: S3Memory) -> Iterator[None]:
    yield
    service.habits = ()
    service.buckets.update({ONE: Bucket(), TWO: Bucket()})


def opened(
    service: S3Memory, *names: str, bucket: str = ONE, profile: type[S3Settings] = GenericSettings
) -> ObjectStorage[S3Wire]:
    """A storage of a service that has these habits from now on."""
    service.habits = habits(*names)
    return open_storage(profile(**service.server.settings(bucket), use_ssl=False))


class OnHabits(Kit):
    habits: ClassVar[tuple[str, ...]]

    @pytest.fixture
    def storage(self, service: S3Memory) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(service, *self.habits)
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, service: S3Memory) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(service, *self.habits, bucket=TWO)
        yield storage
        storage.close()


#: All that one service can have at once and still do whatever a storage must.
MANY = (
    "no-length",
    "bare-etags",
    "bad-batch-delete",
    "wants-digests",
    "no-checksums",
    "equal-parts",
)


class TestAServiceOfManyHabits(StorageConformance):
    @pytest.fixture(params=BY_NAME)
    def profile(self, request: pytest.FixtureRequest) -> type[S3Settings]:
        return BY_NAME[request.param]

    @pytest.fixture
    def storage(self, service: S3Memory, profile: type[S3Settings]) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(service, *MANY, profile=profile)
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, service: S3Memory, profile: type[S3Settings]) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(service, *MANY, bucket=TWO, profile=profile)
        yield storage
        storage.close()


class TestBehindAProxyThatDropsLengths(OnHabits, Reading, Copying):
    habits = ("no-length",)


class TestEtagsWithoutQuotes(OnHabits, Copying):
    habits = ("bare-etags",)


class TestNamesThatAreNotEncoded(OnHabits, Listing):
    habits = ("names-as-they-are",)


class TestBatchesThatAreBadRequests(OnHabits, Deleting):
    habits = ("bad-batch-delete",)


class TestABucketThatLocksObjects(OnHabits, Writing):
    habits = ("wants-digests",)


def stored(service: S3Memory, key: str) -> bytes:
    return service.buckets[ONE].objects[key].data


def test_a_listing_that_begins_again_and_again_is_noticed(service: S3Memory) -> None:
    storage = opened(service, "first-page-for-ever")
    for number in range(1001):
        service.put(ONE, f"a/{number}", b"")
    with raised(StorageError, "listing-repeats", bucket=ONE):
        keys_of(storage, "a/")


def test_a_service_that_wants_https_is_told_by_what_to_set(service: S3Memory) -> None:
    storage = opened(service, "to-https")
    for call in (storage.check, lambda: storage.stat("a"), lambda: storage.write("a", [b"x"])):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.hint == "set useSSL"
        assert "redirects to https" in caught.value.facts["reason"]


def test_a_service_that_wants_virtual_hosts_is_told_by_what_to_set(service: S3Memory) -> None:
    with pytest.raises(MbkError) as caught:
        opened(service, "virtual-host-only").check()
    assert caught.value.hint is not None
    assert "pathStyle" in caught.value.hint


@pytest.mark.parametrize("kind", ["no", "bad"])
def test_refused_batches_are_remembered(service: S3Memory, kind: str) -> None:
    storage = opened(service, f"{kind}-batch-delete")
    for _ in range(2):
        for key in ("a", "b"):
            service.put(ONE, key, b"x")
        service.seen.clear()
        storage.delete(["a", "b"])
        assert not service.buckets[ONE].objects
    assert [request.method for request in service.seen] == ["DELETE", "DELETE"]


@pytest.mark.parametrize("habit", ["no-conditions", "bad-conditions", "conditions-ignored"])
def test_conditions_that_do_not_hold_are_told_as_what_the_service_cannot_do(
    service: S3Memory, habit: str
) -> None:
    storage = opened(service, habit)
    with pytest.raises(Unsupported):
        storage.write_if_absent("a", [b"x"])
    assert not service.buckets[ONE].objects
    storage.write("a", [b"y"])
    assert stored(service, "a") == b"y"


def test_a_digest_is_sent_where_it_is_wanted_and_from_then_on(service: S3Memory) -> None:
    storage = opened(service, "wants-digests")
    storage.write("small", [b"x"])
    storage.write("large", [bytes(MIB)] * 17, size=17 * MIB)
    service.seen.clear()
    storage.write("again", [b"x"])
    [request] = service.seen
    assert request.headers["content-md5"]
    assert content(storage, "large") == bytes(17 * MIB)


def test_a_digest_that_is_not_known_is_sent_once(service: S3Memory) -> None:
    storage = opened(service, "no-checksums")
    service.seen.clear()
    for key in ("a", "b"):
        storage.write(key, [bytes(MIB)])
    known = ["x-amz-checksum-crc32c" in request.headers for request in service.seen]
    assert known in ([True, False, False], [False, False])  # the second where no fast CRC is installed


@pytest.mark.parametrize("size", [40 * MIB + 1, None])
def test_all_parts_but_the_last_are_of_one_size(service: S3Memory, size: int | None) -> None:
    storage = opened(service, "equal-parts")
    storage.write("a", [bytes(MIB)] * 40 + [b"x"], size=size)
    assert len(stored(service, "a")) == 40 * MIB + 1


# -- whole operations ------------------------------------------------------------------------------------------------


def backed_up(service: S3Memory) -> None:
    """A backup below ``backup/`` of the first bucket."""
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(9))
    world.create("nightly")
    for key, data in world.backed_up.items():
        service.put(ONE, key, data)


def of_backups(service: S3Memory, *names: str, bucket: str = ONE) -> Context:
    service.habits = habits(*names)
    storage = open_storage(GenericSettings(**service.server.settings(bucket), root_path="backup"))
    return Context(run=Run(policy=QUICK), backup_storage=storage, pace=AT_ONCE, tool="mbk test")


@pytest.mark.parametrize("what", ["batch-delete", "upload-list"])
@pytest.mark.parametrize("how", ["no", "bad", "denied"])
def test_a_backup_is_deleted_all_the_same(service: S3Memory, what: str, how: str) -> None:
    backed_up(service)
    delete.execute(of_backups(service, f"{how}-{what}"), "nightly", DeleteOptions())
    assert not service.buckets[ONE].objects


@pytest.mark.parametrize("how", ["no", "bad", "denied", "broken"])
def test_what_the_service_will_not_copy_is_streamed_and_the_report_says_why(
    service: S3Memory, how: str
) -> None:
    source, destination = opened(service, f"{how}-copy"), opened(service, f"{how}-copy", bucket=TWO)
    for key in ("a", "b"):
        service.put(ONE, key, b"data")
    run = Run(policy=QUICK)
    pair = {"source": retried(source, run), "destination": retried(destination, run)}
    with Transfer(**pair, run=run, limits=TransferLimits()) as transfer:
        items = [CopyItem(source_key=key, key=key, size=4) for key in ("a", "b")]
        transfer.copy(items, collection="", present={})
        assert transfer.stats.objects == {STREAM: 2}
        assert transfer.stats.streamed_because
    assert {item.data for item in service.buckets[TWO].objects.values()} == {b"data"}


@pytest.mark.parametrize("habit", ["no-writes", "denied-writes", "bad-writes"])
def test_a_source_that_may_only_be_read_is_enough_for_what_only_reads(service: S3Memory, habit: str) -> None:
    backed_up(service)
    check = Check(
        milvus_away,
        lambda: opened(service, habit),
        lambda: of_backups(service, habit).backup_storage,
        Run(policy=QUICK),
        TransferLimits(),
        command=OPERATIONS["verify"],
    )
    assert [item.what for item in check.results() if not item.ok] == []
    report = verify.execute(of_backups(service, habit), "nightly", VerifyOptions(depth=Depth.DIGESTS))
    assert not report.found


def milvus_away() -> Milvus:
    raise MilvusUnavailable("none is here")
