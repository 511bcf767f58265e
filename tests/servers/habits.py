"""Habits of services that speak S3, each with its name: what they do otherwise than the protocol has it, or leave out.

They are seen in services that people run, in gateways, and in proxies between. `tests.servers.s3_memory` has them:

    with s3_memory(*habits("no-batch-delete", "no-length"), buckets=("backups",)) as service: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.servers.s3_memory import Answer, Habit, Request, Serve, error, xml

HABITS: dict[str, Habit] = {}

_REDIRECT = b"<html><body>moved</body></html>"


def habits(*names: str) -> tuple[Habit, ...]:
    return tuple(HABITS[name] for name in names)


def _habit(name: str) -> Callable[[Habit], Habit]:
    def named(habit: Habit) -> Habit:
        HABITS[name] = habit
        return habit

    return named


# -- answers ---------------------------------------------------------------------------------------------------------


@_habit("no-length")
def _(request: Request, serve: Serve) -> Answer:
    """A proxy that sends every body in chunks, and so announces no length, not to a HEAD either."""
    answer = serve(request)
    return replace(answer, announced=False) if answer.body or request.method == "HEAD" else answer


@_habit("bare-etags")
def _(request: Request, serve: Serve) -> Answer:
    """No quotes around etags (Ceph's copies)."""
    answer = serve(request)
    headers = {name: value.strip('"') for name, value in answer.headers.items()}
    return replace(answer, headers=headers, body=answer.body.replace(b"&quot;", b""))


@_habit("names-as-they-are")
def _(request: Request, serve: Serve) -> Answer:
    """``encoding-type`` is not known: names stand in listings as they are."""
    query = {name: value for name, value in request.query.items() if name != "encoding-type"}
    return serve(replace(request, query=query))


@_habit("first-page-for-ever")
def _(request: Request, serve: Serve) -> Answer:
    """The continuation token is ignored."""
    query = {name: value for name, value in request.query.items() if name != "continuation-token"}
    return serve(replace(request, query=query))


@_habit("to-https")
def _(request: Request, serve: Serve) -> Answer:
    """A balancer that sends every plain request to https."""
    return Answer(301, _REDIRECT, {"Location": f"https://{request.host}/{request.bucket}/{request.key}"})


@_habit("virtual-host-only")
def _(request: Request, serve: Serve) -> Answer:
    """The bucket must stand in the host name (OBS, buckets at Amazon made after it ended the path style)."""
    name, dot, _rest = request.host.partition(".")
    if not dot or request.host[0].isdigit():
        return error(
            403, "VirtualHostDomainRequired", "Virtual host domain is required when accessing a bucket"
        )
    return serve(replace(request, bucket=name, key=f"{request.bucket}/{request.key}".rstrip("/")))


# -- what is refused -------------------------------------------------------------------------------------------------


def _refusing(name: str, is_meant: Callable[[Request], bool], answer: Answer) -> None:
    @_habit(name)
    def _(request: Request, serve: Serve) -> Answer:
        return answer if is_meant(request) else serve(request)


def _is_batch(request: Request) -> bool:
    return request.method == "POST" and request.has("delete")


def _is_copy(request: Request) -> bool:
    return "x-amz-copy-source" in request.headers


def _is_listing_of_uploads(request: Request) -> bool:
    return not request.key and request.has("uploads")


def _is_conditional(request: Request) -> bool:
    return "if-none-match" in request.headers


def _is_write(request: Request) -> bool:
    return request.method in ("PUT", "POST", "DELETE")


_NOT_IMPLEMENTED = error(
    501, "NotImplemented", "A header you provided implies functionality that is not implemented"
)
_DENIED = error(403, "AccessDenied", "Access Denied")
_BAD = error(400, "InvalidRequest", "The request is not valid")
_BROKEN = error(500, "InternalError", "We encountered an internal error. Please try again.")

for _name, _is_meant in (
    ("batch-delete", _is_batch),
    ("copy", _is_copy),
    ("part-copy", lambda request: _is_copy(request) and request.has("partNumber")),
    ("conditions", _is_conditional),
    ("upload-list", _is_listing_of_uploads),
    ("writes", _is_write),
):
    _refusing(f"no-{_name}", _is_meant, _NOT_IMPLEMENTED)
    _refusing(f"bad-{_name}", _is_meant, _BAD)
    _refusing(f"denied-{_name}", _is_meant, _DENIED)
    _refusing(f"broken-{_name}", _is_meant, _BROKEN)


@_habit("conditions-ignored")
def _(request: Request, serve: Serve) -> Answer:
    """``If-None-Match`` means nothing to a write."""
    return serve(replace(request, headers=_without(request, "if-none-match")))


@_habit("deletes-nothing")
def _(request: Request, serve: Serve) -> Answer:
    """A batch of deletes is answered with success, and nothing is done."""
    return Answer(body=xml("DeleteResult", "")) if _is_batch(request) else serve(request)


@_habit("wants-digests")
def _(request: Request, serve: Serve) -> Answer:
    """A bucket with object lock by default: writes of objects and parts need a digest (Amazon's rule)."""
    writes = request.method == "PUT" and request.key and not _is_copy(request)
    proven = any(name == "content-md5" or name.startswith("x-amz-checksum-") for name in request.headers)
    if writes and not proven:
        words = (
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock"
        )
        return error(400, "InvalidRequest", f"{words} parameters")
    return serve(request)


@_habit("no-checksums")
def _(request: Request, serve: Serve) -> Answer:
    """Digests of Amazon's newer kinds are not known."""
    if any(name.startswith("x-amz-checksum-") and name != "x-amz-checksum-mode" for name in request.headers):
        return _NOT_IMPLEMENTED
    return serve(request)


@_habit("equal-parts")
def _(request: Request, serve: Serve) -> Answer:
    """All parts but the last must be of one size (R2)."""
    if request.method != "PUT" or not request.has("partNumber") or "x-amz-copy-source" in request.headers:
        return serve(request)
    sizes = _PARTS.setdefault(request.query["uploadId"], {})
    sizes[int(request.query["partNumber"])] = len(request.body)
    inner = {size for number, size in sizes.items() if number < max(sizes)}
    if len(inner) > 1:
        return error(400, "InvalidPart", "All non-trailing parts must have the same length")
    return serve(request)


#: Of the uploads of "equal-parts": the size of each part.
_PARTS: dict[str, dict[int, int]] = {}


def _without(request: Request, *names: str) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name not in names}
