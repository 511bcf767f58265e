"""A user's place: a Milvus, its storage, where the backups go, and the configuration file that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import mbk
from mbk.demo.embedded import EmbeddedMilvus
from mbk.model.reports import CollectionOutcome, RunReport
from mbk.session import Session
from tests.docs.schemas import fits
from tests.servers.s3 import S3Server

MINUTES = 180
ROOT = "files"
Tree = dict[str, Any]
#: Command -> the kind of its output; those that are not here print a report.
_KINDS = {
    "list": "backup",
    "get": "document",
    "verify": "verification",
    "check": "check",
    "delete": "deletion",
    "gc": "gc",
    "ls": "entry",
}


def local_storage(directory: Path) -> Tree:
    return {"provider": "local", "rootPath": str(directory)}


def s3_storage(server: S3Server, bucket: str, root: str) -> Tree:
    auth = {"type": "static", "accessKeyID": server.access_key, "secretAccessKey": server.secret_key}
    return {
        "provider": "minio",
        "address": server.host,
        "port": server.port,
        "useSSL": False,
        "bucketName": bucket,
        "rootPath": root,
        "auth": auth,
    }


@dataclass(frozen=True, slots=True)
class Site:
    """``config`` is the file; `session` and the commands use it as a user's would."""

    server: EmbeddedMilvus
    config: Path

    def session(self) -> Session:
        return mbk.connect(self.config)

    def mbk(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end and requires its exit code."""
        done = subprocess.run(
            self._command(*words),
            capture_output=True,
            text=True,
            timeout=MINUTES,
            env=environment(),
            check=False,
        )
        assert done.returncode == code, (
            f"mbk {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        """What the command printed, which is as the reference says."""
        told = json.loads(self.mbk("-o", "json", *words, code=code).stdout)
        kind = "plan" if "--dry-run" in words else _KINDS.get(words[0], "report")
        if told:
            fits(kind, *(told if isinstance(told, list) else [told]))
        return told

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "mbk.cli.main", "--config", str(self.config), *words]


def make_site(path: Path, server: EmbeddedMilvus, storage: Tree, backups: Tree, **more: Tree) -> Site:
    """``more``: further sections of the file, such as ``transfer``; ``milvus`` is merged into what is there."""
    milvus = {
        "grpc": {"address": server.address, "port": server.port},
        "management": {"endpoint": server.management_url},
        "storage": storage,
        **more.pop("milvus", {}),
    }
    tree = {"configVersion": "v2", "log": {"level": "warn"}, "milvus": milvus, "backup": {"storage": backups}}
    for section, values in more.items():
        tree[section] = {**tree.get(section, {}), **values}
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    return Site(server, path)


def environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MILVUS_", "MINIO_", "BACKUP_"))
    }


def outcome_of(report: RunReport, target: object) -> CollectionOutcome:
    return next(item for item in report.collections if item.target == str(target))
