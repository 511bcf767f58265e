"""What is in the wheel, and that it runs where nothing else is."""

from __future__ import annotations

import email
import re
import zipfile
from email.message import Message
from pathlib import Path

from tests.packaging.bare import ROOT, Bare, build, environment

LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"mbk", "mbk_local", "mbk_s3"} <= tops
    assert {top for top in tops if not top.startswith("mbk")} == set()
    assert sorted(f"{top}/py.typed" for top in tops if "." not in top) == sorted(
        name for name in names if name.endswith("py.typed")
    )
    assert {"mbk/config/samples/v1/minio.yaml", "mbk/config/samples/v2/minio.yaml"} <= {*names}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]


def test_help_and_version_run_in_a_bare_environment(bare: Bare) -> None:
    shown = bare.run("mbk", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "create" in shown.stdout
    assert "restore" in shown.stdout
    version = bare.python("import mbk; print(mbk.__version__)").strip()
    assert version in bare.run("mbk", "version").stdout


def test_what_an_index_shows_has_no_link_that_needs_the_repository(wheel: Path) -> None:
    shown = metadata(wheel)
    text = str(shown.get_payload())
    assert "# mbk" in text
    assert [target for target in LINK.findall(text) if not target.startswith("https://")] == []
    assert shown.get_all("Project-URL") is None


def test_a_public_home_and_another_name_are_told_in_one_place_each(tmp_path: Path) -> None:
    copied = tmp_path / "sources"
    copied.mkdir()
    for name in ("core", "plugins", "README.md", "LICENSE", "hatch_build.py", "pyproject.toml"):
        (copied / name).symlink_to(ROOT / name)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (copied / "pyproject.toml").unlink()
    (copied / "pyproject.toml").write_text(
        settings.replace('home = ""', 'home = "https://code.example/mbk/"')
        .replace('name = "mbk"', 'name = "milvus-mbk"')
        .replace("mbk[", "milvus-mbk["),
        encoding="utf-8",
    )
    shown = metadata(build(copied, tmp_path))
    assert shown["Name"] == "milvus-mbk"
    of_version = f"https://code.example/mbk/blob/v{shown['Version']}/"
    assert "Homepage, https://code.example/mbk" in shown.get_all("Project-URL", [])
    assert f"Changelog, {of_version}CHANGELOG.md" in shown.get_all("Project-URL", [])
    links = [target for target in LINK.findall(str(shown.get_payload())) if target.startswith(of_version)]
    assert f"{of_version}docs/index.md" in links
    for target in links:
        assert (ROOT / target.removeprefix(of_version).partition("#")[0]).exists(), target

    renamed = environment(tmp_path / "env")
    renamed.install("--no-deps", next(tmp_path.glob("*.whl")))
    told = renamed.python("from mbk import extras; print(extras.distribution(), extras.to_install('minio'))")
    assert told == "milvus-mbk 'boto3>=1.36'\n"


def metadata(wheel: Path) -> Message:
    files = zipfile.ZipFile(wheel)
    name = next(name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(files.read(name).decode())
