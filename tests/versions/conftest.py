"""The double of every version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.milvus_double.server import MilvusDouble
from tests.milvus_double.versions import PLAYED
from tests.versions.played import Played, connected


@pytest.fixture(scope="module", params=PLAYED)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    home: Path = tmp_path_factory.mktemp("milvus")
    with MilvusDouble(request.param, home=home, flush_rate=0) as double, connected(double) as client:
        yield Played(double, client, home)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(character if character.isalnum() else "_" for character in request.node.name)
