"""Where the requests for one bucket go, and how they are signed."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

from mbk.plugin.buckets import BucketRequests
from mbk.plugin.http import Answer, Origin, sender_to
from mbk.plugin.refusals import Refused, refused
from mbk_ali.credentials import source
from mbk_ali.settings import AliSettings
from mbk_ali.signing import signer

_NO_DOMAIN = re.compile(r"[\d.]+|localhost")


def requests_of(settings: AliSettings) -> BucketRequests:
    """Sends nothing. The bucket stands in the host name, but where that is no domain, and where the settings say so."""
    by_path = bool(settings.path_style or _NO_DOMAIN.fullmatch(settings.host))
    host = settings.host if by_path else f"{settings.bucket}.{settings.host}"
    return BucketRequests(
        sender=sender_to(Origin(host=host, port=settings.port, tls=settings.tls), settings.ca_cert),
        path=f"/{settings.bucket}/" if by_path else "/",
        encode=_encoded,
        sign=signer(settings.bucket, settings.signing_region, source(settings)),
        mark="x-oss-request-id",
        refused=_refused,
    )


def _encoded(key: str) -> str:
    """As one element of the path: a proxy would resolve ``..``."""
    return quote(key, safe="")


def _refused(answer: Answer) -> Refused:
    """A HEAD has no body: its error stands in a header."""
    said = refused(answer)
    document = answer.headers.get("x-oss-err", "")
    if said.code or not document:
        return said
    try:
        return refused(Answer(answer.status, answer.headers, base64.b64decode(document)))
    except ValueError:
        return said
