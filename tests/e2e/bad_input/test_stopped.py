"""Runs that are stopped by Ctrl-C or SIGTERM: one line, and nothing lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest

from tests.e2e.bad_input.place import GOOD, Make
from tests.e2e.site import Tree, s3_storage
from tests.servers.faults import Fault, fault_proxy
from tests.servers.s3 import S3Server
from tests.shell import Command, Shell


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
