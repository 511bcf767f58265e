"""Azurite, a real server of the Blob protocol: shared keys, signatures and tokens are checked; two accounts.

It comes from npm and is installed once into the user's cache.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from azure.storage.blob import BlobServiceClient

from mbk.demo.wheel import default_cache
from mbk.testing.faults import Action, Call
from tests.servers.network import Answer, Requests
from tests.servers.process import HOST, free_port, listening, running

VERSION = "3.37.0"
ACCOUNTS = ("alpha", "beta")

_ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
#: What a storage of Azure sends. An upload is aborted by looking first which blocks wait.
REQUESTS: dict[Call, Requests] = {
    "list": Requests("GET", "comp=list"),
    "stat": Requests("HEAD"),
    "read": Requests("GET", "{key}$"),
    "write": Requests("PUT", "{key}$"),
    "copy": Requests("PUT", "{key}$"),
    "part": Requests("PUT", r"{key}\?.*comp=block&"),
    "complete": Requests("PUT", r"{key}\?.*comp=blocklist"),
    "abort": Requests("GET", r"{key}\?.*comp=blocklist"),
    "delete_batch": Requests("POST", "comp=batch"),
}
#: Errors are told by the status and never inside of success.
ANSWERS: dict[Action, Answer] = {
    "throttle": Answer(503, _ERROR.format("ServerBusy", "The server is busy.").encode()),
    "fail": Answer(500, _ERROR.format("InternalError", "The server encountered an error.").encode()),
    "refuse": Answer(501, _ERROR.format("NotImplemented", "Not implemented.").encode()),
}


@dataclass(frozen=True, slots=True)
class Account:
    """One storage account on a running server."""

    port: int
    name: str
    key: str
    ca: str = ""

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://{HOST}:{self.port}/{self.name}"

    def settings(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The values of a storage's settings, in mbk's vocabulary."""
        return {**self.keyless(bucket), "account_key": self.key, **more}

    def keyless(self, bucket: str, **more: Any) -> dict[str, Any]:
        tls = {"use_ssl": True, "ca_cert": self.ca} if self.ca else {}
        return {
            "address": HOST,
            "port": self.port,
            "account_name": self.name,
            "bucket": bucket,
            **tls,
            **more,
        }

    def client(self) -> BlobServiceClient:
        """The vendor's SDK, to arrange and to look from outside of mbk."""
        credential = {"account_name": self.name, "account_key": self.key}
        return BlobServiceClient(self.url, credential=credential, connection_verify=self.ca or True)

    def make_bucket(self, bucket: str) -> str:
        with self.client() as client:
            client.create_container(bucket)
        return bucket

    def behind(self, port: int) -> Account:
        """The same account, reached through another port (a proxy's)."""
        return replace(self, port=port)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a server's certificate and of the authority that signed it."""

    certificate: Path
    key: Path
    ca: Path


Accounts = dict[str, Account]


@contextmanager
def azurite(*, tls: Tls | None = None) -> Iterator[Accounts]:
    """A server of its own with the accounts ``alpha`` and ``beta``; with ``tls`` it takes bearer tokens too."""
    main, port = _installed(), free_port()
    keys = {name: base64.b64encode(secrets.token_bytes(64)).decode() for name in ACCOUNTS}
    env = {"AZURITE_ACCOUNTS": ";".join(f"{name}:{key}" for name, key in keys.items())}
    command = [
        *(_command("node"), str(main), "--blobHost", HOST, "--blobPort", str(port)),
        *("--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"),
    ]
    if tls:
        command += ["--cert", str(tls.certificate), "--key", str(tls.key), "--oauth", "basic"]
        # It asks itself for what it copies from another account.
        env["NODE_EXTRA_CA_CERTS"] = str(tls.ca)
    with running(command, env=env, ready=listening(port)):
        yield {name: Account(port, name, key, str(tls.ca) if tls else "") for name, key in keys.items()}


def _installed() -> Path:
    """The server's script; installed by the first who needs it."""
    home = default_cache() / f"azurite-{VERSION}"
    main = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
    if not (home / main).is_file():
        npm = _command("npm")
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".azurite-", dir=home.parent, ignore_cleanup_errors=True
        ) as partial:
            install = [npm, "install", "--prefix", partial, "--no-audit", "--no-fund", f"azurite@{VERSION}"]
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            if done.returncode:
                _missing(f"npm could not install azurite: {done.stderr.strip()[-300:]}")
            # Whoever was faster has the same.
            with suppress(OSError):
                Path(partial).rename(home)
    return home / main


def _command(name: str) -> str:
    return shutil.which(name) or _missing(f"{name} is not installed, which the server Azurite needs")


def _missing(reason: str) -> NoReturn:
    """A test of Azure is skipped where its server cannot be had; on the CI that is a failure."""
    if os.environ.get("CI") == "true":
        raise RuntimeError(reason)
    pytest.skip(reason)
