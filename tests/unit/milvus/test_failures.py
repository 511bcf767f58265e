from __future__ import annotations

import pytest

from mbk.errors import (
    AlreadyExists,
    AuthenticationFailed,
    CollectionExists,
    CollectionNotFound,
    MbkError,
    MilvusError,
    NotFound,
    PermissionDenied,
    RateLimited,
)
from mbk.milvus.failures import MAX_REASON, _unavailable, check, one_line
from mbk.milvus.proto import common
from tests.raising import raised

MISSING = common.CollectionNotExists


def status(reason: str, *, error_code: int = 1, code: int = 0, retriable: bool = False) -> object:
    return common.Status(error_code=error_code, reason=reason, code=code, retriable=retriable)


@pytest.mark.parametrize("error_code", [0, 1])
def test_either_code_alone_is_a_failure(error_code: int) -> None:
    check(common.Status(), "do it")
    with raised(MilvusError, "milvus-request-failed", operation="do it", reason="it broke"):
        check(status("it broke", error_code=error_code, code=1 - error_code), "do it")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        # Texts of 2.2.16 and 2.3.5 as they came.
        (status("code: CollectionNotExists, reason: can't find collection default:nope"), CollectionNotFound),
        (status("collection not exists: nope"), CollectionNotFound),
        (status("can't find collection collection not found[collection=nope]", code=100), CollectionNotFound),
        # 2.5.27 and 2.6.19: DescribeCollection, with the older code alone.
        (
            status("can't find collection[database=default][collection=no]", error_code=MISSING),
            CollectionNotFound,
        ),
        (status("gone", error_code=MISSING), CollectionNotFound),
        (status("ShowCollections failed: database:nodb not found"), NotFound),
        (status("database not found[database=nodb]", code=800), NotFound),
        (status("create duplicate collection with different parameters, collection: all"), CollectionExists),
        (
            status("create duplicate collection with different parameters: invalid parameter", code=1100),
            CollectionExists,
        ),
        (status("collection name [a1] conflicts with an existing alias", code=65535), CollectionExists),
        (status("alias and collection name conflict[alias=a1]", code=1601), CollectionExists),
        (status("database already exist: d1", code=65535), AlreadyExists),
        (status("database already exist: d1: invalid parameter", code=1100), AlreadyExists),
        (status("fail to create role, error: the key[credential/roles/r1] has existed"), AlreadyExists),
        (status("auth check failure, please check username and password are correct"), AuthenticationFailed),
        (status("no", error_code=common.PermissionDenied), PermissionDenied),
        (status("rate limit exceeded[rate=0.1]", code=8), RateLimited),
        (status("request is rejected", error_code=common.RateLimit), RateLimited),
        (status("The number of jobs has reached the limit, please try again later", code=2100), RateLimited),
        (status("partition not found[partition=nope]", code=200), MilvusError),
        (status("collection not loaded[collection=4]", code=101), MilvusError),
    ],
)
def test_the_answers_of_all_servers_become_the_same_errors(answer: object, kind: type[MbkError]) -> None:
    with pytest.raises(MbkError) as caught:
        check(answer, "do it")
    assert type(caught.value) is kind
    assert caught.value.facts["operation"] == "do it"


def test_the_server_says_what_may_be_tried_again() -> None:
    with pytest.raises(MilvusError) as caught:
        check(status("segment not found", code=600, retriable=True), "list")
    assert caught.value.retryable
    assert caught.value.server_code == 600


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("plain", "plain"),
        ("two\n  lines", "two lines"),
        ("stack trace: /a.go:51 f\n/b.go:7 g: rpc error: code = Unknown desc = code: X, reason: it", "it"),
        ("x" * 1000, "x" * (MAX_REASON - 1) + "…"),
    ],
)
def test_a_reason_is_one_short_line(reason: str, line: str) -> None:
    assert one_line(reason) == line


REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Connection refused"
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"http_proxy": "http://u:secret@127.0.0.1:9"}, "through proxy 127.0.0.1:9: "),
        ({"https_proxy": "127.0.0.1:9", "no_proxy": "example.com"}, "through proxy 127.0.0.1:9: "),
        ({"http_proxy": "http://127.0.0.1:9", "no_proxy": "localhost, 127.0.0.1"}, "does not respond: "),
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, "does not respond: "),
        ({}, "does not respond: "),
    ],
)
def test_a_proxy_in_the_way_of_milvus_is_named(
    environ: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC goes through one for this machine, too."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    error = _unavailable(REFUSED, "127.0.0.1:19530")
    assert told in error.message
    assert ("add 127.0.0.1 to the variable no_proxy" in str(error)) is ("proxy" in told)
    assert "secret" not in str(error)
