"""Signed requests to one bucket, wherever it turns out to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from mbk.plugin.http import Answer, Origin, Sender
from mbk.plugin.wire import Data
from mbk_s3.addresses import Address
from mbk_s3.payloads import Payload
from mbk_s3.refused import refused, region_told
from mbk_s3.signing import Keys, signed

_SAFE_IN_QUERY = "-._~"
#: Parameters without a value: signed with a ``=``, sent without, as every service knows them.
_FLAGS = frozenset({"delete", "uploads", "versions"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``key`` None: of the bucket itself. ``query`` and ``headers`` as they are, not encoded.

    ``repeatable``: sent twice it does no harm.
    """

    method: str
    key: str | None
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Data = b""
    payload: Payload
    streamed: bool = False
    repeatable: bool | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    region: str
    address: Address
    sender: Sender
    host: str


class Bucket:
    """From any thread.

    ``address_in`` says where the bucket is in a region, ``sender_to`` makes the sender to an origin, and ``keys`` is asked
    before each request, so that temporary ones are renewed amid a run. A service that names another region for the bucket is
    believed: the request is signed anew, once, and so are all that follow.
    """

    def __init__(
        self,
        *,
        region: str,
        address_in: Callable[[str], Address],
        sender_to: Callable[[Origin], Sender],
        keys: Callable[[], Keys],
    ) -> None:
        self._address_in = address_in
        self._sender_to = sender_to
        self._keys = keys
        self._place = self._place_in(region)

    def close(self) -> None:
        self._place.sender.close()

    def send(self, request: Request) -> Answer:
        """The answer of success. Raises `Refused`, and what a sender raises."""
        place = self._place
        answer = self._answer(request, place)
        if answer.status < 300:
            return answer
        said = refused(answer)
        region = region_told(said, answer)
        if not region or region == place.region:
            raise said
        moved = self._moved(place, region)
        answer = self._answer(request, moved)
        if answer.status < 300:
            return answer
        raise refused(answer)

    def _moved(self, old: _Place, region: str) -> _Place:
        """Of several threads that are told at once each makes one; the last is kept."""
        place = self._place_in(region)
        self._place = place
        old.sender.close()
        return place

    def _place_in(self, region: str) -> _Place:
        address = self._address_in(region)
        return _Place(region, address, self._sender_to(address.origin), address.origin.authority)

    def _answer(self, request: Request, place: _Place) -> Answer:
        path = place.address.bucket_path if request.key is None else place.address.of(request.key)
        pairs = [(name, quote(value, safe=_SAFE_IN_QUERY)) for name, value in sorted(request.query.items())]
        headers = signed(
            self._keys(),
            place.region,
            method=request.method,
            host=place.host,
            path=path,
            query="&".join([f"{name}={value}" for name, value in pairs]),
            headers={**request.headers, **request.payload.headers},
            payload=request.payload.signed,
            at=time.time(),
        )
        return place.sender.send(
            request.method,
            f"{path}?{_sent(pairs)}" if pairs else path,
            {**headers, "User-Agent": "mbk"},
            request.body,
            streamed=request.streamed,
            repeatable=request.repeatable,
        )


def _sent(pairs: list[tuple[str, str]]) -> str:
    return "&".join([name if name in _FLAGS and not value else f"{name}={value}" for name, value in pairs])
