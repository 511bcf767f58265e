"""Databases, aliases, and what a client asks of a server as a whole.

Sources: milvus ``internal/rootcoord/meta_table.go``, ``internal/proxy/impl.go`` (Connect, GetVersion).
"""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.clock import milliseconds
from tests.milvus_double.collections import by_coordinator, pairs
from tests.milvus_double.refusal import Refused, no_database
from tests.milvus_double.schemas import check_name, params
from tests.milvus_double.state import DEFAULT, Collection, Database


class Databases(Part):
    def ListDatabases(self, request: milvus.ListDatabasesRequest, call: Call) -> milvus.ListDatabasesResponse:
        found = self.state.databases.values()
        answer = milvus.ListDatabasesResponse(db_names=[item.name for item in found])
        if self.state.version.number >= (2, 3, 0):
            answer.created_timestamp.extend(item.created for item in found)
        if self.state.version.has("describe_database"):
            answer.db_ids.extend(item.id for item in found)
        return answer

    def CreateDatabase(self, request: milvus.CreateDatabaseRequest, call: Call) -> common.Status:
        if not request.db_name:
            raise Refused("database name couldn't be empty: invalid database name[database=]", code=802)
        check_name(request.db_name, "database")
        if request.db_name in self.state.databases:
            raise Refused(f"database already exist: {request.db_name}")
        kept = params(request.properties) if self.state.version.has("database_properties") else {}
        self.state.databases[request.db_name] = Database(
            id=self.state.clock.new_id(),
            name=request.db_name,
            properties=kept,
            created=self.state.clock.now(),
        )
        return common.Status()

    def DropDatabase(self, request: milvus.DropDatabaseRequest, call: Call) -> common.Status:
        if request.db_name == DEFAULT:
            raise Refused("can not drop default database")
        found = self.state.databases.get(request.db_name)
        if found is None:
            return common.Status()
        if found.collections:
            raise Refused(
                "can not drop default database"
                if found.name == DEFAULT
                else f"database:{found.name} not empty, must drop all collections before drop database"
            )
        del self.state.databases[found.name]
        return common.Status()

    def DescribeDatabase(
        self, request: milvus.DescribeDatabaseRequest, call: Call
    ) -> milvus.DescribeDatabaseResponse:
        found = self.state.database(request.db_name or call.database)
        return milvus.DescribeDatabaseResponse(
            db_name=found.name,
            dbID=found.id,
            created_timestamp=found.created,
            properties=pairs(found.properties),
        )

    def AlterDatabase(self, request: milvus.AlterDatabaseRequest, call: Call) -> common.Status:
        if not request.db_name:
            raise Refused("alter database failed, database name does not exists")
        found = self.state.database(request.db_name or call.database)
        found.properties.update(params(request.properties))
        for key in request.delete_keys:
            found.properties.pop(key, None)
        return common.Status()


class Aliases(Part):
    def CreateAlias(self, request: milvus.CreateAliasRequest, call: Call) -> common.Status:
        check_name(request.alias, "collection alias")
        found = None if self.state.version.number >= (2, 6, 0) else self._target(request, call)
        if request.alias in self.state.database(call.database).collections:
            raise Refused(
                f"alias and collection name conflict[database={call.database}][alias={request.alias}]",
                code=1601,
            )
        found = found or self._target(request, call)
        owner = self._owner(request.alias, call)
        if owner is not None and owner is not found:
            raise Refused(
                f"{request.alias} is alias to another collection: {owner.name}: alias already exist"
                f"[database={call.database}][alias={request.alias}]",
                code=1602,
            )
        if owner is None:
            found.aliases.append(request.alias)
        return common.Status()

    def _target(self, request: milvus.CreateAliasRequest, call: Call) -> Collection:
        """The root coordinator of 2.5 speaks of the database by its id, and of the time (run: 2.5.27)."""
        try:
            return self.state.collection(call.database, request.collection_name)
        except Refused as refused:
            if refused.code != 100 or self.state.version.number[:2] != (2, 5):
                raise
            raise by_coordinator(self.state, call.database, request.collection_name) from refused

    def DropAlias(self, request: milvus.DropAliasRequest, call: Call) -> common.Status:
        owner = self._owner(request.alias, call)
        if owner is not None:
            owner.aliases.remove(request.alias)
        return common.Status()

    def AlterAlias(self, request: milvus.AlterAliasRequest, call: Call) -> common.Status:
        found = self._altered(request, call)
        owner = self._owner(request.alias, call)
        if owner is None:
            raise self._missing(request.alias, call)
        owner.aliases.remove(request.alias)
        found.aliases.append(request.alias)
        return common.Status()

    def _altered(self, request: milvus.AlterAliasRequest, call: Call) -> Collection:
        try:
            return self.state.collection(call.database, request.collection_name)
        except Refused as refused:
            if refused.code != 100 or self.state.version.number < (2, 5, 0):
                raise
            reason = f"collection not found[collection={request.collection_name}]"
            raise Refused(reason, code=100, error_code=common.CollectionNotExists) from refused

    def DescribeAlias(self, request: milvus.DescribeAliasRequest, call: Call) -> milvus.DescribeAliasResponse:
        if not request.alias and self.state.version.number < (2, 5, 0):
            raise Refused("no input alias: missing parameter[missing_param=alias]", code=1101)
        check_name(request.alias, "collection alias")
        owner = self._owner(request.alias, call)
        if owner is None:
            raise self._missing(request.alias, call)
        answer = milvus.DescribeAliasResponse(alias=request.alias, collection=owner.name)
        if self._says_names:
            answer.db_name = owner.database
        return answer

    @property
    def _says_names(self) -> bool:
        return self.state.version.number >= (2, 4, 0)

    def ListAliases(self, request: milvus.ListAliasesRequest, call: Call) -> milvus.ListAliasesResponse:
        """``collection_name`` empty: of the whole database. 2.3 fails outside of the default one."""
        if request.collection_name and not self._says_names and call.database != DEFAULT:
            raise Refused(
                f"collection not found[collection={request.collection_name}]",
                code=100,
                error_code=common.CollectionNotExists,
            )
        if request.collection_name:
            some = [self.state.collection(call.database, request.collection_name)]
        else:
            some = list(self.state.database(call.database).collections.values())
        answer = milvus.ListAliasesResponse()
        if self._says_names:
            answer.db_name, answer.collection_name = call.database, request.collection_name
        answer.aliases.extend(alias for item in some for alias in item.aliases)
        return answer

    def _owner(self, alias: str, call: Call) -> Collection | None:
        found = self.state.database(call.database).collections.values()
        return next((item for item in found if alias in item.aliases), None)

    def _missing(self, alias: str, call: Call) -> Refused:
        return Refused(f"alias not found[database={call.database}][alias={alias}]", code=1600)


class Server(Part):
    def Connect(self, request: milvus.ConnectRequest, call: Call) -> milvus.ConnectResponse:
        if call.database not in self.state.databases:
            if self.state.version.number < (2, 3, 0):
                raise Refused(f"database not found: {call.database}")
            raise no_database(call.database)
        return milvus.ConnectResponse(
            identifier=self.state.clock.new_id(),
            server_info=common.ServerInfo(
                build_tags=self.state.version.name,
                build_time="Mon Jan  1 00:00:00 UTC 2024",
                git_commit=self.state.version.git_commit,
                go_version="go version go1.21.0 linux/amd64",
                deploy_mode="STANDALONE",
            ),
        )

    def GetVersion(self, request: milvus.GetVersionRequest, call: Call) -> milvus.GetVersionResponse:
        return milvus.GetVersionResponse(version=self.state.version.name)

    def CheckHealth(self, request: milvus.CheckHealthRequest, call: Call) -> milvus.CheckHealthResponse:
        return milvus.CheckHealthResponse(isHealthy=True)

    def GetComponentStates(
        self, request: milvus.GetComponentStatesRequest, call: Call
    ) -> milvus.ComponentStates:
        healthy = milvus.ComponentInfo(nodeID=1, role="proxy", state_code=common.StateCode.Healthy)
        return milvus.ComponentStates(state=healthy)

    def ListIndexedSegment(self, request: object, call: Call) -> None:
        raise _unimplemented("ListIndexedSegment")

    def DescribeSegmentIndexData(self, request: object, call: Call) -> None:
        raise _unimplemented("DescribeSegmentIndexData")

    def AllocTimestamp(
        self, request: milvus.AllocTimestampRequest, call: Call
    ) -> milvus.AllocTimestampResponse:
        return milvus.AllocTimestampResponse(timestamp=self.state.clock.now())

    def GetMetrics(self, request: milvus.GetMetricsRequest, call: Call) -> milvus.GetMetricsResponse:
        if not request.request:
            raise Refused("failed to decode the request: unexpected end of JSON input")
        return milvus.GetMetricsResponse(
            response=f'{{"time": {milliseconds(self.state.clock.now())}}}', component_name="proxy"
        )


def _unimplemented(rpc: str) -> Refused:
    """Calls that the protocol has and no proxy does (run: 2.3.5)."""
    return Refused(f"service unavailable: {rpc} unimplemented", code=2, retriable=True)
