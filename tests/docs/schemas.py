"""Writes the schema of all that is printed as JSON into the reference, from the values: ``python -m tests.docs.schemas``.

`fits` holds what was printed to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from mbk.cli.terminal import SCHEMA_VERSION
from mbk.config.show import Row
from mbk.demo.run import DemoResult
from mbk.model.forecast import Forecast
from mbk.model.jobs import Failure, Progress
from mbk.model.listings import Entry
from mbk.model.locking import BackupLock
from mbk.model.plans import Plan
from mbk.model.records import Backup
from mbk.model.reports import (
    BackupSummary,
    CheckResult,
    DeletionReport,
    GcReport,
    MigrationReport,
    Pin,
    PinReport,
    PruneReport,
    RunReport,
    UndeleteReport,
    Verification,
    VerifyReport,
)
from mbk.model.states import BackupState
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
    "undelete": (UndeleteReport, {}),
    "pin": (PinReport, {}),
    "prune": (PruneReport, {}),
    "gc": (GcReport, {}),
    "demo": (DemoResult, {}),
    "storage": (type(Registry().describe()[0]), {}),
}
_SETTING: Mapping[str, tuple[type, Mapping[str, Any]]] = {"setting": (Row, {})}
#: What ``get`` adds to the file of the classic tool; all of it is there where it is known.
_DOCUMENT = {
    "state": {"$ref": f"#/$defs/{BackupState.__name__}"},
    "progress": _WHOLE,
    "meta_size": _WHOLE,
    "created": _TEXT,
    "started": _TEXT,
    "finished": _TEXT,
    "reason": _TEXT,
    "tool": _TEXT,
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "failed": {"type": "object", "additionalProperties": _TEXT},
    "pin": {"$ref": f"#/$defs/{Pin.__name__}"},
    "added": _WHOLE,
    "frees": _WHOLE,
    "locked": {"$ref": f"#/$defs/{BackupLock.__name__}"},
    "verified": {"$ref": f"#/$defs/{Verification.__name__}"},
}
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
    made["document"] = _document(shared)
    made["version"] = _whole({}, dict.fromkeys(("mbk", "python", "platform"), _TEXT))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Output of mbk, schema version {SCHEMA_VERSION}",
        "$defs": made | shared,
    }


def _document(shared: dict[str, Any]) -> dict[str, Any]:
    """Where the classic tool wrote the file, a list may be null, and what is left out of a record is zero."""
    ((whole,), records) = msgspec.json.schema_components([Backup], ref_template="#/$defs/{name}")
    for record in records.values():
        for value in record["properties"].values():
            if value.get("type") in ("array", "object"):
                value["type"] = [value["type"], "null"]
    shared |= records
    return {
        "allOf": [whole, {"type": "object", "properties": _DOCUMENT, "required": ["name", "id", "state"]}]
    }


def _whole(found: Mapping[str, Any], more: Mapping[str, Any], *, versioned: bool = True) -> dict[str, Any]:
    head = {"schema_version": {"const": SCHEMA_VERSION}} if versioned else {}
    whole = {"type": "object", "properties": {**head, **more}, "required": [*head, *more]}
    return {"allOf": [found, whole]} if found else whole


def _line(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return _whole({}, {"kind": {"const": kind}, **values})


def text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


@cache
def documented() -> str:
    """The schema as the reference has it."""
    return FILE.read_text(encoding="utf-8")


@cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(documented())
    return found


def fits(kind: str, *told: Any) -> None:
    """They are what the reference says of this kind, and have no member that it does not know."""
    import jsonschema

    known = _names({"$ref": f"#/$defs/{kind}"})
    assert told
    for item in told:
        jsonschema.validate(item, _definitions() | {"$ref": f"#/$defs/{kind}"})
        more = {"code", "facts", "collection", "logger"} if kind == "log" else set()
        assert set(item) <= known | more


def _names(part: Mapping[str, Any]) -> set[str]:
    if "$ref" in part:
        return _names(_definitions()["$defs"][part["$ref"].removeprefix("#/$defs/")])
    names = set(part.get("properties", {}))
    return names.union(*map(_names, part.get("allOf", ())))


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
