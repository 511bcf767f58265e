"""Real Milvus servers for test sessions. Each has a home of its own; several run at once.

Use one server a module and one database (or collection name) a test: a start costs 2-3 s (2.2.16: 7-13 s), and
restarting a used home up to a minute until queries answer, unless with `QUICK_RESTART`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mbk.demo.embedded import EmbeddedMilvus, S3Target
from mbk.demo.wheel import default_cache
from tests.client_cache import forget_servers

OLD_VERSION = "2.2.16"
QUICK: Mapping[str, object] = {
    "dataCoord.segment.assignmentExpiration": 200,
    "proxy.timeTickInterval": 50,
    "queryCoord.checkInterval": 100,
    "queryCoord.checkSegmentInterval": 100,
    "queryCoord.checkChannelInterval": 100,
    "queryCoord.distPullInterval": 100,
    "indexCoord.scheduler.interval": 100,
}
"""A flush takes 0.7 s instead of 2.7, a flush of deletes 0.2 s instead of 1.0, a load 2 s instead of 4. In milliseconds."""

GRACE = 0
"""Nobody needs the home of a server again: it is killed instead of being waited for."""

QUICK_RESTART: Mapping[str, object] = {"common.session.ttl": 10}
"""For a server that is killed and started again: it waits until what it was has expired, by default for half a minute."""

STABLE_SEGMENTS: Mapping[str, object] = {"dataCoord.enableCompaction": False}
"""No compaction, so that a segment list stays as it was. Leave it out in tests about races."""

SYNC_DELETES: Mapping[str, object] = {"dataNode.segment.syncPeriod": 3}
"""2.2 only: deletes on flushed segments reach the storage within 3 s; there a flush does not write them."""


@contextmanager
def milvus_local(home: Path, *settings: Mapping[str, object]) -> Iterator[EmbeddedMilvus]:
    """A running 2.3.5 with its data in ``server.storage_root``. ``settings`` add to `QUICK`, the last wins."""
    forget_servers()
    with EmbeddedMilvus(home, overrides=_merged(QUICK, *settings), grace=GRACE) as server:
        yield server


@contextmanager
def milvus_on_s3(home: Path, storage: S3Target, *settings: Mapping[str, object]) -> Iterator[EmbeddedMilvus]:
    """A running 2.3.5 with its data on S3; it creates the bucket. rclone wants an access key of 3 or more characters."""
    forget_servers()
    with EmbeddedMilvus(home, storage=storage, overrides=_merged(QUICK, *settings), grace=GRACE) as server:
        yield server


@contextmanager
def milvus_2_2(home: Path, *settings: Mapping[str, object]) -> Iterator[EmbeddedMilvus]:
    """A running 2.2.16 with its data in ``server.storage_root``; it cannot use S3, and knows only L2 and IP."""
    overrides = _merged(QUICK, SYNC_DELETES, *settings)
    forget_servers()
    with EmbeddedMilvus(home, wheel=wheel_of(OLD_VERSION), overrides=overrides, grace=GRACE) as server:
        yield server


def wheel_of(version: str, *, cache: Path | None = None) -> Path:
    """The unpacked package `milvus` of ``version``, fetched by pip once a machine. Two versions cannot be installed."""
    base = cache or default_cache()
    target = base / f"wheel-{version}"
    if not target.is_dir():
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=base) as scratch:
            _publish(_fetch(version, Path(scratch)), target)
    return target / "milvus"


def _fetch(version: str, scratch: Path) -> Path:
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command = [*download, "--dest", os.fspath(scratch), f"milvus=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip cannot download milvus=={version}: {done.stderr.strip()}")
    (archive,) = scratch.glob("*.whl")
    unpacked = scratch / "unpacked"
    with zipfile.ZipFile(archive) as wheel:
        wheel.extractall(unpacked)
    return unpacked


def _publish(directory: Path, target: Path) -> None:
    try:
        directory.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(directory)


def _merged(*parts: Mapping[str, object]) -> dict[str, object]:
    return {key: value for part in parts for key, value in part.items()}
