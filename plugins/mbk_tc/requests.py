"""Where the requests for one bucket go, and how they are signed."""

from __future__ import annotations

from urllib.parse import quote

from mbk.plugin.buckets import BucketRequests
from mbk.plugin.http import Answer, Origin, sender_to
from mbk.plugin.refusals import Refused, refused
from mbk_tc.credentials import source
from mbk_tc.settings import TcSettings
from mbk_tc.signing import signer


def requests_of(settings: TcSettings) -> BucketRequests:
    """Sends nothing. The bucket stands in the Host header, also where an address of digits is connected to."""
    named = f"{settings.bucket}.{settings.authority}"
    host = settings.host if settings.without_names else f"{settings.bucket}.{settings.host}"
    return BucketRequests(
        sender=sender_to(
            Origin(host=host, port=settings.port, tls=settings.tls), settings.ca_cert, host=named
        ),
        path="/",
        encode=encoded_key,
        sign=signer(named, source(settings)),
        mark="x-cos-request-id",
        refused=_refused,
    )


def encoded_key(key: str) -> str:
    """A proxy would resolve ``..`` as an element of a path."""
    return quote(key, safe="/~").replace("./", ".%2F")


def _refused(answer: Answer) -> Refused:
    """A HEAD has no body: that it found nothing has a word of its own, other codes may stand in a header."""
    said = refused(answer)
    code = said.code or answer.headers.get("x-cos-error-code", "")
    if not code and answer.status == 404:
        return Refused(404, "NoSuchResource", said.message)
    return Refused(answer.status, code, said.message)
