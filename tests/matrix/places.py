"""A place of every storage type: its server, two buckets on it, and the vendor's own way to put a file there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mbk.config.schema import StorageChoice
from mbk.ports.storage import Storage
from mbk.registry.registry import Registry
from tests.servers.azurite import Account, azurite
from tests.servers.cos import cos
from tests.servers.gcs import GcsServer, gcs
from tests.servers.oss import oss
from tests.servers.s3 import S3Server, ministack

FROM, TO = "from", "to"
APPID = "1250000000"

#: Puts a file at a key of a bucket, without mbk.
Upload = Callable[[str, str, Path], object]


@dataclass(frozen=True, slots=True)
class Place:
    """``buckets``: the real name of `FROM` and of `TO`; ``values``: the settings of a side with such a bucket.

    ``upload`` is how a user's own tools move a file there.
    """

    type: str
    buckets: dict[str, str]
    values: Callable[[str], dict[str, Any]]
    upload: Upload

    def opened(self, registry: Registry, side: str, root: str) -> Storage:
        bucket = self.buckets[side]
        values = self.values(bucket)
        # A directory is both bucket and root path.
        values["root_path"] = str(Path(bucket, root)) if self.type == "local" else root
        return registry.open(StorageChoice(type=self.type, values=values))


class Places(dict[str, Place]):
    """By type. Asking for one whose server cannot be had on this machine skips with the reason."""

    missing = ""

    def __missing__(self, kind: str) -> NoReturn:
        pytest.skip(self.missing)


@contextmanager
def places(home: Path) -> Iterator[Places]:
    """One of each type. Local and each vendor's server are services of their own; the S3 types share one."""
    with ExitStack() as stack:
        s3 = stack.enter_context(ministack()).user("mover", "data-*")
        made = [
            _local(home / "local"),
            *(_s3(kind, s3) for kind in ("minio", "s3", "aws")),
            _gcp(stack.enter_context(gcs()), home),
            _ali(stack.enter_context(oss()).user("mover", "data-*")),
            _tc(stack.enter_context(cos()).user("mover", "data-*")),
        ]
        found = Places((place.type, place) for place in made)
        try:
            accounts = stack.enter_context(azurite())
        except pytest.skip.Exception as reason:
            found.missing = str(reason)
        else:
            found["azure"] = _azure(accounts["alpha"], accounts["beta"])
        yield found


def _local(home: Path) -> Place:
    def copied(bucket: str, key: str, file: Path) -> None:
        Path(bucket, key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, Path(bucket, key))

    return Place("local", {FROM: str(home / FROM), TO: str(home / TO)}, lambda _bucket: {}, copied)


def _s3(kind: str, server: S3Server) -> Place:
    buckets = {side: server.make_bucket(f"data-{kind}-{side}") for side in (FROM, TO)}
    more = {"use_ssl": False, "region": server.region}
    return Place(kind, buckets, lambda bucket: server.settings(bucket, **more), _by_boto(server))


def _by_boto(server: S3Server) -> Upload:
    client = server.client()

    def put(bucket: str, key: str, file: Path) -> None:
        client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())

    return put


def _gcp(server: GcsServer, home: Path) -> Place:
    from google.cloud.storage import Client

    buckets = {side: server.make_bucket(f"data-gcp-{side}") for side in (FROM, TO)}
    key_file = server.key_file(server.account("mover", "data-*"), home)
    client = Client.from_service_account_json(key_file, client_options={"api_endpoint": server.url})
    return Place(
        "gcp",
        buckets,
        lambda bucket: server.settings(bucket, credentials_file=key_file),
        lambda bucket, key, file: client.bucket(bucket).blob(key).upload_from_filename(str(file)),
    )


def _azure(source: Account, destination: Account) -> Place:
    """Two accounts: what goes from one bucket to the other crosses from one to the other."""
    accounts = {f"data-{FROM}": source, f"data-{TO}": destination}
    clients = {bucket: account.client() for bucket, account in accounts.items()}

    def put(bucket: str, key: str, file: Path) -> None:
        with file.open("rb") as data:
            clients[bucket].get_blob_client(bucket, key).upload_blob(data, overwrite=True)

    buckets = {
        FROM: source.make_bucket(f"data-{FROM}"),
        TO: destination.make_bucket(f"data-{TO}"),
    }
    return Place("azure", buckets, lambda bucket: accounts[bucket].settings(bucket), put)


def _ali(account: Any) -> Place:
    buckets = {side: account.make_bucket(f"data-ali-{side}") for side in (FROM, TO)}
    return Place("ali", buckets, account.settings, _by_boto(account.s3))


def _tc(account: Any) -> Place:
    buckets = {side: account.make_bucket(f"data-tc-{side}-{APPID}") for side in (FROM, TO)}
    return Place("tc", buckets, account.settings, _by_boto(account.s3))
