"""Workers of a Dask cluster that exists already. Its scheduler hands out batches and repeats those of workers that die.

Whoever speaks to a scheduler without TLS speaks in the open. So secrets go to one only with TLS, on this machine, or
where the user allows it; or not at all, where workers have a configuration of their own.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import pickle
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from mbk.about import __version__
from mbk.engine.runtime.executor import Job
from mbk.engine.runtime.run import Run
from mbk.errors import ConfigError, MbkError, MissingDependency, Problem, Unreachable, UsageError
from mbk.frozen import frozen
from mbk.ports.storage import Storage, StorageRef
from mbk.workers.task import Answer, Ticket, busy, forget, work

if TYPE_CHECKING:
    from distributed import Client, Future

Batch = TypeVar("Batch")
Done = TypeVar("Done")

#: Batches that are out at once, for each thread of the cluster: the one that it does and the next one, at hand.
AHEAD = 2
#: However large the cluster is: each waits in a thread of the run.
WIDEST = 256
#: How often a batch is handed out anew after it killed as many workers as the scheduler allows (three, as a rule).
TRIES = 2
#: Seconds to connect, which includes looking up names of services.
CONNECT = 15.0
#: Seconds between two looks at whether the run was cancelled.
LOOK = 0.25
#: Seconds between two looks at which workers are there.
COUNT = 2.0
#: Seconds that workers get to end what they are doing when the run is cancelled.
GRACE = 10.0
#: Protocols of Dask under which others can neither read nor pretend.
SAFE = frozenset({"tls", "wss", "inproc"})

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Dask:
    """An `Executor`. ``scheduler``: its address; empty: it stands in ``scheduler_file``. ``tls``: the PEM files of the
    authority, of the certificate and of its key, as far as they are set.

    ``workers``: so many are waited for at the start, ``patience`` seconds, and so long whenever there is none.
    ``version``: of the mbk that workers must have. ``tells``: what is sent to workers carries secrets. ``allow_plain``: they may
    go without TLS, too.
    """

    references: Callable[[Storage], StorageRef | None]
    scheduler: str = ""
    scheduler_file: str = ""
    tls: tuple[str, str, str] = ("", "", "")
    workers: int = 1
    patience: float = 60.0
    tells: bool = True
    allow_plain: bool = False
    version: str = __version__

    def reference(self, storage: Storage) -> StorageRef | None:
        return self.references(storage)

    def require(self) -> None:
        """Raises `Unreachable`, `MissingDependency` and `ConfigError`."""
        self._opened()[1].close()

    def start(self, job: Callable[[int], Job[Batch, Done]], run: Run) -> DaskWorkers[Batch, Done]:
        """Connects to the scheduler. Raises as `require`."""
        address, client = self._opened()
        if not _is_private(address):
            run.notice(
                "dask-in-the-open",
                "the Dask scheduler {address} is spoken to without TLS: whoever can reach it can run code there",
                address=address,
            )
        return DaskWorkers(self, client, address, job, run)

    def _opened(self) -> tuple[str, Client]:
        _require_dask()
        address = self.scheduler or _in_file(self.scheduler_file)
        self.require_private([address])
        client = _connected(address, self._security(address))
        try:
            self.require_private([client.scheduler_info()["address"], *client.nthreads()])
        except BaseException:
            client.close()
            raise
        return address, client

    def require_private(self, addresses: Iterable[str]) -> None:
        """Raises `ConfigError` if secrets would go to one of them that others can listen to."""
        for address in addresses:
            if self.tells and not self.allow_plain and not _is_private(address):
                raise ConfigError(
                    "configuration",
                    [
                        Problem(
                            "transfer.dask.scheduler",
                            f"{address} would get the storages' credentials without TLS",
                            "use tls://, set transfer.dask.credentials to own, or transfer.dask.allowPlain to true",
                        )
                    ],
                )

    def _security(self, address: str) -> Any:
        from distributed import Security

        authority, certificate, key = self.tls
        given: dict[str, str | bool] = {
            "tls_ca_file": authority,
            "tls_client_cert": certificate,
            "tls_client_key": key,
        }
        if urlsplit(address).scheme in SAFE:
            given["require_encryption"] = True
        return Security(**{name: value for name, value in given.items() if value})


class DaskWorkers(Generic[Batch, Done]):
    """See :class:`mbk.engine.runtime.executor.Workers`."""

    def __init__(
        self,
        asked: Dask,
        client: Client,
        address: str,
        job: Callable[[int], Job[Batch, Done]],
        run: Run,
    ) -> None:
        self._asked = asked
        self._client = client
        self._address = address
        self._job = job
        self._run = run
        self._lock = threading.Lock()
        self._ticket: Ticket | None = None
        self._seen: frozenset[str] = frozenset()
        self._counted = self._manned = time.monotonic()
        self.width = max(AHEAD, min(WIDEST, AHEAD * max(asked.workers, sum(client.nthreads().values()))))

    def do(self, batch: Batch) -> Done:
        ticket = self._ready()
        ticket = Ticket(ticket.version, ticket.id, ticket.job, pickle.dumps(batch))
        for _ in range(TRIES):
            answer = self._answer(ticket)
            if answer is None:
                continue
            if answer.refusal is not None:
                raise _refused(answer.worker, answer.refusal)
            done: Done = answer.done
            return done
        raise MbkError(
            "workers of {address} ended again and again with the same objects in hand",
            code="dask-workers-lost",
            address=self._address,
            hint="is there enough memory for them?",
        )

    def close(self) -> None:
        client, ticket = self._client, self._ticket
        if client.status == "closed":
            return
        with suppress(Exception):
            if ticket is not None:
                self._leave(ticket)
        with suppress(Exception):
            client.close(timeout=GRACE)

    # -- one batch -------------------------------------------------------------------------------------------------

    def _answer(self, ticket: Ticket) -> Answer | None:
        """None if the workers that had the batch died of it, as far as the scheduler can tell."""
        ended = threading.Event()
        # The name is all that others see of a task.
        future = self._client.submit(work, ticket, key=f"mbk-batch-{uuid.uuid4().hex}", pure=False)
        future.add_done_callback(lambda _: ended.set())
        try:
            while not ended.wait(LOOK):
                self._run.check_cancelled()
                self._look()
        except BaseException:
            self._client.cancel([future])
            raise
        return self._result(future)

    def _result(self, future: Future[Any]) -> Answer | None:
        if future.status == "finished":
            try:
                answer: Answer = future.result(timeout=CONNECT)
            except (TimeoutError, CancelledError):
                return None  # it died right afterwards, with its answer
            return answer
        error = future.exception(timeout=CONNECT) if future.status == "error" else None
        if type(error).__name__ == "KilledWorker":
            return None
        self._run.check_cancelled()
        if isinstance(error, ImportError):
            raise _refused("of the cluster", MbkError(f"it has no module {error.name}", code="worker-module"))
        raise Unreachable(
            "the Dask scheduler {address} dropped a batch: {reason}",
            code="dask-dropped",
            address=self._address,
            reason=type(error).__name__ if error else future.status,
            hint="was it restarted? run again",
        )

    # -- the cluster -----------------------------------------------------------------------------------------------

    def _ready(self) -> Ticket:
        """The job, once the workers are there: its share depends on how many they are."""
        with self._lock:
            if self._ticket is None:
                count = self._waited_for()
                job = self._job(max(1, count))
                self._ticket = Ticket(self._asked.version, job.id, pickle.dumps(job), b"")
            return self._ticket

    def _waited_for(self) -> int:
        """How many workers there are, once they are as many as wanted, or it took too long."""
        began = time.monotonic()
        while (count := len(self._client.nthreads())) < self._asked.workers:
            waited = time.monotonic() - began
            if waited > self._asked.patience:
                if count:
                    break
                raise self._no_worker()
            if waited > COUNT:
                self._run.notice(
                    "dask-waiting",
                    "waiting for workers of the Dask scheduler {address}, {patience} s at most",
                    address=self._address,
                    patience=round(self._asked.patience),
                )
            self._run.sleep(LOOK)
        return count

    def _look(self) -> None:
        """Every now and then: which workers are there. Raises if there were none for too long."""
        now = time.monotonic()
        with self._lock:
            if now - self._counted < COUNT:
                return
            self._counted = now
        try:
            there = frozenset(self._client.nthreads())
        except Exception as error:  # noqa: BLE001 - whatever a client raises whose scheduler is gone
            log.debug("the Dask scheduler %s does not answer: %s", self._address, type(error).__name__)
            there = frozenset()
        self._asked.require_private(there)
        with self._lock:
            lost, self._seen = self._seen - there, there
            self._manned = now if there else self._manned
            waited = now - self._manned
        for worker in sorted(lost):
            self._run.notice(
                "dask-worker-lost",
                "worker {worker} left; what it had in hand is done again by another",
                worker=worker,
            )
        if waited > self._asked.patience:
            raise self._no_worker()

    def _no_worker(self) -> Unreachable:
        return Unreachable(
            "no worker of the Dask scheduler {address} was there for {patience} s",
            code="dask-no-worker",
            address=self._address,
            patience=round(self._asked.patience),
            hint="start workers, or set transfer.dask.patience higher",
        )

    def _leave(self, ticket: Ticket) -> None:
        """Waits for what workers are still doing, if the run was cancelled, and lets them close its storages."""
        deadline = time.monotonic() + GRACE
        while self._run.cancelled.is_set() and time.monotonic() < deadline:
            if not any(self._everywhere(busy, ticket.id)):
                break
            time.sleep(LOOK)
        self._everywhere(forget, ticket.id)

    def _everywhere(self, function: Callable[[str], Any], id: str) -> list[Any]:
        """What the function returns on each worker; a worker that does not answer for too long is left alone."""
        found: list[Any] = []

        def ask() -> None:
            with suppress(Exception):
                found.extend(self._client.run(function, id, on_error="ignore").values())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(GRACE)
        return found


def _connected(address: str, security: Any) -> Client:
    import dask

    # What a lost worker means the run says itself, in its own words.
    quiet = {} if "distributed" in sys.modules else {"logging": {"distributed": "critical"}}
    try:
        with dask.config.set(quiet):
            from distributed import Client
        return Client(address, security=security, timeout=CONNECT, set_as_default=False, name="mbk")
    except (OSError, TimeoutError, ValueError) as error:
        raise Unreachable(
            "cannot reach the Dask scheduler {address}: {reason}",
            code="dask-unreachable",
            address=address,
            reason=error,
            hint="is transfer.dask.scheduler right, and, for tls://, its certificates?",
        ) from error


def _require_dask() -> None:
    """`MissingDependency` if it is not installed."""
    from importlib.util import find_spec

    if find_spec("distributed") is None:
        from mbk.extras import to_install

        raise MissingDependency(
            "transfer.executor dask requires distributed",
            code="dask-missing",
            requirement=to_install("dask"),
            hint="pip install {requirement}",
        )


def _in_file(path: str) -> str:
    if not path:
        needed = Problem("transfer.dask.scheduler", "required by transfer.executor dask")
        raise ConfigError("configuration", [needed])
    try:
        return str(json.loads(Path(path).read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            "configuration",
            [Problem("transfer.dask.schedulerFile", f"{path} is no scheduler file: {type(error).__name__}")],
        ) from error


def _is_private(address: str) -> bool:
    """Whether nobody but the two ends can read what is sent there: encrypted, or within this machine."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme in SAFE or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _refused(worker: str, reason: MbkError) -> UsageError:
    return UsageError(
        "the Dask worker {worker} cannot copy: {reason}",
        code="dask-worker-unusable",
        worker=worker,
        reason=reason.message,
        hint=reason.hint,
    )
