"""What the rules share: the fixtures, the excuses, and a few words to write rules with."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar, TypeVar
from uuid import uuid4

import pytest

from mbk.errors import MbkError, ObjectNotFound
from mbk.ports.storage import MIB, Retention, Storage, StorageRef, WriteOptions

Item = TypeVar("Item")
Result = TypeVar("Result")

_RULE_TEST = re.compile(r"test_([a-z]\d+)_\w+")


def rule_of(test_name: str) -> str | None:
    """The number of the rule that a test method proves: ``L1`` of ``test_l1_each_object_once``."""
    match = _RULE_TEST.match(test_name)
    return match[1].upper() if match else None


class Kit:
    """The fixtures that a plugin's author overrides, and the two attributes.

    ``storage``: a storage opened anew for each test, on an existing bucket. Required.
    ``other_storage``: another bucket of the same service, to copy from. Default: ``storage`` itself.
    ``missing_storage``: a storage opened on a bucket that does not exist and may be created. Default: none.
    ``reference``: a `StorageRef` to ``storage``. Default: none.

    ``option_values`` are values of `WriteOptions` that the service takes, where it does not take the kit's own;
    ``retention`` is how long the kit locks an object, and then waits.
    ``excused`` gives for a rule's number the reason why this storage breaks it; the rule must then fail.
    ``secrets`` are the secrets that the storage was opened with, to look for where they must not be.
    """

    excused: ClassVar[Mapping[str, str]] = {}
    secrets: ClassVar[Sequence[str]] = ()
    option_values: ClassVar[WriteOptions] = WriteOptions()
    retention: ClassVar[timedelta] = timedelta(seconds=2)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        inherited = {name: rule for base in cls.__mro__[1:] for name in vars(base) if (rule := rule_of(name))}
        for name in vars(cls).keys() & inherited.keys():
            raise TypeError(
                f"{cls.__name__} overrides {name}: excuse {inherited[name]} with a reason instead"
            )
        for rule, reason in cls.excused.items():
            if rule not in inherited.values() or not reason.strip():
                raise TypeError(f"{cls.__name__}.excused: {rule!r} is not a rule, or its reason is empty")

    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture named `storage`")

    @pytest.fixture
    def other_storage(self, storage: Storage) -> Storage:
        return storage

    @pytest.fixture
    def missing_storage(self) -> Storage | None:
        return None

    @pytest.fixture
    def reference(self, storage: Storage) -> StorageRef | None:
        del storage
        return None

    @pytest.fixture
    def prefix(self, storage: Storage, other_storage: Storage) -> Iterator[str]:
        """A prefix of its own for each test, emptied afterwards in both buckets."""
        prefix = f"mbk-conformance/{uuid4().hex}/"
        yield prefix
        for used in (storage, other_storage):
            _sweep(used, prefix)

    def make_marker(self, storage: Storage, key: str) -> None:
        """Makes a directory marker, an empty object at a key that ends with ``/``.

        Override where the storage itself refuses such a key that other tools may have written.
        """
        storage.write(key, [], size=0)

    def protect(self, storage: Storage, key: str) -> Callable[[], object] | None:
        """Makes ``key`` undeletable and returns what undoes it, or None where there is no way."""
        del storage, key
        return None

    def archive(self, storage: Storage, key: str) -> bool:
        """Makes ``key`` an object that must be restored before it is read; False where there is no way."""
        del storage, key
        return False

    def keep_versions(self, storage: Storage) -> bool:
        """Makes the bucket keep old versions from now on; False where there is no way."""
        del storage
        return False

    def options_of(self, storage: Storage, key: str) -> WriteOptions | None:
        """The options that the service itself says the object has, asked past the storage; None where there is no way."""
        del storage, key
        return None

    def options(self, name: str) -> WriteOptions:
        """One option set, to a value of ``option_values`` or of the kit's own."""
        own: dict[str, object] = {
            "storage_class": "STANDARD_IA",
            "encryption_key": "mbk-conformance",
            "tags": {"purpose": "mbk conformance", "odd +=:": "a/b = c+d"},
            "retention": Retention(mode="governance", until=datetime.now(UTC) + self.retention),
        }
        value = getattr(self.option_values, name) or own[name]
        return WriteOptions(**{name: value})  # type: ignore[arg-type]  # of the option's own type

    @pytest.fixture(autouse=True)
    def _excuse(self, request: pytest.FixtureRequest) -> None:
        rule = rule_of(request.node.name)
        if rule and rule in self.excused:
            request.applymarker(pytest.mark.xfail(reason=f"{rule}: {self.excused[rule]}", strict=True))


def _sweep(storage: Storage, prefix: str) -> None:
    try:
        storage.delete([info.key for info in storage.list(prefix)])
        storage.clean(prefix)
    except MbkError as exc:
        warnings.warn(f"{prefix} of {storage.location} was not emptied: {exc}", stacklevel=2)


def needs(storage: Storage, capability: str) -> None:
    """Skips a rule about a capability that is not declared. That it is then refused is a rule of its own."""
    if not getattr(storage.capabilities, capability):
        pytest.skip(f"capabilities.{capability} is not declared")


@lru_cache(maxsize=4)
def sample(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def put(storage: Storage, key: str, data: bytes = b"x") -> None:
    storage.write(key, [data], size=len(data))


class Content:
    """An object's bytes, equal to bytes, and short to look at.

    Bare bytes would not do: pytest explains why two megabytes differ by comparing them line by line, for minutes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __eq__(self, other: object) -> bool:
        return self._data == (other._data if isinstance(other, Content) else other)

    def __hash__(self) -> int:
        return hash(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return (
            repr(self._data)
            if len(self._data) < 80
            else f"<{len(self._data)} bytes from {self._data[:16]!r}>"
        )


def content(storage: Storage, key: str) -> Content | None:
    """What the object holds, None where there is no object. Presence is told by reading, so that rules stay apart."""
    try:
        with storage.read(key) as chunks:
            return Content(b"".join(chunks))
    except ObjectNotFound:
        return None


def keys_of(storage: Storage, prefix: str) -> list[str]:
    return sorted(info.key for info in storage.list(prefix))


def level_of(storage: Storage, prefix: str) -> list[str]:
    """Keys and common prefixes directly below."""
    level = storage.list_level(prefix)
    return sorted([*(info.key for info in level.objects), *level.prefixes])


def part_size(storage: Storage) -> int:
    return max(storage.capabilities.min_part_size, MIB)


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int = 8
) -> list[Result]:
    """Calls ``function`` for each item, several at a time; the first exception is raised."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
