"""An answer that is read piece by piece as the body that `mbk.plugin.wire.Wire.get` gives."""

from __future__ import annotations

from collections.abc import Callable

from mbk.errors import StorageError
from mbk.plugin.headers import require_range, required, size_in_range
from mbk.plugin.http.sender import Answer
from mbk.plugin.wire import Body, WireError

#: A range that every object has, unless it is empty.
FIRST_BYTE = "bytes=0-0"


def size_of(answer: Answer) -> int:
    """Of the whole object, by a streamed answer with its `FIRST_BYTE`: for services whose HEAD tells no length."""
    if answer.stream is not None:
        answer.stream.close()
    size = size_in_range(answer.headers.get("content-range"))
    return int(required({"Content-Length": size}, "Content-Length"))


def body_of(answer: Answer, span: str) -> Body:
    """Of a streamed answer of success. ``span``: the `mbk.plugin.headers.byte_range` that was asked for.

    `WireError` where it holds other bytes, or neither announces a length nor marks its end.
    """
    stream = answer.stream
    if stream is None:
        raise ValueError("the answer was not streamed")
    return checked_body(
        stream.length,
        span,
        answer.headers.get("content-range"),
        read=stream.read,
        close=stream.close,
        marks_its_end=stream.marks_its_end,
    )


def checked_body(
    length: int | None,
    span: str,
    told: str | None,
    *,
    read: Callable[[int], bytes],
    close: Callable[[], object],
    marks_its_end: bool,
) -> Body:
    """As `body_of`, of an answer of an SDK; ``told`` is its Content-Range."""
    try:
        if length is None and not marks_its_end:
            raise WireError(StorageError, "the answer does not tell its length", code="length-missing")
        known = require_range(span, told, length)
    except WireError:
        close()
        raise
    return Body(length=known, read=read, close=close)
