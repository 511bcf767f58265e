"""One connected server, shared by all roles of the adapter: calls, REST, version and features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mbk.config.schema import MilvusSettings
from mbk.errors import Unsupported
from mbk.milvus.channel import CALL_SECONDS, Channel
from mbk.milvus.failures import unsupported
from mbk.milvus.features import PROBES, WITNESSES, features_of, server_version
from mbk.milvus.proto import milvus
from mbk.milvus.rest import Rest
from mbk.model.records import DEFAULT_DATABASE
from mbk.ports.milvus.values import Feature

# Some supported client libraries lack some of these calls.
_PROBES = {
    method: getattr(milvus, f"{method}Request", None)
    for method in (*(method for method, _ in WITNESSES), *PROBES.values())
}


def name_of(database: str, collection: str) -> str:
    return f"collection {database or DEFAULT_DATABASE}.{collection}"


class Server:
    """``number`` is the version that ``features`` are derived from. Several threads may call it."""

    def __init__(self, channel: Channel, settings: MilvusSettings) -> None:
        self.settings = settings
        self.rest = Rest(settings)
        self._channel = channel
        self._implemented: dict[str, bool] = {}
        self.number, reported = server_version(channel.versions, self._implements)
        self._features = features_of(
            self.number,
            databases=self._implements("ListDatabases"),
            reported=reported,
            implements=self._implements,
        )

    @property
    def target(self) -> str:
        """``host:port``."""
        return self._channel.target

    @property
    def version(self) -> str:
        return self._channel.versions[0] if self._channel.versions else ""

    @property
    def features(self) -> frozenset[Feature]:
        """The features of the version, without those that the server turned out not to have."""
        return self._features

    def close(self) -> None:
        self._channel.close()

    def call(
        self,
        method: str,
        request: Any,
        what: str,
        *,
        database: str = DEFAULT_DATABASE,
        timeout: float = CALL_SECONDS,
        checked: bool = True,
    ) -> Any:
        """Like :meth:`mbk.milvus.channel.Channel.call`."""
        return self._channel.call(method, request, what, database=database, timeout=timeout, checked=checked)

    @contextmanager
    def using(self, feature: Feature, what: str) -> Iterator[None]:
        """`Unsupported` without the feature; a feature that turns out to be missing is removed from ``features``."""
        if feature not in self._features:
            raise unsupported(what, self.version, feature.value)
        try:
            yield
        except Unsupported:
            self._features -= {feature}
            raise

    def _implements(self, method: str) -> bool:
        if method not in self._implemented:
            request = _PROBES[method]
            self._implemented[method] = request is not None and self._channel.implements(method, request())
        return self._implemented[method]
