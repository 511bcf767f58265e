"""Where requests go: TLS that is verified, proxies of the environment, and no password in any text."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from mbk.errors import StorageUnavailable, Unreachable, UsageError
from mbk.plugin.http import (
    HINTS,
    BadProxy,
    BadTrust,
    NoProxy,
    NotConnected,
    Origin,
    Proxy,
    Sender,
    kind_of,
    proxy_of_environment,
    reason_of,
    trusting,
)
from tests.servers.process import HOST, free_port
from tests.servers.scripted import DEAF, answer, scripted

MIB = 1024 * 1024

PLAIN = Origin(host="store.example", port=9000, tls=False)
SECURE = Origin(host="store.example")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def serving(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("origin", "authority", "text"),
    [
        (SECURE, "store.example", "https://store.example"),
        (Origin(host="h", port=443), "h", "https://h"),
        (Origin(host="h", port=80), "h:80", "https://h:80"),
        (PLAIN, "store.example:9000", "http://store.example:9000"),
        (Origin(host="::1", port=80, tls=False), "[::1]", "http://[::1]"),
        (Origin(host="::1", port=9000, tls=False), "[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_an_origin_is_named_as_in_a_url(origin: Origin, authority: str, text: str) -> None:
    assert (origin.authority, str(origin)) == (authority, text)


def test_tls_with_a_private_authority(serving: ssl.SSLContext, ca_file: str) -> None:
    data = bytes(range(256)) * 400
    with scripted([answer(data), answer(data)], tls=serving) as server:
        sender = Sender(Origin(host="localhost", port=server.port), trust=trusting(ca_file))
        assert sender.send("PUT", "/a", {}, data).content == data
        stream = sender.send("GET", "/a", {}, streamed=True).stream
        assert stream
        assert b"".join(iter(lambda: stream.read(70_000), b"")) == data
    assert [(number, body) for number, _, body in server.requests] == [(0, data), (0, b"")]


@pytest.mark.parametrize("secure", [True, False])
def test_what_follows_a_streamed_body_is_never_the_answer_to_the_next_request(
    serving: ssl.SSLContext, ca_file: str, secure: bool
) -> None:
    """Decrypted bytes wait where the system sees none of them."""
    data = bytes(300_000)
    last = answer(data) + answer(b"unasked")
    with scripted([last], [answer(b"asked")], tls=serving if secure else None) as server:
        origin = Origin(host="localhost" if secure else HOST, port=server.port, tls=secure)
        sender = Sender(origin, trust=trusting(ca_file) if secure else None)
        stream = sender.send("GET", "/a", {}, streamed=True).stream
        assert stream
        assert b"".join(iter(lambda: stream.read(MIB), b"")) == data
        assert sender.send("PUT", "/b", {}, b"x").content == b"asked"
    assert server.connections == [0, 1]


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), ("no PEM", "is not a PEM file")])
def test_certificates_that_cannot_be_read_are_told_by_their_file(
    tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadTrust) as caught:
        trusting(str(file))
    assert kind_of(caught.value) is UsageError
    assert str(file) in reason_of(caught.value)
    assert words in reason_of(caught.value)
    assert "CA_BUNDLE" in HINTS[type(caught.value).__name__]


@pytest.mark.parametrize("host", ["localhost", HOST], ids=["unknown authority", "another name"])
def test_a_server_that_is_not_trusted_stays_so(serving: ssl.SSLContext, ca_file: str, host: str) -> None:
    trust = trusting() if host == "localhost" else trusting(ca_file)
    with scripted([answer()], tls=serving) as server, pytest.raises(NotConnected) as caught:
        Sender(Origin(host=host, port=server.port), trust=trust).send("GET", "/", {})
    assert kind_of(caught.value) is Unreachable
    assert "certificate" in reason_of(caught.value).lower()


def test_a_server_without_tls_stays_so() -> None:
    with scripted([DEAF, answer(status="400 Bad Request")]) as server, pytest.raises(NotConnected) as caught:
        Sender(Origin(host=HOST, port=server.port), trust=trusting()).send("GET", "/", {})
    assert kind_of(caught.value) is Unreachable


@pytest.mark.parametrize(
    ("environment", "origin", "expected"),
    [
        ({}, PLAIN, None),
        ({"http_proxy": "http://p:3128"}, PLAIN, ("p", 3128)),
        ({"http_proxy": "p:3128"}, PLAIN, ("p", 3128)),
        ({"http_proxy": "//p"}, PLAIN, ("p", 80)),
        ({"http_proxy": "http://p:3128"}, SECURE, None),
        ({"HTTPS_PROXY": "http://p:3128"}, SECURE, ("p", 3128)),
        ({"https_proxy": "http://p:1", "no_proxy": "other,.example"}, SECURE, None),
        ({"http_proxy": "http://p:1", "no_proxy": "store.example:9000"}, PLAIN, None),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, PLAIN, None),
        ({"all_proxy": "http://p:1"}, PLAIN, None),
    ],
)
def test_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    origin: Origin,
    expected: tuple[str, int] | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_of_environment(origin)
    assert (None if found is None else (found.host, found.port)) == expected


def test_a_proxy_for_everything_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "http://p:1")
    assert proxy_of_environment(PLAIN, or_all=True) == Proxy(host="p", port=1)


@pytest.mark.parametrize("url", ["socks5://me:s3cret@p:1", "http://me:s3cret@", "http://me:s3cret@p:port"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("http_proxy", url)
    with pytest.raises(BadProxy) as caught:
        proxy_of_environment(PLAIN)
    assert kind_of(caught.value) is UsageError
    assert "s3cret" not in str(caught.value)


def test_plain_requests_through_a_proxy_name_their_whole_address() -> None:
    with scripted([answer(b"x")]) as server:
        proxy = Proxy.of_url(f"http://me:s3%40cret@{HOST}:{server.port}")
        assert Sender(PLAIN, proxy=proxy).send("GET", "/a?b", {}).content == b"x"
        assert "s3" not in repr(proxy).replace("s3cret", "")
    head = server.requests[0][1].splitlines()
    assert head[0] == "GET http://store.example:9000/a?b HTTP/1.1"
    assert {"Host: store.example:9000", "Proxy-Authorization: Basic bWU6czNAY3JldA=="} <= {*head}


def test_secure_requests_go_through_a_tunnel(serving: ssl.SSLContext, ca_file: str) -> None:
    trust = trusting(ca_file)
    with scripted([b"HTTP/1.1 200 Connection established\r\n\r\n", DEAF, b"no TLS here"]) as server:
        proxy = Proxy.of_url(f"http://me:secret@{HOST}:{server.port}")
        with pytest.raises(NotConnected):
            Sender(Origin(host="localhost"), trust=trust, proxy=proxy).send("GET", "/a", {"X": "1"})
    [(_, head, _)] = server.requests
    assert head.splitlines()[0] == "CONNECT localhost:443 HTTP/1.1"
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in head.splitlines()
    assert "X: 1" not in head


@pytest.mark.parametrize(
    "refusal", [answer(b"who are you?", status="407 Proxy Authentication Required"), b"", b"nonsense\r\n\r\n"]
)
def test_a_proxy_that_refuses_is_told_without_its_password(refusal: bytes) -> None:
    with scripted([refusal]) as server:
        proxy = Proxy.of_url(f"http://me:s3cret@{HOST}:{server.port}")
        with pytest.raises(NoProxy) as caught:
            Sender(SECURE, trust=trusting(), proxy=proxy).send("GET", "/", {})
    assert kind_of(caught.value) is StorageUnavailable
    assert "s3cret" not in f"{reason_of(caught.value)} {caught.value!r}"


def test_a_proxy_that_is_not_there_is_told_instead_of_the_service() -> None:
    port = free_port()
    with pytest.raises(NoProxy) as caught:
        Sender(PLAIN, proxy=Proxy.of_url(f"http://me:s3cret@{HOST}:{port}")).send("GET", "/", {})
    assert kind_of(caught.value) is StorageUnavailable
    assert reason_of(caught.value) == f"proxy {HOST}:{port} cannot be reached: Connection refused"
    assert "http_proxy" in HINTS[type(caught.value).__name__]


def test_a_host_that_can_be_no_name_is_told() -> None:
    with pytest.raises(NotConnected) as caught:
        Sender(Origin(host=f"{'x' * 64}.example", tls=False)).send("GET", "/", {})
    assert reason_of(caught.value)


def test_a_proxy_that_is_reached_by_tls_is_refused() -> None:
    with pytest.raises(BadProxy):
        Sender(PLAIN, proxy=Proxy.of_url("https://p"))


def test_no_representation_shows_a_secret(tmp_path: Path) -> None:
    sender = Sender(PLAIN, proxy=Proxy.of_url("http://me:s3cret@p:1"))
    assert repr(sender) == "<Sender to http://store.example:9000>"
    assert "Basic" not in repr(sender._dialler)
