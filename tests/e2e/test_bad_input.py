"""What a user meets whose storage, names or metadata are wrong, or who stops a run: one line, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import Any

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Tree, local_storage, s3_storage
from tests.servers.faults import Fault, fault_proxy
from tests.servers.s3 import S3Server, ministack
from tests.shell import Command, Shell, shell

GOOD = "good"
#: What the backup of ``docs`` holds: two segments of five fields.
ROWS, OBJECTS = 200, 10


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def docs(clients: Clients) -> Coll:
    coll = data.plain(clients, clients.database("bad"), "docs", rows=0)
    for start in (0, 100):
        coll.insert(data.plain_rows(range(start, start + 100)))
        coll.flush()
    return coll


@pytest.fixture(scope="module")
def keeper() -> Iterator[S3Server]:
    """An account with the bucket ``backups``; ``empty`` is another one of its buckets."""
    with ministack() as server:
        server.make_bucket("backups")
        server.make_bucket("empty")
        yield server.user("keeper", "backups", "empty", "nowhere")


@dataclass(frozen=True, slots=True)
class Place:
    """One user's shell before the shared Milvus, and the collection that is backed up there."""

    shell: Shell
    docs: Coll
    root: Path

    def create(self, name: str, *words: str) -> tuple[str, ...]:
        return ("create", "-n", name, "--filter", str(self.docs), *words)

    def restore(self, name: str, suffix: str, *words: str) -> tuple[str, ...]:
        return ("restore", "-n", name, "-s", suffix, "--rebuild_index", "--load", *words)

    def target(self, suffix: str) -> Coll:
        return self.docs.moved(f"{self.docs.name}{suffix}")

    def assert_nothing_of(self, suffix: str) -> None:
        """Neither a half-restored collection nor copies for one."""
        assert not self.target(suffix).exists()
        self.assert_no_copies()

    def assert_no_copies(self) -> None:
        assert [path.name for path in self.root.glob("restore-temp-*")] == []

    def assert_restores(self, name: str, suffix: str) -> None:
        self.shell.run(*self.restore(name, suffix))
        assert_same(self.docs, self.target(suffix))
        self.assert_no_copies()

    def assert_can_be_finished(self, name: str) -> None:
        """The name is free still, or held by what is shown as incomplete; the same command goes on from there."""
        state = self.shell.states().get(name)
        assert state in (None, "incomplete")
        self.shell.run(*self.create(name, *(["--resume"] if state else [])))
        assert self.shell.states()[name] == "complete"
        (plan,) = self.shell.json(*self.restore(name, "_plan", "--dry-run"))["collections"]
        assert (plan["rows_expected"], plan["objects"]) == (ROWS, OBJECTS)


Make = Callable[..., Place]


@pytest.fixture
def make(milvus: EmbeddedMilvus, docs: Coll, tmp_path: Path) -> Make:
    """A place with its storage, its backup storage or more settings changed."""

    def made(storage: Tree | None = None, backup: Tree | None = None, **more: Any) -> Place:
        server = {
            "grpc": {"address": milvus.address, "port": milvus.port},
            "management": {"endpoint": milvus.management_url},
        }
        root = milvus.storage_root
        (tmp_path / "backups").mkdir(exist_ok=True)
        user = shell(
            tmp_path / "backup.yaml",
            milvus=server,
            storage=storage or local_storage(root),
            backup=backup or local_storage(tmp_path / "backups"),
            **more,
        )
        return Place(user, docs, root)

    return made


@pytest.fixture
def place(make: Make) -> Place:
    return make()


@pytest.fixture(scope="module")
def good(milvus: EmbeddedMilvus, docs: Coll, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the backup ``good``."""
    home = tmp_path_factory.mktemp("good")
    backups = home / "backups"
    server = {"grpc": {"address": milvus.address, "port": milvus.port}}
    user = shell(
        home / "backup.yaml",
        milvus=server,
        storage=local_storage(milvus.storage_root),
        backup=local_storage(backups),
    )
    user.run("create", "-n", GOOD, "--filter", str(docs))
    return backups


# -- the wrong storage -------------------------------------------------------------------------------------------------


def wrong_storage(kind: str, keeper: S3Server, tmp_path: Path) -> Tree:
    if kind == "directory":
        (tmp_path / "elsewhere").mkdir()
        return local_storage(tmp_path / "elsewhere")
    tree = s3_storage(keeper, {"bucket": "nowhere"}.get(kind, "empty"), "files")
    if kind == "secret":
        tree["auth"]["secretAccessKey"] = "wrong-and-still-a-secret"
    return tree


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("directory", 2, ["elsewhere", "rootPath", "bucketName"]),
        ("root", 2, ["empty", "rootPath", "bucketName"]),
        ("bucket", 4, ["nowhere"]),
        ("secret", 6, ["empty", "secret"]),
    ],
)
def test_a_storage_that_is_not_milvus_own_is_told_and_the_right_one_goes_on(
    kind: str, code: int, words: list[str], make: Make, keeper: S3Server, tmp_path: Path
) -> None:
    wrong = make(wrong_storage(kind, keeper, tmp_path), local_storage(tmp_path / "backups"))
    name = f"wrong_{kind}"
    line = wrong.shell.complaint(*wrong.create(name), code=code)
    assert all(word in line for word in words), line
    make().assert_can_be_finished(name)


def test_a_restore_into_a_storage_that_is_not_milvus_own_leaves_no_collection(
    make: Make, good: Path, tmp_path: Path, keeper: S3Server
) -> None:
    for kind, code in (("root", 8), ("bucket", 4), ("secret", 6)):
        wrong = make(wrong_storage(kind, keeper, tmp_path), local_storage(good))
        wrong.shell.complaint(*wrong.restore(GOOD, "_astray"), code=code)
        wrong.assert_nothing_of("_astray")
        assert data.keys_below(keeper, "empty", "") == []


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_taken_name_is_refused_and_its_backup_stays(place: Place) -> None:
    place.shell.run(*place.create("taken"))
    before = place.shell.json("list")
    line = place.shell.complaint(*place.create("taken"), code=5)
    assert "'taken' exists" in line
    assert place.shell.json("list") == before
    place.assert_restores("taken", "_taken")


def test_a_restore_of_what_is_not_there_is_told(make: Make, good: Path) -> None:
    place = make(backup=local_storage(good))
    line = place.shell.complaint(*place.restore("goood", "_back"), code=4)
    assert "'goood'" in line
    assert "mbk list" in line


# -- damaged metadata --------------------------------------------------------------------------------------------------


def truncate(file: str) -> Callable[[Path], None]:
    return lambda meta: os.truncate(meta / file, (meta / file).stat().st_size // 2)


def retype(file: str, **wrong: Any) -> Callable[[Path], None]:
    def damage(meta: Path) -> None:
        tree = json.loads((meta / file).read_bytes())
        (meta / file).write_text(json.dumps(tree | wrong), encoding="utf-8")

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        truncate("full_meta.json"),
        lambda meta: (meta / "full_meta.json").write_bytes(b""),
        lambda meta: (meta / "full_meta.json").write_bytes(b"\x00" * 500),
        lambda meta: (meta / "full_meta.json").write_bytes(b"[]"),
        retype("full_meta.json", collection_backups={"a": 1}),
        retype("full_meta.json", size="large"),
        retype("full_meta.json", collection_backups=[{"collection_id": "many"}]),
    ],
    ids=["truncated", "empty", "zeros", "list", "collections", "size", "id"],
)
def test_a_backup_with_damaged_metadata_is_told_and_can_be_deleted(
    damage: Callable[[Path], None], make: Make, good: Path, tmp_path: Path
) -> None:
    backups = tmp_path / "backups"
    for name in ("damaged", GOOD):
        shutil.copytree(good / GOOD, backups / name)
    damage(backups / "damaged" / "meta")
    place = make(backup=local_storage(backups))
    for command in (("get", "-n", "damaged"), place.restore("damaged", "_damaged")):
        assert "damaged/meta/full_meta.json" in place.shell.complaint(*command, code=1)
    place.assert_nothing_of("_damaged")
    assert place.shell.states()[GOOD] == "complete"
    place.shell.run("delete", "-n", "damaged", "--yes")
    assert place.shell.states() == {GOOD: "complete"}


def test_a_listing_names_the_backup_that_it_cannot_read(make: Make, good: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    for name in ("damaged", GOOD):
        shutil.copytree(good / GOOD, backups / name)
    truncate("backup_meta.json")(backups / "damaged" / "meta")
    assert make(backup=local_storage(backups)).shell.states() == {"damaged": "unreadable", GOOD: "complete"}


def test_a_damaged_file_of_mbks_own_stops_nothing(make: Make, good: Path, tmp_path: Path) -> None:
    shutil.copytree(good / GOOD, tmp_path / "backups" / GOOD)
    truncate("mbk.json")(tmp_path / "backups" / GOOD / "meta")
    place = make()
    assert place.shell.states() == {GOOD: "complete"}
    place.assert_restores(GOOD, "_without_own")


def test_a_backup_without_full_meta_is_incomplete_everywhere(make: Make, good: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    for name in ("first", "second"):
        shutil.copytree(good / GOOD, backups / name)
        (backups / name / "meta" / "full_meta.json").unlink()
    place = make()
    assert place.shell.states() == {"first": "incomplete", "second": "incomplete"}
    assert place.shell.json("get", "-n", "first")["state"] == "incomplete"
    assert "incomplete" in place.shell.complaint(*place.restore("first", "_half"), code=1)
    place.assert_nothing_of("_half")
    line = place.shell.complaint(*place.create("first"), code=5)
    assert "create -n first --resume" in line
    assert "delete -n first" in line
    place.shell.run("delete", "-n", "second", "--yes")
    place.assert_can_be_finished("first")


def test_a_backup_that_lost_an_object_is_told_before_the_first_change(
    make: Make, good: Path, tmp_path: Path
) -> None:
    shutil.copytree(good / GOOD, tmp_path / "backups" / GOOD)
    shutil.rmtree(next((tmp_path / "backups" / GOOD).glob("binlogs/insert_log/*/*/*")))
    place = make()
    assert "no data of segment" in place.shell.complaint(*place.restore(GOOD, "_lost"), code=1)
    place.assert_nothing_of("_lost")


# -- while it runs -----------------------------------------------------------------------------------------------------


def test_a_collection_dropped_during_the_run_is_skipped_and_told(
    make: Make, clients: Clients, fresh: str
) -> None:
    kept, dropped = (data.plain(clients, fresh, name, rows=50) for name in ("a_kept", "b_dropped"))
    place = make(backup_settings={"concurrency": {"collections": 1}})
    command = place.shell.start("create", "-n", "dropped", "--filter", f"{fresh}.*")
    command.until(rf"phase='flush' collection='{kept}'")
    dropped.client.drop_collection(dropped.name)
    _, err = command.end(0)
    assert f"{dropped}: dropped during the backup" in err
    seen = place.shell.json("get", "-n", "dropped")
    assert [item["collection_name"] for item in seen["collection_backups"]] == ["a_kept"]
    place.shell.run("restore", "-n", "dropped", "-s", "_back", "--rebuild_index")
    assert_same(kept, kept.moved("a_kept_back"))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with too little room for the backup of ``docs``."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    if os.geteuid() != 0 or not mount(mounted, "size=40k"):
        pytest.skip("a small file system cannot be mounted here")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def mount(where: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_is_told_and_the_backup_goes_on_when_there_is_room(make: Make, small: Path) -> None:
    place = make(backup=local_storage(small / "backups"))
    line = place.shell.complaint(*place.create("full"), code=1)
    assert "free some space" in line
    assert str(small) in line
    mount(small, "remount,size=64m")
    assert place.shell.states() == {"full": "incomplete"}
    place.assert_can_be_finished("full")
    place.assert_restores("full", "_full")


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """When to stop: the log says ``log``, or the backup's server is asked what ``fault`` keeps waiting."""

    log: str = ""
    fault: Fault | None = None
    signal: Signals = SIGINT


def stop_at(moment: Moment, user: Shell, server: S3Server, *words: str) -> str:
    """The line that the command ends with which was stopped then."""
    faults = [moment.fault] if moment.fault else []
    with fault_proxy(server.port, *faults) as proxy:
        command: Command = user.start("--set", f"backup.storage.port={proxy.port}", *words)
        if moment.fault:
            fault = moment.fault
            command.until_true(lambda: fault.seen > fault.skip, "stalled request")
        else:
            command.until(moment.log)
        command.send(moment.signal)
    return command.complaint(130)


CREATE = {
    "connect": Moment("run.started"),
    "flush": Moment("phase='flush'"),
    "copy": Moment(fault=Fault("stall", "PUT", "binlogs", skip=2)),
    "copy_terminated": Moment(fault=Fault("stall", "PUT", "binlogs", skip=2), signal=SIGTERM),
    "verify": Moment(fault=Fault("stall", "GET", "list-type.*binlogs")),
    "name": Moment(fault=Fault("stall", "PUT", "mbk.json")),
    "commit": Moment(fault=Fault("stall", "PUT", "collection_meta")),
    "last": Moment(fault=Fault("stall", "PUT", "full_meta")),
}


@pytest.mark.parametrize("when", CREATE)
def test_an_interrupted_create_is_incomplete_and_can_be_finished(
    when: str, make: Make, keeper: S3Server
) -> None:
    place = make(backup=s3_storage(keeper, "backups", "interrupted"))
    earlier = {name for name, state in place.shell.states().items() if state == "complete"}
    name = f"stopped_{when}"
    line = stop_at(CREATE[when], place.shell, keeper, *place.create(name))
    assert line == f"create of {name!r} was interrupted: finish it: mbk create -n {name} --resume"
    assert earlier == {name for name, state in place.shell.states().items() if state == "complete"}
    place.assert_can_be_finished(name)
    if when in ("copy", "last"):
        place.assert_restores(name, f"_{name}")


RESTORE = {
    "read": Moment(fault=Fault("stall", "GET", "full_meta")),
    "scan": Moment(fault=Fault("stall", "GET", "list-type.*binlogs")),
    "stage": Moment(fault=Fault("stall", "GET", "/binlogs/", skip=2)),
    "create": Moment("phase='create'"),
    "import": Moment("phase='import'"),
    "import_terminated": Moment("phase='import'", signal=SIGTERM),
}


@pytest.fixture(scope="module")
def in_bucket(good: Path, keeper: S3Server) -> Tree:
    """The storage that holds the backup ``good`` on the S3 server."""
    client = keeper.client()
    for path in good.rglob("*"):
        if path.is_file():
            key = f"kept/{path.relative_to(good).as_posix()}"
            client.put_object(Bucket="backups", Key=key, Body=path.read_bytes())
    return s3_storage(keeper, "backups", "kept")


@pytest.mark.parametrize("when", RESTORE)
def test_an_interrupted_restore_leaves_nothing_and_succeeds_when_it_is_repeated(
    when: str, make: Make, keeper: S3Server, in_bucket: Tree
) -> None:
    place = make(backup=in_bucket)
    suffix = f"_{when}"
    line = stop_at(RESTORE[when], place.shell, keeper, *place.restore(GOOD, suffix))
    assert line == "restore of 'good' was interrupted: run it again"
    place.assert_nothing_of(suffix)
    place.assert_restores(GOOD, suffix)


def test_a_restore_interrupted_while_it_loads_keeps_the_rows_and_goes_on(
    make: Make, keeper: S3Server, in_bucket: Tree
) -> None:
    place = make(backup=in_bucket)
    stop_at(Moment("phase='load'"), place.shell, keeper, *place.restore(GOOD, "_loading"))
    assert place.target("_loading").exists()
    place.assert_restores(GOOD, "_loading")
