"""The management port: health, pausing the garbage collection, keys of encryption zones. Plain HTTP without login.

Sources: milvus ``internal/proxy/management.go`` (paths, ``{"msg": …}`` bodies, 500 for a failed command),
``internal/datacoord/garbage_collector.go`` (a pause ends by itself; tickets from 2.6.8 on).
2.3.5 answers 404 to the pause (run).
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from tests.milvus_double.encryption import exported_key, is_encrypted
from tests.milvus_double.faults import Faults
from tests.milvus_double.http_port import Answered, Asked, HttpPort, Route
from tests.milvus_double.state import State

PAUSE = "/management/datacoord/garbage_collection/pause"
RESUME = "/management/datacoord/garbage_collection/resume"
EXPORT_KEY = "/management/rootcoord/ez/backup"
#: The whole cluster.
CLUSTER = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A pause: of one collection or of `CLUSTER`, until a monotonic time."""

    collection_id: int
    until: float


class Management:
    """``leases``: those given and not given back, by ticket; ended ones stay in it until the next call."""

    def __init__(self, state: State, faults: Faults) -> None:
        self._state = state
        self._faults = faults
        self.leases: dict[str, Lease] = {}

    def routes(self) -> Mapping[tuple[str, str], Route]:
        version = self._state.version
        routes: dict[tuple[str, str], Route] = {("GET", "/healthz"): lambda _asked: Answered(200, b"OK")}
        if version.has("gc_pause"):
            routes |= {("GET", PAUSE): self._pause, ("GET", RESUME): self._resume}
        if version.has("encryption"):
            routes[("GET", EXPORT_KEY)] = self._export_key
        return routes

    def port(self, port: int = 0) -> HttpPort:
        return HttpPort(self.routes(), faults=self._faults, port=port)

    def _pause(self, asked: Asked) -> Answered:
        text = asked.query.get("pause_seconds", "")
        if not text.isdecimal() or int(text) == 0:
            return _failed(f"failed to pause garbage collection, invalid pause seconds({text})")
        by_collection = self._state.version.has("collection_gc_pause")
        collection_id = int(asked.query.get("collection_id") or CLUSTER) if by_collection else CLUSTER
        # Before 2.6.8 there is one pause for all, which the next call replaces.
        ticket = _ticket(collection_id) if by_collection else ""
        self.leases[ticket] = Lease(collection_id, time.monotonic() + int(text))
        self._publish()
        return _done(ticket=ticket) if by_collection else _done()

    def _resume(self, asked: Asked) -> Answered:
        ticket = asked.query.get("ticket", "")
        by_collection = self._state.version.has("collection_gc_pause")
        if by_collection and ticket not in self.leases:
            return _failed("failed to resume garbage collection, invalid ticket")
        self.leases.pop(ticket if by_collection else "", None)
        self._publish()
        return _done()

    def _publish(self) -> None:
        now = time.monotonic()
        self.leases = {ticket: lease for ticket, lease in self.leases.items() if lease.until > now}
        paused: dict[int, float] = {}
        for lease in self.leases.values():
            paused[lease.collection_id] = max(lease.until, paused.get(lease.collection_id, 0.0))
        with self._state.lock:
            self._state.gc_paused_until = paused

    def _export_key(self, asked: Asked) -> Answered:
        name = asked.query.get("db_name", "")
        with self._state.lock:
            database = self._state.databases.get(name)
            if database is None:
                return _failed(f"database not found[database={name}]")
            if not is_encrypted(database):
                return _failed(f"database {name} is not encrypted")
            return _done(ezk=exported_key(database))


def _ticket(collection_id: int) -> str:
    inside = {"token": str(uuid.uuid4()), "collection_id": collection_id}
    return base64.urlsafe_b64encode(json.dumps(inside).encode()).decode()


def _done(**more: str) -> Answered:
    return Answered.json({"msg": "OK", **more})


def _failed(reason: str) -> Answered:
    return Answered.json({"msg": reason}, 500)
