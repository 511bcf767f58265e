"""A backup brought back on services that keep versions: one marks what was deleted, the other does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mbk.engine.operations import create, undelete, verify
from mbk.model.locking import ObjectLock
from mbk.model.options import CreateOptions, UndeleteOptions, VerifyOptions
from mbk.ports.storage import Storage
from mbk_gcp.settings import GcpSettings
from mbk_gcp.storage import open_storage as open_gcp
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage as open_s3
from tests.fakes.world import World
from tests.servers.gcs import gcs
from tests.servers.s3 import ministack

BUCKET = "undelete-vault"


@contextmanager
def on_s3(_: Path) -> Iterator[Storage]:
    with ministack() as root:
        server = root.user("undelete", BUCKET)
        server.client().create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        with closing(open_s3(GenericSettings(**server.settings(BUCKET, root_path="backup")))) as storage:
            yield storage


@contextmanager
def on_google(home: Path) -> Iterator[Storage]:
    with gcs() as server:
        server.store.bucket(server.make_bucket(BUCKET)).versioned = True
        key = server.key_file(server.account("undelete", BUCKET), home)
        options = frozenset({"retention"})
        settings = server.settings(BUCKET, root_path="backup", credentials_file=key, write_options=options)
        with closing(open_gcp(GcpSettings(**settings))) as storage:
            yield storage


def contents(storage: Storage) -> dict[str, bytes]:
    """Of all that is no cache, no lease and no result of a verification."""
    found = {}
    for entry in storage.list("backup/"):
        if ".mbk/leases/" not in entry.key and not entry.key.endswith(("index.jsonl.gz", "verified.json")):
            with storage.read(entry.key) as chunks:
                found[entry.key] = b"".join(chunks)
    return found


@pytest.mark.parametrize("service", [on_s3, on_google])
@pytest.mark.parametrize("incremental", [False, True], ids=["classic", "shared"])
def test_a_locked_backup_comes_back_byte_for_byte(
    service: Callable[[Path], AbstractContextManager[Storage]], incremental: bool, tmp_path: Path
) -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    with service(tmp_path) as storage:
        context = replace(
            world.context(), backup_storage=storage, object_lock=ObjectLock(mode="governance", days=1)
        )
        create.execute(context, "nightly", CreateOptions(incremental=incremental))
        before = contents(storage)
        for key in [*before][::3]:
            storage.write(key, [b"\x00" * len(before[key])])
        storage.delete([*before])
        assert not contents(storage)
        report = undelete.execute(context, "nightly", UndeleteOptions())
        assert contents(storage) == before
        assert report.returned == len(before)
        assert verify.execute(context, "nightly", VerifyOptions()).is_whole
        assert undelete.execute(context, "nightly", UndeleteOptions()).returned == 0
