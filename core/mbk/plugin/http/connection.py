"""One kept connection: a request written, the head of its answer read, its body read."""

from __future__ import annotations

import math
import re
import select
import socket
import time
from collections.abc import Callable
from typing import TypeAlias

from mbk.plugin.http.answers import LARGEST_HEAD, Head, parsed
from mbk.plugin.http.dialling import is_in_the_kernel
from mbk.plugin.http.failures import AnswerTimedOut, BadAnswer, ConnectionLost, SendingFailed

Data: TypeAlias = bytes | bytearray | memoryview

#: What is read at once where the length is not known.
_READ = 64 * 1024
#: And where a head is awaited: what comes with it of a large body is in memory twice, in each connection.
_HEAD = 16 * 1024
#: What a body is read by, whatever its announced length: memory is taken before the bytes are there.
_AT_ONCE = 1024 * 1024
#: The largest record of TLS.
_RECORD = 16 * 1024
#: A body up to this many bytes goes out in one call with its head; copying it costs less than a second call.
_JOINED = 16 * 1024
#: Answers before the answer (100, 102, 103); who sends more has gone astray.
_INTERIM = 8
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")
_LONGEST_LINE = 4096


class Connection:
    """Of one thread at a time. Whatever raises leaves it unusable: close it. ``patience``: seconds for the headers of an
    answer, once they have begun.
    """

    def __init__(self, sock: socket.socket, *, patience: float = math.inf) -> None:
        self._sock = sock
        self._patience = patience
        self._buffer = b""
        self._at = 0
        self._whole = socket.MSG_WAITALL if is_in_the_kernel(sock) else 0
        #: Whether what the last answer brought past its end may still be outside of the buffer.
        self._unseen = False
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(sock, select.POLLIN)
        #: Requests answered so far, and when the last was, by `time.monotonic`.
        self.answered = 0
        self.since = 0.0

    def is_dead(self) -> bool:
        """Between two requests nothing is to be read: an end, or bytes that nobody asked for."""
        if self._at < len(self._buffer) or self._is_pending():
            return True
        if self._poll is not None:
            return bool(self._poll.poll(0))
        return bool(select.select([self._sock], [], [], 0)[0])

    def _is_pending(self) -> bool:
        """Whether TLS holds decrypted bytes, of which the system knows nothing."""
        pending: Callable[[], int] | None = getattr(self._sock, "pending", None)
        return pending is not None and pending() > 0

    def send(self, head: bytes, body: Data) -> None:
        """Raises `SendingFailed` where not all of it went out."""
        try:
            if len(body) <= _JOINED:
                self._sock.sendall(head + body if body else head)
            else:
                self._sock.sendall(head)
                self._sock.sendall(body)
        except OSError as exc:
            raise _failed(exc) from exc

    def head(self, *, bodiless: bool) -> Head:
        """The head of the next answer. Raises `SendingFailed`; `ConnectionLost` where it did not even begin."""
        for _ in range(_INTERIM):
            head = parsed(self._raw_head(), bodiless=bodiless)
            if head.status >= 200:
                return head
            if head.status == 101:
                break
        raise BadAnswer("the service answers with interim answers only")

    @property
    def is_silent(self) -> bool:
        """Whether nothing of an answer came yet."""
        return not self._buffer

    def _raw_head(self) -> bytes:
        began = 0.0
        while (end := self._buffer.find(b"\r\n\r\n", self._at)) < 0:
            if len(self._buffer) - self._at > LARGEST_HEAD:
                raise BadAnswer("the headers of the answer are too large")
            if self._at < len(self._buffer):
                began = began or time.monotonic()
                if time.monotonic() - began > self._patience:
                    raise AnswerTimedOut("timed out waiting for the rest of the headers")
            data = self._received(_HEAD, 0)
            if not data:
                raise ConnectionLost("the connection was closed")
            self._buffer = self._buffer[self._at :] + data
            self._at = 0
        raw = self._buffer[self._at : end]
        self._at = end + 4
        return raw

    def read(self, size: int) -> bytes:
        """At least one byte, at most ``size`` (at least 1). Raises `ConnectionLost` at the end of the connection."""
        data = self.read_or_end(size)
        if not data:
            raise ConnectionLost("the connection was closed amid the answer")
        return data

    def read_or_end(self, size: int) -> bytes:
        """As `read`, but empty at the end of the connection."""
        if self._at < len(self._buffer):
            data = self._buffer[self._at : self._at + size]
            self._at += len(data)
            return data
        size = min(size, _AT_ONCE)
        self._unseen = True
        return self._received(size, self._whole) if self._whole else self._gathered(size)

    def line(self) -> bytes:
        """Up to the next end of a line, without it."""
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            if len(self._buffer) - self._at > _LONGEST_LINE:
                raise BadAnswer("the answer has a malformed chunk")
            data = self._received(_READ, 0)
            if not data:
                raise ConnectionLost("the connection was closed amid the answer")
            self._buffer = self._buffer[self._at :] + data
            self._at = 0
        line = self._buffer[self._at : end]
        self._at = end + 2
        return line

    def chunk_size(self) -> int:
        """The size that the next line announces; after 0 the trailers are read, too."""
        text = self.line().partition(b";")[0].strip()
        if not _CHUNK_SIZE.fullmatch(text):
            raise BadAnswer("the answer has a malformed chunk")
        size = int(text, 16)
        if not size:
            for _ in range(_INTERIM * _INTERIM):
                if not self.line():
                    return 0
            raise BadAnswer("the answer has too many trailers")
        return size

    def end_of_chunk(self) -> None:
        if self.line():
            raise BadAnswer("the answer has a malformed chunk")

    def is_ready(self) -> bool:
        """Whether the next request may go out on it: the answer was read to its end, and nothing after it."""
        if self._at < len(self._buffer) or (self._unseen and self.is_dead()):
            return False
        self._buffer, self._at, self._unseen = b"", 0, False
        return True

    def close(self) -> None:
        self._sock.close()

    def _gathered(self, size: int) -> bytes:
        """TLS gives a record at a time; whoever reads wants fewer and larger pieces. Less at the end of the connection."""
        pieces = []
        while size and (data := self._received(min(size, _RECORD), 0)):
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def _received(self, size: int, flags: int) -> bytes:
        try:
            # Sockets of TLS know no flags.
            return self._sock.recv(size, flags) if flags else self._sock.recv(size)
        except OSError as exc:
            raise _failed(exc) from exc


def _failed(exc: OSError) -> SendingFailed:
    # BlockingIOError is the time-out of a socket that waits in the kernel.
    if isinstance(exc, TimeoutError | BlockingIOError):
        return AnswerTimedOut("timed out waiting for the answer")
    return ConnectionLost("the connection was closed")
