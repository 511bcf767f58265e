"""JSON decoders that threads can share."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

S = TypeVar("S")

_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_building = threading.Lock()


def decoder(kind: type[S]) -> msgspec.json.Decoder[S]:
    """One decoder a type, made by one thread at a time.

    msgspec looks into a type when it is first decoded, and a second thread that does so meanwhile meets a half-made
    description: seen as a crash of the interpreter with msgspec 0.22 and eight threads.
    """
    found = _decoders.get(kind)
    if found is None:
        with _building:
            found = _decoders.get(kind) or msgspec.json.Decoder(kind)
            _decoders[kind] = found
    return found
