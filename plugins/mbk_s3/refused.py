"""What the service refuses, and what it says there of the bucket's region."""

from __future__ import annotations

import re
from http import HTTPStatus

from mbk.plugin import refusals
from mbk.plugin.http import Answer
from mbk.plugin.refusals import Refused

_REGION = re.compile(r"[a-z0-9-]{1,63}")
_REGION_ELEMENT = re.compile(r"<Region>([^<]*)<")
_REDIRECTS = frozenset({301, 302, 307, 308})
_OF_REGION = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
)


def refused(answer: Answer) -> Refused:
    """A stat has no body: then the status speaks."""
    said = refusals.refused(answer)
    return said if said.code else Refused(said.status, "", _phrase(said.status))


def region_told(said: Refused, answer: Answer) -> str:
    """The region that the service names as the bucket's where a request was for another one, else empty.

    A stat has no body, so its bare 400 counts where a header names a region.
    """
    if not (said.status in _REDIRECTS or said.name in (*_OF_REGION, "400")):
        return ""
    element = _REGION_ELEMENT.search(answer.content.decode(errors="replace"))
    region = answer.headers.get("x-amz-bucket-region") or (element[1] if element else "")
    return region if _REGION.fullmatch(region) else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
