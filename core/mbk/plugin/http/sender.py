"""Requests over kept connections to one service: `Sender`, and the answers that it gives."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from mbk.frozen import frozen
from mbk.plugin.http.answers import Head, Headers
from mbk.plugin.http.connection import Connection, Data, NotTaken
from mbk.plugin.http.dialling import Dialler, Timeouts
from mbk.plugin.http.failures import BadAnswer, ConnectionLost, WantsTls
from mbk.plugin.http.origin import Origin, Proxy
from mbk.ports.waiting import asked

if TYPE_CHECKING:
    import ssl

#: As many as the engine's widest pool, with room for requests beside it.
KEPT = 256
#: Services and the balancers before them close what was idle for 5 s to some minutes; a minute saves most handshakes.
IDLE = 60.0
#: A connection that answered this many seconds ago or less is taken to live, for the request is sent again if it does not:
#: to look costs a tenth of a small request.
FRESH = 1.0
#: An answer that is not streamed: a page of 1,000 keys of 1 KiB, encoded, takes 7 MiB.
LARGEST = 64 * 1024 * 1024

_LOG = logging.getLogger("mbk.requests")
_REPEATABLE = frozenset({"GET", "HEAD"})
_WITH_BODY = frozenset({"PUT", "POST", "PATCH"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@frozen
class Answer:
    """``content`` is the whole body; of a streamed answer of success it is empty, and ``stream`` is the body."""

    status: int
    headers: Headers
    content: bytes = b""
    stream: Stream | None = None


class Sender:
    """Sends requests to one origin, each once, from any thread. Redirects are answers like others.

    ``trust`` is needed for https (:func:`mbk.plugin.http.trusting`). At most ``kept`` idle connections are kept, each for
    at most ``idle`` seconds; those in use are as many as there are callers. After a fork the child has connections of
    its own. ``host`` is the value of the Host header, where a service listens at an address that is not its name.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        trust: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  a frozen value
        kept: int = KEPT,
        idle: float = IDLE,
        host: str = "",
    ) -> None:
        self._dialler = Dialler(origin=origin, proxy=proxy, trust=trust, timeouts=timeouts)
        self._idle = idle
        self._limit = kept
        self._kept: deque[Connection] = deque()
        self._process = os.getpid()
        # Through a proxy a request of plain HTTP names its whole address.
        self._before_target = str(origin) if proxy is not None and not origin.tls else ""
        own = [f"Host: {host or origin.authority}"]
        if self._before_target and proxy is not None and proxy.authorization:
            own.append(f"Proxy-Authorization: {proxy.authorization}")
        self._own_headers = "".join(f"{line}\r\n" for line in own)

    def __repr__(self) -> str:
        return f"<Sender to {self._dialler.origin}>"

    @property
    def origin(self) -> Origin:
        return self._dialler.origin

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Data = b"",
        *,
        streamed: bool = False,
        repeatable: bool | None = None,
    ) -> Answer:
        """The answer to one request, whatever its status. ``target`` is ``/path?query``, encoded.

        Host and Content-Length are added, ``headers`` may not have them; ``Accept-Encoding: identity``, where they have none.
        Header names are those of the documents, as `Content-Type`. ``streamed``: the body of an
        answer of success is left to be read. ``repeatable``: sending it twice does no harm (by default GET and HEAD).
        Then it goes out on a kept connection, and once more on a new one if that ends before it answers. Any other goes
        out on a new one: nobody could tell whether a service that closes a kept one has heard it.

        Raises `SendingFailed` and its kinds, `WantsTls` where a plain request is sent to https, `ValueError` where the request
        cannot be written as HTTP.
        """
        answer = self._answer(method, target, headers, body, streamed, repeatable)
        if answer.status in _REDIRECTS and not self.origin.tls and _leads_to_tls(answer):
            raise WantsTls("the endpoint redirects to https")
        if _LOG.isEnabledFor(logging.DEBUG):
            # Without the query: a signature may be in it.
            _LOG.debug("%s %s at %s: %s", method, target.partition("?")[0], self.origin, answer.status)
        return answer

    def _answer(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Data,
        streamed: bool,
        repeatable: bool | None,
    ) -> Answer:
        head = self._head(method, target, headers, len(body))
        again = method in _REPEATABLE if repeatable is None else repeatable
        kept = self._take() if again else None
        if kept is not None:
            try:
                return self._exchange(kept, method, head, body, streamed=streamed)
            except NotTaken:
                pass
            except ConnectionLost:
                if not kept.is_silent:
                    raise
        elif not again:
            self._make_room()
        return self._exchange(self._dialled(), method, head, body, streamed=streamed)

    def close(self) -> None:
        """Closes the idle connections; those in use are kept no longer. Idempotent; a later request opens new ones."""
        self._limit = 0
        self._forget()

    def _head(self, method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
        if not target.startswith("/") or not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError("the target of the request is not an encoded path")
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if not fields.count("\n") == fields.count("\r") == len(headers):
            raise ValueError("a header contains the end of a line")
        if "Accept-Encoding" not in headers:
            fields = f"Accept-Encoding: identity\r\n{fields}"
        if length or method in _WITH_BODY:
            fields = f"{fields}Content-Length: {length}\r\n"
        line = f"{method} {self._before_target}{target} HTTP/1.1\r\n"
        return f"{line}{self._own_headers}{fields}\r\n".encode("latin-1")

    def _exchange(
        self, connection: Connection, method: str, head: bytes, body: Data, *, streamed: bool
    ) -> Answer:
        connection.ask = asked()
        try:
            answered = connection.answer_to(head, body, bodiless=method == "HEAD")
            stream = Stream(connection, answered, self._give_back)
            if streamed and 200 <= answered.status < 300:
                return Answer(answered.status, answered.headers, stream=stream)
            return Answer(answered.status, answered.headers, stream.whole())
        except BaseException:
            connection.close()
            raise

    def _dialled(self) -> Connection:
        return Connection(self._dialler.dial(asked()), patience=self._dialler.timeouts.read)

    def _make_room(self) -> None:
        """For a new connection, though others are idle: as many remain."""
        self._of_this_process()
        with suppress(IndexError):
            self._kept.popleft().close()

    def _take(self) -> Connection | None:
        self._of_this_process()
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return None
            idle = time.monotonic() - connection.since
            if idle < self._idle and (idle < FRESH or not connection.is_dead()):
                return connection
            connection.close()

    def _of_this_process(self) -> None:
        if self._process != os.getpid():
            self._kept, self._process = deque(), os.getpid()

    def _give_back(self, connection: Connection) -> None:
        if len(self._kept) >= self._limit or not connection.is_ready():
            connection.close()
            return
        connection.since = time.monotonic()
        self._kept.append(connection)
        self._drop_the_oldest(connection.since)

    def _drop_the_oldest(self, now: float) -> None:
        try:
            oldest = self._kept[0]
            if now - oldest.since > self._idle:
                self._kept.remove(oldest)
                oldest.close()
        except (IndexError, ValueError):  # another thread took it
            return

    def _forget(self) -> None:
        while True:
            try:
                self._kept.pop().close()
            except IndexError:
                return


def _leads_to_tls(answer: Answer) -> bool:
    return answer.headers.get("location", "").lower().startswith("https://")


class Stream:
    """The body of an answer, read once, by one thread at a time. ``length`` in bytes, None where none was announced.

    Read to its end it gives the connection back, else `close` closes that. Idempotent.
    """

    def __init__(self, connection: Connection, head: Head, give_back: Callable[[Connection], None]) -> None:
        self._connection: Connection | None = connection
        self._head = head
        self._give_back = give_back
        self._left = head.length or 0
        self.length = head.length
        if head.length == 0:
            self._end()

    @property
    def marks_its_end(self) -> bool:
        """Whether a body that breaks off is known for one, though no length was announced."""
        return self._head.chunked

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes (at least 1), none at the end. Raises `SendingFailed` where the body breaks off."""
        connection = self._connection
        if connection is None:
            return b""
        try:
            if self._head.chunked:
                return self._read_chunked(connection, size)
            if self.length is None:
                data = connection.read_or_end(size)
            else:
                data = connection.read(min(size, self._left))
                self._left -= len(data)
        except BaseException:
            self.close()
            raise
        if not self._left and (self.length is not None or not data):
            self._end()
        return data

    def whole(self) -> bytes:
        """All that is left. Raises `BadAnswer` where that is too much."""
        if self._left > LARGEST:
            raise BadAnswer("the answer is too large")
        pieces = []
        size = 0
        while data := self.read(self._left or LARGEST):
            size += len(data)
            if size > LARGEST:
                raise BadAnswer("the answer is too large")
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _read_chunked(self, connection: Connection, size: int) -> bytes:
        if not self._left:
            self._left = connection.chunk_size()
            if not self._left:
                self._end()
                return b""
        data = connection.read(min(size, self._left))
        self._left -= len(data)
        if not self._left:
            connection.end_of_chunk()
        return data

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._head.keeps:
            self._give_back(connection)
        else:
            connection.close()
