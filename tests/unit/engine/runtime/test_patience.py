"""A run that is told to stop waits for no service that says nothing, whatever it was doing and whatever is left to tidy up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted
from mbk.ports.storage import MIB, Storage
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage
from tests.servers.process import HOST
from tests.servers.scripted import DEAF, HANG, Scripted, answer, scripted

STARTED = answer(b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")


@contextmanager
def stopped(*connections: list[bytes], after: int = 1) -> Iterator[tuple[Storage, Run, Scripted]]:
    """A storage, and a run that is told to stop once the server has heard so many requests."""
    with scripted(*connections) as server:
        keys = {"access_key_id": "an-id", "secret_access_key": "a-secret"}
        storage = open_storage(
            GenericSettings.model_validate({"address": HOST, "port": server.port, "bucket": "bucket", **keys})
        )
        run, heard = Run(), threading.Event()

        def stop() -> None:
            while len(server.requests) < after and not heard.wait(0.01):
                pass
            run.cancelled.set()

        watching = threading.Thread(target=stop)
        watching.start()
        try:
            yield retried(storage, run), run, server
        finally:
            heard.set()
            watching.join()
            storage.close()


def read(storage: Storage) -> None:
    with storage.read("k") as chunks:
        assert [*chunks]


def write_parts(storage: Storage) -> None:
    storage.write("k", iter([bytes(MIB)] * 64), size=64 * MIB)


CALLS: dict[str, tuple[Callable[[Storage], object], list[list[bytes]]]] = {
    "stat": (lambda storage: storage.stat("k"), [[HANG]]),
    "list": (lambda storage: [*storage.list("p/")], [[HANG]]),
    "read": (read, [[HANG]]),
    "read on": (read, [[answer(bytes(MIB))[:-1], HANG]]),
    "write": (lambda storage: storage.write("k", [b"data"]), [[HANG]]),
    "write in parts": (write_parts, [[STARTED], [HANG]]),
    "delete": (lambda storage: storage.delete(["k"]), [[HANG]]),
    "copy": (lambda storage: storage.copy(storage, "a", "b"), [[HANG]]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_request_that_nobody_answers_is_given_up(name: str) -> None:
    call, script = CALLS[name]
    with stopped(*script, after=len(script)) as (storage, _, _), pytest.raises(Interrupted):
        call(storage)


def test_a_request_whose_body_nobody_takes_is_given_up() -> None:
    with stopped([DEAF, HANG], after=0) as (storage, _, _), pytest.raises(Interrupted):
        storage.write("k", [bytes(15 * MIB)])


def test_what_is_tidied_up_is_given_up_too() -> None:
    with stopped([STARTED], [HANG], after=2) as (storage, _, server):
        with pytest.raises(Interrupted), storage.multipart("k") as upload:
            upload.put_part(1, b"data")
        assert server.requests[-1][1].startswith("DELETE ")


def test_a_service_that_answers_is_tidied_up_after_the_stop() -> None:
    aborted = answer(b"", status="204 No Content")
    with stopped([STARTED, HANG], [aborted], after=2) as (storage, _, server):
        with pytest.raises(Interrupted), storage.multipart("k") as upload:
            upload.put_part(1, b"data")
        assert server.requests[-1][1].startswith("DELETE ")


def test_what_runs_afterwards_is_given_up_too() -> None:
    with stopped([HANG], after=0) as (storage, run, _):
        run.cancelled.wait()
        after = retried(storage, run.afterwards())
        for _ in range(3):
            with pytest.raises(Interrupted):
                after.delete(["k"])
