"""What the last line of a run that was stopped says."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

import mbk
from mbk.errors import Interrupted


@pytest.mark.parametrize(
    ("command", "told"),
    [("prune", "prune was interrupted: run it again"), ("delete", "delete of 'nightly' was interrupted")],
)
def test_a_stopped_run_names_its_backup_if_it_has_one(tmp_path: Path, command: str, told: str) -> None:
    file = tmp_path / "backup.yaml"
    (tmp_path / "backups").mkdir()
    file.write_text(
        "configVersion: v2\n"
        "milvus: {storage: {provider: local, rootPath: milvus}}\n"
        "backup: {storage: {provider: local, rootPath: backups}}\n",
        encoding="utf-8",
    )

    def stop(_: object) -> NoReturn:
        raise KeyboardInterrupt

    with mbk.connect(file) as session:
        runs = {
            "prune": lambda: session.prune(keep_last=1, on_event=stop),
            "delete": lambda: session.delete("nightly", on_event=stop),
        }
        with pytest.raises(Interrupted) as caught:
            runs[command]()
    assert str(caught.value).startswith(told)
