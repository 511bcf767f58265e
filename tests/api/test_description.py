"""What /openapi.json says is what the server does: no answer that is not described, and none that is a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import product

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mbk.api import auth
from mbk.api.app import create_app
from mbk.api.service import build
from tests.api.harness import Client, WorldSession, docs_world, serving, settings

EXAMPLES = 8


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(settings(tmp_path_factory.mktemp("described"), jobs_queue=10_000), docs_world()) as client:
        client.done(kind="backup", name="nightly")
        yield client


@pytest.fixture(scope="module")
def described(served: Client) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


def test_every_answer_is_described(described: schemathesis.BaseSchema) -> None:
    """Each operation with made up requests: what comes back has a described status, type and shape."""
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 18
    for operation, mode in product(operations, GenerationMode):

        @hypothesis_settings(
            max_examples=EXAMPLES,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[*HealthCheck],
            derandomize=True,
            database=None,
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def is_described(case: schemathesis.Case) -> None:
            response = case.call(timeout=60)
            case.validate_response(
                response,
                checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
            )
            assert response.status_code < 500 or response.status_code in (502, 503), response.text

        nothing_to_get_wrong = mode is GenerationMode.NEGATIVE
        with suppress(Unsatisfiable) if nothing_to_get_wrong else nullcontext():
            is_described()


def test_the_description_is_whole(served: Client) -> None:
    told = served.get("/openapi.json")
    assert told["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(told)
    classic = {path for path in told["paths"] if path.startswith("/api/v1/")}
    assert classic == {
        f"/api/v1/{name}"
        for name in ("hello", "create", "list", "get_backup", "delete", "restore", "get_restore", "check")
    } | {"/api/v1/restore_secondary"}
    create = told["paths"]["/api/v1/create"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"backup_name", "async", "db_collections", "requestId"} <= create["properties"].keys()
    assert "security" not in told


def test_the_description_says_how_to_be_let_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("auth")
    (home / "auth").write_text(auth.new_token("a")[1] + "\n" + auth.user_line("b", "c"))
    service = build(
        settings(home, auth_file=str(home / "auth"), swagger_base_path="/mbk"),
        open=lambda given: WorldSession(given, docs_world),
    )
    try:
        told = create_app(service).openapi()
    finally:
        service.stop()
    assert [*told["components"]["securitySchemes"]] == ["token", "password"]
    assert told["paths"]["/healthz"]["get"]["security"] == []
    assert told["servers"] == [{"url": "/mbk"}]


def test_a_method_that_a_route_does_not_have_is_405(served: Client) -> None:
    for path in ("/api/v2/jobs/x", "/api/v1/create"):
        assert requests.patch(served.url + path, timeout=30).status_code == 405
