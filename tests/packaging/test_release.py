"""A release, made in a repository of its own that has the files of this one."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.bare import ROOT

FILES = ("core", "plugins", "docs", "deploy", "README.md", "README.zh-CN.md", "LICENSE", "CHANGELOG.md")
FILES += ("pyproject.toml", "hatch_build.py", "release.py", "tox.ini", ".gitignore")
WHO = {
    f"GIT_{who}_{what}": "somebody@example.org"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


@dataclass(frozen=True)
class Repository:
    path: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.path, env=os.environ | WHO, capture_output=True, text=True, check=False
        )

    def git(self, *arguments: str) -> str:
        done = self.run("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def release(self, version: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "release.py", version)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A clean repository in which 7.8.9 was released."""
    repository = Repository(tmp_path_factory.mktemp("repository"))
    for name in FILES:
        source, target = ROOT / name, repository.path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.whl"))
        else:
            shutil.copy(source, target)
    changes = (repository.path / "CHANGELOG.md").read_text(encoding="utf-8")
    head = changes.partition("\n## ")[0]
    ours = f"{head}\n## Unreleased\n\n### Added\n\n- A [thing](docs/index.md).\n\n## 0.0.1 - 2020-01-01\n\n- Old.\n"
    (repository.path / "CHANGELOG.md").write_text(ours, encoding="utf-8")
    repository.git("init", "--quiet")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message", "Begin")
    done = repository.release("7.8.9")
    assert done.returncode == 0, done.stderr
    return repository


def test_it_is_committed_tagged_and_has_its_section(repository: Repository) -> None:
    assert repository.git("tag").split() == ["v7.8.9"]
    assert repository.git("log", "-1", "--format=%s").strip() == "Release 7.8.9"
    assert repository.git("status", "--porcelain") == ""
    changes = repository.git("show", "v7.8.9:CHANGELOG.md")
    assert changes.index("## Unreleased") < changes.index("## 7.8.9 - 20") < changes.index("- A [thing]")
    assert '"7.8.9"' in repository.git("show", "v7.8.9:core/mbk/about.py")
    assert repository.git("show", "v7.8.9:deploy/helm/mbk/Chart.yaml").count("ersion: 7.8.9") == 2


def test_everything_that_is_published_is_there(repository: Repository) -> None:
    made = repository.path / "dist/7.8.9"
    wheel, sdist = "mbk-7.8.9-py3-none-any.whl", "mbk-7.8.9.tar.gz"
    image, chart, notes = "mbk-7.8.9-image.tar.gz", "mbk-7.8.9-chart.tgz", "release-notes.md"
    assert {path.name for path in made.iterdir()} == {wheel, sdist, image, chart, notes, "SHA256SUMS"}
    for line in (made / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split()
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == digest
    text = (made / notes).read_text(encoding="utf-8")
    assert text == "# mbk 7.8.9\n\n### Added\n\n- A thing.\n"
    assert "mbk/config/samples/v2/minio.yaml" in zipfile.ZipFile(made / wheel).namelist()
    with tarfile.open(made / image) as files:
        assert files.getnames() == ["image/Containerfile", f"image/{wheel}"]
    with tarfile.open(made / chart) as files:
        assert {"mbk/Chart.yaml", "mbk/values.schema.json", "mbk/templates/nightly.yaml"} <= {
            *files.getnames()
        }
    with tarfile.open(made / sdist) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"docs/index.md", "deploy/compose/compose.yaml", "hatch_build.py", "release.py"} <= names


def test_the_same_tag_is_built_to_the_same_bytes(repository: Repository) -> None:
    sums = repository.path / "dist/7.8.9/SHA256SUMS"
    before = sums.read_text(encoding="utf-8")
    (repository.path / "core/mbk/about.py").write_text("broken", encoding="utf-8")
    try:
        again = repository.release("7.8.9")
    finally:
        repository.git("checkout", "--quiet", "--", ".")
    assert again.returncode == 0, again.stderr
    assert sums.read_text(encoding="utf-8") == before


def test_it_is_refused_before_anything_is_changed(repository: Repository) -> None:
    assert "no changes below" in repository.release("7.9.0").stderr
    assert "not a version" in repository.release("v8").stderr
    (repository.path / "README.md").write_text("changed", encoding="utf-8")
    try:
        refused = repository.release("7.9.0")
    finally:
        repository.git("checkout", "--quiet", "--", ".")
    assert refused.returncode == 1
    assert "not committed" in refused.stderr
    assert repository.git("tag").split() == ["v7.8.9"]
    assert repository.git("status", "--porcelain") == ""
