"""One server a module; a test that wants its own makes one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.harness import Client, Shared, shared
from tests.fakes.world import World


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def world(server: Shared) -> World:
    return server.fresh()


@pytest.fixture
def client(server: Shared, world: World) -> Client:
    return server.client
