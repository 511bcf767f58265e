"""One kept connection: a request written, the head of its answer read, its body read."""

from __future__ import annotations

import math
import re
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

from mbk.plugin.http.answers import LARGEST_HEAD, Head, parsed
from mbk.plugin.http.dialling import WAITED, is_in_the_kernel
from mbk.plugin.http.failures import AnswerTimedOut, BadAnswer, ConnectionLost, SendingFailed
from mbk.ports.waiting import SLICE, Ask, patiently

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
#: What TLS is given at once: it says nothing of its progress amid a call, and this much passes within a time-out on any line.
_PIECE = 256 * 1024
#: Answers before the answer (100, 102, 103); who sends more has gone astray.
_INTERIM = 8
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")
_LONGEST_LINE = 4096


class Connection:
    """Of one thread at a time. Whatever raises leaves it unusable: close it. ``patience``: seconds for each wait, and for
    the headers of an answer, once they have begun.

    The socket has a short time-out (`mbk.plugin.http.dialling.Dialler`): after each, ``ask`` may end the wait.
    """

    def __init__(self, sock: socket.socket, *, patience: float = math.inf) -> None:
        self._sock = sock
        self._patience = patience
        self.ask: Ask = patiently
        self._buffer = b""
        self._at = 0
        self._whole = socket.MSG_WAITALL if is_in_the_kernel(sock) else 0
        #: Whether what the last answer brought past its end may still be outside of the buffer.
        self._unseen = False
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(sock, select.POLLIN)
        #: When the last request was answered, by `time.monotonic`.
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

    def answer_to(self, request: bytes, body: Data, *, bodiless: bool) -> Head:
        """Sends a request, and reads the head of its answer. Raises `SendingFailed`; `NotTaken` where not all of it went out.

        A service may refuse a request before it took the whole of it, and then close the connection, or let it stand.
        """
        try:
            early = self._send(request, body, bodiless=bodiless)
        except ConnectionLost as exc:
            with suppress(SendingFailed):
                return _refusal(self.head(bodiless=bodiless))
            raise NotTaken(str(exc)) from exc.__cause__
        return self.head(bodiless=bodiless) if early is None else _refusal(early)

    def _send(self, request: bytes, body: Data, *, bodiless: bool) -> Head | None:
        """Returns the head of an answer that was there before all of the request was sent."""
        if len(body) <= _JOINED:
            return self._pushed(request + body if body else request, bodiless)
        return self._pushed(request, bodiless) or self._pushed(body, bodiless)

    def _pushed(self, data: Data, bodiless: bool) -> Head | None:
        left, since = memoryview(data), 0.0
        while left:
            try:
                sent = self._sock.send(left if self._whole else left[:_PIECE])
            except WAITED as exc:
                since = self._waited(since, exc)
                if self._is_answering() and (head := self._next_head(bodiless)).status >= 200:
                    return head
            except OSError as exc:
                raise _failed(exc) from exc
            else:
                left, since = left[sent:], 0.0
        return None

    def _waited(self, since: float, exc: OSError) -> float:
        """After a slice in which nothing moved; returns since when. ``since`` 0: it was the first."""
        now = time.monotonic()
        since = since or now - min(SLICE, self._patience)
        if now - since >= self._patience:
            raise _failed(exc) from exc
        self.ask(since)
        return since

    def _is_answering(self) -> bool:
        """Whether bytes of an answer are there. TLS has messages of its own: only reading tells."""
        is_there = self.is_dead()
        if self._whole or not is_there or self._at < len(self._buffer):
            return is_there
        usual = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            data = self._sock.recv(_HEAD)
        except OSError:
            return False
        finally:
            self._sock.settimeout(usual)
        if not data:
            raise ConnectionLost("the connection was closed")
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        return True

    def head(self, *, bodiless: bool) -> Head:
        """The head of the next answer. Raises `SendingFailed`; `ConnectionLost` where it did not even begin."""
        for _ in range(_INTERIM):
            head = self._next_head(bodiless)
            if head.status >= 200:
                return head
            if head.status == 101:
                break
        raise BadAnswer("the service answers with interim answers only")

    def _next_head(self, bodiless: bool) -> Head:
        return parsed(self._raw_head(), bodiless=bodiless)

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
        begun = self._buffer[self._at : self._at + size]
        self._at += len(begun)
        if len(begun) == size or (begun and not self._whole):
            return begun
        # What came with the head is joined to the rest: a small object is one chunk for all who handle it.
        rest = min(size, _AT_ONCE) - len(begun)
        if rest <= 0:
            return begun
        self._unseen = True
        data = self._received(rest, self._whole) if self._whole else self._gathered(rest)
        return begun + data if begun else data

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
        since = 0.0
        while True:
            try:
                # Sockets of TLS know no flags.
                return self._sock.recv(size, flags) if flags else self._sock.recv(size)
            except WAITED as exc:
                since = self._waited(since, exc)
            except OSError as exc:
                raise _failed(exc) from exc


class NotTaken(ConnectionLost):
    """The connection ended while the request went out: all of it did not arrive, so none of it was done."""


def _refusal(early: Head) -> Head:
    """The head of an answer to a part of a request. Nobody can have done what was not asked yet."""
    if early.status < 300:
        raise BadAnswer("the service reported success before it had the whole request")
    return replace(early, keeps=False)


def _failed(exc: OSError) -> SendingFailed:
    if isinstance(exc, WAITED):
        return AnswerTimedOut("timed out waiting for the answer")
    return ConnectionLost("the connection was closed")
