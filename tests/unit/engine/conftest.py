from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake server is done at once, and what is written in memory shows at once: nobody needs to wait."""
    for name in (
        "runtime.lease.SETTLE", "formats.binlog.imports.FIRST_POLL", "formats.binlog.imports.LAST_POLL",
        "restore.finish.INDEX_POLL", "restore.finish.LOAD_POLL",
    ):  # fmt: skip
        monkeypatch.setattr(f"mbk.engine.{name}", 0.001)
