"""Writes the schema of all that is printed as JSON into the reference, from the values: ``python -m tests.docs.schemas``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mbk.cli.terminal import SCHEMA_VERSION
from mbk.config.show import Row
from mbk.demo.run import DemoResult
from mbk.model.forecast import Forecast
from mbk.model.jobs import Failure, Progress
from mbk.model.listings import Entry
from mbk.model.plans import Plan
from mbk.model.reports import (
    BackupSummary,
    CheckResult,
    DeletionReport,
    MigrationReport,
    RunReport,
    VerifyReport,
)
from mbk.registry.registry import Registry

FILE = Path(__file__).parents[2] / "docs/reference/output.schema.json"
_TEXT, _FLAG, _WHOLE = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
_MAYBE = {"type": ["string", "null"]}

#: What is printed -> its value, and what the command line adds to that.
PRINTED: Mapping[str, tuple[type, Mapping[str, Any]]] = {
    "report": (RunReport, {"size": _WHOLE, "dry_run": _FLAG}),
    "plan": (Plan, {"dry_run": _FLAG}),
    "forecast": (Forecast, {"dry_run": _FLAG}),
    "backup": (BackupSummary, {}),
    "entry": (Entry, {}),
    "verification": (VerifyReport, {"is_whole": _FLAG}),
    "check": (CheckResult, {}),
    "deletion": (DeletionReport, {}),
    "migration": (MigrationReport, {}),
    "demo": (DemoResult, {}),
    "storage": (type(Registry().describe()[0]), {}),
}
_SETTING: Mapping[str, tuple[type, Mapping[str, Any]]] = {"setting": (Row, {})}
_LOG = {"time": _TEXT, "level": {"enum": ["debug", "info", "warning", "error", "critical"]}, "message": _TEXT}


def schema() -> dict[str, Any]:
    """One document: a definition for each kind of output."""
    kinds = {**PRINTED, **_SETTING}
    found, shared = msgspec.json.schema_components(
        [kind for kind, _ in kinds.values()] + [Failure, Progress], ref_template="#/$defs/{name}"
    )
    made = {
        name: _whole(schema, more, versioned=name in PRINTED)
        for (name, (_, more)), schema in zip(kinds.items(), found, strict=False)
    }
    failure = shared["Failure"]["properties"]
    error = {"class": failure["kind"], **{key: value for key, value in failure.items() if key != "kind"}}
    made["error"] = _line("error", error)
    made["progress"] = _line(
        "progress", {"run": _TEXT, "seconds": {"type": "number"}, **shared["Progress"]["properties"]}
    )
    made["log"] = _line("log", _LOG)
    made["config"] = _whole(
        {}, {"file": _MAYBE, "settings": {"type": "array", "items": {"$ref": "#/$defs/setting"}}}
    )
    made["version"] = _whole({}, dict.fromkeys(("mbk", "python", "platform"), _TEXT))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Output of mbk, schema version {SCHEMA_VERSION}",
        "$defs": made | shared,
    }


def _whole(found: Mapping[str, Any], more: Mapping[str, Any], *, versioned: bool = True) -> dict[str, Any]:
    head = {"schema_version": {"const": SCHEMA_VERSION}} if versioned else {}
    whole = {"type": "object", "properties": {**head, **more}, "required": [*head, *more]}
    return {"allOf": [found, whole]} if found else whole


def _line(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return _whole({}, {"kind": {"const": kind}, **values})


def text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
