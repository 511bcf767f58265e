"""Rules of what a storage makes of a network and a service that fail: a kit of its own, `FaultConformance`.

It needs a way to fail on demand, a `Network`: for a service that speaks HTTP usually a proxy before a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal, Protocol

import pytest

from mbk.errors import MbkError, ObjectExists, StorageUnavailable, Throttled, TransferInterrupted
from mbk.ports.storage import MIB, Storage
from mbk.testing.kit import Kit, content, keys_of, needs, part_size, put, sample

#: ``reset``: the connection breaks before the service hears of the request. ``lose``: the service acts, its answer does
#: not arrive. ``cut``: the answer breaks in the middle. ``throttle``: the service answers that it has too much to do.
#: ``fail``: it answers with an error of its own (500). ``fail_inside``: it answers with success, and in the body with
#: an error. ``refuse``: it answers that it does not know such requests (501).
Action = Literal["reset", "lose", "cut", "throttle", "fail", "fail_inside", "refuse"]
#: Which requests: ``write`` is an object in one request, ``part``, ``complete`` and ``abort`` are a multipart upload's.
Call = Literal["list", "stat", "read", "write", "copy", "part", "complete", "abort", "delete_batch"]

#: More than one part of every plugin.
LARGE = 17 * MIB


class Network(Protocol):
    """What lies between the storage and its service."""

    def fail(
        self, action: Action, call: Call, key: str = "", *, times: int = 1, skip: int = 0, after: int = 0
    ) -> bool:
        """From now on ``times`` requests of this call (and key) fail, after ``skip`` that do not; ``cut`` after so many bytes.

        False where such requests or such failures do not exist with this service: the rule is then skipped.
        """

    def mend(self) -> None:
        """Nothing fails any more."""

    def requests(self) -> int:
        """How many requests came so far."""


class FaultConformance(Kit):
    """Subclass it with a fixture ``storage``, opened behind the network, and a fixture ``network``."""

    @pytest.fixture
    def network(self) -> Network:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture named `network`")

    @pytest.fixture
    def prefix(self, storage: Storage, network: Network) -> Iterator[str]:
        """As the kit's; the network is mended before the prefix is emptied."""
        prefix = "mbk-faults/"
        yield prefix
        network.mend()
        storage.delete([info.key for info in storage.list(prefix)])
        storage.clean(prefix)

    @pytest.mark.parametrize("action", ["reset", "lose"])
    def test_f1_a_broken_connection(
        self, storage: Storage, network: Network, prefix: str, action: Action
    ) -> None:
        """F1. A connection that breaks before the answer is `StorageUnavailable`, worth another try, in every call."""
        key, copied = f"{prefix}a", f"{prefix}copied"
        put(storage, key)
        calls: dict[str, Callable[[], object]] = {
            "stat": lambda: storage.stat(key),
            "read": lambda: content(storage, key),
            "write": lambda: put(storage, key),
            "list": lambda: keys_of(storage, prefix),
        }
        if storage.capabilities.server_side_copy:
            calls["copy"] = lambda: storage.copy(storage, key, copied)
        for name, call in calls.items():
            target = {"copy": copied, "list": ""}.get(name, key)
            _fail(network, action, name, target, times=100)
            with pytest.raises(StorageUnavailable) as caught:
                call()
            assert caught.value.retryable
            network.mend()
        assert content(storage, key) == b"x"

    def test_f2_one_call_is_one_request(self, storage: Storage, network: Network, prefix: str) -> None:
        """F2. A service that has too much to do is `Throttled`, after one request: the engine retries, the storage does not."""
        storage.check()
        before = network.requests()
        _fail(network, "throttle", "write", f"{prefix}a", times=100)
        with pytest.raises(Throttled):
            put(storage, f"{prefix}a")
        assert network.requests() == before + 1

    @pytest.mark.parametrize("after", [0, 1, 300_000])
    def test_f3_a_body_that_breaks_off(
        self, storage: Storage, network: Network, prefix: str, after: int
    ) -> None:
        """F3. A body that breaks off is `TransferInterrupted`, never taken for whole; what came is right, and the rest can be read."""
        data = sample(2 * MIB)
        put(storage, f"{prefix}a", data)
        _fail(network, "cut", "read", f"{prefix}a", after=after)
        received = b""
        with suppress(TransferInterrupted), storage.read(f"{prefix}a") as chunks:
            for chunk in chunks:
                received += chunk
            pytest.fail("the stream ended as if it were whole")
        assert data.startswith(received)
        network.mend()
        with storage.read(f"{prefix}a", offset=len(received)) as rest:
            assert received + b"".join(rest) == data

    @pytest.mark.parametrize("after", [0, 40, 400])
    def test_f4_a_listing_that_breaks_off(
        self, storage: Storage, network: Network, prefix: str, after: int
    ) -> None:
        """F4. A listing that breaks off is worth another try, never taken for the end."""
        put(storage, f"{prefix}a")
        _fail(network, "cut", "list", after=after)
        with pytest.raises(MbkError) as caught:
            keys_of(storage, prefix)
        assert caught.value.retryable
        assert keys_of(storage, prefix) == [f"{prefix}a"]

    def test_f5_an_error_inside_of_success(self, storage: Storage, network: Network, prefix: str) -> None:
        """F5. An answer of success that holds an error, as of a copy or a completed upload, is that error."""
        put(storage, f"{prefix}a")
        _fail(network, "fail_inside", "copy", f"{prefix}copied")
        with pytest.raises(StorageUnavailable):
            storage.copy(storage, f"{prefix}a", f"{prefix}copied")
        with storage.multipart(f"{prefix}parts") as upload:
            upload.put_part(1, b"x")
            _fail(network, "fail_inside", "complete", f"{prefix}parts")
            with pytest.raises(StorageUnavailable):
                upload.complete()

    def test_f6_completing_again(self, storage: Storage, network: Network, prefix: str) -> None:
        """F6. An upload whose answer to `complete` was lost can be completed again, and is the object."""
        needs(storage, "multipart")
        size = part_size(storage)
        with storage.multipart(f"{prefix}a") as upload:
            upload.put_part(1, sample(size))
            upload.put_part(2, b"y")
            _fail(network, "lose", "complete", f"{prefix}a")
            with pytest.raises(StorageUnavailable):
                upload.complete()
            assert upload.complete().size == size + 1
        assert content(storage, f"{prefix}a") == sample(size) + b"y"

    def test_f7_a_lost_conditional_write(self, storage: Storage, network: Network, prefix: str) -> None:
        """F7. A conditional write whose answer was lost has happened: tried again it is `ObjectExists`."""
        needs(storage, "conditional_write")
        storage.write_if_absent(f"{prefix}first", [b"x"])
        _fail(network, "lose", "write", f"{prefix}a")
        with pytest.raises(StorageUnavailable):
            storage.write_if_absent(f"{prefix}a", [b"mine"])
        with pytest.raises(ObjectExists):
            storage.write_if_absent(f"{prefix}a", [b"mine"])
        assert content(storage, f"{prefix}a") == b"mine"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
    def test_f8_an_interrupted_write(self, storage: Storage, prefix: str, error: type[BaseException]) -> None:
        """F8. A write that is interrupted, with Ctrl-C too, leaves neither an object nor an upload behind."""

        def chunks() -> Iterator[bytes]:
            for _ in range(20):
                yield sample(MIB)
            raise error

        with pytest.raises(error):
            storage.write(f"{prefix}a", chunks())
        assert storage.clean(prefix) == 0
        assert keys_of(storage, prefix) == []

    def test_f9_an_abort_that_fails(self, storage: Storage, network: Network, prefix: str) -> None:
        """F9. An abort that fails hides not why it was needed; `clean` removes what it left."""
        needs(storage, "multipart")
        _fail(network, "throttle", "abort", f"{prefix}a", times=100)
        _fail(network, "fail", "part", f"{prefix}a", skip=1)
        with pytest.raises(StorageUnavailable):
            storage.write(f"{prefix}a", [sample(LARGE)], size=LARGE)
        network.mend()
        assert storage.clean(prefix) == 1
        assert storage.clean(prefix) == 0

    def test_f10_refused_batches(self, storage: Storage, network: Network, prefix: str) -> None:
        """F10. Where the service refuses batches of deletes, the objects are deleted one by one."""
        keys = [f"{prefix}{number}" for number in range(3)]
        for key in keys:
            put(storage, key)
        _fail(network, "refuse", "delete_batch", times=100)
        storage.delete(keys)
        assert keys_of(storage, prefix) == []

    def test_f11_a_part_that_fails(self, storage: Storage, network: Network, prefix: str) -> None:
        """F11. One part that fails ends the write with its error, and nothing is left: no object, no upload."""
        needs(storage, "multipart")
        put(storage, f"{prefix}a", b"before")
        _fail(network, "fail", "part", f"{prefix}a", skip=1)
        with pytest.raises(StorageUnavailable):
            storage.write(f"{prefix}a", [sample(LARGE)], size=LARGE)
        assert content(storage, f"{prefix}a") == b"before"
        assert storage.clean(prefix) == 0


def _fail(
    network: Network,
    action: Action,
    call: str,
    key: str = "",
    *,
    times: int = 1,
    skip: int = 0,
    after: int = 0,
) -> None:
    if not network.fail(action, call, key, times=times, skip=skip, after=after):  # type: ignore[arg-type]  # one of the literals
        pytest.skip(f"with this service no {call} can {action}")
