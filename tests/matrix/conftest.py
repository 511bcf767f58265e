from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbk.registry.registry import Registry
from tests.matrix.places import Places, places


@pytest.fixture(scope="session", name="places")
def all_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A place of every storage type, by type; the servers run as long as the session."""
    with places(tmp_path_factory.mktemp("places")) as found:
        yield found


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry(disabled=())
