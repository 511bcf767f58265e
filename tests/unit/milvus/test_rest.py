"""What only REST tells or takes: the exact files of segments, import jobs of several files, over TLS as gRPC."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbk.config.schema import MilvusSettings
from mbk.errors import (
    AuthenticationFailed,
    CollectionNotFound,
    ConfigError,
    ImportFailed,
    MbkError,
    MilvusError,
    MilvusUnavailable,
    RateLimited,
    Unsupported,
)
from mbk.milvus.rest import BATCH, Rest, base_url
from mbk.ports.milvus.values import ImportPhase, ImportState, SegmentLogs
from tests.raising import raised
from tests.unit.milvus.http_double import answering

SECRET = "paSSw0rd"
BIG = 2**62 + 1
WHAT = "do it"


def rest(port: int, **values: Any) -> Rest:
    return Rest(MilvusSettings(rest_endpoint=f"http://127.0.0.1:{port}", **values))


def segment(number: int) -> dict[str, Any]:
    return {
        "segmentID": number,
        "vChannel": "ch_1v0",
        "insertLogs": [{"fieldID": 0, "logIDs": [BIG, str(BIG + 1)]}, {"fieldID": 100, "logIDs": [BIG + 2]}],
        "deltaLogs": [BIG + 3],
    }


def test_the_files_of_segments_come_with_exact_ids_and_without_those_that_are_gone() -> None:
    gone = BIG + 7

    def answer(_: str, body: Any) -> tuple[int, Any]:
        if gone in body["segmentIds"]:
            return 200, {"code": 600, "message": f"segment not found[segment={gone}]"}
        return 200, {"code": 0, "data": {"segmentInfos": [segment(number) for number in body["segmentIds"]]}}

    wanted = [BIG + at for at in range(BATCH + 20)]
    with answering(answer) as server:
        found = rest(server.port).segment_logs("tenants", BIG, wanted)
    assert set(found) == set(wanted) - {gone}
    assert found[BIG] == SegmentLogs(
        v_channel="ch_1v0", insert_logs={0: (BIG, BIG + 1), 100: (BIG + 2,)}, delta_logs=(BIG + 3,)
    )
    assert server.asked[0].path == "/v2/vectordb/segments/describe"
    assert server.asked[0].body | {"segmentIds": 0} == {
        "dbName": "tenants",
        "collectionId": BIG,
        "segmentIds": 0,
    }


def test_an_import_is_started_with_all_its_files_and_the_login() -> None:
    with answering(lambda *_: (200, {"code": 200, "data": {"jobId": str(BIG)}})) as server:
        client = rest(server.port, user="root", password=SECRET)
        files = [["a/", "b/"], ["c/"]]
        assert client.start_import("d", "docs", "p", files, {"backup": "true"}, what=WHAT) == str(BIG)
        client.start_import("d", "docs", "", [["l0/"]], {"l0_import": "true"}, what=WHAT)
    first, second = server.asked
    assert first.body == {
        "dbName": "d",
        "collectionName": "docs",
        "partitionName": "p",
        "files": files,
        "options": {"backup": "true"},
    }
    assert "partitionName" not in second.body
    assert first.headers["Authorization"] == f"Bearer root:{SECRET}"
    assert first.headers["Request-Timeout"] == "600"
    assert SECRET not in repr(client)


@pytest.mark.parametrize(
    ("data", "state"),
    [
        ({"state": "Pending", "progress": 10}, ImportState(ImportPhase.RUNNING, percent=10)),
        ({"state": "Importing", "progress": 70}, ImportState(ImportPhase.RUNNING, percent=70)),
        ({"state": "Uncommitted", "progress": 99}, ImportState(ImportPhase.UNCOMMITTED, percent=99)),
        ({"state": "Committing", "progress": 99}, ImportState(ImportPhase.RUNNING, percent=99)),
        (
            {"state": "Completed", "progress": 100, "importedRows": 7},
            ImportState(ImportPhase.COMPLETED, percent=100, rows=7),
        ),
        (
            {"state": "Failed", "reason": "no\nbinlog to import"},
            ImportState(ImportPhase.FAILED, reason="no binlog to import"),
        ),
    ],
)
def test_every_state_of_a_job_is_known(data: dict[str, Any], state: ImportState) -> None:
    with answering(lambda *_: (200, {"code": 0, "data": data})) as server:
        assert rest(server.port).import_state("5", database="d", what=WHAT) == state


@pytest.mark.parametrize("answer", [{"code": 2100, "message": "job 5 not found"}, {"code": 0, "data": {}}])
def test_a_job_that_the_server_does_not_know_has_failed(answer: dict[str, Any]) -> None:
    with answering(lambda *_: (200, answer)) as server, raised(ImportFailed, "job-unknown"):
        rest(server.port).import_state("5", database="d", what=WHAT)


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (404, "404 page not found", Unsupported),
        (401, {"code": 1800, "message": "user hasn't authenticated"}, AuthenticationFailed),
        (200, {"code": 8, "message": "rate limit exceeded"}, RateLimited),
        (429, "slow down", RateLimited),
        (200, {"code": 100, "message": "collection not found"}, CollectionNotFound),
        (200, {"code": 1100, "message": "no files"}, MilvusError),
        (502, "<html>bad gateway</html>", MilvusError),
        (200, "<html>a login page</html>", MilvusError),
        (200, {"code": 0, "data": {}}, ImportFailed),
    ],
)
def test_what_goes_wrong_is_told_in_the_words_of_grpc(status: int, answer: Any, kind: type[MbkError]) -> None:
    with answering(lambda *_: (status, answer)) as server, pytest.raises(MbkError) as caught:
        rest(server.port, user="root", password=SECRET).start_import("d", "c", "p", [["a/"]], {}, what=WHAT)
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.retryable == (kind is RateLimited or status == 502)


def test_a_port_that_is_dead_names_its_setting() -> None:
    with raised(MilvusUnavailable, "milvus-port-unreachable", setting="milvus.rest.endpoint") as caught:
        rest(1).segment_logs("d", 1, [2])
    assert caught.value.retryable


def test_the_address_is_that_of_grpc_unless_it_is_set() -> None:
    assert base_url(MilvusSettings(address="db", port=19531)) == "http://db:19531"
    assert base_url(MilvusSettings(address="db", tls_mode="server")) == "https://db:19530"
    assert base_url(MilvusSettings(rest_endpoint="front:80/milvus")) == "http://front:80/milvus"
    assert base_url(MilvusSettings(rest_endpoint="https://front")) == "https://front"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("certificates")

    def openssl(arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=place, check=True, capture_output=True)

    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem")
    (place / "names").write_text("subjectAltName=DNS:milvus.test", "ascii")
    for who in ("server", "client"):
        openssl(f"req -newkey rsa:2048 -nodes -subj /CN={who} -keyout {who}.key -out {who}.csr")
        sign = f"x509 -req -in {who}.csr -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -out {who}.pem"
        openssl(f"{sign} -extfile names")
    return place


@pytest.fixture
def secure_port(certificates: Path) -> Iterator[int]:
    """A server that asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with answering(lambda *_: (200, {"code": 0, "data": {"segmentInfos": []}}), tls=context) as server:
        yield server.port


def secured(port: int, certificates: Path, **changes: Any) -> Rest:
    values = {
        "address": "127.0.0.1",
        "port": port,
        "tls_mode": "mutual",
        "ca_cert_path": str(certificates / "ca.pem"),
        "mtls_cert_path": str(certificates / "client.pem"),
        "mtls_key_path": str(certificates / "client.key"),
        "server_name": "milvus.test",
    }
    return Rest(MilvusSettings(**(values | changes)))


def test_the_certificates_are_those_of_grpc(secure_port: int, certificates: Path) -> None:
    assert secured(secure_port, certificates).segment_logs("d", 1, [2]) == {}


@pytest.mark.parametrize("changes", [{"server_name": ""}, {"ca_cert_path": ""}])
def test_a_server_that_cannot_be_trusted_is_not_talked_to(
    secure_port: int, certificates: Path, changes: dict[str, str]
) -> None:
    with pytest.raises(MilvusUnavailable) as caught:
        secured(secure_port, certificates, **changes).segment_logs("d", 1, [2])
    assert not caught.value.retryable


def test_a_certificate_that_cannot_be_read_is_a_matter_of_the_settings(certificates: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        secured(1, certificates, mtls_cert_path="/nowhere")
    assert [problem.key for problem in caught.value.problems] == ["milvus.mtlsCertPath"]
