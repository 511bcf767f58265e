"""TLS, login, users and grants on real servers: 2.3.5 with a login and TLS, 2.3.5 with client certificates, 2.2.16."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mbk.config.schema import MilvusSettings
from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import (
    AuthenticationFailed,
    ConfigError,
    MbkError,
    MilvusUnavailable,
    PermissionDenied,
    RateLimited,
)
from mbk.milvus import connect
from mbk.model.records import (
    CollectionSchema,
    FieldSchema,
    KeyValue,
    Name,
    PrivilegeGroup,
    Rbac,
    RbacGrant,
    RbacGrantor,
    RbacUser,
)
from mbk.ports.milvus.server import Milvus
from tests.e2e.milvus_servers import milvus_2_2, milvus_local

HOST_NAME = "milvus.test"
ROOT = {"user": "root", "password": "Milvus"}
WITH_LOGIN = {"common.security.authorizationEnabled": True}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem``, and of the same authority ``server.pem``, ``server.key``, ``client.pem``, ``client.key``."""
    place = tmp_path_factory.mktemp("certificates")
    openssl(place, "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem")
    (place / "names").write_text(f"subjectAltName=DNS:{HOST_NAME}", "ascii")
    for who in ("server", "client"):
        openssl(place, f"req -newkey rsa:2048 -nodes -subj /CN={who} -keyout {who}.key -out {who}.csr")
        sign = f"x509 -req -in {who}.csr -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -out {who}.pem"
        openssl(place, f"{sign} -extfile names")
    return place


def openssl(place: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=place, check=True, capture_output=True)


def tls(certificates: Path, mode: int) -> Mapping[str, object]:
    return {
        "common.security.tlsMode": mode,
        "tls.serverPemPath": str(certificates / "server.pem"),
        "tls.serverKeyPath": str(certificates / "server.key"),
        "tls.caPemPath": str(certificates / "ca.pem"),
    }


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[EmbeddedMilvus]:
    """2.3.5 that wants TLS and a login."""
    home = tmp_path_factory.mktemp("secured")
    with milvus_local(home, tls(certificates, 1), WITH_LOGIN) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[EmbeddedMilvus]:
    """2.3.5 that wants client certificates and allows one flush a second."""
    limits = {
        "quotaAndLimits.enabled": True,
        "quotaAndLimits.flushRate.enabled": True,
        "quotaAndLimits.flushRate.max": 1,
    }
    with milvus_local(tmp_path_factory.mktemp("mutual"), tls(certificates, 2), limits) as server:
        yield server


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    """2.2.16 that wants a login."""
    with milvus_2_2(tmp_path_factory.mktemp("old"), WITH_LOGIN) as server:
        yield server


def settings(server: EmbeddedMilvus, **changes: Any) -> MilvusSettings:
    return MilvusSettings(**({"address": server.address, "port": server.port} | changes))


def trusting(certificates: Path, **changes: Any) -> dict[str, Any]:
    ca = str(certificates / "ca.pem")
    return {"tls_mode": "server", "ca_cert_path": ca, "server_name": HOST_NAME} | changes


@pytest.fixture(params=["secured", "old"])
def administrator(request: pytest.FixtureRequest, certificates: Path) -> Iterator[Milvus]:
    server = request.getfixturevalue(request.param)
    way = trusting(certificates) if request.param == "secured" else {}
    client = connect(settings(server, **way, **ROOT))
    yield client
    client.close()


def failure(wanted: MilvusSettings) -> MbkError:
    with pytest.raises(MbkError) as caught:
        connect(wanted)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_wrong_password_is_an_authentication_failure(
    secured: EmbeddedMilvus, old: EmbeddedMilvus, certificates: Path
) -> None:
    for server, way in ((secured, trusting(certificates)), (old, {})):
        for login in ({}, ROOT | {"password": "s3cret-and-wrong"}, {"user": "nobody", "password": "s3cret"}):
            error = failure(settings(server, **way, **login))
            assert isinstance(error, AuthenticationFailed)
            assert "s3cret" not in str(error) + repr(error) + repr(error.__cause__)


def test_no_text_of_the_client_holds_the_password(secured: EmbeddedMilvus, certificates: Path) -> None:
    client = connect(settings(secured, **trusting(certificates), **ROOT))
    token = base64.b64encode(b"root:Milvus").decode()
    assert token not in repr(client) + repr(vars(vars(client)["_server"]))
    client.close()


def test_tls_settings_that_do_not_fit_say_what_to_set(
    secured: EmbeddedMilvus, mutual: EmbeddedMilvus, milvus: EmbeddedMilvus, certificates: Path
) -> None:
    cases = [
        (settings(secured), "tlsMode"),
        (settings(secured, tls_mode="server"), "caCertPath"),
        (settings(secured, **trusting(certificates, server_name="")), "serverName"),
        (
            settings(secured, **trusting(certificates, ca_cert_path=str(certificates / "ca.key"))),
            "caCertPath",
        ),
        (settings(mutual, **trusting(certificates)), "client certificate"),
        (settings(milvus, tls_mode="server"), "does not use TLS"),
    ]
    for wanted, text in cases:
        error = failure(wanted)
        assert isinstance(error, MilvusUnavailable)
        assert text in str(error)
        assert error.facts["address"] == f"127.0.0.1:{wanted.port}"


@pytest.fixture
def certified(mutual: EmbeddedMilvus, certificates: Path) -> Iterator[Milvus]:
    files = {
        "mtls_cert_path": str(certificates / "client.pem"),
        "mtls_key_path": str(certificates / "client.key"),
    }
    client = connect(settings(mutual, **trusting(certificates, tls_mode="mutual", **files)))
    yield client
    client.close()


def test_client_certificates_are_shown(certified: Milvus) -> None:
    assert certified.version == "v2.3.5-lite"


def test_a_rate_limit_may_be_tried_again(certified: Milvus) -> None:
    key = FieldSchema(field_id=100, name="id", data_type=5, is_primary_key=True)
    dimension = [KeyValue(key="dim", value="4")]
    vector = FieldSchema(field_id=101, name="vector", data_type=101, type_params=dimension)
    schema = CollectionSchema(name="docs", fields=[key, vector])
    certified.definitions.create_collection("default", schema, shards=1, consistency_level=0)

    def flush_on_and_on() -> None:
        for _ in range(100):
            certified.points.flush("default", "docs")

    with pytest.raises(RateLimited) as caught:
        flush_on_and_on()
    assert caught.value.retryable


def test_certificates_that_cannot_be_read_are_errors_of_the_settings(milvus: EmbeddedMilvus) -> None:
    for changes in ({"tls_mode": "mutual"}, {"tls_mode": "server", "ca_cert_path": "nowhere.pem"}):
        error = failure(settings(milvus, **changes))
        assert isinstance(error, ConfigError)


def test_a_dead_port_is_named() -> None:
    error = failure(MilvusSettings(address="127.0.0.1", port=1))
    assert isinstance(error, MilvusUnavailable)
    assert error.retryable
    assert (error.code, error.facts["address"]) == ("milvus-unreachable", "127.0.0.1:1")


def test_roles_and_grants_are_restored_and_users_reported(administrator: Milvus) -> None:
    administrator.definitions.create_database("tenants")
    grants = [
        grant("reader", "Collection", "*", "Search", "default"),
        grant("reader", "Collection", "docs", "Query", "tenants"),
        grant("reader", "Global", "*", "CreateCollection", "default"),
        grant("reader", "Collection", "docs", "Insert", "*"),
    ]
    wanted = Rbac(
        users=[RbacUser(user="root"), RbacUser(user="ann", roles=[Name(name="reader")])],
        roles=[Name(name="admin"), Name(name="reader")],
        grants=grants,
        privilege_groups=[PrivilegeGroup(group_name="group", privileges=[Name(name="Search")])],
    )

    lines = administrator.access.restore(wanted)

    assert lines == [
        "user ann was not created: the backup has no password; create the user and assign the roles reader",
        "privilege group group was not created: this server does not support privilege groups",
    ]
    found = administrator.access.read()
    assert [user.user for user in found.users] == ["root"]
    assert {role.name for role in found.roles} == {"admin", "public", "reader"}
    restored = [item for item in found.grants if item.role == Name(name="reader")]
    assert sorted(restored, key=repr) == sorted(grants, key=repr)
    assert "role reader exists, not changed" in administrator.access.restore(wanted)


def grant(role: str, kind: str, name: str, privilege: str, database: str) -> RbacGrant:
    return RbacGrant(
        role=Name(name=role),
        object=Name(name=kind),
        object_name=name,
        grantor=RbacGrantor(user=Name(name="root"), privilege=Name(name=privilege)),
        db_name=database,
    )


def test_a_user_without_the_right_is_denied(secured: EmbeddedMilvus, certificates: Path) -> None:
    from pymilvus import MilvusClient

    address = f"https://{secured.address}:{secured.port}"
    ca = str(certificates / "ca.pem")
    root = MilvusClient(uri=address, secure=True, server_pem_path=ca, server_name=HOST_NAME, **ROOT)
    root.create_user("bob", "bobs-password")
    bob = connect(settings(secured, **trusting(certificates, user="bob", password="bobs-password")))
    for call in (bob.inventory.databases, bob.access.read, lambda: bob.points.flush("default", "docs")):
        with pytest.raises(PermissionDenied):
            call()
    bob.close()

    administrator = connect(settings(secured, **trusting(certificates), **ROOT))
    role = Name(name="reader_of_bob")
    administrator.access.restore(Rbac(roles=[role]))
    root.grant_role("bob", role.name)
    found = {user.user: user for user in administrator.access.read().users}
    assert found["bob"].roles == [role]
    assert found["bob"].password == ""
    assert administrator.access.restore(Rbac(users=[found["bob"]])) == ["user bob exists, not changed"]
    root.drop_role(role.name, force_drop=True)
    root.drop_user("bob")
    administrator.close()
