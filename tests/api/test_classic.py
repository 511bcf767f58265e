"""``/api/v1``: requests and answers as a client of the Go tool knows them (docs/reference/classic-tool.md#rest-api)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mbk.errors import StorageError
from tests.api.harness import PATIENCE, Client, Gate, serving, settings
from tests.fakes.world import World

API = "/api/v1"


def create(client: Client, **body: Any) -> Any:
    """The ``data`` of a create that succeeds."""
    answer = client.post(f"{API}/create", body)
    assert "code" not in answer, answer
    return answer["data"]


def restore(client: Client, **body: Any) -> Any:
    answer = client.post(f"{API}/restore", body)
    assert "code" not in answer, answer
    return answer["data"]


def until_over(client: Client, path: str, **params: str) -> list[Any]:
    """Every answer of a poll until the task is over."""
    seen = []

    def over() -> bool:
        seen.append(client.get(path, **params)["data"])
        return seen[-1]["state_code"] in (2, 3)

    client.until(over)
    return seen


def held(client: Client, name: str) -> list[str]:
    view = client.get(f"{API}/get_backup", backup_name=name)["data"]
    return sorted(
        f"{item['db_name']}.{item['collection_name']}" for item in view.get("collection_backups", ())
    )


# -- create ------------------------------------------------------------------------------------------------------


def test_a_synchronous_create_answers_with_the_whole_backup(client: Client) -> None:
    answer = client.post(f"{API}/create", {"requestId": "my-request", "backup_name": "nightly"})
    assert answer.keys() == {"requestId", "msg", "data"}
    assert (answer["requestId"], answer["msg"]) == ("my-request", "success")
    data = answer["data"]
    assert data["id"] == "my-request"
    assert (data["name"], data["state_code"], data["progress"]) == ("nightly", 2, 100)
    assert data["milvus_version"] == "v2.3.5-fake"
    assert data["size"] > 0
    assert data["meta_size"] > 0
    assert 1_700_000_000 < data["start_time"] <= data["end_time"] < 10_000_000_000, (
        "seconds, not milliseconds"
    )
    assert "errorMessage" not in data
    collection = next(item for item in data["collection_backups"] if item["db_name"] == "shop")
    assert collection["collection_name"] == "docs"
    assert collection["has_index"] is False
    assert collection["shards_num"] == 1
    assert collection["load_state"] == "NotLoad"
    assert [field["name"] for field in collection["schema"]["fields"]]
    assert client.get(f"{API}/get_backup", backup_name="nightly")["data"] == data


def test_a_create_without_a_name_gets_one(client: Client) -> None:
    data = create(client)
    assert data["name"].startswith("backup_2")
    assert [item["name"] for item in client.get(f"{API}/list")["data"]] == [data["name"]]


def test_an_asynchronous_create_answers_at_once_and_its_progress_only_grows(
    client: Client, world: World
) -> None:
    gate = Gate("copy")
    world.backup.fault = gate
    answer = client.post(f"{API}/create", {"backup_name": "nightly", "async": True})
    assert answer["data"]["state_code"] in (0, 1)
    assert gate.reached.wait(PATIENCE)
    running = client.get(f"{API}/get_backup", backup_name="nightly")["data"]
    assert (running["state_code"], running["name"]) == (1, "nightly")
    assert running["id"] == answer["data"]["id"]
    assert running["start_time"]
    assert "end_time" not in running
    refused = client.post(f"{API}/create", {"backup_name": "nightly"})
    assert (refused["code"], refused["data"]) == (3, None)
    gate.open.set()
    seen = [running, *until_over(client, f"{API}/get_backup", backup_id=answer["data"]["id"])]
    percents = [data["progress"] for data in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert 1 <= percents[0] < 100


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["default.docs", "default.notes", "shop.docs"]),
        ({"filter": {"shop": {"colls": ["*"]}}}, ["shop.docs"]),
        (
            {"filter": {"default": {"colls": ["docs"]}, "shop": {"colls": ["docs"]}}},
            ["default.docs", "shop.docs"],
        ),
        ({"filter": {"": {"colls": ["notes"]}}}, ["default.notes"]),
        ({"filter": {"shop": {"colls": []}}}, []),
        ({"filter": {"shop": {"colls": []}, "default": {"colls": ["notes"]}}}, ["default.notes"]),
        ({"collection_names": ["notes", "shop.docs"]}, ["default.notes", "shop.docs"]),
        ({"db_collections": {"shop": []}}, ["shop.docs"]),
        ({"db_collections": '{"default": ["docs"]}'}, ["default.docs"]),
        (
            {"db_collections": "", "collection_names": None, "filter": None},
            ["default.docs", "default.notes", "shop.docs"],
        ),
        ({"Collection_Names": ["notes"], "something_new": 1}, ["default.notes"]),
    ],
    ids=str,
)
def test_the_collections_are_chosen_in_every_spelling(client: Client, body: Any, expected: list[str]) -> None:
    create(client, backup_name="nightly", **body)
    assert held(client, "nightly") == expected


@pytest.mark.parametrize(
    "body",
    [{"meta_only": True}, {"strategy": "meta_only"}, {"metaOnly": 1, "strategy": "meta_only"}],
    ids=str,
)
def test_a_backup_of_the_metadata_alone(client: Client, world: World, body: Any) -> None:
    assert create(client, backup_name="nightly", **body)["size"] == 0
    assert not [key for key in world.objects("backups") if "insert_log" in key]


def test_force_skips_the_flush(client: Client, world: World) -> None:
    create(client, backup_name="nightly", force=True)
    assert "flush" not in {call for call, _ in world.milvus.calls}


@pytest.mark.parametrize(("asked", "pauses"), [(None, 1), (True, 1), (False, 0)])
def test_the_gc_pause_can_be_switched_off(
    client: Client, world: World, asked: bool | None, pauses: int
) -> None:
    create(client, backup_name="nightly", gc_pause_enable=asked, gc_pause_seconds=60)
    assert [call for call, _ in world.milvus.calls].count("pause_gc") == pauses


def test_no_request_makes_the_server_call_another_address(client: Client) -> None:
    own = client.post(f"{API}/create", {"backup_name": "a", "gc_pause_address": "http://localhost:9091"})
    assert own["msg"] == "success"
    other = client.post(f"{API}/create", {"backup_name": "b", "gc_pause_address": "http://10.0.0.1/"})
    assert "gc_pause_address is ignored" in other["msg"]


def test_a_name_that_is_taken_is_refused_at_once(client: Client) -> None:
    """Nobody is told that the old backup is the one that was just asked for."""
    create(client, backup_name="nightly")
    for asynchronous in (True, False):
        refused = client.post(f"{API}/create", {"backup_name": "nightly", "async": asynchronous})
        assert (refused["code"], refused["data"]) == (3, None)
        assert "already exists" in refused["msg"]


def test_a_failed_backup_is_asked_for_by_its_id_whatever_has_its_name_now(
    client: Client, world: World
) -> None:
    def fail(operation: str, what: str) -> None:
        raise StorageError("the disk is on fire")

    world.storage.fault = fail
    failed = client.post(f"{API}/create", {"requestId": "first", "backup_name": "nightly", "async": True})
    until_over(client, f"{API}/get_backup", backup_id=failed["data"]["id"])
    world.storage.fault = lambda operation, what: None
    create(client, backup_name="nightly", requestId="second")
    assert client.get(f"{API}/get_backup", backup_id="first")["data"]["state_code"] == 3
    assert client.get(f"{API}/get_backup", backup_id="second")["data"]["state_code"] == 2
    assert client.get(f"{API}/get_backup", backup_name="nightly")["data"]["id"] == "second"


def test_an_id_that_is_used_again_is_that_of_the_new_task(client: Client) -> None:
    create(client, backup_name="nightly", filter={"default": {"colls": ["docs"]}})
    for suffix in ("_a", "_b"):
        restored = restore(client, id="mine", backup_name="nightly", collection_suffix=suffix)
        task = client.get(f"{API}/get_restore", id="mine")["data"]
        assert task == restored
        (collection,) = task["collection_restore_tasks"]
        assert collection["target_collection_name"] == f"docs{suffix}"


def test_another_root_path_for_the_backups(client: Client, world: World) -> None:
    create(client, backup_name="nightly", backup_root_path="elsewhere/deep")
    assert world.objects("backups", "elsewhere/deep/nightly/meta/full_meta.json")
    assert client.get(f"{API}/list")["data"] == []
    found = client.get(f"{API}/get_backup", backup_name="nightly", path="elsewhere/deep")
    assert found["data"]["state_code"] == 2
    assert client.get(f"{API}/get_backup", backup_name="nightly")["code"] == 404
    restore(client, backup_name="nightly", path="elsewhere/deep", collection_suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"backup_name": "9lives"}, 400),
        ({"backup_name": "a b"}, 400),
        ({"backup_name": "x", "strategy": "quick"}, 400),
        ({"backup_name": "x", "format": "zip"}, 400),
        ({"backup_name": "x", "collection_names": ["a.b.c"]}, 400),
        ({"backup_name": "x", "backup_root_path": "../other"}, 400),
        ({"backup_name": "x", "collection_names": ["no_such"]}, 404),
        ({"backup_name": "x", "strategy": "bulk_flush"}, 400),
    ],
    ids=str,
)
def test_what_is_wrong_is_a_code_in_an_answer_that_is_200(client: Client, body: Any, code: int) -> None:
    answer = client.ask("POST", f"{API}/create", json=body)
    assert (answer.status_code, answer.json()["code"]) == (200, code)
    assert answer.json()["msg"]


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'{"async": "maybe"}', b'{"backup_name": {}}', b"\xff", b'{"db_collections": "{"}'],
)
@pytest.mark.parametrize("route", ["create", "restore", "restore_secondary"])
def test_a_body_that_cannot_be_parsed_is_400(client: Client, route: str, raw: bytes) -> None:
    if route == "restore_secondary" and b"db_collections" in raw:
        return
    answer = client.ask("POST", f"{API}/{route}", data=raw)
    assert (answer.status_code, [*answer.json()]) == (400, ["error"])


def test_a_body_is_read_whatever_its_content_type(client: Client) -> None:
    answer = client.ask("POST", f"{API}/create", data=json.dumps({"backup_name": "nightly"}))
    assert answer.json()["data"]["state_code"] == 2


def test_a_backup_that_exists_is_a_failure(client: Client) -> None:
    create(client, backup_name="nightly")
    again = client.post(f"{API}/create", {"backup_name": "nightly"})
    assert (again["code"], "nightly" in again["msg"]) == (3, True)
    assert client.get(f"{API}/get_backup", backup_name="nightly")["data"]["state_code"] == 2


def test_a_partial_backup_is_a_failure_that_names_what_is_missing(client: Client, world: World) -> None:
    def refuse(call: str, what: str) -> None:
        if call == "flush" and what == "notes":
            raise StorageError("no flush today")

    world.milvus.fault = refuse
    answer = client.post(f"{API}/create", {"backup_name": "nightly"})
    assert answer["code"] == 3
    assert answer["data"]["state_code"] == 3
    assert "default.notes: no flush today" in answer["data"]["errorMessage"]
    assert len(answer["data"]["collection_backups"]) == 2


# -- list, get, delete -------------------------------------------------------------------------------------------


def test_the_list(client: Client) -> None:
    assert client.get(f"{API}/list")["data"] == []
    made = create(client, backup_name="nightly")
    (item,) = client.get(f"{API}/list")["data"]
    assert item == {
        "id": made["id"],
        "name": "nightly",
        "size": made["size"],
        "milvus_version": "v2.3.5-fake",
    }
    refused = client.get(f"{API}/list", collection_name="docs")
    assert (refused["code"], refused["data"]) == (400, None)


def test_a_backup_is_found_after_a_restart_by_name_and_by_id(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        made = create(client, backup_name="nightly")
    with serving(settings(tmp_path), world) as client:
        assert client.get(f"{API}/get_backup", backup_name="nightly")["data"] == made
        assert client.get(f"{API}/get_backup", backup_id=made["id"])["data"] == made
    (tmp_path / "jobs.db").unlink()
    with serving(settings(tmp_path), world) as client:
        for asked in ({"backup_name": "nightly"}, {"backup_id": made["id"]}):
            data = client.get(f"{API}/get_backup", **asked)["data"]
            began, ended = data.pop("start_time"), data.pop("end_time")
            assert made["start_time"] <= began <= ended <= made["end_time"], "as the backup itself says"
            assert data.items() <= made.items()
            assert (data["state_code"], data["progress"]) == (2, 100)


def test_a_backup_that_failed_is_told_with_its_error_after_a_restart(world: World, tmp_path: Path) -> None:
    def refuse(call: str, what: str) -> None:
        if call == "flush":
            raise StorageError("no flush today")

    world.milvus.fault = refuse
    with serving(settings(tmp_path), world) as client:
        client.post(f"{API}/create", {"backup_name": "nightly"})
    with serving(settings(tmp_path), world) as client:
        data = client.get(f"{API}/get_backup", backup_name="nightly")["data"]
        assert (data["state_code"], data["errorMessage"]) == (3, "no flush today")


def test_what_is_not_there_is_404_in_the_answer(client: Client) -> None:
    for answer in (
        client.get(f"{API}/get_backup", backup_name="none"),
        client.get(f"{API}/get_backup", backup_id="none"),
        client.get(f"{API}/get_restore", id="none"),
        client.delete(f"{API}/delete", backup_name="none"),
        client.post(f"{API}/restore", {"backup_name": "none"}),
    ):
        assert answer["code"] == 404
        assert answer["msg"]
    for answer in (
        client.get(f"{API}/get_backup"),
        client.delete(f"{API}/delete"),
        client.post(f"{API}/restore", {}),
    ):
        assert answer["code"] == 400


def test_a_backup_is_deleted_when_the_answer_comes(client: Client, world: World) -> None:
    create(client, backup_name="nightly")
    answer = client.delete(f"{API}/delete", backup_name="nightly")
    assert (answer["msg"], "code" in answer) == ("success", False)
    assert not world.objects("backups")


# -- restore -----------------------------------------------------------------------------------------------------


def test_a_synchronous_restore_answers_when_the_rows_are_there(client: Client, world: World) -> None:
    create(client, backup_name="nightly", collection_names=["docs"])
    answer = client.post(
        f"{API}/restore",
        {"requestId": "r1", "id": "restore_1", "backup_name": "nightly", "collection_suffix": "_back"},
    )
    assert (answer["requestId"], answer["msg"]) == ("r1", "success")
    task = answer["data"]
    assert (task["id"], task["state_code"], task["progress"]) == ("restore_1", 2, 100)
    assert task["start_time"] <= task["end_time"]
    (one,) = task["collection_restore_tasks"]
    assert (one["target_db_name"], one["target_collection_name"]) == ("default", "docs_back")
    assert (one["state_code"], one["progress"]) == (2, 100)
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    assert client.get(f"{API}/get_restore", id="restore_1")["data"] == task


def test_an_asynchronous_restore_is_polled_and_found_after_a_restart(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path), world) as client:
        create(client, backup_name="nightly")
        task = client.post(
            f"{API}/restore", {"backup_name": "nightly", "collection_suffix": "_b", "async": True}
        )["data"]
        assert task["state_code"] in (0, 1)
        assert task.get("end_time", 1) > 0, "never a negative number"
        seen = until_over(client, f"{API}/get_restore", id=task["id"])
        percents = [item["progress"] for item in seen]
        assert (percents, seen[-1]["state_code"]) == (sorted(percents), 2)
    with serving(settings(tmp_path), world) as client:
        assert client.get(f"{API}/get_restore", id=task["id"])["data"] == seen[-1]


@pytest.mark.parametrize(
    ("body", "targets"),
    [
        ({"collection_suffix": "_b", "collection_names": ["docs"]}, ["default.docs_b"]),
        (
            {"collection_suffix": "_b", "collection_names": ["shop.docs", "notes"]},
            ["default.notes_b", "shop.docs_b"],
        ),
        ({"collection_suffix": "_b", "db_collections": {"shop": []}}, ["shop.docs_b"]),
        ({"collection_suffix": "_b", "db_collections": '{"": ["notes"]}'}, ["default.notes_b"]),
        (
            {"collection_suffix": "_b", "db_collections_after_rename": {"default": ["docs_b"]}},
            ["default.docs_b"],
        ),
        ({"collection_renames": {"docs": "papers"}, "collection_names": ["docs"]}, ["default.papers"]),
        ({"collection_renames": {"shop.*": "mall.*"}, "db_collections": {"shop": ["docs"]}}, ["mall.docs"]),
        (
            {"restorePlan": {"mapping": [{"source": "shop", "target": "mall"}]}},
            ["mall.docs"],
        ),
        (
            {
                "restorePlan": {
                    "mapping": [
                        {
                            "source": "default",
                            "target": "copy",
                            "withProp": True,
                            "colls": [
                                {
                                    "source": "docs",
                                    "target": "one",
                                    "override": {"shardNum": 2, "description": "d"},
                                },
                                {"source": "docs", "target": "two"},
                            ],
                        }
                    ],
                    "filter": {"copy": {"colls": ["*"]}},
                }
            },
            ["copy.one", "copy.two"],
        ),
    ],
    ids=str,
)
def test_targets_are_chosen_and_named_in_every_spelling(
    client: Client, world: World, body: Any, targets: list[str]
) -> None:
    create(client, backup_name="nightly")
    before = world.milvus.names
    task = restore(client, backup_name="nightly", **body)
    told = [
        f"{item['target_db_name']}.{item['target_collection_name']}"
        for item in task["collection_restore_tasks"]
    ]
    assert sorted(told) == targets == sorted(world.milvus.names - before)


def test_overrides_shards_and_skipped_params(client: Client, world: World) -> None:
    create(client, backup_name="nightly", collection_names=["docs"])
    override = {"shardNum": 3, "description": "restored"}
    plan = {
        "mapping": [
            {
                "source": "default",
                "target": "default",
                "colls": [{"source": "docs", "target": "three", "override": override}],
            }
        ]
    }
    restore(client, backup_name="nightly", restorePlan=plan, skipParams={"collectionProperties": ["a.b"]})
    assert world.milvus.inventory.describe("default", "three").shards == 3
    restore(
        client, backup_name="nightly", collection_renames={"docs": "two"}, maxShardNum=1, useV2Restore=False
    )
    assert world.milvus.inventory.describe("default", "two").shards == 1


def test_metadata_alone_drop_and_skip(client: Client, world: World) -> None:
    create(client, backup_name="nightly", collection_names=["docs"])
    exists = client.post(f"{API}/restore", {"backup_name": "nightly"})
    assert exists["code"] == 3
    assert "default.docs" in exists["msg"]
    restore(client, backup_name="nightly", metaOnly=True, collection_suffix="_m")
    assert world.milvus.visible_rows("docs_m") == []
    restore(client, backup_name="nightly", skipCreateCollection=True, collection_suffix="_m")
    assert len(world.milvus.visible_rows("docs_m")) == 10
    restore(client, backup_name="nightly", dropExistCollection=True, skipImportDiskQuotaCheck=True)
    assert len(world.milvus.visible_rows("docs")) == 10
    both = {"backup_name": "nightly", "dropExistCollection": True, "skipCreateCollection": True}
    assert client.post(f"{API}/restore", both)["code"] == 400
    two = {"backup_name": "nightly", "collection_suffix": "_x", "collection_renames": {"a": "b"}}
    assert client.post(f"{API}/restore", two)["code"] == 400


def test_a_server_without_import_over_rest_falls_back_and_says_so(client: Client, world: World) -> None:
    create(client, backup_name="nightly", collection_names=["docs"])
    answer = client.post(
        f"{API}/restore", {"backup_name": "nightly", "collection_suffix": "_b", "useV2Restore": True}
    )
    assert answer["data"]["state_code"] == 2
    assert "warning" in answer["msg"]
    assert world.milvus.visible_rows("docs_b") == world.milvus.visible_rows("docs")


def test_a_failed_restore_names_the_collection(client: Client, world: World) -> None:
    create(client, backup_name="nightly")

    def refuse(call: str, what: str) -> None:
        if call == "create_collection" and what == "notes_b":
            raise StorageError("no space today")

    world.milvus.fault = refuse
    answer = client.post(f"{API}/restore", {"backup_name": "nightly", "collection_suffix": "_b"})
    assert answer["code"] == 3
    failed = [item for item in answer["data"]["collection_restore_tasks"] if item["state_code"] == 3]
    assert [(item["target_collection_name"], item["errorMessage"]) for item in failed] == [
        ("notes_b", "no space today")
    ]
    assert "default.notes_b: no space today" in answer["data"]["errorMessage"]


# -- the rest ----------------------------------------------------------------------------------------------------


def test_hello_check_and_docs(client: Client) -> None:
    assert client.ask("GET", f"{API}/hello").text.startswith("Hello")
    for method in ("GET", "POST", "PUT"):
        assert client.ask(method, "/").text.startswith("Hello")
    report = client.ask("GET", f"{API}/check")
    assert report.headers["content-type"].startswith("text/plain")
    assert report.status_code == 200, report.text
    assert "Milvus" in report.text


def test_a_check_that_fails_is_500_with_the_reason(client: Client, world: World) -> None:
    def refuse(operation: str, what: str) -> None:
        if operation == "write":
            raise StorageError("read only")

    world.backup.fault = refuse
    answer = client.ask("GET", f"{API}/check")
    assert (answer.status_code, [*answer.json()]) == (500, ["error"])
    assert "read only" in answer.text


def test_the_request_id_of_the_header_comes_back(client: Client) -> None:
    header = {"request_id": "from-the-header"}
    for method, path in (
        ("GET", "list"),
        ("GET", "get_backup"),
        ("DELETE", "delete"),
        ("GET", "get_restore"),
    ):
        assert client.ask(method, f"{API}/{path}", headers=header).json()["requestId"] == "from-the-header"
    assert client.ask("GET", f"{API}/list").json()["requestId"]
    made = client.ask("POST", f"{API}/create", json={"backup_name": "a"}, headers=header).json()
    assert made["data"]["id"] == "from-the-header"


def test_swagger_ui_works_without_the_internet(client: Client) -> None:
    page = client.ask("GET", f"{API}/docs/").text
    assert "https://" not in page
    assert "http://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"{API}/docs/{name}" in page
        assert len(client.ask("GET", f"{API}/docs/{name}").content) > 1000
    assert '"/openapi.json"' in page or "'/openapi.json'" in page
    assert client.ask("GET", f"{API}/docs").url.endswith("/docs/")
    assert f"{API}/create" in client.get("/openapi.json")["paths"]


def test_a_standby_over_the_classic_route(client: Client) -> None:
    create(client, backup_name="nightly")
    clusters = {"sourceClusterID": "a", "targetClusterID": "b"}
    answer = client.post(f"{API}/restore_secondary", {"backup_name": "nightly", **clusters})
    assert answer["code"] in (1, 400)
    assert "2.6.11" in answer["msg"], answer
    assert client.post(f"{API}/restore_secondary", {"backup_name": "nightly"})["code"] == 400


def test_answers_are_shorter_where_the_configuration_says_so(world: World, tmp_path: Path) -> None:
    with serving(settings(tmp_path, simple_response=True), world) as client:
        made = create(client, backup_name="nightly")
        found = client.get(f"{API}/get_backup", backup_name="nightly")["data"]
    for data in (made, found):
        assert {item["collection_name"] for item in data["collection_backups"]} == {"docs", "notes"}
        assert not [item for item in data["collection_backups"] if "schema" in item]


def test_the_configured_root_path_may_be_named(client: Client, world: World) -> None:
    gate = Gate("copy")
    world.backup.fault = gate
    body = {"backup_name": "nightly", "async": True, "backup_root_path": "backup/"}
    assert client.post(f"{API}/create", body)["data"]["state_code"] in (0, 1)
    assert gate.reached.wait(PATIENCE)
    for path in ("", "backup", "backup/"):
        assert client.get(f"{API}/get_backup", backup_name="nightly", path=path)["data"]["state_code"] == 1
    assert client.post(f"{API}/create", {"backup_name": "nightly"})["code"] == 3
    gate.open.set()
    assert until_over(client, f"{API}/get_backup", backup_name="nightly")[-1]["state_code"] == 2
