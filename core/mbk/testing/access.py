"""Rules of who may reach a bucket, and of what is said when it cannot be reached: a kit of its own, `AccessConformance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mbk.errors import AuthenticationFailed, PermissionDenied, StorageUnavailable, Unreachable, Unsupported
from mbk.frozen import frozen
from mbk.ports.storage import Storage
from mbk.testing.kit import Kit, content, keys_of, put


@frozen(kw_only=True)
class Sharing:
    """Two accounts: ``destination`` may read nothing of ``source``'s bucket until ``allow`` is called."""

    source: Storage
    destination: Storage
    allow: Callable[[], object]
    withdraw: Callable[[], object]


class AccessConformance(Kit):
    """Subclass it with a fixture ``storage`` and those of the fixtures below that the service makes possible."""

    @pytest.fixture
    def wrong_credentials(self) -> Sequence[Storage]:
        """The bucket of ``storage``, opened with each of the credentials in turn replaced by another."""
        return ()

    @pytest.fixture
    def no_credentials(self) -> Storage | None:
        """The bucket of ``storage``, opened without any credentials."""
        return None

    @pytest.fixture
    def somebody_elses(self) -> Storage | None:
        """The bucket of another account, opened with the credentials of ``storage``."""
        return None

    @pytest.fixture
    def sharing(self) -> Sharing | None:
        return None

    @pytest.fixture
    def elsewhere(self) -> Storage | None:
        """A bucket of the same vendor that ``storage`` cannot copy from: another service, another region."""
        return None

    @pytest.fixture
    def nobody(self) -> Storage | None:
        """A storage at an address where nobody listens."""
        return None

    @pytest.fixture
    def without_tls(self) -> Storage | None:
        """A storage told to speak https, of a service that does not."""
        return None

    @pytest.fixture
    def untrusted(self) -> Storage | None:
        """A storage of a service whose certificate nobody vouches for."""
        return None

    def test_a1_right_credentials(self, storage: Storage, prefix: str) -> None:
        """A1. With the right credentials objects are written, read, listed and deleted."""
        storage.check()
        put(storage, f"{prefix}a/b", b"content")
        assert content(storage, f"{prefix}a/b") == b"content"
        assert keys_of(storage, f"{prefix}a/") == [f"{prefix}a/b"]
        storage.delete([f"{prefix}a/b"])
        assert keys_of(storage, prefix) == []

    def test_a2_wrong_credentials(self, wrong_credentials: Sequence[Storage]) -> None:
        """A2. Each wrong credential is `AuthenticationFailed`, which names the bucket and the endpoint, and no secret."""
        if not wrong_credentials:
            pytest.skip("no wrong credentials were given (override the fixture `wrong_credentials`)")
        for storage in wrong_credentials:
            with pytest.raises(AuthenticationFailed) as caught:
                storage.check()
            self._require_named(storage, str(caught.value))

    def test_a3_no_credentials(self, no_credentials: Storage | None) -> None:
        """A3. No credentials at all are `AuthenticationFailed`, with what to set."""
        with pytest.raises(AuthenticationFailed) as caught:
            _given(no_credentials, "no_credentials").check()
        assert caught.value.hint

    def test_a4_the_bucket_of_somebody_else(self, somebody_elses: Storage | None) -> None:
        """A4. The bucket of another account is `PermissionDenied`, which names it, in `check`, with ``create`` too, and in `write`."""
        storage = _given(somebody_elses, "somebody_elses")
        calls: tuple[Callable[[], object], ...] = (
            storage.check,
            lambda: storage.check(create=True),
            lambda: put(storage, "a"),
        )
        for call in calls:
            with pytest.raises(PermissionDenied) as caught:
                call()
            assert storage.location.bucket in str(caught.value)

    def test_a5_a_copy_across_accounts(self, sharing: Sharing | None, prefix: str) -> None:
        """A5. A copy from a bucket that the destination's account may not read is `PermissionDenied`, which names that bucket; once it may, it is copied."""
        if sharing is None:
            pytest.skip("no two accounts were given (override the fixture `sharing`)")
        source, destination, key = sharing.source, sharing.destination, f"{prefix}shared"
        put(source, key, b"content")
        assert destination.can_copy_from(source)
        try:
            with pytest.raises(PermissionDenied) as caught:
                destination.copy(source, key, f"{prefix}copied")
            assert source.location.bucket in str(caught.value)
            assert content(destination, f"{prefix}copied") is None
            sharing.allow()
            destination.copy(source, key, f"{prefix}copied")
            assert content(destination, f"{prefix}copied") == b"content"
        finally:
            sharing.withdraw()
            destination.delete([f"{prefix}copied"])
            source.delete([key])

    def test_a6_no_copy_from_elsewhere(self, storage: Storage, elsewhere: Storage | None) -> None:
        """A6. From another service of the same vendor no copy is tried."""
        other = _given(elsewhere, "elsewhere")
        assert not storage.can_copy_from(other)
        with pytest.raises(Unsupported):
            storage.copy(other, "a", "b")

    def test_a7_nobody_listens(self, nobody: Storage | None) -> None:
        """A7. An address where nobody listens is `StorageUnavailable`, which names the bucket and the address, with what to check."""
        storage = _given(nobody, "nobody")
        with pytest.raises(StorageUnavailable) as caught:
            storage.check()
        self._require_named(storage, str(caught.value))
        assert caught.value.hint

    def test_a8_a_service_without_tls(self, without_tls: Storage | None) -> None:
        """A8. Speaking https to a service that does not is `Unreachable`, not worth another try, with what to set."""
        with pytest.raises(Unreachable) as caught:
            _given(without_tls, "without_tls").check()
        assert not caught.value.retryable
        assert caught.value.hint

    def test_a9_a_certificate_that_nobody_vouches_for(self, untrusted: Storage | None) -> None:
        """A9. A certificate that is not trusted is `Unreachable`, not worth another try."""
        with pytest.raises(Unreachable) as caught:
            _given(untrusted, "untrusted").check()
        assert not caught.value.retryable

    def _require_named(self, storage: Storage, message: str) -> None:
        assert storage.location.bucket in message
        assert storage.location.endpoint in message
        assert [secret for secret in self.secrets if secret in message] == []


def _given(storage: Storage | None, fixture: str) -> Storage:
    if storage is None:
        pytest.skip(f"no such storage was given (override the fixture `{fixture}`)")
    return storage
