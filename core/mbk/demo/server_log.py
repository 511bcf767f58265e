"""Finds the reason in a Milvus server's output why it did not start."""

from __future__ import annotations

import re

from mbk.frozen import frozen

EXCERPT_LINES = 20
REASON_LENGTH = 200
_PORT_TAKEN = re.compile(r"address already in use|available port when init", re.IGNORECASE)
_DEATH = re.compile(
    r"^(?:panic:|fatal error:|terminate called|.*\[FATAL\])|error while loading shared libraries"
)
_ERROR = re.compile(r"\[error=(?:\"((?:[^\"\\]|\\.)*)\"|([^\]]*))\]")
# Messages of the other roles while they wait for the one that failed.
_FOLLOWERS = ("find no available", "empty grpc client", "leader changed")


@frozen
class ServerReport:
    """``reason`` is one line; ``excerpt`` the lines around it. Both are empty if there is no output."""

    reason: str
    excerpt: str


def port_was_taken(output: str) -> bool:
    """Whether one of the server's ports was not free. The proxy then listens on another one and stays healthy."""
    return _PORT_TAKEN.search(output) is not None


def dead_server_report(output: str, *, secrets: tuple[str, ...] = ()) -> ServerReport:
    """Why the server ended: its panic with what follows, otherwise its last own error, otherwise its last line.

    A Go panic is followed by the stacks of hundreds of goroutines, so the end of the output is useless.
    Each of ``secrets`` is replaced by ``***``.
    """
    for secret in filter(None, secrets):
        output = output.replace(secret, "***")
    lines = [line for line in output.splitlines() if line.strip()]
    death = next((index for index, line in enumerate(lines) if _DEATH.search(line)), None)
    if death is not None:
        start = max(0, death - 2)
        excerpt = "\n".join(lines[start : start + EXCERPT_LINES])
        return ServerReport(lines[death].strip()[:REASON_LENGTH], excerpt)
    reason = next((said for line in reversed(lines) if (said := _own_error(line))), "".join(lines[-1:]))
    return ServerReport(reason.strip()[:REASON_LENGTH], "\n".join(lines[-EXCERPT_LINES:]))


def _own_error(line: str) -> str:
    found = _ERROR.search(line)
    said = (found[1] or found[2] or "") if found else ""
    return "" if said.startswith(_FOLLOWERS) else said
