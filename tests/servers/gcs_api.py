"""The JSON API: https://cloud.google.com/storage/docs/json_api/v1. What mbk and the SDK ask for, and no more."""

from __future__ import annotations

import json
import re
from datetime import datetime
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.servers.gcs_accounts import Account
from tests.servers.gcs_store import (
    Answer,
    Object,
    Refusal,
    Request,
    Session,
    attributes_of,
    check_hashes,
    crc32c,
    invalid,
    md5,
)

if TYPE_CHECKING:
    from tests.servers.gcs import GcsServer

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PIECE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
#: https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload
GRANULE = 256 * 1024
#: https://cloud.google.com/storage/docs/batch#overview
BATCH = 100


def handle(server: GcsServer, request: Request) -> Answer:
    if request.path == "/batch/storage/v1":
        return _batch(server, request)
    caller = server.accounts.caller(request)
    first, *rest = request.elements
    upload = first == "upload"
    elements = rest if first in ("upload", "download") else [first, *rest]
    match request.method, elements[3:], upload:
        case "POST", [], False:
            return _make_bucket(server, caller, json.loads(request.body)["name"])
        case "GET", [bucket, "o"], False:
            return _list(server, caller, bucket, request.query)
        case "POST", [bucket, "o"], True:
            return _start_upload(server, caller, bucket, request)
        case (("PUT" | "DELETE"), [_, "o"], True):
            return _resume(server, request)
        case "GET", [bucket, "o", name], False:
            server.accounts.require(caller, "storage.objects.get", bucket)
            found = server.store.get(bucket, name, request.query.get("generation", ""))
            media = request.query.get("alt") == "media"
            return _media(found, request) if media else Answer.json(found.resource(bucket))
        case "GET", [bucket], False:
            server.accounts.require(caller, "storage.buckets.get", bucket)
            server.store.bucket(bucket)
            return Answer.json({"kind": "storage#bucket", "objectRetention": {"mode": "Enabled"}})
        case "PATCH", [bucket, "o", name], False:
            return _retain(server, caller, (bucket, name), json.loads(request.body)["retention"])
        case "DELETE", [bucket, "o", name], False:
            return _delete(server, caller, bucket, name, request.query.get("generation", ""))
        case "POST", [bucket, "o", name, "rewriteTo", "b", to, "o", to_name], False:
            resource = json.loads(request.body or b"{}")
            return _rewrite(server, caller, (bucket, name), (to, to_name), request.query, resource)
    raise Refusal(404, "notFound", "Not Found")


def _make_bucket(server: GcsServer, caller: Account, name: str) -> Answer:
    server.accounts.require(caller, "storage.buckets.create", name)
    if name in server.store.buckets:
        raise Refusal(
            409,
            "conflict",
            "Your previous request to create the named bucket succeeded and you already own it.",
        )
    server.make_bucket(name)
    return Answer.json({"kind": "storage#bucket", "id": name, "name": name})


def _list(server: GcsServer, caller: Account, bucket: str, query: dict[str, str]) -> Answer:
    """https://cloud.google.com/storage/docs/json_api/v1/objects/list. Items and prefixes count for a page alike."""
    server.accounts.require(caller, "storage.objects.list", bucket)
    if query.get("versions") == "true":
        return _versions(server, bucket, query)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    size = min(int(query.get("maxResults", server.page_size)), server.page_size)
    after = query.get("pageToken", "")
    with server.store.lock:
        objects = dict(server.store.bucket(bucket).objects)
    items: list[Any] = []
    prefixes: list[str] = []
    last = ""
    for name in sorted(objects, key=str.encode):
        if not name.startswith(prefix):
            continue
        head, mark, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        entry = prefix + head + mark if mark else name
        if entry.encode() <= after.encode() or entry == last or name < query.get("startOffset", ""):
            continue
        if len(items) + len(prefixes) >= size:
            return Answer.json(_page(items, prefixes, bucket, last))
        if mark:
            prefixes.append(entry)
        else:
            items.append(objects[name])
        last = entry
    return Answer.json(_page(items, prefixes, bucket, ""))


def _page(items: list[Object], prefixes: list[str], bucket: str, token: str) -> dict[str, Any]:
    page: dict[str, Any] = {"kind": "storage#objects"}
    if items:
        page["items"] = [item.resource(bucket) for item in items]
    if prefixes:
        page["prefixes"] = prefixes
    return page | ({"nextPageToken": token} if token else {})


def _media(found: Object, request: Request) -> Answer:
    """https://cloud.google.com/storage/docs/xml-api/get-object-download: ranges, and 416 where one begins past the end."""
    hashes = f"crc32c={crc32c(found.data)}" + (f",md5={md5(found.data)}" if found.whole else "")
    headers = {"Content-Type": found.content_type, "X-Goog-Hash": hashes}
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if not match:
        return Answer(200, found.data, headers)
    start, end = int(match[1]), int(match[2] or len(found.data) - 1)
    if start >= len(found.data):
        return Answer(416, b"Request range not satisfiable", {"Content-Range": f"bytes */{len(found.data)}"})
    part = found.data[start : end + 1]
    spanned = f"bytes {start}-{start + len(part) - 1}/{len(found.data)}"
    return Answer(206, part, {**headers, "Content-Range": spanned})


def _delete(server: GcsServer, caller: Account, bucket: str, name: str, generation: str) -> Answer:
    server.accounts.require(caller, "storage.objects.delete", bucket)
    with server.store.lock:
        server.store.get(bucket, name, generation)
        if (bucket, name) in server.protected:
            message = f"Object '{bucket}/{name}' is under active Temporary hold and cannot be deleted."
            raise Refusal(403, "retentionPolicyNotMet", message)
        if generation:
            server.store.remove_version(bucket, name, generation)
        else:
            server.store.remove(bucket, name)
    return Answer(204)


def _versions(server: GcsServer, bucket: str, query: dict[str, str]) -> Answer:
    """As `_list`, with every version, from the oldest of each name on. A page may end amid a name."""
    after = tuple(query.get("pageToken", "/0").rsplit("/", 1))
    with server.store.lock:
        there = server.store.bucket(bucket)
        found = sorted((*there.objects.values(), *there.old), key=lambda item: (item.name, item.generation))
    items = [
        item
        for item in found
        if item.name.startswith(query.get("prefix", ""))
        and item.name >= query.get("startOffset", "")
        and (item.name, item.generation) > (after[0], int(after[1]))
    ]
    page = items[: server.page_size]
    token = f"{page[-1].name}/{page[-1].generation}" if len(items) > len(page) else ""
    return Answer.json(_page(page, [], bucket, token))


def _retain(server: GcsServer, caller: Account, place: tuple[str, str], retention: dict[str, str]) -> Answer:
    """https://cloud.google.com/storage/docs/object-lock: to shorten one takes a parameter that says so."""
    server.accounts.require(caller, "storage.objects.update", place[0])
    with server.store.lock:
        found = server.store.get(*place)
        before = found.attributes.get("retention")
        if before and datetime.fromisoformat(before["retainUntilTime"]) > datetime.fromisoformat(
            retention["retainUntilTime"]
        ):
            message = f"Object '{place[1]}' is subject to a retention that cannot be reduced."
            raise Refusal(403, "retentionPolicyNotMet", message)
        found.attributes["retention"] = retention
        return Answer.json(found.resource(place[0]))


def _start_upload(server: GcsServer, caller: Account, bucket: str, request: Request) -> Answer:
    server.accounts.require(caller, "storage.objects.create", bucket)
    if request.query["uploadType"] == "multipart":
        return _upload_at_once(server, bucket, request)
    resource = json.loads(request.body or b"{}")
    name = request.query.get("name") or resource["name"]
    server.store.check(bucket, name, request.query)
    size = request.headers.get("x-upload-content-length")
    kind = request.headers.get("x-upload-content-type", "application/octet-stream")
    key = uuid4().hex
    attributes = attributes_of(resource, request.query.get("kmsKeyName"))
    server.store.sessions[key] = Session(
        bucket, name, request.query, kind, int(size) if size else None, attributes
    )
    place = f"http://{request.headers['host']}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
    return Answer(200, b"", {"Location": place, "X-GUploader-UploadID": key})


def _upload_at_once(server: GcsServer, bucket: str, request: Request) -> Answer:
    """https://cloud.google.com/storage/docs/uploading-objects#uploading-an-object: the resource, then the bytes."""
    resource_part, media_part = _parts(request)
    resource = json.loads(resource_part[1])
    _, data = media_part
    hashes = [
        f"{kind}={resource[key]}"
        for kind, key in (("crc32c", "crc32c"), ("md5", "md5Hash"))
        if key in resource
    ]
    check_hashes(",".join(hashes), data)
    name = request.query.get("name") or resource["name"]
    attributes = attributes_of(resource, request.query.get("kmsKeyName"))
    made = server.store.put(bucket, name, data, conditions=request.query, attributes=attributes)
    return Answer.json(made.resource(bucket))


def _parts(request: Request) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart body, their bytes untouched, which the standard library's parser does not promise."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip("\"'").encode()
    found = []
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, data = part.replace(b"\r\n\r\n", b"\n\n", 1).partition(b"\n\n")
        headers = BytesParser().parsebytes(head.strip())
        found.append((dict(headers.items()), data.removesuffix(b"\n").removesuffix(b"\r")))
    return found


def _resume(server: GcsServer, request: Request) -> Answer:
    """https://cloud.google.com/storage/docs/performing-resumable-uploads: 308 tells what is kept, 499 that it was cancelled."""
    key = request.query["upload_id"]
    with server.store.lock:
        session = server.store.sessions.get(key)
        if session is None:
            raise Refusal(410, "gone", "The requested upload session is gone.")
        if request.method == "DELETE":
            del server.store.sessions[key]
            return Answer(499)
        match = _PIECE.fullmatch(request.headers["content-range"])
        if match is None:
            raise invalid("Failed to parse Content-Range header.")
        data, total = request.body, match[3]
        if match[1] is not None and int(match[1]) != len(session.data):
            raise Refusal(
                503, "backendError", "Invalid request. The bytes do not follow those that were kept."
            )
        if total == "*":
            data = data[: server.kept_of_a_piece]
            if len(data) % GRANULE:
                raise invalid(
                    "Invalid request. There were a wrong number of bytes in the piece, not a multiple of 256 KiB."
                )
            session.data += data
            kept = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            return Answer(308, b"", kept)
        session.data += data
        if len(session.data) != int(total) or session.size not in (None, len(session.data)):
            raise invalid("Invalid request. The size is not the one that was announced.")
        check_hashes(request.headers.get("x-goog-hash", ""), bytes(session.data))
        del server.store.sessions[key]
        made = server.store.put(
            session.bucket, session.name, bytes(session.data), conditions=session.conditions, content_type=session.content_type,
            attributes=session.attributes,
        )  # fmt: skip
    return Answer.json(made.resource(session.bucket))


def _rewrite(
    server: GcsServer,
    caller: Account,
    source: tuple[str, str],
    target: tuple[str, str],
    query: dict[str, str],
    resource: dict[str, Any],
) -> Answer:
    """https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite: the same call with the token until it is done."""
    server.accounts.require(caller, "storage.objects.get", source[0])
    server.accounts.require(caller, "storage.objects.create", target[0])
    found = server.store.get(*source)
    server.store.check(*target, query)
    done = server.rewrites.pop(query.get("rewriteToken", ""), (0, None, None))
    if query.get("rewriteToken") and done[1:] != (source, target):
        raise invalid("Invalid rewrite token.")
    copied = min(len(found.data), done[0] + server.rewrite_bytes)
    answer = {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": str(copied),
        "objectSize": str(len(found.data)),
        "done": copied == len(found.data),
    }
    if copied < len(found.data):
        token = uuid4().hex
        server.rewrites[token] = (copied, source, target)
        return Answer.json({**answer, "rewriteToken": token})
    made = server.store.put(
        *target,
        found.data,
        conditions=query,
        content_type=resource.get("contentType", found.content_type),
        whole=found.whole,
        attributes=attributes_of(resource, query.get("destinationKmsKeyName")),
    )
    return Answer.json({**answer, "resource": made.resource(target[0])})


def _batch(server: GcsServer, request: Request) -> Answer:
    """https://cloud.google.com/storage/docs/batch: a request in each part of a multipart/mixed body, answered in order."""
    parts = _parts(request)
    if len(parts) > BATCH:
        raise invalid(f"The batch request has {len(parts)} calls, allowed are {BATCH}.")
    shared = {"authorization": request.headers.get("authorization", "")}
    lines = []
    for number, (_, part) in enumerate(parts):
        head, _, body = part.partition(b"\n\n")
        start, *_ = head.decode().splitlines()
        method, url, _ = start.split(" ")
        answer = server.answer(Request.of(method, url, shared, body))
        lines += [
            "--batch", "Content-Type: application/http", f"Content-ID: <response-{number}>", "",
            f"HTTP/1.1 {answer.status} Status", *(f"{k}: {v}" for k, v in answer.headers.items()),
            f"Content-Length: {len(answer.body)}", "", answer.body.decode(),
        ]  # fmt: skip
    body = "\r\n".join([*lines, "--batch--", ""])
    return Answer(200, body.encode(), {"Content-Type": "multipart/mixed; boundary=batch"})
