"""Who may import whom (the layers), and what core may not know."""

from __future__ import annotations

import re
import sys

from tests.architecture.source import CORE, PLUGINS, ROOT

# Each room of core, and the other rooms that it may import, lazily or not, for types or not: the floors, from the ground
# up. Below `engine` and `formats` each folder is a room of its own.
_VALUES = {"errors", "model", "ports"}
_BELOW_ENGINE = _VALUES | {"binlog"}
_BELOW_FORMATS = {"engine.runtime", "engine.transfer", "engine.repository", "engine.backup", "engine.restore"}
_ENGINE = {"engine.operations", "engine.formats", *_BELOW_FORMATS}
_BELOW_SESSION = _VALUES | _ENGINE | {"plugin", "registry", "config", "milvus", "cloud"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "ports": {"errors", "model"},
    "plugin": _VALUES,
    "config": _VALUES,
    "registry": _VALUES | {"plugin", "config"},
    "milvus": _VALUES | {"config"},
    "cloud": _VALUES | {"config"},
    "binlog": {"errors", "model"},
    "testing": {"errors", "model", "ports", "plugin"},
    "engine.runtime": _VALUES,
    "engine.transfer": _VALUES | {"engine.runtime"},
    "engine.repository": _VALUES | {"engine.runtime", "engine.transfer"},
    "engine.backup": _VALUES | {"engine.runtime", "engine.transfer", "engine.repository"},
    "engine.restore": _VALUES | {"engine.runtime", "engine.transfer", "engine.repository"},
    "engine.formats": _VALUES | _BELOW_FORMATS,
    # A format never imports another one.
    "engine.formats.binlog": _BELOW_ENGINE | _BELOW_FORMATS | {"engine.formats"},
    "engine.formats.snapshot": _VALUES | _BELOW_FORMATS | {"engine.formats"},
    "engine.formats.known": _VALUES
    | {"engine.runtime", "engine.formats", "engine.formats.binlog", "engine.formats.snapshot"},
    # Operations name no format: they find them in `known`.
    "engine.operations": _VALUES | _BELOW_FORMATS | {"engine.formats", "engine.formats.known"},
    # What starts and finds worker processes; what they do is the engine's.
    "workers": _VALUES | {"engine.runtime"},
    "connections": _BELOW_SESSION | {"workers"},
    "prices": {"errors", "model", "ports"},
    "session": _BELOW_SESSION | {"connections", "prices"},
    "observe": _VALUES,
    "jobs": _BELOW_SESSION | {"session", "observe"},
    "demo": _BELOW_SESSION | {"session"},
    "api": _BELOW_SESSION | {"session", "jobs", "observe"},
    "cli": _BELOW_SESSION | {"session", "demo", "api", "observe", "testing"},
    "__main__": {"cli"},
}
# A module that stands above the room whose folder it is in.
ALONE = {"engine.formats.known"}
# The library's face hands out its parts lazily.
FACE = {"errors", "plugin", "session", "config", "model", "observe"}
# Everybody may ask for the version, say how to install what is missing, and makes values.
EVERYWHERE = {"about", "extras", "frozen"}

PLUGINS_MAY_IMPORT = ("mbk.plugin", "mbk.ports", "mbk.errors", "mbk.hookimpl")
# The parts of mbk.plugin that are made for plugins, as docs/reference/hooks.md tells; the others are core's own.
TOOLBOX = (
    "mbk.plugin.batches",
    "mbk.plugin.buckets",
    "mbk.plugin.conditions",
    "mbk.plugin.external",
    "mbk.plugin.fields",
    "mbk.plugin.failures",
    "mbk.plugin.headers",
    "mbk.plugin.http",
    "mbk.plugin.keys",
    "mbk.plugin.objects",
    "mbk.plugin.refusals",
    "mbk.plugin.roles",
    "mbk.plugin.streams",
    "mbk.plugin.transport",
    "mbk.plugin.wire",
    "mbk.plugin.wrapper",
)

WEB_FRAMEWORK = {"fastapi", "starlette", "uvicorn"}

# The records on disk are msgspec's: it decodes and checks a million of them in seconds.
ON_DISK = ("mbk.model.records", "mbk.model.manifest", "mbk.model.objects")

# A plugin may build on another one of this distribution only for a reason of its vendor's.
BUILDS_ON = {
    "plugins/mbk_gcp/interop.py": ("mbk_s3", "with HMAC keys, that vendor's service speaks the S3 protocol"),
}

VENDOR_WORDS = frozenset(
    {
        "s3",
        "aws",
        "amazon",
        "minio",
        "gcp",
        "gcs",
        "google",
        "azure",
        "azurite",
        "aliyun",
        "alibaba",
        "oss",
        "oss2",
        "tencent",
        "qcloud",
        "cos",
        "huawei",
        "obs",
        "ceph",
        "rclone",
        "boto",
        "boto3",
        "botocore",
    }
)
RULE_NUMBER = re.compile(r"^test_[a-z]\d+(?=_)")  # of the conformance kit, where S3 is a rule
MAY_NAME_VENDORS = {
    "core/mbk/milvus/snapshots.py": "Milvus' own message has a field 'target_s3_path', whatever the storage",
    "core/mbk/plugin/external.py": "the schemes of URIs are Milvus' own words, whatever the storage",
    "core/mbk/engine/transfer/digests.py": "the fastest library of this checksum is called google_crc32c",
    "core/mbk/config/v1.py": "the classic configuration calls its storage section 'minio'",
    "core/mbk/demo/server_config.py": "writes Milvus' own configuration file, whose keys these are",
    "core/mbk/demo/embedded.py": "starts Milvus on the storage that its configuration names",
}


def room(name: str) -> str:
    """``mbk.engine.runtime.retry`` belongs to ``engine.runtime``, ``mbk.session`` to ``session``."""
    parts = name.split(".")[1:]
    depth = 1
    if parts[:1] == ["engine"]:
        depth = 3 if parts[1:2] == ["formats"] else 2
    if ".".join(parts) in ALONE:
        return ".".join(parts)
    while depth > 1 and not (ROOT / "core" / "mbk" / "/".join(parts[:depth])).is_dir():
        depth -= 1
    return ".".join(parts[:depth])


def part(name: str) -> str:
    """``mbk.engine.runtime.retry`` belongs to ``engine``."""
    return name.split(".")[1] if "." in name else ""


def test_a_room_imports_only_the_rooms_below_it() -> None:
    wrong = []
    for module in CORE:
        own = room(module.name)
        allowed = FACE if not own else MAY_IMPORT.get(own, set()) | {own}
        used = {room(name) for name in module.imports if name.startswith("mbk.")}
        wrong += [
            f"{module.path} imports {name}" for name in sorted(used - allowed - EVERYWHERE - {"engine"})
        ]
    assert wrong == []


def test_core_imports_no_plugin() -> None:
    wrong = [
        f"{module.path} imports {name}"
        for module in CORE
        for name in module.imports
        if name.startswith("mbk_")
    ]
    assert wrong == []


def test_a_plugin_imports_what_a_third_party_may() -> None:
    wrong = []
    for module in PLUGINS:
        own = module.name.split(".")[0]
        other, _ = BUILDS_ON.get(module.path, (own, ""))
        for name in module.imports:
            top = name.split(".")[0]
            face = name in (*PLUGINS_MAY_IMPORT, *TOOLBOX) or name.startswith("mbk.ports.")
            if (top == "mbk" and not face) or (top.startswith("mbk_") and top not in (own, other)):
                wrong.append(f"{module.path} imports {name}")
    assert wrong == []


def test_the_page_of_hooks_documents_what_a_plugin_may_import() -> None:
    page = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    assert [name for name in TOOLBOX if f"`{name}`" not in page] == []


def test_only_the_rest_server_needs_a_web_framework() -> None:
    wrong = [
        f"{module.path} imports {name}"
        for module in CORE
        for name in module.imports
        if name.split(".")[0] in WEB_FRAMEWORK and part(module.name) != "api"
    ]
    assert wrong == []


def test_the_model_needs_only_the_standard_library() -> None:
    wrong = []
    for module in CORE:
        if part(module.name) == "model":
            allowed = {"mbk", *sys.stdlib_module_names, *({"msgspec"} if module.name in ON_DISK else ())}
            foreign = {name.split(".")[0] for name in module.imports} - allowed
            wrong += [f"{module.path} imports {name}" for name in sorted(foreign)]
    assert wrong == []


def test_core_names_no_vendor() -> None:
    wrong = []
    for module in CORE:
        if module.path in MAY_NAME_VENDORS:
            continue
        for line, text in module.words():
            text = RULE_NUMBER.sub("", text)
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*", text)}
            wrong += [f"{module.path}:{line} names {word}" for word in sorted(words & VENDOR_WORDS)]
    assert wrong == []


def test_the_engine_reads_no_environment_prints_nothing_and_never_exits() -> None:
    forbidden = re.compile(r"os\.environ|getenv|\bprint\(|sys\.std|sys\.exit|os\._exit|raise SystemExit")
    wrong = [
        module.path for module in CORE if part(module.name) == "engine" and forbidden.search(module.text)
    ]
    assert wrong == []


def test_the_engine_passes_no_layer_by_to_make_a_request() -> None:
    """Rates, retries and the fence are layers around a storage: `reach` goes through them, `ability` past them."""
    harmless = {"MilvusReachable", "Guarding", "LockedStorage"}
    past = {
        (module.name, kind)
        for module in CORE
        if module.name.startswith("mbk.engine.") and module.name != "mbk.engine.runtime.layer"
        for kind in re.findall(r"\bability\([^()]*?(\w+)\)", module.text)
    }
    assert past
    assert {kind for _, kind in past} <= harmless
