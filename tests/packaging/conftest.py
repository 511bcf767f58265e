from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.bare import ROOT, THIRD_PARTY, Bare, build, environment


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mbk's own wheel."""
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """mbk alone, without an extra."""
    alone = environment(tmp_path_factory.mktemp("bare") / "env")
    alone.install(wheel)
    return alone


@pytest.fixture(scope="session")
def with_third_party(bare: Bare, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """mbk, and beside it two distributions of others: one that works, one that is broken."""
    # An environment of its own that sees the first one's packages: mbk's dependencies are installed once.
    path = tmp_path_factory.mktemp("third-party")
    both = environment(path / "env")
    wheels = [build(THIRD_PARTY / name, path) for name in ("mbk-acme", "mbk-broken")]
    both.install("--no-deps", *wheels)
    both.install("pytest")
    seen = next(bare.path.glob("lib/python*/site-packages"))
    site = next(both.path.glob("lib/python*/site-packages"))
    (site / "mbk-environment.pth").write_text(f"{seen}\n")
    return both
