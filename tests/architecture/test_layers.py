"""Who may import whom (the layers), and what core may not know."""

from __future__ import annotations

import re
import sys

import pytest

from tests.architecture.source import CORE, PLUGINS, ROOT, Module

# Each part of core, and the other parts that it may import, lazily or not, for types or not.
_VALUES = {"errors", "model", "ports"}
_BELOW_FACE = _VALUES | {"plugin", "config", "engine", "milvus", "cloud"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "ports": {"errors", "model"},
    "plugin": _VALUES | {"config"},
    "config": _VALUES | {"plugin"},
    "milvus": _VALUES | {"config"},
    "cloud": _VALUES | {"config"},
    "testing": {"errors", "ports"},
    "binlog": {"errors", "model"},
    "engine": _VALUES | {"plugin", "config", "binlog"},
    "connections": _BELOW_FACE,
    "session": _BELOW_FACE | {"connections"},
    "demo": _BELOW_FACE | {"session"},
    "api": _BELOW_FACE | {"session"},
    "cli": _BELOW_FACE | {"session", "demo", "api"},
    "__main__": {"cli"},
}
# The library's face hands out its parts lazily; everybody may ask it for the version.
FACE = {"errors", "plugin", "session"}

PLUGINS_MAY_IMPORT = ("mbk.plugin", "mbk.ports", "mbk.errors", "mbk.hookimpl")
# The parts of mbk.plugin that are made for plugins, as docs/reference/hooks.md tells; the others are core's own.
TOOLBOX = (
    "mbk.plugin.external",
    "mbk.plugin.fields",
    "mbk.plugin.failures",
    "mbk.plugin.keys",
    "mbk.plugin.streams",
    "mbk.plugin.uploads",
)

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
    "core/mbk/config/v1.py": "the classic configuration calls its storage section 'minio'",
    "core/mbk/demo/server_config.py": "writes Milvus' own configuration file, whose keys these are",
    "core/mbk/demo/embedded.py": "starts Milvus on the storage that its configuration names",
}


def part(name: str) -> str:
    """``mbk.engine.retry`` belongs to ``engine``."""
    return name.split(".")[1] if "." in name else ""


def ids(module: Module) -> str:
    return module.path


@pytest.mark.parametrize("module", CORE, ids=ids)
def test_a_layer_imports_only_the_layers_below_it(module: Module) -> None:
    own = part(module.name)
    allowed = FACE if not own else MAY_IMPORT[own] | {own, "__version__"}
    used = {part(name) for name in module.imports if name.startswith("mbk.")}
    assert used <= allowed, f"{module.path} imports {sorted(used - allowed)}"


@pytest.mark.parametrize("module", CORE, ids=ids)
def test_core_imports_no_plugin(module: Module) -> None:
    plugins = {name.split(".")[0] for name in module.imports if name.startswith("mbk_")}
    assert not plugins


@pytest.mark.parametrize("module", PLUGINS, ids=ids)
def test_a_plugin_imports_what_a_third_party_may(module: Module) -> None:
    own = module.name.split(".")[0]
    for name in module.imports:
        if name == "mbk" or name.startswith("mbk."):
            assert name in (*PLUGINS_MAY_IMPORT, *TOOLBOX) or name.startswith("mbk.ports."), (
                f"{module.path} imports {name}"
            )
        if name.startswith("mbk_"):
            allowed, _ = BUILDS_ON.get(module.path, (own, ""))
            assert name.split(".")[0] in (own, allowed), f"{module.path} imports another plugin, {name}"


@pytest.mark.parametrize("name", TOOLBOX)
def test_the_page_of_hooks_documents_what_a_plugin_may_import(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [module for module in CORE if part(module.name) == "model"], ids=ids)
def test_the_model_needs_only_the_standard_library(module: Module) -> None:
    on_disk = module.name in ("mbk.model.meta", "mbk.model.own")
    allowed = {"mbk", *sys.stdlib_module_names} | ({"msgspec"} if on_disk else set())
    assert {name.split(".")[0] for name in module.imports} <= allowed


@pytest.mark.parametrize("module", CORE, ids=ids)
def test_core_names_no_vendor(module: Module) -> None:
    if module.path in MAY_NAME_VENDORS:
        return
    for line, text in module.words():
        text = RULE_NUMBER.sub("", text)
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*", text)}
        assert not words & VENDOR_WORDS, f"{module.path}:{line} names {sorted(words & VENDOR_WORDS)}"


@pytest.mark.parametrize("module", [module for module in CORE if part(module.name) == "engine"], ids=ids)
def test_the_engine_reads_no_environment_prints_nothing_and_never_exits(module: Module) -> None:
    forbidden = re.compile(r"os\.environ|getenv|\bprint\(|sys\.std|sys\.exit|os\._exit|raise SystemExit")
    assert not forbidden.search(module.text)
