"""Safe to expose: who is let in, how much is read, which places may be named, and what is never told."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from mbk.api import auth
from mbk.api.server import Serving, is_loopback, refuse_exposure
from mbk.config.schema import ServerSettings, Settings, StorageChoice
from mbk.errors import ConfigError, UsageError
from mbk.jobs.sessions import Sessions
from mbk.session import Session
from tests.api.harness import Client, docs_world, serving, settings
from tests.fakes.world import World
from tests.raising import raised

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def token_and_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    path = tmp_path_factory.mktemp("auth") / "auth.txt"
    token, line = auth.new_token("ci")
    path.write_text(
        f"# who may\n{line}\n\n{auth.new_token('other')[1]}\n{auth.user_line('anna', PASSWORD)}\n"
    )
    return token, str(path)


@pytest.fixture(scope="module")
def guarded(token_and_file: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    token, path = token_and_file
    config = settings(tmp_path_factory.mktemp("guarded"), auth_file=path, max_body_size=2048)
    with serving(config, docs_world(), secrets=(token, PASSWORD)) as client:
        yield client


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# -- where it listens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_beyond_this_machine_it_does_not_start_without_authentication(host: str, tmp_path: Path) -> None:
    with raised(UsageError, "server-exposed", host=host):
        Serving(settings(tmp_path, host=host))
    refuse_exposure(ServerSettings(host=host), has_credentials=True)
    refuse_exposure(ServerSettings(host=host, allow_anonymous=True), has_credentials=False)
    refuse_exposure(ServerSettings(host=host, tls_client_ca="ca.pem"), has_credentials=False)


def test_it_listens_on_loopback_by_default(tmp_path: Path) -> None:
    assert is_loopback(ServerSettings().host)
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("")
    with serving(settings(tmp_path), World()) as client:
        assert client.url.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with raised(UsageError, "cannot-listen", host="127.0.0.1", port=port):
            Serving(settings(tmp_path, port=port))
    with serving(settings(tmp_path), World()):
        pass  # nothing of the first attempt holds the jobs file


# -- who is let in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/v1/list", "/api/v2/jobs", "/metrics", "/openapi.json", "/api/v1/docs/", "/", "/x"]
)
def test_nothing_is_told_without_a_token(guarded: Client, path: str, token_and_file: tuple[str, str]) -> None:
    token, _ = token_and_file
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": token},
        {"Authorization": f"Basic {token}"},
        {"Authorization": "Basic !!!"},
        basic("anna", "wrong"),
        basic("nobody", PASSWORD),
        basic("ci", token[:-1]),
    ):
        answer = requests.get(guarded.url + path, headers=headers, timeout=30)
        assert answer.status_code == 401, headers
        # Basic is what makes a browser ask for a login.
        assert {"Bearer", "Basic"} <= {*answer.headers["WWW-Authenticate"].replace(",", " ").split()}
        assert "backup" not in answer.text


def test_a_token_and_a_user_are_let_in(guarded: Client, token_and_file: tuple[str, str]) -> None:
    token, _ = token_and_file
    for _ in range(2):
        for headers in ({"Authorization": f"Bearer {token}"}, basic("anna", PASSWORD), basic("me", token)):
            assert guarded.ask("GET", "/api/v1/list", headers=headers).status_code == 200


def test_a_browser_that_logged_in_with_a_token_is_not_used_by_other_pages(tmp_path: Path) -> None:
    token, line = auth.new_token("ci")
    (tmp_path / "auth").write_text(line)
    with serving(settings(tmp_path, auth_file=str(tmp_path / "auth")), World()) as client:
        headers = basic("me", token)
        for path in ("/api/v1/docs/", "/api/v1/docs/doc.json", "/openapi.json"):
            assert client.ask("GET", path, headers=headers).status_code == 200
        foreign = {**headers, "Origin": "https://page.example"}
        assert client.ask("POST", "/api/v1/create", data=b"{}", headers=foreign).status_code == 403


def test_probes_need_no_token(guarded: Client) -> None:
    assert guarded.get("/healthz") == {"status": "ok"}
    assert guarded.ask("GET", "/readyz").status_code == 200
    assert guarded.ask("GET", "/healthz/").status_code in (401, 404)


def test_a_page_of_another_origin_is_given_no_leave_to_read(tmp_path: Path) -> None:
    token, line = auth.new_token("ci")
    (tmp_path / "auth").write_text(line)
    headers = {"Origin": "https://page.example", "Authorization": f"Bearer {token}"}
    with serving(settings(tmp_path, auth_file=str(tmp_path / "auth")), World(), headers=headers) as client:
        asked = client.ask("OPTIONS", "/api/v2/jobs", headers={"Access-Control-Request-Method": "POST"})
        got = client.ask("GET", "/api/v2/jobs")
    for answer in (asked, got):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert asked.status_code == 405
    assert (got.headers["Cache-Control"], got.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
    ],
    ids=str,
)
def test_no_page_in_a_browser_of_this_machine_gets_in(client: Client, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/api/v1/create"), ("POST", "/api/v2/jobs"), ("GET", "/api/v1/list")):
        assert client.ask(method, path, data=b"{}", headers=headers).status_code == 403
    assert client.get("/api/v2/jobs")["items"] == []


def test_our_own_pages_and_names_that_were_agreed_to_get_in(client: Client, tmp_path: Path) -> None:
    host = client.url.removeprefix("http://")
    port = host.rpartition(":")[2]
    for headers in (
        {"Origin": client.url},
        {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"},
    ):
        assert client.ask("GET", "/api/v1/list", headers=headers).status_code == 200
    with serving(settings(tmp_path, allow_anonymous=True), World()) as open_to_all:
        assert open_to_all.ask("GET", "/healthz", headers={"Host": "backup.example.org"}).status_code == 200


def test_the_file_holds_digests_and_no_secret(token_and_file: tuple[str, str]) -> None:
    token, path = token_and_file
    text = Path(path).read_text(encoding="utf-8")
    assert token not in text
    assert PASSWORD not in text
    assert token not in repr(auth.read(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "token ci hunter2",
        "token ci",
        "user anna sha256:" + "0" * 64,
        "ci sha256:00",
        "token a b c d",
    ],
)
def test_a_wrong_file_is_told_by_line_without_what_stands_there(text: str, tmp_path: Path) -> None:
    path = tmp_path / "auth.txt"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        auth.read(str(path))
    assert (caught.value.source, {problem.key for problem in caught.value.problems}) == (
        str(path),
        {"server.authFile"},
    )
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        auth.read(str(tmp_path / "none"))
    (problem,) = caught.value.problems
    assert (problem.key, str(tmp_path / "none") in problem.message) == ("server.authFile", True)


# -- how much ----------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_also_when_its_size_is_not_said(
    guarded: Client, token_and_file: tuple[str, str]
) -> None:
    headers = {"Authorization": f"Bearer {token_and_file[0]}"}
    large = b'{"backup_name": "' + b"x" * 4096 + b'"}'
    for path in ("/api/v1/create", "/api/v2/jobs"):
        assert guarded.ask("POST", path, data=large, headers=headers).status_code == 413
        chunks = (large[at : at + 512] for at in range(0, len(large), 512))
        assert guarded.ask("POST", path, data=chunks, headers=headers).status_code == 413
    assert guarded.ask("GET", "/api/v1/list", headers=headers).status_code == 200


# -- which places ------------------------------------------------------------------------------------------------

OUTSIDE = [
    "..",
    "../x",
    "a/../../b",
    "a/..",
    "./a",
    "a//b",
    "/../x",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "~root/..",
    "%2e%2e/x?",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_never_leaves_the_bucket(client: Client, path: str) -> None:
    if "\0" not in path:
        assert client.get("/api/v1/get_backup", backup_name="b", path=path)["code"] == 400
    client.problem(400, "POST", "/api/v2/jobs", json={"kind": "backup", "path": path})
    assert client.post("/api/v1/create", {"backup_name": "b", "backup_root_path": path})["code"] == 400
    assert client.post("/api/v1/restore", {"backup_name": "b", "path": path})["code"] == 400
    client.problem(400, "GET", "/api/v2/backups", params={"path": path})


@pytest.mark.parametrize("bucket", ["..", "a/b", "a/../b", "x", "UPPER CASE", "a..b", "-abc"])
def test_a_bucket_is_a_name(client: Client, bucket: str) -> None:
    client.problem(400, "POST", "/api/v2/jobs", json={"kind": "restore", "backup": "b", "bucket": bucket})
    assert client.post("/api/v1/restore", {"backup_name": "b", "bucket_name": bucket})["code"] == 400


@pytest.mark.parametrize("name", ["..", "../nightly", "a/b", "..%2fnightly", "%2e%2e"])
def test_a_backup_is_named_and_never_a_way_to_elsewhere(client: Client, world: World, name: str) -> None:
    before = world.objects("backups")
    assert client.get("/api/v1/get_backup", backup_name=name).get("code") in (400, 404)
    assert client.delete("/api/v1/delete", backup_name=name).get("code") in (3, 400, 404)
    job = client.over(client.job(kind="delete", backup=name))
    assert job["state"] == "failed"
    assert client.ask("GET", f"/api/v2/backups/{name}").status_code in (400, 404)
    assert world.objects("backups") == before


def place(kind: str, root: str) -> Sessions:
    choice = StorageChoice(type=kind, values={"root_path": root, "bucket": "backups"})
    return Sessions(Settings(storage=choice, backup_storage=choice))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/etc", "path-outside-directory"),
        ("/", "path-not-allowed"),
        ("etc", "path-outside-directory"),
        ("../x", "path-not-allowed"),
        ("{root}/../x", "path-not-allowed"),
        ("{root}x", "path-outside-directory"),
        ("{root}/..", "path-not-allowed"),
        ("{root}/a/../../b", "path-not-allowed"),
        ("{root}//etc", "path-not-allowed"),
    ],
)
def test_where_backups_lie_in_a_directory_no_path_leaves_it(path: str, code: str, tmp_path: Path) -> None:
    root = tmp_path / "backups"
    sessions = place("local", str(root))
    path = path.format(root=root)
    with raised(UsageError, code, path=path):
        sessions.check_place(path, "")
    with raised(UsageError, "directory-without-buckets", bucket="other-bucket"):
        sessions.check_place("", "other-bucket")
    sessions.check_place(str(root), "backups")
    sessions.check_place(f"{root}/team", "")


def test_below_the_directory_a_path_works(tmp_path: Path) -> None:
    with place("local", str(tmp_path)).opened(path=f"{tmp_path}/team") as session:
        assert isinstance(session, Session)
        assert session.backup_storage.location.root.rstrip("/") in (f"{tmp_path}/team".strip("/"), "team", "")
        session.backup_storage.check(create=True)
    assert (tmp_path / "team").is_dir()


# -- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(home / "cert.pem")
    issued.private_key_pem.write_to_path(home / "key.pem")
    authority.cert_pem.write_to_path(home / "ca.pem")
    user = authority.issue_cert("client@example.org")
    user.private_key_and_cert_chain_pem.write_to_path(home / "client.pem")
    stranger = trustme.CA().issue_cert("client@example.org")
    stranger.private_key_and_cert_chain_pem.write_to_path(home / "stranger.pem")
    return {name: str(home / f"{name}.pem") for name in ("cert", "key", "ca", "client", "stranger")}


def test_tls(certificate: dict[str, str], tmp_path: Path) -> None:
    config = settings(tmp_path, tls_cert=certificate["cert"], tls_key=certificate["key"])
    with serving(config, World(), verify=certificate["ca"]) as client:
        assert client.url.startswith("https://")
        assert client.get("/healthz") == {"status": "ok"}
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{client.url}/healthz", timeout=30)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        host, port = client.url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain, server_hostname=host)


def test_client_certificates(certificate: dict[str, str], tmp_path: Path) -> None:
    tls = {"tls_cert": certificate["cert"], "tls_key": certificate["key"], "tls_client_ca": certificate["ca"]}
    with serving(
        settings(tmp_path, **tls), World(), verify=certificate["ca"], cert=certificate["client"]
    ) as client:
        assert client.get("/healthz") == {"status": "ok"}
        for cert in (None, certificate["stranger"]):
            with pytest.raises(requests.exceptions.ConnectionError):
                requests.get(f"{client.url}/healthz", verify=certificate["ca"], cert=cert, timeout=30)


@pytest.mark.parametrize(
    "tls",
    [
        {"tls_cert": "{cert}"},
        {"tls_key": "{key}"},
        {"tls_client_ca": "{ca}"},
        {"tls_cert": "/none", "tls_key": "{key}"},
        {"tls_cert": "{cert}", "tls_key": "{cert}"},
        {"tls_cert": "{cert}", "tls_key": "{key}", "tls_client_ca": "{key}"},
    ],
    ids=str,
)
def test_certificates_that_do_not_work_are_told_before_it_serves(
    tls: dict[str, str], certificate: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        Serving(settings(tmp_path, **{key: value.format(**certificate) for key, value in tls.items()}))
    (problem,) = caught.value.problems
    assert problem.key.startswith("server.tls")


# -- what is never told ------------------------------------------------------------------------------------------


def test_an_internal_error_tells_nothing_of_itself(client: Client, world: World) -> None:
    def fail(operation: str, what: str) -> None:
        raise RuntimeError("password=hunter2")

    world.backup.fault = fail
    answer = client.ask("GET", "/api/v2/backups")
    job = client.over(client.job(kind="restore", backup="b"))
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text
    assert "hunter2" not in str(job)


def test_a_request_that_is_not_understood_is_not_repeated(client: Client) -> None:
    body = {"kind": "restore", "backup": "b", "ezk_mapping": {"a": ["hunter2"]}}
    assert "hunter2" not in client.ask("POST", "/api/v2/jobs", json=body).text
    assert (
        "hunter2" not in client.ask("POST", "/api/v1/restore", json={"ezkMapping": {"a": ["hunter2"]}}).text
    )


def test_the_jobs_file_is_its_owners_alone(tmp_path: Path) -> None:
    with serving(settings(tmp_path / "made"), World()):
        for path in (tmp_path / "made").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


def test_new_tokens_and_what_is_missing_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "backup.yaml").write_text(
        "minio: {storageType: local, rootPath: data, backupRootPath: backups}\n"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MILVUS", "MINIO"))}
        command = [sys.executable, "-m", "mbk", "server", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)

    made = run("--new-token", "ci")
    token = made.stderr.strip().rpartition(" ")[2]
    (tmp_path / "auth.txt").write_text(made.stdout)
    assert auth.read(str(tmp_path / "auth.txt")).admits(f"Bearer {token}") == "ci"
    refused = run("--host", "0.0.0.0", "-p", "0")
    assert refused.returncode == 2
    assert "server.authFile" in refused.stderr
    assert "mbk: error" in refused.stderr
