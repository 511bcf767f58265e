from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from mbk.config.load import LoadedConfig, load

FIXTURES = Path(__file__).parent / "fixtures"

Load = Callable[..., LoadedConfig]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Loads a file with the given text, in a world without environment variables."""

    def loaded(text: str, *, environ: Mapping[str, str] | None = None, **options: Any) -> LoadedConfig:
        (tmp_path / "test.yaml").write_text(dedent(text), encoding="utf-8")
        return load("test.yaml", environ=environ or {}, cwd=tmp_path, **options)

    return loaded
