"""``mbk server`` on a real Milvus, as clients of both APIs use it: all routes, the documented examples, kills, crowds."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from mbk.demo.embedded import EmbeddedMilvus
from tests.docs.pages import Page
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Site, environment, local_storage, make_site

PAGE = Page("docs/how-to/rest-api.md")
PATIENCE = 120
OVER = frozenset({"succeeded", "partial", "failed", "cancelled", "interrupted"})
#: What the server may grow by while two jobs run and a crowd asks.
ROOM = 200 * 1024**2


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[str]
    url: str

    def get(self, path: str, **params: str) -> Any:
        return self._json(requests.get(self.url + path, params=params, timeout=PATIENCE))

    def post(self, path: str, body: Any = None) -> Any:
        return self._json(requests.post(self.url + path, json=body, timeout=PATIENCE))

    def delete(self, path: str, **params: str) -> Any:
        return self._json(requests.delete(self.url + path, params=params, timeout=PATIENCE))

    def ok(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """The ``data`` of a classic answer that is good."""
        answer = self._json(
            requests.request(method, self.url + "/api/v1" + path, json=body, params=params, timeout=PATIENCE)
        )
        assert "code" not in answer, answer
        return answer["data"]

    def job(self, **body: Any) -> Any:
        return self.post("/api/v2/jobs", body)

    def over(self, job: Any) -> Any:
        def ended() -> Any:
            found = self.get(f"/api/v2/jobs/{job['id']}")
            return found if found["state"] in OVER else None

        return until(ended)

    def peak_memory(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    @staticmethod
    def _json(answer: requests.Response) -> Any:
        assert answer.ok, f"{answer.status_code}: {answer.text}"
        return answer.json()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
    return found


@contextmanager
def serving(site: Site) -> Iterator[Server]:
    """The command, until it is stopped; a server that a test has ended itself is left as it is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mbk", "--config", str(site.config), "server", "-p", "0"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "XDG_STATE_HOME": str(site.config.parent / "state")},
    )
    try:
        assert process.stderr
        said = iter(process.stderr.readline, "")
        found = next(
            filter(None, (re.match(r"mbk: serving on (http://127\.0\.0\.1:\d+) ", line) for line in said))
        )
        yield Server(process, found[1])
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def site(milvus: EmbeddedMilvus, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make(milvus, tmp_path_factory.mktemp("rest"))


def make(milvus: EmbeddedMilvus, home: Path) -> Site:
    return make_site(
        home / "backup.yaml",
        milvus,
        local_storage(milvus.storage_root),
        local_storage(home / "backups"),
    )


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    with serving(site) as found:
        yield found


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def shop(clients: Clients) -> Coll:
    return data.plain(clients, clients.database("rest_shop"), "goods")


# -- /api/v1 -----------------------------------------------------------------------------------------------------


def test_every_classic_route(server: Server, shop: Coll, clients: Clients) -> None:
    hello = requests.get(f"{server.url}/api/v1/hello", timeout=PATIENCE)
    assert hello.text.startswith("Hello")
    made = server.ok(
        "POST",
        "/create",
        {"backup_name": "classic", "filter": {shop.database: {"colls": ["*"]}}, "rbac": False},
    )
    assert (made["state_code"], made["progress"], made["milvus_version"]) == (2, 100, "v2.3.5-lite")
    (collection,) = made["collection_backups"]
    assert (collection["collection_name"], collection["load_state"]) == ("goods", "Loaded")
    assert collection["has_index"] is True
    assert collection["index_infos"][0]["field_name"] == "vector"
    assert made["id"] in [item["id"] for item in server.ok("GET", "/list")]
    assert server.ok("GET", "/get_backup", backup_name="classic") == made
    assert server.ok("GET", "/get_backup", backup_id=made["id"]) == made
    task = server.ok(
        "POST",
        "/restore",
        {
            "backup_name": "classic",
            "collection_suffix": "_suffix",
            "restoreIndex": True,
            "useV2Restore": True,
        },
    )
    assert (task["state_code"], task["progress"]) == (2, 100)
    assert_same(shop, shop.moved("goods_suffix"))
    assert server.ok("GET", "/get_restore", id=task["id"]) == task
    plan = {
        "mapping": [
            {
                "source": shop.database,
                "target": "rest_mall",
                "withProp": True,
                "colls": [
                    {
                        "source": "goods",
                        "target": "wares",
                        "override": {"shardNum": 1, "description": "moved"},
                    }
                ],
            }
        ],
        "filter": {"rest_mall": {"colls": ["*"]}},
    }
    body = {
        "backup_name": "classic",
        "restorePlan": plan,
        "restoreIndex": True,
        "useAutoIndex": True,
        "async": True,
    }
    begun = server.ok("POST", "/restore", {**body, "id": "plan_1"})
    assert begun["id"] == "plan_1"
    ended = until(
        lambda: (task := server.ok("GET", "/get_restore", id="plan_1"))["state_code"] in (2, 3) and task
    )
    assert ended["state_code"] == 2, ended
    assert_same(shop, shop.moved("wares", database="rest_mall"))
    check = requests.get(f"{server.url}/api/v1/check", timeout=PATIENCE)
    assert check.status_code == 200, check.text
    clusters = {"sourceClusterID": "a", "targetClusterID": "b"}
    standby = server.post("/api/v1/restore_secondary", {"backup_name": "classic", **clusters})
    assert standby["code"] in (1, 400)
    assert "2.6" in standby["msg"]
    assert server.ok("DELETE", "/delete", backup_name="classic") is None
    assert "classic" not in [item["name"] for item in server.ok("GET", "/list")]


def test_an_asynchronous_backup_that_is_polled_only_grows(server: Server, shop: Coll) -> None:
    body = {"backup_name": "polled", "async": True, "db_collections": {shop.database: ["goods"]}}
    assert server.ok("POST", "/create", body)["state_code"] in (0, 1)
    seen: list[int] = []

    def over() -> bool:
        found = server.ok("GET", "/get_backup", backup_name="polled")
        seen.append(found["progress"])
        return found["state_code"] == 2

    until(over)
    assert seen == sorted(seen)
    assert seen[-1] == 100


# -- the documentation -------------------------------------------------------------------------------------------


def test_the_documented_examples(server: Server, clients: Clients, tmp_path: Path) -> None:
    """In the order of the page, on one server: the shell's lines as one script, then Python's."""
    coll = data.plain(clients, "default", "documented", rows=50)
    try:
        blocks = [block for block in PAGE.blocks if block.language == "sh" and "curl" in block.text]
        assert len(blocks) == 4
        script = "set -eu\n" + "\n".join(block.text for block in blocks)
        shell = run(["bash", "-c", script], server, tmp_path)
        assert '"state": "succeeded"' in shell
        assert '"name":"monday"' in shell
        assert_same(coll, coll.moved("documented_tuesday"))
        (program,) = [block for block in PAGE.blocks if block.language == "python"]
        told = run([sys.executable, "-c", program.text], server, tmp_path)
        assert "default.documented_wednesday: 50 of 50 rows" in told
        assert [item["name"] for item in server.get("/api/v2/backups")["items"] if "day" in item["name"]] == [
            "monday"
        ]
    finally:
        for name in clients["default"].list_collections():
            if name.startswith("documented"):
                clients["default"].drop_collection(name)


def run(command: list[str], server: Server, cwd: Path) -> str:
    env = {**environment(), "MBK": server.url}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=PATIENCE
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


# -- kills and stops ---------------------------------------------------------------------------------------------


def test_a_server_killed_during_a_job_and_started_again(
    milvus: EmbeddedMilvus, shop: Coll, clients: Clients, tmp_path: Path
) -> None:
    site = make(milvus, tmp_path)
    body = {"kind": "backup", "name": "killed", "filter": f"{shop.database}.*"}
    with serving(site) as server:
        job = server.job(**body)
        until(lambda: server.get(f"/api/v2/jobs/{job['id']}")["progress"]["phase"] in ("flush", "copy"))
        waiting = [server.job(kind="restore", backup="none") for _ in range(2)]
        server.process.kill()
        server.process.wait(PATIENCE)
    with serving(site) as server:
        found = server.get(f"/api/v2/jobs/{job['id']}")
        assert (found["state"], found["resumable"]) == ("interrupted", True)
        assert server.ok("GET", "/get_backup", backup_name="killed")["state_code"] == 3
        for other in waiting:
            assert server.over(other)["state"] in ("failed", "interrupted")
        server.post(f"/api/v2/jobs/{job['id']}:resume")
        done = server.over(job)
        assert (done["state"], done["attempt"]) == ("succeeded", 2), done
        restored = server.over(
            server.job(kind="restore", backup="killed", suffix="_killed", rebuild_index=True)
        )
        assert restored["state"] == "succeeded", restored
        assert_same(shop, shop.moved("goods_killed"))
    assert not [*(tmp_path / "backups").rglob(".mbk/leases/*")]


def test_a_server_that_is_stopped_interrupts_its_jobs_in_order(
    milvus: EmbeddedMilvus, shop: Coll, tmp_path: Path
) -> None:
    site = make(milvus, tmp_path)
    with serving(site) as server:
        job = server.job(kind="backup", name="stopped", filter=f"{shop.database}.*")
        until(lambda: server.get(f"/api/v2/jobs/{job['id']}")["progress"]["phase"])
        waits = threading.Thread(
            target=lambda: requests.get(f"{server.url}/api/v2/jobs/{job['id']}/events", timeout=PATIENCE)
        )
        waits.start()
    waits.join(PATIENCE)
    assert not waits.is_alive()
    with serving(site) as server:
        found = server.get(f"/api/v2/jobs/{job['id']}")
        assert found["state"] in ("interrupted", "succeeded")
        if found["resumable"]:
            server.post(f"/api/v2/jobs/{job['id']}:resume")
        assert server.over(job)["state"] == "succeeded"
    assert not [*(tmp_path / "backups").rglob(".mbk/leases/*")]


# -- a crowd -----------------------------------------------------------------------------------------------------


def test_fifty_clients_poll_while_two_jobs_run(site: Site, server: Server, shop: Coll) -> None:
    """No request fails, no percentage falls, and the memory stays bounded."""
    before = server.peak_memory()
    jobs = [
        server.job(kind="backup", name="crowd_one", filter=f"{shop.database}.*"),
        server.job(kind="backup", name="crowd_two", filter=f"{shop.database}.goods"),
    ]
    failures: list[BaseException] = []
    polls: list[int] = []

    def poll(number: int) -> None:
        job, session = jobs[number % 2], requests.Session()
        seen: list[int] = []
        paths = [
            f"/api/v2/jobs/{job['id']}",
            f"/api/v1/get_backup?backup_name={job['backup']}",
            "/api/v2/jobs",
        ]
        try:
            for turn in range(10_000):
                found = session.get(server.url + paths[0], timeout=PATIENCE).json()
                seen.append(found["progress"]["percent"])
                other = session.get(server.url + paths[1 + turn % 2], timeout=PATIENCE)
                assert other.status_code == 200, other.text
                if found["state"] in OVER:
                    break
            assert seen == sorted(seen)
            polls.append(len(seen))
        except BaseException as exc:  # noqa: BLE001 - told by the test
            failures.append(exc)
        finally:
            session.close()

    crowd = [threading.Thread(target=poll, args=(number,)) for number in range(50)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(PATIENCE)
    assert not failures
    assert len(polls) == 50
    assert [server.over(job)["state"] for job in jobs] == ["succeeded"] * 2
    assert server.peak_memory() - before < ROOM
