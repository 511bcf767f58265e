"""JSON decoders that threads can share."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

S = TypeVar("S")

_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_building = threading.Lock()


def decoder(kind: type[S]) -> msgspec.json.Decoder[S]:
    """One decoder per type, built by one thread at a time. Several threads may call it.

    msgspec inspects a type when it is first decoded, and a second thread that does so meanwhile meets a half-built
    description: with msgspec 0.22 and eight threads the interpreter crashed.
    """
    made = _decoders.get(kind)
    if made is None:
        with _building:
            made = _decoders.get(kind) or msgspec.json.Decoder(kind)
            _decoders[kind] = made
    return made
