"""A real server and the double of its version, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e.data import Clients
from tests.versions.script import Server, Site
from tests.versions.steps import STEPS


class Both:
    """``real`` and ``double`` (a `MilvusDouble`): calls by name, and clients, which want only an address and a port."""

    def __init__(self, real: EmbeddedMilvus, double: Any) -> None:
        grpc = f"{real.address}:{real.port}"
        self.servers = {
            "real": Server(Site(grpc, f"http://{grpc}", real.management_url, real.storage_root)),
            "double": Server(
                Site(double.target, double.rest_url, double.management_url, double.storage_root)
            ),
        }
        self.clients = {"real": Clients(real), "double": Clients(double)}

    def close(self) -> None:
        for server in self.servers.values():
            server.close()
        for clients in self.clients.values():
            clients.__exit__()

    def answers(self, *, without: Set[str] = frozenset()) -> Mapping[str, Mapping[str, Any]]:
        """Server -> step -> answer."""
        steps = {label: ask for label, ask in STEPS.items() if label not in without}
        return {
            name: {label: ask(server) for label, ask in steps.items()}
            for name, server in self.servers.items()
        }
