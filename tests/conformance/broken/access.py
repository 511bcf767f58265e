"""Storages that say the wrong thing when they cannot be reached, or reach what they may not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    MbkError,
    PermissionDenied,
    StorageUnavailable,
    Unreachable,
)
from mbk.ports.storage import PLAIN, ObjectInfo, Receipt, Storage, WriteOptions
from mbk.testing import AccessConformance, MemoryService, MemoryStorage
from mbk.testing.access import Sharing
from tests.conformance.broken.registry import SECRET, caught_by


class Guarded(MemoryStorage):
    """A storage in memory that somebody guards: the right one. ``problem`` is what it meets in every call."""

    def __init__(self, service: MemoryService, bucket: str, problem: type[MbkError] | None = None) -> None:
        super().__init__(service, bucket, fault=self._meet)
        self.problem = problem
        self.unreadable: set[str] = set()

    def _meet(self, _operation: str, _key: str) -> None:
        if self.problem:
            raise self.met(self.problem)

    def met(self, problem: type[MbkError]) -> MbkError:
        return problem(f"cannot reach {self.location}", hint="check the settings")

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        if source.location.bucket in self.unreadable:
            raise self.denied(source)
        return super().copy(source, source_key, key, options=options)

    def denied(self, source: Storage) -> MbkError:
        return PermissionDenied(f"{source.location} may not be read")


class Untrusting(Unreachable):
    pass


class AccessOfMemory(AccessConformance):
    storage_class: type[Guarded]
    secrets = (SECRET,)

    @pytest.fixture
    def service(self) -> MemoryService:
        return MemoryService("here", "yonder")

    @pytest.fixture
    def storage(self, service: MemoryService) -> Guarded:
        return self.storage_class(service, "here")

    @pytest.fixture
    def wrong_credentials(self, service: MemoryService) -> list[Guarded]:
        return [self.storage_class(service, "here", AuthenticationFailed)]

    @pytest.fixture
    def no_credentials(self, service: MemoryService) -> Guarded:
        return self.storage_class(service, "here", AuthenticationFailed)

    @pytest.fixture
    def somebody_elses(self, service: MemoryService) -> Guarded:
        return self.storage_class(service, "yonder", PermissionDenied)

    @pytest.fixture
    def sharing(self, service: MemoryService) -> Sharing:
        destination = self.storage_class(service, "yonder")
        destination.unreadable.add("here")
        return Sharing(
            source=self.storage_class(service, "here"),
            destination=destination,
            allow=lambda: destination.unreadable.clear(),
            withdraw=lambda: destination.unreadable.add("here"),
        )

    @pytest.fixture
    def elsewhere(self) -> Guarded:
        return self.storage_class(MemoryService("here"), "here")

    @pytest.fixture
    def nobody(self, service: MemoryService) -> Guarded:
        return self.storage_class(service, "here", StorageUnavailable)

    @pytest.fixture
    def without_tls(self, service: MemoryService) -> Guarded:
        return self.storage_class(service, "here", Unreachable)

    @pytest.fixture
    def untrusted(self, service: MemoryService) -> Guarded:
        return self.storage_class(service, "here", Untrusting)


@caught_by("A1")
class ListsNothing(Guarded):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return iter(())


@caught_by("A2", "A7")
class TellsTheSecretThatWasRefused(Guarded):
    def met(self, problem: type[MbkError]) -> MbkError:
        return problem(f"cannot reach {self.location} with {SECRET}", hint="check the settings")


@caught_by("A2", "A4", "A7")
class DoesNotSayWhere(Guarded):
    def met(self, problem: type[MbkError]) -> MbkError:
        return problem("403", hint="check the settings")


@caught_by("A3", "A7", "A8")
class KnowsNoRemedy(Guarded):
    def met(self, problem: type[MbkError]) -> MbkError:
        return problem(f"cannot reach {self.location}")


@caught_by("A4")
class TakesADeniedBucketForAMissingOne(Guarded):
    def met(self, problem: type[MbkError]) -> MbkError:
        return super().met(BucketNotFound if problem is PermissionDenied else problem)


@caught_by("A5")
class BlamesTheDestination(Guarded):
    def denied(self, source: Storage) -> MbkError:
        return PermissionDenied(f"{self.location} may not be written")


@caught_by("A6")
class TriesEveryCopy(Guarded):
    def can_copy_from(self, other: Storage) -> bool:
        return other.location.backend == self.location.backend


@caught_by("A9")
class TriesAnUntrustedCertificateAgain(Guarded):
    def met(self, problem: type[MbkError]) -> MbkError:
        return super().met(StorageUnavailable if problem is Untrusting else problem)
