"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from mbk.api.ready import SILENT
from mbk.api.service import Service
from mbk.api.v2.documented import problems

#: Reasons for refusing even a probe.
CLOSED = {status: described for status, described in problems().items() if status != 401}


class Health(BaseModel):
    status: str


class Ready(BaseModel):
    """``ok``, ``down`` or, while there is no answer yet, ``unknown`` for each component, and the worst of these as status.

    Unauthenticated callers learn no more; the log has the reasons.
    """

    status: str
    milvus: str
    storage: str
    backup_storage: str


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", response_model=Health, responses=CLOSED, summary="The server is alive")
    async def healthz() -> Health:  # on the loop: it answers even while every thread waits for a storage
        return Health(status="ok")

    @routes.get(
        "/readyz",
        response_model=Ready,
        responses={503: {"model": Ready, "description": "a component does not answer"}, **CLOSED},
        summary="Milvus and both storages answer",
    )
    def readyz() -> JSONResponse:
        parts = {name: _word(answer) for name, answer in service.readiness.answers().items()}
        status = next((word for word in ("down", "unknown") if word in parts.values()), "ok")
        return JSONResponse({"status": status, **parts}, 200 if status == "ok" else 503)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses=problems()
        | {200: {"description": "metrics in the format of Prometheus", "content": {"text/plain": {}}}},
        summary="Metrics for Prometheus",
    )
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes


def _word(answer: str) -> str:
    return {"ok": "ok", SILENT: "unknown"}.get(answer, "down")
