from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pymilvus.grpc_gen import schema_pb2

from mbk.errors import (
    AuthenticationFailed,
    ConfigError,
    MbkError,
    MilvusError,
    MilvusUnavailable,
    Unsupported,
)
from mbk.milvus.etcd import EtcdMetaStore
from mbk.model.records import KeyValue
from mbk.ports.metastore import MetaStore
from tests.raising import raised

COLLECTION = 470715370340090237


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def part(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def index(number: int, *, deleted: bool = False, collection: int = COLLECTION) -> bytes:
    pair = part(1, "M") + part(2, "16")
    info = (
        part(1, collection) + part(2, 101) + part(3, f"index {number}") + part(4, number) + part(5, pair)
        + part(6, pair) + part(7, 1000) + part(9, 3) + part(11, 1) + part(12, pair) + part(14, -1) + part(15, 6)
    )  # fmt: skip
    return part(1, info) + (part(2, 1) if deleted else b"") + part(3, 470715375248998415)


class Gateway(ThreadingHTTPServer):
    """etcd's JSON gateway over a dictionary, at the path of one of its generations."""

    daemon_threads = True
    path = "/v3/kv/range"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys: dict[str, bytes] = {}
        self.asked: list[dict[str, Any]] = []
        self.failure: tuple[int, bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def range(self, request: dict[str, Any]) -> dict[str, Any]:
        first, end = (base64.b64decode(request[name]) for name in ("key", "range_end"))
        found = sorted(key for key in self.keys if first <= key.encode() < end)
        kvs = [
            {"key": base64.b64encode(key.encode()).decode(), "version": "1"}
            | ({"value": base64.b64encode(self.keys[key]).decode()} if self.keys[key] else {})
            for key in found[: request["limit"]]
        ]
        more = {"more": True} if len(found) > request["limit"] else {}
        return {
            "header": {"revision": "7"},
            "count": str(len(found)),
            **({"kvs": kvs} if kvs else {}),
            **more,
        }


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Gateway)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != server.path:
            status, body = 404, b"404 page not found\n"
        elif server.failure:
            status, body = server.failure
        else:
            server.asked.append(request)
            status, body = 200, json.dumps(server.range(request)).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = Gateway()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_index_is_read_with_all_that_no_call_tells(gateway: Gateway) -> None:
    gateway.keys[f"by-dev/meta/field-index/{COLLECTION}/7"] = index(7)
    store: MetaStore = EtcdMetaStore([gateway.endpoint], "by-dev")
    (found,) = store.index_extras(COLLECTION)
    pairs = [KeyValue(key="M", value="16")]
    assert (found.index_id, found.field_id, found.index_name) == (7, 101, "index 7")
    assert (found.create_time, found.is_auto_index) == (470715375248998415, True)
    assert found.type_params == found.index_params == found.user_index_params == pairs
    assert (found.min_index_version, found.max_index_version) == (-1, 6)


def test_dropped_indexes_and_those_of_other_collections_are_left_out(gateway: Gateway) -> None:
    gateway.keys |= {
        f"by-dev/meta/field-index/{COLLECTION}/1": index(1, deleted=True),
        f"by-dev/meta/field-index/{COLLECTION}/2": index(2),
        f"by-dev/meta/field-index/{COLLECTION}0/3": index(3, collection=COLLECTION * 10),
        f"other/meta/field-index/{COLLECTION}/4": index(4),
    }
    found = EtcdMetaStore([gateway.endpoint], "by-dev/").index_extras(COLLECTION)
    assert [item.index_id for item in found] == [2]


def test_more_keys_than_one_answer_holds_are_read_page_by_page(gateway: Gateway) -> None:
    gateway.keys |= {f"by-dev/meta/field-index/{COLLECTION}/{n}": index(n) for n in range(100, 107)}
    found = EtcdMetaStore([gateway.endpoint], "by-dev", page=3).index_extras(COLLECTION)
    assert [item.index_id for item in found] == [*range(100, 107)]
    assert len(gateway.asked) == 3


def test_the_field_of_dynamic_keys_is_found_among_the_others(gateway: Gateway) -> None:
    place = f"by-dev/meta/root-coord/fields/{COLLECTION}"
    dynamic = schema_pb2.FieldSchema(fieldID=103, name="$meta", data_type=23, is_dynamic=True)
    plain = schema_pb2.FieldSchema(fieldID=100, name="pk", data_type=5, is_primary_key=True)
    gateway.keys |= {
        f"{place}/100": plain.SerializeToString(),
        f"{place}/101": "⛼".encode(),  # what Milvus leaves of a field that it dropped
        f"{place}/103": dynamic.SerializeToString(),
        f"{place}0/100": plain.SerializeToString(),
    }
    store = EtcdMetaStore([gateway.endpoint], "by-dev")
    found = store.dynamic_field(COLLECTION)
    assert found is not None
    assert (found.field_id, found.name, found.is_dynamic) == (103, "$meta", True)
    assert store.dynamic_field(COLLECTION * 10) is None


@pytest.mark.parametrize("path", ["/v3beta/kv/range", "/v3alpha/kv/range"])
def test_the_gateways_of_older_etcds_are_found(gateway: Gateway, path: str) -> None:
    gateway.path = path
    gateway.keys[f"by-dev/meta/field-index/{COLLECTION}/7"] = index(7)
    assert EtcdMetaStore([gateway.endpoint], "by-dev").index_extras(COLLECTION)


def test_the_next_endpoint_is_asked_where_one_does_not_answer(gateway: Gateway) -> None:
    gateway.keys[f"by-dev/meta/field-index/{COLLECTION}/7"] = index(7)
    store = EtcdMetaStore(["127.0.0.1:1", f"http://{gateway.endpoint}"], "by-dev")
    assert store.index_extras(COLLECTION)


def test_without_any_answer_every_endpoint_is_named_and_no_password(gateway: Gateway) -> None:
    gateway.failure = (503, b'{"error":"etcdserver: no leader","code":14}')
    with raised(MilvusUnavailable, "etcd-unreachable", setting="milvus.etcd.endpoints") as caught:
        EtcdMetaStore(["http://user:hidden@127.0.0.1:1", gateway.endpoint], "by-dev").index_extras(COLLECTION)
    assert "127.0.0.1:1:" in str(caught.value.facts["reason"])
    assert "no leader" in str(caught.value.facts["reason"])
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ((400, b'{"error":"etcdserver: user name is empty","code":3}'), AuthenticationFailed),
        ((401, b'{"error":"invalid auth token"}'), AuthenticationFailed),
        ((400, b'{"error":"etcdserver: request is too large","code":3}'), MilvusError),
        ((200, b"<html>a proxy</html>"), MilvusError),
        ((404, b"404 page not found"), Unsupported),
    ],
)
def test_what_etcd_refuses_is_one_telling_line(
    gateway: Gateway, failure: tuple[int, bytes], error: type[MbkError]
) -> None:
    gateway.failure = failure
    with pytest.raises(error) as caught:
        EtcdMetaStore([gateway.endpoint], "by-dev").index_extras(COLLECTION)
    assert gateway.endpoint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [b"\x0a\xff\x01cut off", b"\x0b", b"\xff" * 11, part(1, 5)])
def test_a_damaged_record_is_told_with_its_key(gateway: Gateway, value: bytes) -> None:
    key = f"by-dev/meta/field-index/{COLLECTION}/7"
    gateway.keys[key] = value
    with raised(MilvusError, "etcd-index-invalid", key=key):
        EtcdMetaStore([gateway.endpoint], "by-dev").index_extras(COLLECTION)


@pytest.mark.parametrize("endpoint", ["localhost", "ftp://localhost:2379", "http://host:port"])
def test_an_endpoint_that_is_no_address_is_told_with_its_setting(endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        EtcdMetaStore([endpoint], "by-dev")
    assert [problem.key for problem in caught.value.problems] == ["milvus.etcd.endpoints"]
