"""A server of this process on a Milvus and storages in memory, and a client that asks it as users do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from mbk.api.server import Serving
from mbk.api.service import Service
from mbk.api.waits import Waits
from mbk.config.schema import ServerSettings, Settings, StorageChoice
from mbk.ports.milvus.server import Milvus
from mbk.ports.storage import Storage
from mbk.registry.registry import Registry
from mbk.session import Session
from mbk.testing import MemoryStorage
from tests.fakes.world import World

PATIENCE = 60
OVER = frozenset({"succeeded", "partial", "failed", "cancelled", "interrupted"})
Tree = dict[str, Any]


class WorldSession(Session):
    """A session on a world's Milvus and storages; the place of the backups is as the settings say."""

    def __init__(self, settings: Settings, world: Callable[[], World]) -> None:
        super().__init__(settings, registry=Registry(disabled=()))
        self._of = world

    @property
    def _world(self) -> World:
        return self._of()

    def close(self) -> None:
        pass

    @property
    def milvus(self) -> Milvus:
        self._world.milvus.fault("connect", "")
        return self._world.milvus

    @property
    def storage(self) -> Storage:
        return self._world.storage

    @property
    def backup_storage(self) -> Storage:
        return self._remembered(self.settings.backup_storage)

    def _remembered(self, choice: StorageChoice, own: object = None) -> Storage:
        root, bucket = (str(choice.values[name]).strip("/") for name in ("root_path", "bucket"))
        return MemoryStorage(
            self._world.service, bucket, root=f"{root}/" if root else "", fault=self._world.backup.fault
        )


def settings(directory: Path, **server: Any) -> Settings:
    place = {"root_path": "backup", "bucket": "backups"}
    choice = StorageChoice(type="memory", values=place)
    values: Tree = {"port": 0, "jobs_file": str(directory / "jobs.db"), **server}
    return Settings(storage=choice, backup_storage=choice, server=ServerSettings(**values))


def docs_world() -> World:
    """A Milvus with two databases: ``docs`` and ``notes`` in default, ``docs`` in shop."""
    world = World()
    for database, name in (("default", "docs"), ("default", "notes"), ("shop", "docs")):
        world.milvus.add(name, database=database)
        world.milvus.insert(name, range(10), database=database)
    return world


@dataclass(frozen=True)
class Client:
    """Asks the server; every answer is checked for what no answer may hold."""

    url: str
    service: Service
    secrets: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    verify: Any = True
    cert: Any = None

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        answer = requests.request(
            method,
            self.url + path,
            timeout=PATIENCE,
            headers=headers,
            verify=self.verify,
            cert=self.cert,
            **more,
        )
        for secret in self.secrets:
            assert secret not in answer.text
        return answer

    def get(self, path: str, /, **params: Any) -> Any:
        return self._json(self.ask("GET", path, params=params))

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self._json(self.ask("POST", path, json=body, **more))

    def delete(self, path: str, /, **params: Any) -> Any:
        return self._json(self.ask("DELETE", path, params=params))

    @staticmethod
    def _json(answer: requests.Response) -> Any:
        assert answer.ok, f"{answer.status_code}: {answer.text}"
        return answer.json()

    def problem(self, status: int, method: str, path: str, **more: Any) -> Any:
        answer = self.ask(method, path, **more)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["status"] == status
        return told

    def job(self, **body: Any) -> Any:
        return self.post("/api/v2/jobs", body)

    def over(self, job: Any) -> Any:
        """The job once it is over."""
        return self.until(lambda: self._if_over(job["id"]))

    def done(self, **body: Any) -> Any:
        """Runs a job to its end, which must be a good one."""
        job = self.over(self.job(**body))
        assert job["state"] == "succeeded", job
        return job

    def _if_over(self, id: str) -> Any:
        job = self.get(f"/api/v2/jobs/{id}")
        return job if job["state"] in OVER else None

    @staticmethod
    def until(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, "it does not come"
            time.sleep(0.01)
        return found


@contextmanager
def serving(
    config: Settings,
    world: World | Callable[[], World],
    *,
    secrets: tuple[str, ...] = (),
    waits: Waits = Waits(),  # noqa: B008 - frozen
    **client: Any,
) -> Iterator[Client]:
    """Serves until the block ends. ``world`` may be another one from one call to the next."""
    here = (lambda: world) if isinstance(world, World) else world
    server = Serving(config, open=lambda given: WorldSession(given, here), waits=waits)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, kwargs={"on_ready": ready.set})
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield Client(server.url, server.service, secrets, **client)
    finally:
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


class Gate:
    """Holds a world's operation until it is opened, so that a test can look at a running job."""

    def __init__(self, operation: str, what: str = "") -> None:
        self._operation, self._what = operation, what
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, operation: str, what: str) -> None:
        if operation == self._operation and self._what in what:
            self.reached.set()
            assert self.open.wait(PATIENCE)


@dataclass
class Shared:
    """One server for the tests of a module, each on a world of its own and without the jobs of the others."""

    client: Client
    worlds: list[World]

    def fresh(self) -> World:
        store = self.client.service.runner.store
        with store._lock:  # a job of the test before may still be noting its end
            store._db.executescript("DELETE FROM events; DELETE FROM keys; DELETE FROM jobs;")
        self.worlds[:] = [docs_world()]
        return self.worlds[0]


@contextmanager
def shared(directory: Path, **server: Any) -> Iterator[Shared]:
    worlds = [docs_world()]
    with serving(settings(directory, **server), lambda: worlds[0]) as client:
        yield Shared(client, worlds)
