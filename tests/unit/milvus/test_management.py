from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mbk.errors import ConfigError, MilvusError, MilvusUnavailable, Unsupported
from mbk.milvus import management
from tests.raising import raised


class Handler(BaseHTTPRequestHandler):
    """Answers with the server's ``answer`` and keeps the paths asked for."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Port)
        self.server.asked.append(self.path)
        status, body = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Port(HTTPServer):
    answer = (200, b'{"msg":"OK"}')
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = Port(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_pause_of_everything_has_no_ticket(port: Port) -> None:
    assert management.pause(port.url, 3600, collection_id=None) == ""
    management.resume(port.url)
    base = "/management/datacoord/garbage_collection"
    assert port.asked == [f"{base}/pause?pause_seconds=3600&collection_id=0", f"{base}/resume?"]


def test_a_pause_of_one_collection_is_resumed_by_its_ticket(port: Port) -> None:
    port.answer = (200, b'{"msg":"OK","ticket":"t/1"}')
    assert management.pause(f"{port.url}/", 60, collection_id=450) == "t/1"
    management.resume(port.url, ticket="t/1", collection_id=450)
    assert port.asked[0].endswith("pause?pause_seconds=60&collection_id=450")
    assert port.asked[1].endswith("resume?ticket=t%2F1&collection_id=450")


@pytest.mark.parametrize(("status", "error"), [(404, Unsupported), (500, MilvusError)])
def test_refusals_name_the_place(port: Port, status: int, error: type[Exception]) -> None:
    port.answer = (status, b"broken\nhere")
    with pytest.raises(error) as caught:
        management.pause(port.url, 60, collection_id=None)
    assert port.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dead_port_and_a_wrong_address_are_told_apart() -> None:
    with raised(MilvusUnavailable, "milvus-port-unreachable", endpoint="127.0.0.1:1"):
        management.pause("127.0.0.1:1", 60, collection_id=None)
    with pytest.raises(ConfigError) as caught:
        management.pause("http://host:port", 60, collection_id=None)
    assert [problem.key for problem in caught.value.problems] == ["milvus.management.endpoint"]


def test_a_port_of_another_protocol_is_told_without_its_bytes_and_not_asked_again() -> None:
    """A gRPC server begins by itself, with its settings."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"\x00\x00\x18\x04\x00\x00\x00\x00\x00\x00\x04\x00@\x00\x00\x00\x05\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with raised(
            MilvusUnavailable, "milvus-port-unreachable", reason="the response is not HTTP"
        ) as caught:
            management.pause(f"127.0.0.1:{server.getsockname()[1]}", 60, collection_id=None)
        thread.join()
    assert not caught.value.retryable
    assert str(caught.value).isprintable()


def test_a_port_that_nobody_serves_is_not_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MilvusUnavailable) as caught:
        management.pause(address, 60, collection_id=None)
    assert not caught.value.retryable
