"""What is in deploy/: no engine and no cluster runs here, so each step, script and file is tried by hand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mbk.config.load import load
from mbk.registry.registry import Registry
from tests.docs.test_command_lines import parse
from tests.packaging import chart
from tests.packaging.bare import ROOT
from tests.servers.process import free_port, listening, running

DEPLOY = ROOT / "deploy"
UNITS = DEPLOY / "systemd"
#: A shell's mbk that writes down how it was called, and ends as the test says.
RECORDER = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  *"prune "*) exit ${PRUNED:-0} ;;
  *--resume*) exit ${RESUMED:-0} ;;
esac
"""


# -- scripts -----------------------------------------------------------------------------------------------------------


@dataclass
class Recorder:
    folder: Path

    def run(self, script: str, *, options: str = "-euc", **environment: str) -> tuple[int, list[list[str]]]:
        """Runs a script of a shell; returns its exit code, and the calls of mbk, each of which mbk would understand."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        path = f"{self.folder}:{os.environ['PATH']}"
        known = {"CALLS": str(calls), "PATH": path, "HOME": str(self.folder), **environment}
        done = subprocess.run(["sh", options, script], env=known, cwd=self.folder, check=False)
        lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
        words = [shlex.split(line) for line in lines]
        for call in words:
            parse(call)
        return done.returncode, words


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    path = tmp_path / "mbk"
    path.write_text(RECORDER, encoding="utf-8")
    path.chmod(0o755)
    return Recorder(tmp_path)


def create_is_resumed_or_begun(recorder: Recorder, script: str, options: str, **more: str) -> None:
    code, calls = recorder.run(script, options=options, **more)
    assert (code, len(calls)) == (0, 1), "today's backup was begun, and is finished"
    assert "--resume" in calls[0]
    assert "schedule=nightly" in calls[0], "so that the prune knows it"
    code, calls = recorder.run(script, options=options, RESUMED="4", **more)
    assert (code, len(calls)) == (0, 2), "none was begun"
    assert "--resume" not in calls[1]
    assert "schedule=nightly" in calls[1]
    code, calls = recorder.run(script, options=options, RESUMED="7", **more)
    assert code != 0, "unreachable: another one is not begun"
    assert len(calls) == 1


def only_its_own_are_pruned(recorder: Recorder, script: str, options: str, **more: str) -> None:
    code, (call,) = recorder.run(script, options=options, **more)
    assert code == 0
    assert call[call.index("prune") :] == [
        "prune",
        "--filter",
        "schedule=nightly",
        "--keep-last",
        "7",
        "--yes",
    ]
    code, _ = recorder.run(script, options=options, PRUNED="1", **more)
    assert code != 0, "somebody is told"


# -- Kubernetes --------------------------------------------------------------------------------------------------------


def test_what_was_rendered_is_of_the_chart_as_it_is() -> None:
    heads = {case: (chart.RENDERED / f"{case}.yaml").read_text().splitlines()[0] for case in chart.CASES}
    assert set(heads.values()) == {f"# {chart.digest()}"}, "python -m tests.packaging.chart"


def test_values_and_cases_fit_the_schema_and_typos_do_not() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    assert {*values} <= {*schema["properties"]}
    for wrong in ({"nigthly": {}}, {"nightly": {"create": {"enabled": True, "schedule": "at two"}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(values | wrong, schema)


@pytest.mark.parametrize("case", chart.CASES)
def test_each_pod_has_no_rights_and_all_that_it_names(case: str) -> None:
    objects = chart.objects(case)
    named = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert ("ServiceAccount", pod["serviceAccountName"]) in named
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {*volumes}
        config = volumes["config"]
        assert "secret" in config or ("ConfigMap", config["configMap"]["name"]) in named
    text = json.dumps(objects)
    assert "secretAccessKey" not in text
    assert "minioadmin" not in text


def pods(objects: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for item in objects:
        if item["kind"] == "Deployment":
            yield item["spec"]["template"]["spec"]
        if item["kind"] == "CronJob":
            yield item["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def script_of(case: str, job: str) -> str:
    (found,) = (
        pod["containers"][0]["args"][0]
        for item in chart.objects(case)
        if item["metadata"]["name"] == f"backups-mbk-{job}"
        for pod in pods([item])
    )
    return str(found)


def test_its_configuration_is_one_of_mbk(tmp_path: Path) -> None:
    (config,) = (item for item in chart.objects("default") if item["kind"] == "ConfigMap")
    loads(config["data"]["backup.yaml"], tmp_path)


def test_its_jobs_do_what_they_say(recorder: Recorder) -> None:
    create_is_resumed_or_begun(recorder, script_of("default", "create"), "-euc")
    only_its_own_are_pruned(recorder, script_of("default", "delete"), "-euc")
    code, ((*_, depth, _, share),) = recorder.run(script_of("default", "verify"))
    assert (code, depth, share) == (0, "contents", "10%")
    _, (call,) = recorder.run(script_of("jobs-only", "create"))
    assert call[-2:] == ["--filter", "sales.*"]


def test_the_server_runs_as_its_arguments_say() -> None:
    (server,) = (
        pod["containers"][0] for pod in pods(chart.objects("default")) if "ports" in pod["containers"][0]
    )
    parse(server["args"])
    assert "--set=server.authFile=/etc/mbk-auth/tokens" in server["args"]
    assert server["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_only_the_server_is_reached_and_only_where_it_is_allowed() -> None:
    policies = [
        item for case in chart.CASES for item in chart.objects(case) if item["kind"] == "NetworkPolicy"
    ]
    with_server, without = policies
    assert with_server["spec"]["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"port": 8080}]}]
    assert without["spec"]["ingress"] == []
    assert [rule.get("to", "DNS") for rule in without["spec"]["egress"]] == [
        "DNS",
        [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    ]


def test_chart_and_mbk_have_one_version() -> None:
    from mbk.about import __version__

    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (about["version"], about["appVersion"]) == (__version__, __version__)


# -- Compose -----------------------------------------------------------------------------------------------------------


def loads(text: str, folder: Path) -> None:
    path = folder / "backup.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, environ={})
    assert not loaded.warnings
    for side in (loaded.settings.storage, loaded.settings.backup_storage):
        Registry(disabled=()).open(side).close()


def test_compose_names_nothing_that_is_not_there(tmp_path: Path) -> None:
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert {*services} == {"minio", "milvus", "mbk"}
    for service in services.values():
        assert {*service.get("depends_on", {})} <= {*services}
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= {*compose["volumes"]}
        assert {config["source"] for config in service.get("configs", ())} <= {*compose["configs"]}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed]
    assert (DEPLOY / "compose" / services["mbk"]["build"] / "Containerfile").is_file()
    loads(compose["configs"]["mbk"]["content"], tmp_path)
    reference = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in reference for name in services["mbk"]["environment"])


# -- systemd -----------------------------------------------------------------------------------------------------------


def commands_of(unit: str) -> list[list[str]]:
    """The words of each ``ExecStart``, with systemd's escapes undone."""
    lines = (UNITS / unit).read_text(encoding="utf-8").splitlines()
    starts = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    return [shlex.split(start.replace("$$", "$").replace("%%", "%")) for start in starts]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        unit = RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[assignment, method-assign]  # names of systemd have capitals
        unit.read_string(path.read_text(encoding="utf-8"))
        assert unit["Unit"]["Description"]
        # What is not there on this machine is put where it is: the check is of the unit, not of the machine.
        text = path.read_text(encoding="utf-8").replace("/opt/mbk/bin/mbk", "/bin/true")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
        if path.suffix == ".service":
            assert unit["Service"]["User"] == "mbk"
    if shutil.which("systemd-analyze"):
        units = sorted(map(str, tmp_path.iterdir()))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_the_night_creates_verifies_and_then_deletes(recorder: Recorder) -> None:
    create, verify, delete = commands_of("mbk-nightly.service")
    of_unit = {"MBK": str(recorder.folder / "mbk"), "KEEP": "7"}
    create_is_resumed_or_begun(recorder, create[2], create[1], **of_unit)
    assert recorder.run(verify[2], options=verify[1], **of_unit)[1][0][-1] == "10%"
    only_its_own_are_pruned(recorder, delete[2], delete[1], **of_unit)


def test_the_server_of_systemd_is_a_command_of_mbk() -> None:
    ((_, *arguments),) = commands_of("mbk-server.service")
    parse(arguments)


# -- the image ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """The steps of the Containerfile, with its folders below ``root``."""

    root: Path
    steps: Sequence[tuple[str, str]]

    def moved(self, text: str) -> str:
        return re.sub(r"/(opt/mbk|wheels|var/lib|etc/mbk)\b", rf"{self.root}/\1", text)

    def all(self, kind: str) -> list[str]:
        return [self.moved(text) for step, text in self.steps if step == kind]

    @property
    def environment(self) -> dict[str, str]:
        pairs = [word.partition("=") for text in self.all("ENV") for word in shlex.split(text)]
        return {name: value.replace("$PATH", "/usr/bin:/bin") for name, _, value in pairs}


@pytest.fixture(scope="module")
def image(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    text = (DEPLOY / "container/Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    steps = [(kind, rest.strip()) for kind, _, rest in (line.partition(" ") for line in lines) if kind]
    image = Image(tmp_path_factory.mktemp("image"), steps)
    (image.root / "wheels").mkdir()
    shutil.copy(wheel, image.root / "wheels")
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for step in image.all("RUN"):
        done = subprocess.run(
            ["sh", "-euc", step],
            env={**os.environ, "PATH": tools, "EXTRAS": "api"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{step}: {done.stderr}"
    return image


def test_the_image_is_small_and_nobody_is_root_in_it(image: Image) -> None:
    packages = next((image.root / "opt/mbk").glob("lib/python*/site-packages"))
    assert not {"pandas", "numpy", "pip"} & {path.name for path in packages.iterdir()}
    assert sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) < 120 << 20
    assert image.all("USER") == ["10001:10001"]


def test_every_command_of_the_image_runs_without_what_was_left_out(image: Image) -> None:
    (entry,) = image.all("ENTRYPOINT")
    for command in (["--help"], ["plugins"], ["config", "init", "-"]):
        done = subprocess.run(
            [*json.loads(entry), *command],
            env=image.environment,
            cwd=image.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    milvus = "import mbk.milvus.server, mbk.milvus.stubs.milvus_pb2, sys; assert 'pandas' not in sys.modules"
    subprocess.run([image.root / "opt/mbk/bin/python", "-c", milvus], env=image.environment, check=True)


def test_its_server_is_healthy_while_it_runs(image: Image) -> None:
    folder = image.root / "etc/mbk"
    folder.mkdir(parents=True)
    data = image.root / "data"
    (folder / "backup.yaml").write_text(
        f"minio: {{storageType: local, rootPath: {data}/a, backupRootPath: {data}/b}}\n", encoding="utf-8"
    )
    port = free_port()
    environment = image.environment | {"SERVER_PORT": str(port), "SERVER_HOST": "127.0.0.1"}
    probe = json.loads(image.all("HEALTHCHECK")[0].partition("CMD")[2])
    command = [*json.loads(image.all("ENTRYPOINT")[0]), *json.loads(image.all("CMD")[0])]
    command[0] = str(image.root / "opt/mbk/bin" / command[0])
    probe[0] = str(image.root / "opt/mbk/bin" / probe[0])
    assert subprocess.run(probe, env=environment, stderr=subprocess.DEVNULL, check=False).returncode != 0
    with running(command, ready=listening(port), env=environment):
        assert subprocess.run(probe, env=environment, check=False).returncode == 0
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            assert json.load(answer) == {"status": "ok"}


# -- CI ----------------------------------------------------------------------------------------------------------------


def test_the_step_of_ci_backs_up_and_verifies_before_anything_else() -> None:
    workflow = yaml.safe_load((DEPLOY / "ci/backup-before-migration.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["migrate"]["needs"] == "backup"
    script = "\n".join(step.get("run", "") for step in workflow["jobs"]["backup"]["steps"])
    calls = re.findall(r"\.mbk/bin/mbk ([^|;\n]+)", script)
    said = [parse(shlex.split(call.replace("${{ github.run_id }}", "7"))) for call in calls]
    assert [path[-1] for path in said] == ["check", "create", "create", "verify"]
