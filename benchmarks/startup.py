"""Start-up: medians of 20 warm runs of ``mbk --help`` and of ``mbk list`` on a local storage with 20 backups.

Printed beside the bare interpreter's own start in the same run, as a ratio.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from mbk.model.records import BackupExtras

RUNS = 20
BACKUPS = 20


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = _backups(Path(directory))
        mbk = [str(Path(sys.executable).with_name("mbk"))]
        bare = _median([sys.executable, "-c", "pass"])
        print(f"python -c pass    {bare:.3f} s")
        for name, command in (("mbk --help", ["--help"]), ("mbk list", ["--config", str(config), "list"])):
            median = _median([*mbk, *command])
            print(f"{name:<16}  {median:.3f} s   {median / bare:.1f} x the bare interpreter")


def _backups(directory: Path) -> Path:
    for number in range(BACKUPS):
        meta = directory / "backup" / f"b{number}" / "meta"
        meta.mkdir(parents=True)
        encoded = msgspec.json.encode(BackupExtras(id=str(number), name=f"b{number}"))
        for file in ("backup_meta.json", "full_meta.json"):
            (meta / file).write_bytes(encoded)
    config = directory / "backup.yaml"
    config.write_text(f"minio:\n  storageType: local\n  backupRootPath: {directory}/backup\n")
    return config


def _median(command: list[str]) -> float:
    def once() -> float:
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    once()
    return statistics.median(once() for _ in range(RUNS))


if __name__ == "__main__":
    main()
