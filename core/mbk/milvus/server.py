"""What every part of the adapter stands on: the channel, the server's version and features, names in errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mbk.config.schema import MilvusSettings
from mbk.errors import CollectionNotFound, Unsupported
from mbk.milvus.channel import Channel
from mbk.milvus.failures import check
from mbk.milvus.features import PROBES, WITNESSES, features_of, server_version
from mbk.milvus.proto import common, milvus
from mbk.milvus.rest import Rest
from mbk.model.records import DEFAULT_DATABASE, LOADED, LOADING, NOT_LOADED
from mbk.ports.milvus.server import Feature

# Not every client library that mbk runs with knows every call.
_PROBES = {
    method: getattr(milvus, f"{method}Request", None)
    for method in (*(method for method, _ in WITNESSES), *PROBES.values())
}
_LOAD_STATES = {2: LOADING, 3: LOADED}


def name_of(database: str, collection: str) -> str:
    return f"collection {database or DEFAULT_DATABASE}.{collection}"


class Server:
    def __init__(self, channel: Channel, settings: MilvusSettings) -> None:
        self._channel = channel
        self._settings = settings
        self._rest = Rest(settings)
        self._known: dict[str, bool] = {}
        #: Collections that this client has created and not finished: their later fields are missing, or the check of them.
        self._unfinished: set[tuple[str, str]] = set()
        #: Import jobs that were started over REST.
        self._rest_jobs: set[str] = set()
        self._server_version, told = server_version(channel.versions, self._implements)
        self._features = features_of(
            self._server_version,
            databases=self._implements("ListDatabases"),
            told=told,
            implements=self._implements,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._channel.target!r}, {self.version!r})"

    @property
    def version(self) -> str:
        return self._channel.versions[0] if self._channel.versions else ""

    @property
    def features(self) -> frozenset[Feature]:
        """What is promised by the version and was not refused by the server since."""
        return self._features

    def close(self) -> None:
        self._channel.close()

    def _implements(self, method: str) -> bool:
        if method not in self._known:
            request = _PROBES[method]
            self._known[method] = request is not None and self._channel.implements(method, request())
        return self._known[method]

    @contextmanager
    def _using(self, feature: Feature, what: str) -> Iterator[None]:
        """A feature that the server turns out not to have falls away; `Unsupported` for one that is not there."""
        if feature not in self._features:
            raise Unsupported(f"{what}: Milvus {self.version} has no {feature.value}")
        try:
            yield
        except Unsupported:
            self._features -= {feature}
            raise

    def _describe(self, database: str, collection: str) -> Any:
        return self._channel.call(
            "DescribeCollection",
            milvus.DescribeCollectionRequest(collection_name=collection),
            f"describe {name_of(database, collection)}",
            database=database,
        )

    def _indexes(self, database: str, collection: str) -> Any:
        """The index descriptions; a collection without indexes is an error to the server and none to us."""
        what = f"describe the indexes of {name_of(database, collection)}"
        request = milvus.DescribeIndexRequest(collection_name=collection)
        response = self._channel.call("DescribeIndex", request, what, database=database, checked=False)
        if _says_no_index(response.status):
            return ()
        check(response.status, what)
        return response.index_descriptions

    def _load_state(self, database: str, collection: str) -> str:
        """A collection whose loading failed counts as not loaded."""
        request = milvus.GetLoadStateRequest(collection_name=collection)
        what = f"get the load state of {name_of(database, collection)}"
        response = self._channel.call("GetLoadState", request, what, database=database, checked=False)
        if response.state == common.LoadStateNotExist and not response.status.error_code:
            raise CollectionNotFound(f"{what}: there is no such collection")
        return _LOAD_STATES.get(response.state, NOT_LOADED)

    def _loaded_partitions(self, database: str, collection: str) -> dict[str, str]:
        """The load states of the partitions that are loaded or loading, in one call whatever their number."""
        request = milvus.ShowPartitionsRequest(collection_name=collection, type=milvus.ShowType.InMemory)
        what = f"list the loaded partitions of {name_of(database, collection)}"
        response = self._channel.call("ShowPartitions", request, what, database=database)
        percentages = zip(response.partition_names, response.inMemory_percentages, strict=False)
        return {name: LOADED if percent >= 100 else LOADING for name, percent in percentages}


def _says_no_index(status: Any) -> bool:
    return status.error_code == common.IndexNotExist or "index not found" in status.reason
