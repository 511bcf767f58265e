"""What a Google Cloud Storage server keeps: buckets, objects with generations, uploads; and its words for errors."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import RLock
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c

#: https://cloud.google.com/storage/docs/objects#naming
LONGEST_NAME = 1024


@dataclass(slots=True)
class Request:
    """``path`` is as it came, so that an encoded ``/`` is told from a plain one; header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @classmethod
    def of(cls, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Request:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return cls(method, parts.path, query, {k.lower(): v for k, v in headers.items()}, body)

    @property
    def elements(self) -> list[str]:
        return [unquote(element) for element in self.path.lstrip("/").split("/")]


@dataclass(slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> Answer:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


class Refusal(Exception):
    """An error answer. ``reason`` is the JSON API's word, ``code`` the XML API's.

    https://cloud.google.com/storage/docs/json_api/v1/status-codes, https://cloud.google.com/storage/docs/xml-api/reference-status
    """

    def __init__(self, status: int, reason: str, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.code = code or reason

    def as_json(self) -> Answer:
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        return Answer.json(
            {"error": {"code": self.status, "message": self.message, "errors": [detail]}}, self.status
        )

    def as_xml(self) -> Answer:
        body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
        return Answer(self.status, body.encode(), {"Content-Type": "application/xml; charset=UTF-8"})


def no_bucket() -> Refusal:
    return Refusal(404, "notFound", "The specified bucket does not exist.", "NoSuchBucket")


def no_object(bucket: str, name: str) -> Refusal:
    return Refusal(404, "notFound", f"No such object: {bucket}/{name}", "NoSuchKey")


def retained(bucket: str, name: str) -> Refusal:
    return Refusal(403, "retentionPolicyNotMet", f"Object '{bucket}/{name}' is subject to a retention.")


def invalid(message: str, code: str = "InvalidArgument") -> Refusal:
    return Refusal(400, "invalid", message, code)


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def attributes_of(resource: dict[str, Any], kms_key: str | None) -> dict[str, Any]:
    """What an object is written with. The service tells the version of the key that it encrypts with."""
    asked = {name: resource[name] for name in ("storageClass", "retention") if name in resource}
    return asked | ({"kmsKeyName": f"{kms_key}/cryptoKeyVersions/1"} if kms_key else {})


def check_hashes(header: str, data: bytes) -> None:
    """``x-goog-hash: crc32c=…,md5=…`` of an upload, held against its bytes."""
    for item in filter(None, header.replace(" ", "").split(",")):
        kind, _, value = item.partition("=")
        computed = {"crc32c": crc32c, "md5": md5}[kind](data)
        if value != computed:
            name = kind.upper()
            message = f'Provided {name} "{value}" doesn\'t match calculated {name} "{computed}".'
            raise Refusal(400, "invalid", message, "BadDigest")


@dataclass(slots=True)
class Object:
    name: str
    data: bytes
    generation: int
    content_type: str
    whole: bool = True
    #: ``storageClass``, ``retention`` and ``kmsKeyName``, as far as they were asked for.
    attributes: dict[str, Any] = field(default_factory=dict)
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Of a version that is not current.
    deleted: datetime | None = None

    def resource(self, bucket: str) -> dict[str, Any]:
        """https://cloud.google.com/storage/docs/json_api/v1/objects#resource. An object of parts has no MD5."""
        stamp = self.updated.isoformat().replace("+00:00", "Z")
        found = {
            "kind": "storage#object",
            "id": f"{bucket}/{self.name}/{self.generation}",
            "bucket": bucket,
            "name": self.name,
            "size": str(len(self.data)),
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": self.content_type,
            "crc32c": crc32c(self.data),
            "storageClass": "STANDARD",
            "etag": base64.b64encode(str(self.generation).encode()).decode(),
            "timeCreated": stamp,
            "updated": stamp,
        }
        if self.deleted:
            found["timeDeleted"] = self.deleted.isoformat().replace("+00:00", "Z")
        return found | ({"md5Hash": md5(self.data)} if self.whole else {}) | self.attributes

    @property
    def is_retained(self) -> bool:
        retention = self.attributes.get("retention")
        return bool(retention) and datetime.fromisoformat(retention["retainUntilTime"]) > datetime.now(UTC)


@dataclass(slots=True)
class Bucket:
    name: str
    objects: dict[str, Object] = field(default_factory=dict)
    #: What was replaced or deleted, where the bucket keeps that.
    versioned: bool = False
    old: list[Object] = field(default_factory=list)
    #: Unfinished multipart uploads of the XML API, by id: the name, the parts by number, and what was asked for.
    uploads: dict[str, tuple[str, dict[int, bytes], dict[str, Any]]] = field(default_factory=dict)


@dataclass(slots=True)
class Session:
    """A resumable upload. ``owner``: its URL is enough to write, but mbk sends the token as well."""

    bucket: str
    name: str
    conditions: dict[str, str]
    content_type: str
    size: int | None
    attributes: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)


class Store:
    def __init__(self) -> None:
        self.lock = RLock()
        self.buckets: dict[str, Bucket] = {}
        self.sessions: dict[str, Session] = {}
        self._generations = itertools.count(1_700_000_000_000_000)

    def bucket(self, name: str) -> Bucket:
        try:
            return self.buckets[name]
        except KeyError:
            raise no_bucket() from None

    def get(self, bucket: str, name: str, generation: str = "") -> Object:
        there = self.bucket(bucket)
        found = [item for item in (*there.objects.values(), *there.old) if item.name == name]
        wanted = [item for item in found if str(item.generation) == (generation or str(item.generation))]
        current = [item for item in wanted if generation or item.deleted is None]
        if not current:
            raise no_object(bucket, name)
        return current[0]

    def remove(self, bucket: str, name: str) -> None:
        """The current version. https://cloud.google.com/storage/docs/object-lock: a retained one can still be made noncurrent."""
        there = self.bucket(bucket)
        found = there.objects.get(name)
        if found is None:
            return
        if there.versioned:
            found.deleted = datetime.now(UTC)
            there.old.append(found)
        elif found.is_retained:
            raise retained(bucket, name)
        del there.objects[name]

    def remove_version(self, bucket: str, name: str, generation: str) -> None:
        found, there = self.get(bucket, name, generation), self.bucket(bucket)
        if found.is_retained:
            raise retained(bucket, name)
        if found.deleted is None:
            del there.objects[name]
        else:
            there.old.remove(found)

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes,
        *,
        conditions: dict[str, str] | None = None,
        content_type: str = "application/octet-stream",
        whole: bool = True,
        attributes: dict[str, Any] | None = None,
    ) -> Object:
        with self.lock:
            self.check(bucket, name, conditions or {})
            made = Object(name, bytes(data), next(self._generations), content_type, whole, attributes or {})
            self.remove(bucket, name)
            self.bucket(bucket).objects[name] = made
            return made

    def check(self, bucket: str, name: str, conditions: dict[str, str]) -> None:
        """The name, and ``ifGenerationMatch``, where 0 means that there is no object."""
        length = len(name.encode())
        if not 0 < length <= LONGEST_NAME:
            raise invalid(
                f"The maximum object length is {LONGEST_NAME} characters, but got a name with {length}."
            )
        if name in (".", "..") or "\n" in name or "\r" in name:
            raise invalid("Invalid object name.")
        wanted = conditions.get("ifGenerationMatch")
        there = self.bucket(bucket).objects.get(name)
        if wanted is not None and int(wanted) != (there.generation if there else 0):
            raise Refusal(
                412,
                "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold.",
                "PreconditionFailed",
            )
