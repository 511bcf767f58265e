"""Schedules that are made, replaced and deleted over REST: what they may say, who sees them, and what a killed server leaves."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import requests

from mbk.api import auth
from mbk.api.v2.bodies import ScheduleSpec
from mbk.engine.repository import scheduled
from mbk.engine.repository.scheduled import Scheduled
from mbk.engine.runtime.run import Run
from mbk.errors import Busy, InvalidBackup, StorageError, UsageError
from mbk.jobs.definitions import MOST
from mbk.jobs.failures import ScheduleExists, ScheduleNotFound
from mbk.jobs.kinds import KINDS
from mbk.jobs.schedule import KEYS, STEPS
from mbk.testing import MemoryStorage
from tests.api.harness import PATIENCE, Client, docs_world, serving, settings
from tests.api.test_schedules import NIGHT, Site
from tests.fakes.world import World
from tests.raising import raised
from tests.servers.process import HOST, free_port
from tests.shell import shell

Tree = dict[str, Any]
NIGHTLY: Mapping[str, Any] = {"cron": "30 2 * * *", "keep": {"keep_last": 2}}
PLACE = "/api/v2/schedules/nightly"


@pytest.fixture
def world() -> World:
    return docs_world()


@pytest.fixture
def client(tmp_path: Path, world: World) -> Iterator[Client]:
    config = settings(tmp_path).model_copy(update={"schedules": {"configured": {"cron": "0 1 * * *"}}})
    with serving(config, world) as found:
        yield found


# -- one server --------------------------------------------------------------------------------------------------------


def test_a_schedule_is_made_run_replaced_and_deleted(client: Client) -> None:
    made = client.post(PLACE, {**NIGHTLY, "time_zone": "Europe/Berlin", "verify": "digests"})
    assert (made["name"], made["configured"], made["time_zone"]) == ("nightly", False, "Europe/Berlin")
    assert made["steps"] == ["backup", "verify", "prune"]
    assert made["next"] is not None
    assert client.get(PLACE) == made
    assert [item["name"] for item in client.get("/api/v2/schedules")["items"]] == ["configured", "nightly"]
    client.post(f"{PLACE}:run")
    last = client.until(lambda: ended(client))
    assert last["result"] == "succeeded"
    assert 'mbk_schedule_last_good{schedule="nightly"} 1.0' in client.ask("GET", "/metrics").text
    changed = client.ask("PUT", PLACE, json={"cron": "0 3 * * *"})
    assert changed.status_code == 200
    assert (changed.json()["steps"], changed.json()["last"]) == (["backup"], last)
    answer = client.ask("DELETE", PLACE)
    assert (answer.status_code, answer.text) == (204, "")
    client.problem(404, "GET", PLACE)
    client.problem(404, "DELETE", PLACE)
    assert client.get("/api/v2/backups")["items"], "its backups stay"


def ended(client: Client) -> Any:
    last = client.get(PLACE)["last"]
    return last if last and last["ended"] else None


def test_put_makes_what_is_not_there(client: Client) -> None:
    assert client.ask("PUT", PLACE, json=NIGHTLY).status_code == 201
    assert client.ask("PUT", PLACE, json=NIGHTLY).status_code == 200
    told = client.problem(409, "POST", PLACE, json=NIGHTLY)
    assert (told["code"], told["facts"]["schedule"]) == ("schedule-exists", "nightly")


def test_what_is_told_can_be_sent_again(client: Client) -> None:
    given = {
        **NIGHTLY,
        "create": {"incremental": True, "labels": {"Team": "a"}},
        "copy": {"to_path": "second"},
    }
    made = client.post(PLACE, given)
    again = {key: made[key] for key in KEYS}
    assert client.ask("PUT", PLACE, json=again).json() == made


def test_a_schedule_of_the_configuration_is_changed_there_alone(client: Client) -> None:
    place = "/api/v2/schedules/configured"
    for method, body in (("POST", NIGHTLY), ("PUT", NIGHTLY), ("DELETE", None)):
        told = client.problem(409, method, place, json=body)
        assert told["code"] == "schedule-configured"
        assert "schedules.configured" in told["hint"]
    assert client.get(place)["cron"] == "0 1 * * *"
    assert client.post(f"{place}:pause")["paused"] is True


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"cron": "30 25 * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": ""}, "cron"),
        ({**NIGHTLY, "time_zone": "Mars/Olympus"}, "time_zone"),
        ({**NIGHTLY, "backup_name": "always_the_same"}, "backup_name"),
        ({**NIGHTLY, "backup_name": "{time:>999999999}"}, "backup_name"),
        ({**NIGHTLY, "backup_name": "{time}{schedule.__class__}"}, "backup_name"),
        ({**NIGHTLY, "backup_name": "{time"}, "backup_name"),
        ({**NIGHTLY, "create": {"filtre": "a"}}, "create"),
        ({**NIGHTLY, "create": {"path": "../elsewhere"}}, "path"),
        ({**NIGHTLY, "verify": "thoroughly"}, "verify"),
        ({**NIGHTLY, "keep": {"keep_daily": -1}}, "keep"),
        ({**NIGHTLY, "copy": {"to": "nowhere@"}}, "nowhere"),
        ({**NIGHTLY, "notify": {"failure": "pager"}}, "pager"),
        ({**NIGHTLY, "notify": {"fail": "chat"}}, "fail"),
        ({**NIGHTLY, "copy": {"to": "/etc/"}}, "copy"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(client: Client, given: Tree, named: str) -> None:
    for method in ("POST", "PUT"):
        told = client.problem(400, method, PLACE, json=given)
        assert named in told["detail"]
    client.problem(404, "GET", PLACE)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "body.cron"),
        ({**NIGHTLY, "crom": "x"}, "body.crom"),
        ({**NIGHTLY, "create": "docs"}, "body.create"),
        ({"cron": 5}, "body.cron"),
        ({"cron": "0 " * 200}, "body.cron"),
        ({**NIGHTLY, "copy": None}, "body.copy"),
        ({**NIGHTLY, "notify": "chat"}, "body.notify"),
        ([], "body"),
    ],
)
def test_what_has_another_form_is_refused_with_its_place(client: Client, given: Any, named: str) -> None:
    (problem,) = client.problem(422, "PUT", PLACE, json=given)["errors"]
    assert problem.startswith(named)


@pytest.mark.parametrize("name", ["Nightly", "1st", "a-b", "a.b", "n" * 42, "n%20n", "nightly:go", "%C3%A9"])
def test_a_name_that_no_schedule_can_have_is_refused(client: Client, name: str) -> None:
    told = client.problem(400, "POST", f"/api/v2/schedules/{name}", json=NIGHTLY)
    assert told["facts"]["key"] == "name"


def test_a_name_with_a_slash_or_without_end_is_refused(client: Client) -> None:
    for name, status in (("a/b", 404), ("a%2Fb", 404), ("n" * 65, 422)):
        client.problem(status, "POST", f"/api/v2/schedules/{name}", json=NIGHTLY)
    assert len(client.get("/api/v2/schedules")["items"]) == 1


def test_the_body_has_the_keys_of_the_configuration() -> None:
    assert [item.alias or name for name, item in ScheduleSpec.model_fields.items()] == [*KEYS]


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_no_job_of_a_schedule_takes_a_secret() -> None:
    """They are kept in the root, where others read."""
    assert [step for step in STEPS if KINDS[step].secret] == []


@pytest.mark.parametrize("to", ["s3://user:hunter2@bucket/backups/", "archive@s3://key:hunter2@bucket/"])
def test_credentials_are_refused_and_not_repeated(tmp_path: Path, world: World, to: str) -> None:
    with serving(settings(tmp_path), world, secrets=("hunter2",)) as client:
        client.problem(400, "POST", PLACE, json={**NIGHTLY, "copy": {"to": to}})
        client.problem(404, "GET", PLACE)
    assert not [key for key in world.service.buckets["backups"].objects if "schedules" in key]


@pytest.mark.parametrize("target", ["https://chat.example/hook?token=hunter2", "notify-send hunter2"])
def test_a_target_is_named_and_its_address_not_repeated(tmp_path: Path, world: World, target: str) -> None:
    config = settings(tmp_path).model_copy(update={"notifications": {"chat": target}})
    with serving(config, world, secrets=("hunter2",)) as client:
        client.problem(400, "POST", PLACE, json={**NIGHTLY, "notify": {"failure": target}})
        client.post(PLACE, {**NIGHTLY, "notify": {"failure": "chat"}})
        assert client.get(PLACE)["notify"] == {"failure": ["chat"]}
    stored = world.service.buckets["backups"].objects
    (kept,) = (item.data for key, item in stored.items() if "schedules" in key)
    assert b"chat" in kept
    assert b"hunter2" not in kept


def test_a_command_is_told_of_the_schedule(tmp_path: Path, world: World) -> None:
    script, seen = tmp_path / "told.py", tmp_path / "seen"
    script.write_text(
        "import json, os, pathlib, sys\n"
        "told = json.load(sys.stdin)\n"
        "words = [os.environ['MBK_SCHEDULE'], os.environ['MBK_EVENT'], told['backup'] == os.environ['MBK_BACKUP']]\n"
        "pathlib.Path(sys.argv[1]).write_text(' '.join(map(str, words)))\n"
    )
    command = f"{sys.executable} {script} {seen}"
    config = settings(tmp_path).model_copy(update={"notifications": {"chat": command}})
    with serving(config, world) as client:
        client.post(PLACE, {**NIGHTLY, "notify": {"success": "chat"}})
        client.post(f"{PLACE}:run")
        client.until(lambda: ended(client))
    assert seen.read_text() == "nightly success True"


def test_a_target_that_this_server_lacks_stops_no_backup(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(tmp_path)
    with serving(config.model_copy(update={"notifications": {"chat": "true"}}), world) as client:
        client.post(PLACE, {**NIGHTLY, "notify": {"success": "chat"}})
    with serving(config, world) as client:
        client.until(lambda: client.ask("GET", PLACE).ok)
        client.post(f"{PLACE}:run")
        assert client.until(lambda: ended(client))["result"] == "succeeded"
    assert "schedule nightly: the configuration has no target chat" in caplog.text


def test_only_who_is_let_in_may_make_one(tmp_path: Path, world: World) -> None:
    token, line = auth.new_token("ci")
    (tmp_path / "auth").write_text(line)
    with serving(settings(tmp_path, auth_file=str(tmp_path / "auth")), world, secrets=(token,)) as client:
        for method in ("POST", "PUT", "DELETE"):
            client.problem(401, method, PLACE, json=NIGHTLY)
        let_in = {"Authorization": f"Bearer {token}"}
        assert client.ask("POST", PLACE, json=NIGHTLY, headers=let_in).status_code == 201
        foreign = {"Origin": "http://evil.example", "Authorization": "Basic eDp5"}
        client.problem(403, "DELETE", PLACE, headers=foreign)


# -- a request that comes again ----------------------------------------------------------------------------------------


def test_a_repeated_key_makes_one_schedule(client: Client) -> None:
    key = {"Idempotency-Key": "made once"}
    first = client.ask("POST", PLACE, json=NIGHTLY, headers=key)
    again = client.ask("POST", PLACE, json=NIGHTLY, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    for path, body in ((PLACE, {"cron": "0 4 * * *"}), ("/api/v2/schedules/weekly", NIGHTLY)):
        told = client.problem(422, "POST", path, json=body, headers=key)
        assert told["code"] == "idempotency-key-reused"


def test_a_repeated_key_is_known_to_the_next_server(tmp_path: Path, world: World) -> None:
    key = {"Idempotency-Key": "made once"}
    for replayed in (None, "true"):
        with serving(settings(tmp_path), world) as client:
            answer = client.ask("POST", PLACE, json=NIGHTLY, headers=key)
            assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, replayed)


# -- several servers ---------------------------------------------------------------------------------------------------


@contextmanager
def sites(directory: Path, world: World) -> Iterator[tuple[Site, Site]]:
    made = []
    for name in ("one", "two"):
        (directory / name).mkdir()
        made.append(Site(world, settings(directory / name), {}))
    try:
        yield made[0], made[1]
    finally:
        for item in made:
            item.close()


def test_what_one_server_is_given_both_know_and_one_runs(tmp_path: Path, world: World) -> None:
    with sites(tmp_path, world) as (one, two):
        one.scheduler.create("nightly", NIGHTLY)
        two.definitions.refresh()
        for item in (one, two):
            item.look()
            item.now = NIGHT
        states = [one.finish(), two.finish()]
        assert [state.standing.result for state in states] == ["succeeded", "elsewhere"]
        assert [*one.backups] == ["nightly_20261201T023000Z"]


def test_one_that_was_made_a_moment_ago_is_found_by_its_name(tmp_path: Path, world: World) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with serving(settings(tmp_path / "one"), world) as one, serving(settings(tmp_path / "two"), world) as two:
        for number in range(3):
            two.get("/api/v2/schedules")
            place = f"/api/v2/schedules/s{number}"
            made = one.post(place, NIGHTLY)
            assert two.get(place) == made
            two.post(f"{place}:pause")


def test_a_pause_and_a_deletion_count_for_both(tmp_path: Path, world: World) -> None:
    with sites(tmp_path, world) as (one, two):
        one.scheduler.create("nightly", NIGHTLY)
        two.definitions.refresh()
        two.look()
        one.scheduler.pause("nightly", paused=True)
        two.now = NIGHT
        two.definitions.refresh()
        assert not two.look().standing.is_running
        assert two.state.following == 0.0
        two.now += timedelta(hours=2)
        two.scheduler.pause("nightly", paused=False)
        assert not two.look().standing.is_running, "what was missed meanwhile is not made up"
        one.scheduler.delete("nightly")
        two.definitions.refresh()
        with raised(ScheduleNotFound, "schedule-missing", schedule="nightly"):
            two.scheduler.state("nightly")


def test_a_server_that_has_not_heard_of_a_change_looks_before_it_runs(tmp_path: Path, world: World) -> None:
    with sites(tmp_path, world) as (one, two):
        one.scheduler.create("nightly", NIGHTLY)
        two.definitions.refresh()
        two.look()
        one.scheduler.delete("nightly")
        two.definitions._view = replace(two.definitions._view, moment=float("-inf"))  # time goes by
        two.now = NIGHT
        two.scheduler.look()
        assert two.kinds == []


def test_another_time_is_not_made_up_and_keeps_what_is_known(tmp_path: Path, world: World) -> None:
    with sites(tmp_path, world) as (one, _):
        one.scheduler.create("nightly", NIGHTLY)
        one.look()
        one.now = NIGHT
        assert one.finish().standing.result == "succeeded"
        one.now = NIGHT + timedelta(hours=9)
        one.scheduler.replace("nightly", {**NIGHTLY, "cron": "0 8 * * *"})
        state = one.look()
        assert not state.standing.is_running
        assert state.standing.result == "succeeded"
        one.now = NIGHT.replace(day=2, hour=8, minute=0)
        assert one.look().standing.is_running


def test_one_that_is_made_again_begins_anew(tmp_path: Path, world: World) -> None:
    with sites(tmp_path, world) as (one, _):
        one.scheduler.create("nightly", NIGHTLY)
        one.look()
        one.now = NIGHT
        one.finish()
        one.scheduler.delete("nightly")
        one.scheduler.create("nightly", NIGHTLY)
        assert one.look().standing.began == 0.0


def test_the_configuration_of_a_server_hides_the_schedule_of_the_root(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings(tmp_path), world) as client:
        client.post(PLACE, NIGHTLY)
    config = settings(tmp_path).model_copy(update={"schedules": {"nightly": {"cron": "0 1 * * *"}}})
    with serving(config, world) as client:
        (listed,) = client.get("/api/v2/schedules")["items"]
        assert (listed["cron"], listed["configured"]) == ("0 1 * * *", True)
    assert "hides" in caplog.text


def test_one_that_this_server_cannot_run_is_told_and_can_be_deleted(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(tmp_path)
    elsewhere = config.model_copy(update={"profiles": {"second": config.backup_storage}})
    with serving(elsewhere, world) as client:
        client.post(PLACE, {**NIGHTLY, "copy": {"to": "second@"}})
    with serving(config, world) as client:
        assert client.get("/api/v2/schedules")["items"] == []
        assert "second" in client.problem(400, "GET", PLACE)["detail"]
        assert client.ask("DELETE", PLACE).status_code == 204
    assert "schedule nightly cannot be run by this server" in caplog.text


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_server_that_was_killed_has_its_schedules_again(tmp_path: Path) -> None:
    for name in ("data", "backups"):
        (tmp_path / name).mkdir()
    made = shell(
        tmp_path / "backup.yaml",
        milvus={"grpc": {"address": HOST, "port": free_port()}},
        storage={"provider": "local", "rootPath": str(tmp_path / "data")},
        backup={"provider": "local", "rootPath": str(tmp_path / "backups")},
        server={"jobs": {"file": str(tmp_path / "jobs.db")}},
    )
    with served(made.config) as (url, process):
        answer = requests.post(f"{url}{PLACE}", json=NIGHTLY, timeout=PATIENCE)
        assert answer.status_code == 201, answer.text
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    with served(made.config) as (url, _):
        assert requests.get(f"{url}{PLACE}", timeout=PATIENCE).json() == answer.json()


def test_there_are_only_so_many_in_a_root(tmp_path: Path, world: World) -> None:
    full = {f"s{number}": Scheduled(id="x", given={"cron": "0 3 * * *"}) for number in range(MOST)}
    scheduled.change(world.backup, Run(), lambda _: full, settle=0.0)
    with sites(tmp_path, world) as (one, _):
        with raised(UsageError, "schedules-too-many", most=MOST):
            one.scheduler.create("nightly", NIGHTLY)
        one.scheduler.replace("s1", NIGHTLY)
        one.scheduler.delete("s2")
        one.scheduler.create("nightly", NIGHTLY)
        assert len(one.scheduler.states()) == MOST


@contextmanager
def served(config: Path) -> Iterator[tuple[str, Popen[bytes]]]:
    port = free_port()
    url = f"http://{HOST}:{port}"
    process = Popen([sys.executable, "-m", "mbk", "--config", str(config), "server", "-p", str(port)])
    try:
        Client.until(lambda: process.poll() is not None or is_up(url))
        yield url, process
    finally:
        process.kill()
        process.wait(PATIENCE)


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def test_whatever_call_a_server_dies_in_the_same_request_makes_it(tmp_path: Path, world: World) -> None:
    calls, dies_in = 0, 1

    def dying(operation: str, what: str) -> None:
        nonlocal calls
        if "schedules" in what:
            calls += 1
            if calls == dies_in:
                raise StorageError("killed", code="killed")

    with sites(tmp_path, world) as (one, two):
        while True:
            calls, name = 0, f"s{dies_in}"
            world.backup.fault = dying
            with suppress(StorageError):
                one.scheduler.create(name, NIGHTLY, key=name)
            died = calls >= dies_in
            world.backup.fault = lambda *_: None
            two.scheduler.create(name, NIGHTLY, key=name)
            one.definitions.refresh()
            assert [*one.definitions.known].count(name) == 1
            if not died:
                break
            dies_in += 1
    assert dies_in > 3


def test_a_root_that_cannot_be_read_stops_no_other_schedule(
    tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(operation: str, what: str) -> None:
        if "schedules" in what:
            raise StorageError("the disk is gone", code="gone")

    config = settings(tmp_path).model_copy(update={"schedules": {"configured": {"cron": "0 1 * * *"}}})
    with serving(config, world) as client:
        client.post(PLACE, NIGHTLY)
        world.backup.fault = gone
        names = [item["name"] for item in client.get("/api/v2/schedules")["items"]]
        assert names == ["configured", "nightly"], "as they were read last"
        told = client.problem(502, "DELETE", PLACE)
        assert "the disk is gone" in told["detail"]
        world.backup.fault = lambda *_: None
        assert client.ask("DELETE", PLACE).status_code == 204


# -- the object in the root --------------------------------------------------------------------------------------------


def adding(name: str) -> Any:
    def edit(known: scheduled.Known) -> scheduled.Known:
        if name in known:
            raise ScheduleExists("twice", code="twice")
        return {**known, name: Scheduled(id=name, given={"cron": "* * * * *"})}

    return edit


def test_of_many_changes_at_once_none_is_lost() -> None:
    storage = MemoryStorage(root="backup/")
    names = [f"s{number}" for number in range(6)]
    threads = [
        threading.Thread(target=scheduled.change, args=(storage, Run(), adding(name)), kwargs={"settle": 0.0})
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(scheduled.read(storage, Run())) == names


def test_an_answer_that_was_lost_is_not_somebody_elses_change() -> None:
    storage = MemoryStorage(root="backup/")
    write = storage.write_if_absent

    def lost(key: str, chunks: Any, **more: Any) -> Any:
        write(key, chunks, **more)
        return write(key, chunks, **more)

    storage.write_if_absent = lost  # type: ignore[method-assign]  # the answer is lost, the retry meets the object
    assert [*scheduled.change(storage, Run(), adding("a"), settle=0.0)] == ["a"]


def test_a_storage_without_conditions_keeps_them_too() -> None:
    bare = MemoryStorage(root="backup/")
    storage = MemoryStorage(
        bare.service, root="backup/", capabilities=replace(bare.capabilities, conditional_write=False)
    )
    for name in ("a", "b"):
        scheduled.change(storage, Run(), adding(name), settle=0.0)
    assert [*scheduled.read(storage, Run())] == ["a", "b"]


def test_old_revisions_go_and_nothing_else_does() -> None:
    storage = MemoryStorage(root="backup/")
    storage.write("backup/.mbk/schedules/notes.txt", [b"mine"])
    for number in range(30):
        scheduled.change(storage, Run(), adding(f"s{number}"), settle=0.0)
    assert len(scheduled.read(storage, Run())) == 30
    keys = sorted(entry.key for entry in storage.list("backup/.mbk/schedules/"))
    assert (keys[0], keys[-2]) == (
        "backup/.mbk/schedules/00000011.json",
        "backup/.mbk/schedules/00000030.json",
    )
    assert keys[-1].endswith("notes.txt")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schedules": 5}', b'{"version": 2, "schedules": {}}'])
def test_a_damaged_revision_is_told_and_not_built_on(data: bytes) -> None:
    storage = MemoryStorage(root="backup/")
    scheduled.change(storage, Run(), adding("a"), settle=0.0)
    storage.write("backup/.mbk/schedules/00000002.json", [data])
    key = "backup/.mbk/schedules/00000002.json"
    with raised(InvalidBackup, "schedules-unreadable", key=key):
        scheduled.read(storage, Run())
    with raised(InvalidBackup, "schedules-unreadable", key=key):
        scheduled.change(storage, Run(), adding("b"), settle=0.0)


def test_a_change_that_others_keep_overtaking_is_given_up() -> None:
    storage = MemoryStorage(root="backup/")
    overtakes = MemoryStorage(storage.service, root="backup/")

    def edit(known: scheduled.Known) -> scheduled.Known:
        scheduled.change(overtakes, Run(), adding(f"s{len(known)}"), settle=0.0)
        return adding("a")(known)

    with raised(Busy, "schedules-contended"):
        scheduled.change(storage, Run(), edit, settle=0.0)
