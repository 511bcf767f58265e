"""One trial in its own process: a command over storages that may end the process."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import mbk
from mbk.errors import MbkError
from mbk.model.operations import OPERATIONS
from mbk.registry.registry import Registry
from tests.robustness.killing import Fate, Wrapping, die, fail, stop
from tests.robustness.pace import CALM, PACE


def warm_up() -> None:
    """Imports what every trial imports; connects to nothing."""
    for operation in OPERATIONS.values():
        if operation.module:
            importlib.import_module(operation.module)
    for name in ("mbk.milvus", "mbk.binlog.arrow", "mbk.config.load", "mbk_local.storage", "pyarrow.parquet"):
        importlib.import_module(name)


def run(trial: dict[str, Any], told: int) -> NoReturn:
    """Ends the process with the exit code of the command, having told its calls and its error."""
    end = fail if trial["fails"] else stop if trial["stops"] else die
    fate = Fate(trial["at"], trial["when"], end)
    registry = Registry()
    registry.register(Wrapping(fate), "kills")
    pace = CALM if trial["calm"] else PACE
    ended: dict[str, Any] = {}
    code = 0
    try:
        with mbk.connect(Path(trial["config"]), registry=registry, pace=pace) as session:
            _run(session, trial)
    except MbkError as error:
        code, ended = error.exit_code, {"code": error.code, "error": f"{type(error).__name__}: {error}"}
    except BaseException as error:  # noqa: BLE001 - the parent wants to know
        code, ended = 99, {"code": type(error).__name__, "error": traceback.format_exc()}
    with os.fdopen(told, "w") as pipe:
        json.dump({**ended, "calls": fate.names}, pipe)
    sys.stdout.flush()
    os._exit(code)


def _run(session: mbk.Session, trial: dict[str, Any]) -> None:
    name, options = trial["name"], trial["options"]
    match trial["command"]:
        case "create":
            session.create(name, **options)
        case "restore":
            session.restore(name, **options)
        case "delete":
            session.delete(name)
        case "prune":
            session.prune(**options)
        case "gc":
            session.gc(**options)
        case "copy":
            session.copy(name, **options)
        case "import":
            session.import_backup(name)
        case "l0compact":
            session.l0compact(name, **options)
        case other:
            raise ValueError(other)
