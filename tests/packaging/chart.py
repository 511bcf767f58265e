"""The Helm chart, rendered: ``python -m tests.packaging.chart`` renders it anew, which needs helm and kubernetes-validate.

What was rendered is checked in with the digest of what it was rendered from, so that tests need neither.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/mbk"
RENDERED = ROOT / "tests/golden/chart"
#: Ways in which somebody installs it: values in the form of ``--set-json``.
CASES: Mapping[str, Mapping[str, str]] = {
    "default": {"server.authSecret": '"mbk-tokens"', "credentialSecrets": '["mbk-credentials"]'},
    "jobs-only": {
        "server.enabled": "false",
        "existingConfigSecret": '"mbk-config"',
        "nightly.timeZone": '"Europe/Berlin"',
        "nightly.create.arguments": '["--filter", "sales.*"]',
        "image": '{"repository": "registry.example/mbk", "pullSecrets": ["pull"]}',
        "networkPolicy.to": '[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]',
        "nodeSelector": '{"disk": "ssd"}',
    },
    "server-only": {
        "nightly.create.enabled": "false",
        "nightly.verify.enabled": "false",
        "nightly.delete.enabled": "false",
        "server.persistence.enabled": "false",
        "serviceAccount": '{"create": true, "annotations": {"role": "backup"}}',
        "networkPolicy.enabled": "false",
    },
}


def digest() -> str:
    """Of all files of the chart and of the cases."""
    seen = hashlib.sha256(repr(CASES).encode())
    for path in sorted(CHART.rglob("*")):
        if path.is_file():
            seen.update(f"{path.relative_to(CHART)}\n".encode() + path.read_bytes())
    return seen.hexdigest()


def objects(case: str) -> list[Mapping[str, Any]]:
    """The objects of Kubernetes of a case, as they are checked in."""
    text = (RENDERED / f"{case}.yaml").read_text(encoding="utf-8")
    return [item for item in yaml.safe_load_all(text) if item]


def render() -> None:
    for case, values in CASES.items():
        sets = [f"--set-json={key}={value}" for key, value in values.items()]
        command = ["helm", "template", "backups", str(CHART), "--kube-version", "1.31.0", *sets]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        path = RENDERED / f"{case}.yaml"
        path.write_text(f"# {digest()}\n{done.stdout}", encoding="utf-8")
        subprocess.run(
            [Path(sys.executable).parent / "kubernetes-validate", "--strict", str(path)], check=True
        )


if __name__ == "__main__":
    render()
