"""Makes a release: ``tox run -e release -- VERSION``.

From a clean checkout it writes the version where it stands, gives the changes since the last release their section, commits and
tags; then it builds from the tag, never from what lies about: wheel, sdist, the context of the image, the chart, the notes and
digests, in dist/VERSION. A tag that is there already is built again, to the same bytes. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from hatch_build import outside

_VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
#: Where the version stands, and how.
_PLACES = {
    "core/mbk/about.py": (r'__version__ = ".*"', '__version__ = "{version}"'),
    "deploy/helm/mbk/Chart.yaml": (r"^((?:appV|v)ersion): .*$", r"\1: {version}"),
}
_UNRELEASED = "## Unreleased\n"


class Refused(Exception):
    """What has to be done first, in one line."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("version", help="such as 0.1.0, without a v")
    parser.add_argument("--to", type=Path, default=Path("dist"), help="dist by default")
    given = parser.parse_args()
    try:
        made = release(given.version, given.to.resolve())
    except Refused as reason:
        sys.stderr.write(f"release: {reason}\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in made))
    sys.stdout.write(
        f"next: git push --follow-tags, and publish them with {made[0].parent}/release-notes.md\n"
    )
    return 0


def release(version: str, to: Path) -> list[Path]:
    if not _VERSION.fullmatch(version):
        raise Refused(f"{version!r} is not a version such as 0.1.0")
    tag = f"v{version}"
    if not git("tag", "--list", tag):
        if git("status", "--porcelain"):
            raise Refused("there are changes that are not committed: commit them first")
        commit(version, tag)
    return build(version, tag, to / version)


def commit(version: str, tag: str) -> None:
    """Writes the version and the section of the changes, commits and tags."""
    changes = Path("CHANGELOG.md")
    text = changes.read_text(encoding="utf-8")
    if f"\n## {version} " not in text:
        if _UNRELEASED not in text or not notes(text, "Unreleased"):
            raise Refused(
                "CHANGELOG.md has no changes below '## Unreleased': write there what users will notice, and commit it"
            )
        today = datetime.now(UTC).date().isoformat()
        changes.write_text(
            text.replace(_UNRELEASED, f"{_UNRELEASED}\n## {version} - {today}\n", 1), encoding="utf-8"
        )
    for name, (pattern, replacement) in _PLACES.items():
        place = Path(name)
        new = re.sub(
            pattern,
            replacement.format(version=version),
            place.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
        place.write_text(new, encoding="utf-8")
    if git("status", "--porcelain"):
        git("commit", "--quiet", "--all", "--message", f"Release {version}")
    git("tag", "--annotate", tag, "--message", f"mbk {version}")


def build(version: str, tag: str, to: Path) -> list[Path]:
    """What is published, from the files of the tag."""
    moment = git("log", "-1", "--format=%ct", tag)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", tag], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        sources = Path(folder)
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(to), folder]
        done = subprocess.run(
            command,
            env=os.environ | {"SOURCE_DATE_EPOCH": moment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Refused(f"the wheel cannot be built: {done.stderr.strip().splitlines()[-1]}")
        wheel, sdist = (next(to.glob(f"*-{version}{end}")) for end in ("-*.whl", ".tar.gz"))
        container = sources / "deploy/container"
        image = {"image/Containerfile": container / "Containerfile", f"image/{wheel.name}": wheel}
        chart = sources / "deploy/helm/mbk"
        charted = {f"mbk/{path.relative_to(chart)}": path for path in chart.rglob("*") if path.is_file()}
        made = [
            wheel,
            sdist,
            packed(to / f"mbk-{version}-image.tar.gz", image, int(moment)),
            packed(to / f"mbk-{version}-chart.tgz", charted, int(moment)),
            to / "release-notes.md",
        ]
        text = notes((sources / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    # Links of the changelog lead into the repository, where a reader of the notes is not.
    made[-1].write_text(f"# mbk {version}\n\n{outside(text, lambda _: '')}\n", encoding="utf-8")
    digests = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made]
    (to / "SHA256SUMS").write_text("".join(digests), encoding="utf-8")
    return [*made, to / "SHA256SUMS"]


def packed(target: Path, files: Mapping[str, Path], moment: int) -> Path:
    """A tar file of these files that is the same bytes whoever makes it."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=moment) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in sorted(files.items()):
            data = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), moment, 0o644
            tar.addfile(member, io.BytesIO(data))
    return target


def notes(changes: str, version: str) -> str:
    """The section of a version, without its title."""
    title = re.escape(version)
    found = re.search(rf"^## {title}(?: - \S+)?\n(?P<text>.*?)(?=^## |\Z)", changes, re.MULTILINE | re.DOTALL)
    return found["text"].strip() if found else ""


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
