"""Two Azure accounts: backups and restores across them, server side by a signature that nobody gets to see.

Milvus is the fake one, for no Milvus that runs here keeps its data on Azurite; the storages are real.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
import yaml

import mbk
from mbk.errors import AccessError, MbkError
from mbk.plugin.objects import ObjectStorage
from mbk.session import Session
from mbk_azure.settings import AzureSettings
from mbk_azure.signing import Signer
from mbk_azure.storage import open_storage
from mbk_azure.wire import AzureWire
from tests.fakes.milvus import FakeMilvus
from tests.servers.azurite import Account, Accounts, azurite

DIRECTIONS = [("alpha", "beta"), ("beta", "alpha")]
MILVUS, BACKUPS = "milvus", "backups"


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """Each has a container for Milvus and one for backups."""
    with azurite() as accounts:
        for account in accounts.values():
            account.make_bucket(MILVUS)
            account.make_bucket(BACKUPS)
        yield accounts


@pytest.fixture(params=DIRECTIONS, ids=["-to-".join(pair) for pair in DIRECTIONS])
def pair(request: pytest.FixtureRequest, accounts: Accounts) -> Iterator[tuple[Account, Account]]:
    """The account of Milvus and that of the backups, both empty in the end."""
    one, other = (accounts[name] for name in request.param)
    yield one, other
    for account, bucket in ((one, MILVUS), (other, BACKUPS)):
        storage = opened(account, bucket)
        storage.delete([entry.key for entry in storage.list()])


@pytest.fixture
def server(pair: tuple[Account, Account]) -> FakeMilvus:
    milvus = FakeMilvus(opened(pair[0], MILVUS, root_path="files"))
    milvus.add("docs", partitions=("_default", "other"))
    milvus.insert("docs", range(30))
    milvus.insert("docs", range(100, 110), partition="other")
    milvus.delete("docs", range(5))
    return milvus


def opened(account: Account, bucket: str, **more: Any) -> ObjectStorage[AzureWire]:
    return open_storage(AzureSettings(**account.settings(bucket, **more)))


def session_of(
    home: Path, server: FakeMilvus, source: Account, destination: Account, **minio: Any
) -> Session:
    """With the classic keys: on Azure ``accessKeyID`` is the account and ``secretAccessKey`` its key."""
    tree = {
        "minio": {
            "storageType": "azure",
            "address": "127.0.0.1",
            "port": source.port,
            "useSSL": False,
            "accessKeyID": source.name,
            "secretAccessKey": source.key,
            "bucketName": MILVUS,
            "rootPath": "files",
            "backupAccessKeyID": destination.name,
            "backupSecretAccessKey": destination.key,
            "backupBucketName": BACKUPS,
            "backupRootPath": "backup",
            **minio,
        },
    }
    config = home / "backup.yaml"
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    session = mbk.connect(config)
    session._milvus = server
    return session


def keys(account: Account, bucket: str) -> list[str]:
    return sorted(entry.key for entry in opened(account, bucket).list())


def test_create_and_restore_are_server_side(
    pair: tuple[Account, Account], server: FakeMilvus, tmp_path: Path
) -> None:
    with session_of(tmp_path, server, *pair) as session:
        created = session.create("nightly")
        restored = session.restore("nightly", suffix="_back")
    assert server.visible_rows("docs_back") == server.visible_rows("docs")
    assert server.rows_by_partition("docs_back") == server.rows_by_partition("docs")
    for report in (created, restored):
        assert set(report.transfer.objects) == {"server"}
        assert report.transfer.streamed_because is None
    assert [key for key in keys(pair[0], MILVUS) if "restore-temp" in key] == []


def test_check_says_that_copies_are_server_side_in_both_directions(
    pair: tuple[Account, Account], server: FakeMilvus, tmp_path: Path
) -> None:
    before = keys(pair[0], MILVUS)
    with session_of(tmp_path, server, *pair) as session:
        answers = {answer.what: answer for answer in session.check()}
    for one, other in (("milvus", "backup"), ("backup", "milvus")):
        assert answers[f"copy from {one} storage to {other} storage"].detail == "server side"
    assert [answer for answer in answers.values() if not answer.ok] == []
    assert (keys(pair[0], MILVUS), keys(pair[1], BACKUPS)) == (before, [])


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_wrong_key_names_the_container_and_changes_nothing(
    side: str, pair: tuple[Account, Account], server: FakeMilvus, tmp_path: Path
) -> None:
    source, destination = pair
    with session_of(tmp_path, server, *pair) as session:
        session.create("whole")
    before = keys(source, MILVUS), keys(destination, BACKUPS)
    wrong = (
        {"secretAccessKey": destination.key} if side == "source" else {"backupSecretAccessKey": source.key}
    )
    account, bucket = (source, MILVUS) if side == "source" else (destination, BACKUPS)
    with session_of(tmp_path, server, *pair, **wrong) as session:
        for call in (lambda: session.create("denied"), lambda: session.restore("whole", suffix="_denied")):
            with pytest.raises(AccessError) as caught:
                call()
            assert caught.value.exit_code == 6
            assert f"container '{bucket}' of account '{account.name}'" in str(caught.value)
            for key in (source.key, destination.key):
                assert key not in everything_told(caught.value)
    assert (keys(source, MILVUS), keys(destination, BACKUPS)) == before
    assert server.names == {"default.docs"}


def test_neither_key_nor_signature_is_in_a_log_a_report_or_an_error(
    pair: tuple[Account, Account],
    server: FakeMilvus,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    signed: list[str] = []
    sign = Signer.sign
    monkeypatch.setattr(Signer, "sign", lambda *this: signed.append(sign(*this)) or signed[-1])
    with session_of(tmp_path, server, *pair) as session:
        told += [repr(session.create("quiet", on_event=lambda event: told.append(repr(event))))]
        told += [
            repr(session.restore("quiet", suffix="_back", on_event=lambda event: told.append(repr(event))))
        ]
        told += [repr([*session.check()]), repr(session.settings), repr(session.storage)]
        told += [repr(session.get("quiet", detail=True).document)]
    with session_of(tmp_path, server, *pair, secretAccessKey=pair[1].key) as session:
        with pytest.raises(MbkError) as caught:
            session.create("refused")
        told.append(everything_told(caught.value))
    told += [f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records]
    told += [stored(pair[1], key) for key in keys(pair[1], BACKUPS)]
    text = "\n".join(told)
    assert any(record.name == "mbk.requests" for record in caplog.records), "no request is in the log"
    assert signed
    assert "sig=" not in text
    for (signature,) in (parse_qs(query)["sig"] for query in signed):
        assert signature not in text
        assert quote(signature, safe="") not in text
    for account in pair:
        assert account.key not in text


def stored(account: Account, key: str) -> str:
    with opened(account, BACKUPS).read(key) as chunks:
        return b"".join(chunks).decode(errors="replace")


def everything_told(error: BaseException) -> str:
    """The error as it can be seen: its text, its fields, and the chain below it."""
    told = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        told += [repr(seen), repr(seen.args)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(told)
