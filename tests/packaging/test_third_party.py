"""Other people's distributions, built and installed beside mbk: found and used with no change in core."""

from __future__ import annotations

import json

from tests.packaging.bare import THIRD_PARTY, Bare

OPEN = """
import logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
from mbk.config.schema import StorageChoice
from mbk.registry.registry import Registry
registry = Registry()
storage = registry.open(StorageChoice(type="Acme-Cloud", values={"bucket": "b", "root_path": "files"}))
storage.check(create=True)
storage.write("files/a", [b"one", b"two"])
with storage.read("files/a") as chunks:
    print(b"".join(chunks).decode())
"""


def test_a_third_partys_storage_is_used_though_another_plugin_is_broken(with_third_party: Bare) -> None:
    told = with_third_party.python(OPEN).splitlines()
    assert told[-1] == "onetwo"
    assert told[:-1] == [
        "plugin 'broken-audit' (mbk-broken 0.3) is broken: ImportError: cannot import name 'a_name_of_the_past' "
        f"from 'mbk.plugin' ({told[0].rpartition('(')[2]}"
    ]


def test_its_observer_and_wrapper_are_called_though_another_observer_fails(with_third_party: Bare) -> None:
    code = f"""{OPEN}
from mbk.model.events import RunStarted
registry.emit(RunStarted(command="create", name="n"))
import mbk_acme_audit
print(mbk_acme_audit.journal)
"""
    told = with_third_party.python(code).splitlines()
    assert told[-1] == "['opened acme: acme://b/files', 'run.started']"
    failed = "plugin 'failing-audit' failed on an event: OSError: the audit service does not take run.started"
    assert told[-2].startswith(failed)


def test_whoever_selects_the_broken_one_reads_its_name_and_distribution(with_third_party: Bare) -> None:
    code = """
from mbk.errors import BrokenPlugin
from mbk.registry.registry import Registry
try:
    Registry().backend("broken")
except BrokenPlugin as exc:
    print(exc)
"""
    told = with_third_party.python(code)
    assert told.startswith("plugin 'broken' (mbk-broken 0.3) is broken: ImportError: cannot import name")
    assert told.count("\n") == 1


def test_whoever_selects_a_storage_of_the_old_port_reads_one_line_that_says_what_to_change(
    with_third_party: Bare,
) -> None:
    places = ("--set", "minio.bucketName=b", "--set", "minio.backupBucketName=b")
    run = with_third_party.run("python", "-m", "mbk", "--storage", "vintage", *places, "list")
    # Beside it stands that another plugin is broken, and that no configuration was found.
    beside = ("broken-audit", "no configuration file found")
    told = [line for line in run.stderr.splitlines() if not any(text in line for text in beside)]
    assert run.returncode == 2, run.stderr
    assert len(told) == 1, run.stderr
    changes = ("list(start_after=)", "write(options=)", "copy(options=)", "multipart(options=)", "list_level")
    for part in ("'vintage' (mbk-broken 0.3)", "version 1 of the storage port", *changes):
        assert part in told[0]


def test_plugins_are_listed_with_their_distributions(with_third_party: Bare) -> None:
    listed = with_third_party.run("python", "-m", "mbk", "plugins", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    plugins = {plugin["name"]: plugin for plugin in json.loads(listed.stdout)}
    acme = plugins["acme"]
    assert (acme["aliases"], acme["distribution"], acme["version"], acme["ready"]) == (
        ["acme-cloud"],
        "mbk-acme",
        "1.0",
        True,
    )
    assert "a_name_of_the_past" in plugins["broken"]["problem"]
    assert plugins["acme-audit"]["summary"].startswith("Writes down what was opened")


def test_its_authors_tests_pass_with_the_conformance_kit_of_the_wheel(with_third_party: Bare) -> None:
    tests = THIRD_PARTY / "mbk-acme/tests"
    run = with_third_party.run(
        "python",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        str(tests.parent / "pyproject.toml"),
        str(tests),
    )
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
