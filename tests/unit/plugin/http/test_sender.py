"""Requests over kept connections, to servers that keep the rules of HTTP and to some that do not."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias

import pytest
import trustme

from mbk.errors import StorageError, StorageUnavailable
from mbk.plugin.http import (
    HINTS,
    Answer,
    AnswerTimedOut,
    BadAnswer,
    ConnectionLost,
    NotConnected,
    Origin,
    Sender,
    SendingFailed,
    Timeouts,
    WantsTls,
    body_of,
    kind_of,
    reason_of,
    trusting,
)
from mbk.plugin.http.connection import Connection
from mbk.plugin.http.dialling import Dialler
from mbk.plugin.wire import WireError
from mbk.ports.waiting import asking
from tests.servers.process import HOST, free_port
from tests.servers.scripted import CLOSE, DEAF, HANG, SLOW, Scripted, answer, scripted

MIB = 1024 * 1024

TwoSides: TypeAlias = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


def sender(server: Scripted, **more: Any) -> Sender:
    return Sender(Origin(host=HOST, port=server.port, tls=False), **more)


def secure(server: Scripted, trust: ssl.SSLContext | None) -> Sender:
    return Sender(Origin(host=HOST, port=server.port, tls=trust is not None), trust=trust)


def got(sending: Sender, method: str = "GET", body: bytes = b"", **more: Any) -> Answer:
    return sending.send(method, "/a", {}, body, **more)


def drained(answer: Answer) -> bytes:
    stream = answer.stream
    assert stream
    return b"".join(iter(lambda: stream.read(MIB), b""))


def test_a_request_has_its_headers_and_its_body() -> None:
    with scripted([answer(), answer(), answer()]) as server:
        sending = sender(server)
        sending.send("PUT", "/b/k%20?x=1", {"X-One": "1"}, memoryview(b"data"))
        sending.send("PUT", "/b/k", {}, b"x" * MIB)
        sending.send("DELETE", "/b/k", {})
    (_, first, body), (_, _, large), (_, bare, _) = server.requests
    assert first.splitlines()[0] == "PUT /b/k%20?x=1 HTTP/1.1"
    assert f"Host: {HOST}:{server.port}" in first.splitlines()
    assert {"X-One: 1", "Content-Length: 4"} <= {*first.splitlines()}
    assert (body, large) == (b"data", b"x" * MIB)
    assert "Content-Length" not in bare


def test_a_request_is_logged_at_debug_without_its_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with scripted([answer()]) as server:
        sender(server).send("PUT", "/b/k?sig=secret", {"Authorization": "secret"}, b"secret")
    (record,) = (record for record in caplog.records if record.name == "mbk.requests")
    assert record.getMessage() == f"PUT /b/k at http://{HOST}:{server.port}: 200"


def test_a_connection_is_kept_for_the_next_request() -> None:
    with scripted([answer(b"one"), answer(b"two"), answer(b"three")]) as server:
        sending = sender(server)
        assert [got(sending).content for _ in range(3)] == [b"one", b"two", b"three"]
    assert server.connections == [0, 0, 0]


@pytest.mark.parametrize(
    "last",
    [
        answer(b"one", "Connection: close"),
        answer(b"one").replace(b"HTTP/1.1", b"HTTP/1.0"),
        answer(b"one") + b"what nobody asked for",
        answer(b"3\r\none\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        answer(b"one", length=False),
    ],
    ids=["close", "1.0", "more than announced", "two lengths", "no length"],
)
def test_a_connection_that_cannot_be_kept_is_not(last: bytes) -> None:
    with scripted([last], [answer(b"two")]) as server:
        sending = sender(server)
        assert [got(sending).content, got(sending).content] == [b"one", b"two"]
    assert server.connections == [0, 1]


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (answer(b"x", "A:1", "a: 2 "), b"x"),
        (answer(b"x", status="200"), b"x"),
        (answer(b"2;ext=1\r\nxy\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n", "Transfer-Encoding: chunked", length=False), b"xy0123456789"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"x"), b"x"),
        (answer(b"", status="204 No Content", length=False), b""),
        (answer(b"x", "Content-Length: 1"), b"x"),
        (answer(b"<html>", status="503 Slow Down"), b"<html>"),
        (answer(b"", "Location: http://elsewhere/", status="307 Temporary Redirect"), b""),
    ],
)  # fmt: skip
def test_an_answer_is_read_whole(raw: bytes, content: bytes) -> None:
    with scripted([raw, answer(b"next")]) as server:
        sending = sender(server)
        first = got(sending)
        assert first.content == content
        assert first.headers.get("A", first.headers.get("a")) in (None, "1, 2")
        assert got(sending).content == b"next"
    assert server.connections == [0, 0]


def test_the_answer_to_a_head_has_a_length_and_no_body() -> None:
    with scripted([answer(b"", "Content-Length: 4711", length=False), answer(b"x")]) as server:
        sending = sender(server)
        head = got(sending, "HEAD")
        assert (head.content, head.headers["content-LENGTH"]) == (b"", "4711")
        assert got(sending).content == b"x"


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        answer(b"", "Content-Length: -1", length=False),
        answer(b"", "Content-Length: 1e3", length=False),
        answer(b"xy", "Content-Length: 1"),
        answer(b"", "Content-Length: 99999999999", length=False),
        answer(b"", "Transfer-Encoding: gzip", length=False),
        answer(b"zz\r\nxy\r\n", CHUNKED, length=False),
        answer(b"-2\r\nxy\r\n", CHUNKED, length=False),
        answer(b"1\r\nxy\r\n", CHUNKED, length=False),
        answer(b"1" * 10_000, CHUNKED, length=False),
        answer(b"0\r\n" + b"t: 1\r\n" * 100, CHUNKED, length=False),
    ],
)
def test_what_is_no_answer_is_told(raw: bytes) -> None:
    with scripted([raw]) as server, pytest.raises(BadAnswer) as caught:
        got(sender(server))
    assert kind_of(caught.value) is StorageUnavailable
    assert reason_of(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        CLOSE,
        b"HTTP/1.1 200",
        answer(b"xy")[:-1],
        answer(b"5\r\nxy", CHUNKED, length=False),
        answer(b"2\r\nxy\r\n", CHUNKED, length=False),
    ],
)
def test_an_answer_that_breaks_off_is_never_taken_for_whole(raw: bytes) -> None:
    with scripted([raw]) as server:
        with pytest.raises(ConnectionLost):
            got(sender(server))
        with pytest.raises(ConnectionLost):
            drained(got(sender(server), streamed=True))
    assert server.connections == [0, 1]


@pytest.mark.parametrize("size", [1, 1000, 4 * MIB])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_streamed_body_comes_in_pieces_and_gives_the_connection_back(size: int, chunked: bool) -> None:
    data = os.urandom(3 * MIB)
    raw = (
        answer(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data), CHUNKED, length=False)
        if chunked
        else answer(data)
    )
    if size == 1:
        data, raw = b"abc", answer(b"abc")
    with scripted([raw, answer(b"next")]) as server:
        sending = sender(server)
        stream = got(sending, streamed=True).stream
        assert stream
        assert stream.length == (None if chunked and size > 1 else len(data))
        pieces = [*iter(lambda: stream.read(size), b"")]
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= size
        assert got(sending).content == b"next"
    assert server.connections == [0, 0]


def test_a_small_streamed_body_is_one_piece_though_its_beginning_came_with_the_head() -> None:
    data = os.urandom(200_000)
    with scripted([answer(data)]) as server:
        stream = got(sender(server), streamed=True).stream
        assert stream
        assert stream.read(MIB) == data


def test_a_streamed_body_that_is_not_read_to_its_end_costs_the_connection() -> None:
    with scripted([answer(b"x" * MIB)], [answer(b"next")]) as server:
        sending = sender(server)
        stream = got(sending, streamed=True).stream
        assert stream
        assert stream.read(10)
        stream.close()
        assert stream.read(10) == b""
        assert got(sending).content == b"next"
    assert server.connections == [0, 1]


def test_a_failure_is_read_whole_though_streaming_was_asked_for() -> None:
    with scripted([answer(b"<Error/>", status="404 Not Found")]) as server:
        failed = got(sender(server), streamed=True)
    assert (failed.status, failed.content, failed.stream) == (404, b"<Error/>", None)


@pytest.mark.parametrize(
    "first",
    [[answer(), CLOSE], [answer()], [answer(), DEAF, CLOSE]],
    ids=["closes on the request", "has closed before", "closes amid the request"],
)
@pytest.mark.parametrize("size", [4, 32 * MIB], ids=["small", "half sent"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_a_dead_connection_is_replaced_where_that_is_safe(
    first: Sequence[bytes], method: str, size: int
) -> None:
    with scripted(first, [answer(b"again")]) as server:
        sending = sender(server)
        got(sending)
        assert got(sending, method, b"x" * size, repeatable=True).content == b"again"
    assert server.requests[-1][2] == b"x" * size


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("size", [0, 4, 8 * MIB])
def test_what_must_not_be_sent_twice_is_not_risked_on_a_kept_connection(method: str, size: int) -> None:
    """A service may close right after an answer, without having said so."""
    with scripted([answer(), CLOSE], [answer(b"once")]) as server:
        sending = sender(server)
        got(sending)
        assert got(sending, method, bytes(size), repeatable=False).content == b"once"
    assert server.connections == [0, 1]


def test_a_request_that_may_have_been_heard_is_not_sent_again() -> None:
    with scripted([answer()], [CLOSE], [answer(b"again")]) as server:
        sending = sender(server)
        got(sending)
        with pytest.raises(ConnectionLost):
            got(sending, "POST", b"data")
    assert server.connections == [0, 1]


def test_idle_connections_do_not_become_more_by_requests_on_new_ones() -> None:
    with scripted([answer()] * 9) as server:
        sending = sender(server)
        for _ in range(3):
            got(sending, "POST")
        assert [got(sending).status for _ in range(3)] == [200] * 3
    assert server.connections == [0, 1, 2, 2, 2, 2]


def test_a_connection_that_idled_too_long_is_closed() -> None:
    with scripted([answer(), answer()], [answer()]) as server:
        sending = sender(server, idle=0.0)
        got(sending)
        got(sending)
    assert server.connections == [0, 1]


def test_an_answer_before_the_whole_request_is_an_answer() -> None:
    refusal = answer(b"<Error/>", "Connection: close", status="403 Forbidden")
    # The reset that follows may overtake the answer.
    with scripted([DEAF, refusal]) as server, suppress(ConnectionLost):
        assert got(sender(server), "PUT", bytes(32 * MIB)).status == 403
    assert server.requests == []


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def tls(request: pytest.FixtureRequest) -> TwoSides:
    """Of a server, and of those who trust it."""
    if not request.param:
        return None, None
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(theirs)
    authority.configure_trust(ours)
    return theirs, ours


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_service_that_refuses_early_and_then_does_nothing_is_heard(tls: TwoSides, interim: bytes) -> None:
    refusal = answer(b"<Error/>", status="403 Forbidden")
    with scripted([DEAF, interim + refusal, HANG], tls=tls[0]) as server:
        refused = got(secure(server, tls[1]), "PUT", bytes(64 * MIB), repeatable=True)
    assert (refused.status, refused.content) == (403, b"<Error/>")


def test_a_slow_service_gets_the_whole_body(tls: TwoSides) -> None:
    with scripted([SLOW, answer(b"done")], tls=tls[0]) as server:
        assert got(secure(server, tls[1]), "PUT", b"x" * (16 * MIB)).content == b"done"
    assert server.requests[0][2] == b"x" * (16 * MIB)


def test_a_wait_ends_when_whoever_waits_is_told_to_stop(tls: TwoSides) -> None:
    class Stop(Exception):
        pass

    def stop(since: float) -> None:
        assert since <= time.monotonic()
        raise Stop

    before = asking(stop)
    try:
        for script, body in (
            ([HANG], b""),
            ([answer(b"xy")[:-1], HANG], b""),
            ([DEAF, HANG], bytes(64 * MIB)),
        ):
            with scripted(script, tls=tls[0]) as server, pytest.raises(Stop):
                got(secure(server, tls[1]), "PUT", body)
    finally:
        asking(before)


def test_connecting_ends_when_whoever_connects_is_told_to_stop() -> None:
    def stop(since: float) -> None:
        raise KeyError

    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        origin = Origin(host=HOST, port=port)
        with pytest.raises(KeyError):
            Dialler(origin=origin, proxy=None, trust=trusting(), timeouts=Timeouts()).dial(stop)


def test_success_before_the_whole_request_is_none() -> None:
    for raw in ([DEAF, answer(b"<html>")], [DEAF, answer(b"<html>"), HANG]):
        with scripted(raw) as server, pytest.raises((BadAnswer, ConnectionLost)):
            got(sender(server), "PUT", bytes(64 * MIB))


def test_nothing_is_waited_for_without_limit() -> None:
    with scripted([HANG]) as server, pytest.raises(AnswerTimedOut) as caught:
        got(sender(server, timeouts=Timeouts(read=0.05)))
    assert kind_of(caught.value) is StorageUnavailable
    with scripted([answer(b"xy")[:-1], HANG]) as server, pytest.raises(SendingFailed):
        got(sender(server, timeouts=Timeouts(read=0.05)))


def test_nobody_answers() -> None:
    with pytest.raises(NotConnected) as caught:
        got(Sender(Origin(host=HOST, port=free_port(), tls=False)))
    assert kind_of(caught.value) is StorageUnavailable
    assert reason_of(caught.value) == "Connection refused"
    assert "address" in HINTS[type(caught.value).__name__]


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", {}),
        ("http://elsewhere/", {}),
        ("/a\r\nX: 1", {}),
        ("/ä", {}),
        ("/a", {"X": "1\r\nY: 2"}),
        ("/a", {"X\n": "1"}),
        ("/a", {"X": "č"}),
    ],
)
def test_what_cannot_be_a_request_is_not_sent(target: str, headers: dict[str, str]) -> None:
    with scripted([answer()]) as server, pytest.raises(ValueError, match=r"header|target|codec"):
        sender(server).send("GET", target, headers)
    assert server.requests == []


def test_threads_get_their_own_answers() -> None:
    def script(number: int) -> list[bytes]:
        return [answer(b"%d" % number) for _ in range(50)]

    with scripted(*[script(number) for number in range(8)], script(9)) as server:
        sending = sender(server, kept=2)
        with ThreadPoolExecutor(8) as pool:
            answers = [*pool.map(lambda _: got(sending).content, range(200))]
    assert len(answers) == len(server.requests) == 200
    assert sorted(answers) == sorted(
        b"%d" % min(number, 9) for number in server.connections if number != 8
    ) + [b"9"] * server.connections.count(8)


def test_after_closing_requests_work_and_nothing_is_kept() -> None:
    with scripted([answer(), answer()], [answer(), answer()]) as server:
        sending = sender(server)
        got(sending)
        sending.close()
        got(sending)
        got(sending)
        sending.close()
    assert server.connections == [0, 1, 2]


def test_a_forked_child_has_connections_of_its_own() -> None:
    with scripted([answer()] * 2, [answer()] * 2) as server:
        sending = sender(server)
        got(sending)
        child = os.fork()
        if not child:
            os._exit(got(sending).status != 200)
        assert os.waitpid(child, 0)[1] == 0
        got(sending)
    assert server.connections == [0, 1, 0]


PART = "206 Partial Content"


@pytest.mark.parametrize(
    ("raw", "span"),
    [
        (answer(b"xy"), ""),
        (answer(b"xy", "Content-Range: bytes 4-5/9", status=PART), "bytes=4-5"),
        (answer(b"xy", "Content-Range: bytes 4-5/*", status=PART), "bytes=4-5"),
        (answer(b"xy", "Content-Range: bytes 7-8/9", status=PART), "bytes=7-"),
        (answer(b"xy", "Content-Range: bytes 7-8/9", status=PART), "bytes=7-20"),
    ],
)
def test_a_body_has_the_bytes_that_were_asked_for(raw: bytes, span: str) -> None:
    with scripted([raw]) as server:
        body = body_of(got(sender(server), streamed=True), span)
        assert (body.length, body.read(10)) == (2, b"xy")


@pytest.mark.parametrize(
    ("raw", "span", "code"),
    [
        (answer(b"xy", length=False), "", "length-missing"),
        (answer(b"xy"), "bytes=4-5", "range-ignored"),
        (answer(b"xy", "Content-Range: none", status=PART), "bytes=4-5", "range-ignored"),
        (answer(b"xy", "Content-Range: bytes 0-1/9", status=PART), "bytes=4-5", "range-ignored"),
        (answer(b"xyz", "Content-Range: bytes 4-6/9", status=PART), "bytes=4-5", "range-ignored"),
        (answer(b"xyz", "Content-Range: bytes 4-5/9", status=PART), "bytes=4-5", "range-ignored"),
        (answer(b"x", "Content-Range: bytes 4-4/9", status=PART), "bytes=4-5", "range-ignored"),
        (answer(b"xy", "Content-Range: bytes 4-5/9", status=PART), "bytes=4-", "range-ignored"),
    ],
)
def test_a_body_of_other_bytes_is_refused(raw: bytes, span: str, code: str) -> None:
    with scripted([raw]) as server:
        found = got(sender(server), streamed=True)
        with pytest.raises(WireError) as caught:
            body_of(found, span)
    assert (caught.value.kind, caught.value.code) == (StorageError, code)


def test_a_body_in_chunks_needs_no_length() -> None:
    """A proxy between dropped it; the end is marked."""
    chunked = answer(b"2\r\nxy\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False)
    with scripted([chunked]) as server:
        body = body_of(got(sender(server), streamed=True), "")
        assert (body.length, body.read(10), body.read(10)) == (None, b"xy", b"")


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_a_plain_request_that_is_sent_to_https_is_told(status: str) -> None:
    with (
        scripted([answer(b"", "Location: https://service/", status=status)]) as server,
        pytest.raises(WantsTls),
    ):
        got(sender(server))


def test_headers_that_come_byte_by_byte_are_not_waited_for_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200")
        theirs.close()
        with pytest.raises(AnswerTimedOut):
            Connection(ours, patience=-1.0).head(bodiless=False)
