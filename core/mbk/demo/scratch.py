"""A Milvus for one drill: it starts empty, and nothing of it stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mbk.config.schema import MilvusSettings, Settings, StorageChoice
from mbk.demo.embedded import EmbeddedMilvus


@contextmanager
def embedded(settings: Settings) -> Iterator[Settings]:
    """The settings with an embedded Milvus, on local storage, in place of theirs. Raises what `EmbeddedMilvus` raises."""
    with (
        tempfile.TemporaryDirectory(prefix="mbk-drill-") as home,
        EmbeddedMilvus(Path(home) / "milvus") as server,
    ):
        milvus = MilvusSettings(
            address=server.address, port=server.port, management_endpoint=server.management_url
        )
        storage = StorageChoice(type="local", values={"root_path": str(server.storage_root)})
        yield settings.model_copy(update={"milvus": milvus, "storage": storage})
