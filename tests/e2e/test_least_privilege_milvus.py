"""`create` and `restore` as a user with exactly the privileges of the policy files, on a real Milvus that asks for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import AccessError
from mbk.session import Session
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.milvus_servers import milvus_local
from tests.e2e.site import Site, local_storage, make_site

POLICIES = Path(__file__).parents[2] / "docs/reference/policies"
LOGIN = {"user": "root", "password": "Milvus"}
PASSWORD = "Passw0rd!"
#: Seconds after which the proxy of this Milvus has heard of a change; nothing tells when.
HEARD = 1.0
HEARINGS = 10


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    settings = {"common.security.authorizationEnabled": True}
    with milvus_local(tmp_path_factory.mktemp("guarded"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def administrator(guarded: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(guarded, **LOGIN) as clients:
        yield clients


@pytest.fixture(scope="module")
def coll(administrator: Clients) -> Coll:
    return data.plain(administrator, "default", "docs")


def grants(command: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((POLICIES / f"milvus-{command}.json").read_text())
    return found


def _named(grant: dict[str, str]) -> dict[str, Any]:
    return {
        "object_type": grant["objectType"],
        "privilege": grant["privilege"],
        "object_name": grant["objectName"],
    }


@pytest.fixture(scope="module")
def sites(
    guarded: EmbeddedMilvus, administrator: Clients, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Site]:
    """For each command the place of a user with its privileges; one directory of backups."""
    home = tmp_path_factory.mktemp("users")
    (home / "backups").mkdir()
    found = {}
    for name in ("create", "restore"):
        client = administrator["default"]
        client.create_user(user_name=name, password=PASSWORD)
        client.create_role(role_name=name)
        client.grant_role(user_name=name, role_name=name)
        for grant in grants(name):
            client.grant_privilege(role_name=name, **_named(grant))
        found[name] = make_site(
            home / f"{name}.yaml",
            guarded,
            local_storage(guarded.storage_root),
            local_storage(home / "backups"),
            milvus={"user": name, "password": PASSWORD},
        )
    return found


@pytest.fixture(scope="module")
def kept(sites: dict[str, Site], coll: Coll) -> str:
    with sites["create"].session() as session:
        report = session.create("kept", filter=coll.name)
    (only,) = report.collections
    assert only.rows_expected is not None
    return "kept"


def test_each_command_does_its_work(sites: dict[str, Site], coll: Coll, kept: str) -> None:
    for command, site in sites.items():
        with site.session() as session:
            assert [item.what for item in session.check(command) if not item.ok] == []
    with sites["restore"].session() as session:
        session.restore(kept, suffix="_back", rebuild_index=True)
        assert_same(coll, coll.moved("docs_back"))
        session.restore(kept, suffix="_back", drop_existing=True, rebuild_index=True)
    assert_same(coll, coll.moved("docs_back"))


def _each() -> Iterator[Any]:
    for command in ("create", "restore"):
        for grant in grants(command):
            if grant["privilege"] == "Query":
                continue
            yield pytest.param(command, grant, id=f"{command}-{grant['privilege']}")


@pytest.mark.parametrize(("command", "grant"), list(_each()))
def test_without_one_of_its_privileges_it_is_told_which(
    command: str, grant: dict[str, str], sites: dict[str, Site], administrator: Clients, kept: str
) -> None:
    client, privilege = administrator["default"], grant["privilege"]
    with sites[command].session() as session:
        if privilege in ("DropCollection", "RenameCollection"):
            session.restore(kept, suffix=f"_{privilege}", rebuild_index=True)
        client.revoke_privilege(role_name=command, **_named(grant))
        time.sleep(HEARD)
        try:
            with pytest.raises(AccessError) as caught:
                _work_until_refused(session, command, kept, suffix=f"_{privilege}")
        finally:
            client.grant_privilege(role_name=command, **_named(grant))
            time.sleep(HEARD)
    assert privilege in caught.value.message


def test_without_the_right_to_query_nothing_is_counted(
    sites: dict[str, Site], administrator: Clients, coll: Coll
) -> None:
    query = {"object_type": "Collection", "privilege": "Query", "object_name": "*"}
    administrator["default"].revoke_privilege(role_name="create", **query)
    time.sleep(HEARD)
    try:
        with sites["create"].session() as session:
            report = session.create("uncounted", filter=coll.name)
    finally:
        administrator["default"].grant_privilege(role_name="create", **query)
    (only,) = report.collections
    assert None in (only.rows_expected, only.rows_present)


def _work_until_refused(session: Session, command: str, kept: str, suffix: str) -> None:
    """On a busy machine Milvus hears later that a right is gone."""
    for _ in range(HEARINGS):
        _work(session, command, kept, suffix)
        time.sleep(HEARD)


def _work(session: Session, command: str, kept: str, suffix: str) -> object:
    if command == "create":
        return session.create(filter="docs")
    return session.restore(kept, suffix=suffix, drop_existing=True, rebuild_index=True)
