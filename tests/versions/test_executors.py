"""Backups and restores whose objects other processes copy: the same as those of one process, whatever dies meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
from pydantic import SecretStr

from mbk.config.schema import StorageChoice
from mbk.engine.runtime.executor import Executor
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import ConfigError, Interrupted, StorageUnavailable, Unreachable, UsageError
from mbk.model.events import Event, ObjectCopied
from mbk.ports.storage import Storage, StorageRef
from mbk.registry.reference import Reference, References
from mbk.workers.cluster import Dask
from mbk.workers.processes import Processes
from mbk.workers.task import Ticket
from tests.fakes.world import QUICK
from tests.raising import raised
from tests.servers.dask import DaskCluster, dask_cluster
from tests.servers.process import HOST, free_port
from tests.shell import SECRET, Shell
from tests.versions.everything import fill
from tests.versions.places import Place, place

PROCESSES = {"executor": "processes", "workers": 2}
#: Seconds in which a process that has no reason to stay is gone, on a busy machine; and after all tests.
WAIT, LATER = 30, 3600.0


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("executors")
    with place(directory, "v2.6.12") as found:
        # Backups of it are compared with each other, object by object.
        found.double.state.sort_seconds = LATER
        fill(found.double)
        with found.session() as session:
            session.create("plain", format="binlog")
        yield found


def objects(where: Place, name: str, *, below: str = "backups") -> dict[str, bytes]:
    """The data of a backup, without what is its own in each run."""
    data = where.config.parent / below / name / "binlogs"
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def children(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "mbk.workers.child" in child.cmdline()]


def here() -> list[psutil.Process]:
    return children(psutil.Process().pid)


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=WAIT)[1]


def sample(directory: Path, count: int) -> list[CopyItem]:
    """Objects in the directory ``from``, to be copied to other keys."""
    (directory / "from").mkdir()
    for number in range(count):
        (directory / "from" / str(number)).write_bytes(b"x" * 10)
    return [CopyItem(source_key=str(n), key=f"to/{n}", size=10) for n in range(count)]


def local(directory: Path) -> StorageChoice:
    return StorageChoice(type="local", values={"root_path": str(directory)})


@contextmanager
def copying(
    executor: Callable[[References], Executor], source: StorageChoice, destination: StorageChoice, run: Run
) -> Iterator[Transfer]:
    references = References()
    opened = []
    for choice in (source, destination):
        reference = Reference(choice)
        opened.append(reference.open())
        references.add(opened[-1], reference)
    alike = source.type == destination.type
    limits = TransferLimits(mode="direct" if alike else "streaming", executor=executor(references))
    with (
        closing(opened[0]),
        closing(opened[1]),
        Transfer(source=opened[0], destination=opened[1], run=run, limits=limits) as transfer,
    ):
        yield transfer


# -- processes of this machine -------------------------------------------------------------------------------------------


def test_processes_make_the_same_backup_though_all_of_them_are_killed_once(filled: Place) -> None:
    killed: list[psutil.Process] = []

    def kill(event: Event) -> None:
        if isinstance(event, ObjectCopied) and not killed:
            killed.extend(here())
            for process in killed:
                process.kill()

    with filled.session(transfer=PROCESSES) as session:
        report = session.create("processes", format="binlog", on_event=kill)
    assert len(killed) == 2
    assert any("done again" in notice for notice in report.notices)
    assert objects(filled, "processes") == objects(filled, "plain") != {}
    assert here() == []


def test_a_cancelled_run_leaves_no_process(filled: Place) -> None:
    cancelled = threading.Event()
    seen: list[psutil.Process] = []

    def cancel(event: Event) -> None:
        if isinstance(event, ObjectCopied):
            seen.extend(here())
            cancelled.set()

    with filled.session(transfer=PROCESSES) as session, pytest.raises(Interrupted):
        session.create("cancelled", format="binlog", on_event=cancel, cancelled=cancelled)
    assert seen
    assert here() == []


def test_killed_a_run_leaves_no_process_and_resume_ends_it(filled: Place) -> None:
    shell = Shell(filled.config)
    words = ("--set", "transfer.executor=processes", "--set", "transfer.workers=2", "create", "-n", "killed")
    command = shell.start(*words)
    workers: list[psutil.Process] = []
    while len(workers) < 2:
        assert command.process.poll() is None
        workers = children(command.process.pid)
    command.process.kill()
    command.process.communicate()
    assert gone(workers)
    shell.run(*words, "--resume")
    assert objects(filled, "killed") == objects(filled, "plain")


def test_what_keeps_processes_from_copying_is_told_in_one_line(tmp_path: Path) -> None:
    class Wrong(References):
        def of(self, storage: Storage) -> StorageRef:
            return Reference(StorageChoice(type="nowhere"))

    objects_, where = sample(tmp_path, 40), local(tmp_path / "from")
    with (
        raised(UsageError, "storage-type-unknown"),
        copying(lambda _: Processes(1, Wrong().of), where, local(tmp_path), Run(policy=QUICK)) as transfer,
    ):
        transfer.copy(objects_, collection="", present={})
    assert here() == []


# -- a Dask cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(filled: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """With TLS and two workers, which have the configuration of the run. The last test that uses it kills one."""
    directory: Path = tmp_path_factory.mktemp("dask")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "localhost")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "both.pem"))
    flags = ("--protocol", "tls", "--tls-ca-file", f"{directory}/ca.pem")
    flags += ("--tls-cert", f"{directory}/both.pem", "--tls-key", f"{directory}/both.pem")
    env = {"MILVUSCONF": str(filled.config.parent)}
    with dask_cluster(directory, "one", "two", flags=flags, env=env) as found:
        yield found


def settings(cluster: DaskCluster) -> dict[str, Any]:
    both = f"{cluster.directory}/both.pem"
    return {
        "executor": "dask",
        "dask.schedulerFile": str(cluster.file),
        "dask.tls.ca": f"{cluster.directory}/ca.pem",
        "dask.tls.cert": both,
        "dask.tls.key": both,
    }


def dask(cluster: DaskCluster, **more: Any) -> Callable[[References], Dask]:
    both = f"{cluster.directory}/both.pem"
    tls = (f"{cluster.directory}/ca.pem", both, both)
    return lambda references: Dask(
        references=references.of, scheduler=cluster.address, tls=tls, **{"patience": 5.0, **more}
    )


def test_no_secret_is_in_what_dask_logs_or_names(cluster: DaskCluster, tmp_path: Path) -> None:
    """The destination does not answer, so that everything that can complain does."""
    events: list[Event] = []
    secret = {"access_key_id": "key", "secret_access_key": SecretStr(SECRET), "bucket": "none"}
    nowhere = StorageChoice(type="s3", values={"address": HOST, "port": free_port(), **secret})
    run = Run(events.append, policy=QUICK)
    with (
        pytest.raises(StorageUnavailable) as caught,
        copying(dask(cluster), local(tmp_path / "from"), nowhere, run) as transfer,
    ):
        transfer.copy(sample(tmp_path, 40), collection="", present={})
    assert any(event.kind == "retry.scheduled" for event in events)
    for text in (cluster.log, str(caught.value), repr(events), repr(Ticket("1", "2", b"", SECRET.encode()))):
        assert SECRET not in text


def test_a_worker_of_another_version_is_refused_in_one_line(cluster: DaskCluster, tmp_path: Path) -> None:
    with (
        raised(UsageError, "dask-worker-unusable") as caught,
        copying(
            dask(cluster, version="9.9"), local(tmp_path / "from"), local(tmp_path), Run(policy=QUICK)
        ) as transfer,
    ):
        transfer.copy(sample(tmp_path, 2), collection="", present={})
    assert "9.9" in str(caught.value)


def test_cancelled_a_run_leaves_nothing_in_the_cluster(cluster: DaskCluster, tmp_path: Path) -> None:
    """Once a batch has come back, others are in hand: the first object alone decides the way."""
    cancelled = threading.Event()
    copied: list[Event] = []

    def cancel(event: Event) -> None:
        copied.append(event)
        if isinstance(event, ObjectCopied) and len(copied) > 1:
            cancelled.set()

    run = Run(cancel, policy=QUICK, cancelled=cancelled)
    with (
        pytest.raises(Interrupted),
        copying(dask(cluster), local(tmp_path / "from"), local(tmp_path), run) as transfer,
    ):
        transfer.copy(sample(tmp_path, 500), collection="", present={})
    with cluster.client() as client:
        assert not any(client.processing().values())
        assert not any(client.call_stack().values())


def test_workers_open_the_storages_that_their_own_configuration_has(
    cluster: DaskCluster, filled: Place
) -> None:
    with filled.session(transfer=settings(cluster) | {"dask.credentials": "own"}) as session:
        session.create("own", format="binlog")
        assert objects(filled, "own") == objects(filled, "plain")
        session.copy("own", path=str(filled.config.parent / "elsewhere"))
    assert objects(filled, "own", below="elsewhere") == objects(filled, "plain")


def test_a_worker_is_killed_with_work_in_hand_and_the_backup_is_the_same(
    cluster: DaskCluster, filled: Place
) -> None:
    """It stands still from the first object on, so that it ends nothing of what it is given until it dies."""
    dying: list[threading.Timer] = []

    def stop(event: Event) -> None:
        if isinstance(event, ObjectCopied) and not dying:
            cluster.workers["one"].send_signal(signal.SIGSTOP)
            dying.append(threading.Timer(1.0, cluster.workers["one"].kill))
            dying[0].start()

    with filled.session(transfer=settings(cluster)) as session:
        session.create("dask", format="binlog", on_event=stop)
    assert dying
    assert objects(filled, "dask") == objects(filled, "plain")


def test_workers_that_never_come_are_told_and_given_up(tmp_path: Path) -> None:
    run = Run(policy=QUICK)
    with (
        dask_cluster(tmp_path) as empty,
        raised(Unreachable, "dask-no-worker"),
        copying(
            lambda references: Dask(references=references.of, scheduler=empty.address, patience=3.0),
            local(tmp_path / "from"),
            local(tmp_path),
            run,
        ) as transfer,
    ):
        transfer.copy(sample(tmp_path, 2), collection="", present={})
    assert len(run.notices) == 1


@pytest.mark.parametrize("address", ["tcp://10.0.0.7:8786", "dask-scheduler:8786"])
def test_credentials_go_to_no_scheduler_without_tls(address: str, tmp_path: Path) -> None:
    with (
        raised(ConfigError),
        copying(
            lambda references: Dask(references=references.of, scheduler=address),
            local(tmp_path),
            local(tmp_path / "to"),
            Run(),
        ) as transfer,
    ):
        transfer.prepare()
