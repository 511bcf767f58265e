"""JSON that others wrote: decoders that threads can share, and one error for all that can be wrong with bytes."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

S = TypeVar("S")
#: `msgspec.Raw` is a part of other bytes, decoded where it lies: a copy of it may be hundreds of MiB.
Encoded = bytes | bytearray | msgspec.Raw

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_building = threading.Lock()


class Undecodable(Exception):
    """The bytes are not what they should be; the text says why. ``is_json``: they are JSON, but of another form."""

    def __init__(self, reason: object, *, is_json: bool) -> None:
        super().__init__(str(reason))
        self.is_json = is_json


def decoded(data: Encoded, kind: type[S]) -> S:
    """``data`` as a value of this type. `Undecodable` whatever the bytes are. Several threads may call it."""
    try:
        return decoder(kind).decode(data)
    except msgspec.ValidationError as wrong:
        raise Undecodable(wrong, is_json=True) from wrong
    except RecursionError as deep:
        raise Undecodable("it is nested too deeply", is_json=False) from deep
    except (msgspec.DecodeError, ValueError, OverflowError) as broken:
        raise Undecodable(broken, is_json=False) from broken


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
