"""Start-up: processor time and peak memory of small commands, as ratios to the bare interpreter in the same run.

``list`` and its like run on a local storage with 20 backups, or as many as the first argument says. ``delete`` removes a
backup of as many objects as the second argument says (3,000), beside ``rm -r`` of the same tree. The best of five runs: what
other processes do meanwhile only adds to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mbk.model.records import BackupExtras

RUNS = 5
BACKUPS = 20
OBJECTS = 3_000
#: Logs of one field of a segment, and fields of a segment.
LOGS, FIELDS = 10, 10
_MIB = 1024**2


def main(backups: int = BACKUPS, objects: int = OBJECTS) -> None:
    mbk = [str(Path(sys.executable).with_name("mbk"))]
    bare = _best([sys.executable, "-c", "pass"])[0]
    print(f"{'python -c pass':<34} {bare:.3f} s")

    def show(name: str, command: Sequence[str]) -> None:
        seconds, memory = _best(command)
        print(f"{name:<34} {seconds:.3f} s   {seconds / bare:5.1f} x   {memory / _MIB:4.0f} MiB")

    with tempfile.TemporaryDirectory() as directory:
        config = _configured(Path(directory))
        for number in range(backups):
            _metadata(Path(directory) / "backup" / f"b{number:05}")
        here = [*mbk, "--config", str(config)]
        show("mbk --help", [*mbk, "--help"])
        show("mbk version", [*mbk, "version"])
        show("mbk config show", [*here, "config", "show"])
        show("mbk get", [*here, "get", "-n", "b00000"])
        show(f"mbk list, {backups} backups", [*here, "list"])
        show(f"mbk list -q, {backups} backups", [*here, "-q", "list"])
        show("import mbk", [sys.executable, "-c", "import mbk"])
        show("the protocol of Milvus", [sys.executable, "-c", "import mbk.milvus.proto"])
        show("the whole of pymilvus", [sys.executable, "-c", "import pymilvus"])
        place = Path(directory) / "backup" / "large"
        for name, command in (
            ("mbk delete", [*here, "delete", "-n", "large", "--yes"]),
            ("rm -r", ["rm", "-r", str(place)]),
        ):
            _large(place, objects)
            seconds = _once(command)[0]
            print(
                f"{f'{name}, {objects} objects':<34} {seconds:.3f} s   {seconds / objects * 1e6:.0f} us each"
            )


def _configured(directory: Path) -> Path:
    config = directory / "backup.yaml"
    config.write_text(f"minio:\n  storageType: local\n  backupRootPath: {directory}/backup\n")
    return config


def _metadata(backup: Path) -> None:
    meta = backup / "meta"
    meta.mkdir(parents=True)
    encoded = msgspec.json.encode(BackupExtras(id=backup.name, name=backup.name))
    for file in ("backup_meta.json", "full_meta.json"):
        (meta / file).write_bytes(encoded)


def _large(backup: Path, objects: int) -> None:
    """Empty files under the keys of a backup."""
    _metadata(backup)
    for number in range(0, objects, LOGS):
        segment, field = divmod(number // LOGS, FIELDS)
        place = backup / "binlogs" / "insert_log" / "1" / "2" / str(segment) / str(segment) / str(100 + field)
        place.mkdir(parents=True)
        for log in range(min(LOGS, objects - number)):
            (place / str(log)).touch()


def _best(command: Sequence[str]) -> tuple[float, int]:
    """Processor seconds of the best run, and the most bytes of any."""
    _once(command)
    runs = [_once(command) for _ in range(RUNS)]
    return min(seconds for seconds, _ in runs), max(memory for _, memory in runs)


def _once(command: Sequence[str]) -> tuple[float, int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
