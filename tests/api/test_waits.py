"""Clients that begin a request and never end it do not keep the server's connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mbk.api.waits import Waits
from tests.api.harness import PATIENCE, Client, Gate, docs_world, serving, settings

HEAD = b"POST /api/v2/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory: Path = tmp_path_factory.mktemp("waits")
    with serving(settings(directory), docs_world(), waits=Waits(head=0.5, body=0.5)) as client:
        yield client


def connected(client: Client, *sent: bytes) -> socket.socket:
    at = urlsplit(client.url)
    assert at.hostname
    assert at.port
    connection = socket.create_connection((at.hostname, at.port), timeout=PATIENCE)
    for piece in sent:
        connection.sendall(piece)
    return connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection, which it must."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_heads_that_do_not_end_are_given_up_all_of_them(client: Client) -> None:
    begun = [connected(client, sent) for sent in (b"", b"G", HEAD) for _ in range(100)]
    assert {rest(connection) for connection in begun} == {b""}
    assert client.get("/healthz") == {"status": "ok"}


def test_a_second_head_on_a_kept_connection_is_waited_for_as_long(client: Client) -> None:
    connection = connected(client, WHOLE)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    connection.sendall(HEAD)
    assert b"HTTP/1.1" not in rest(connection)


def test_a_body_that_does_not_end_is_answered_and_given_up(client: Client) -> None:
    answer = rest(connected(client, HEAD + b"\r\n", b'{"kind":'))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not come to its end" in answer


def test_an_answer_may_take_longer(tmp_path: Path) -> None:
    gate, world = Gate("flush"), docs_world()
    world.milvus.fault = gate
    with serving(settings(tmp_path), world, waits=Waits(head=0.2, body=0.2)) as client:
        job = client.job(kind="backup", name="watched")
        threading.Timer(0.6, gate.open.set).start()
        assert "succeeded" in client.ask("GET", f"/api/v2/jobs/{job['id']}/events").text
