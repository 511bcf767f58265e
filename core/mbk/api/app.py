"""The application: routes, error answers, documentation, and the life of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from mbk.about import __version__
from mbk.api import health
from mbk.api.describe import describe
from mbk.api.docs import add_docs
from mbk.api.errors import PROBLEM, problem, problem_of, status_of
from mbk.api.middleware import AccessMiddleware
from mbk.api.service import Service
from mbk.api.v1 import routes as classic
from mbk.api.v2 import backups, jobs, schedules
from mbk.api.waits import Waits
from mbk.errors import MbkError

DESCRIPTION = (
    "Backup and restore for Milvus. `/api/v1` is the API of the Go tool milvus-backup, `/api/v2` has jobs that can be "
    "watched, cancelled and resumed, and that survive a restart."
)


def create_app(service: Service) -> FastAPI:
    """The application without its middleware; `create_server_app` adds that."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        import asyncio

        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="mbk",
        version=__version__,
        description=DESCRIPTION,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        servers=[{"url": service.base}] if service.base else None,
        debug=False,  # never answer with a traceback, whatever the configuration says
    )
    app.include_router(classic.router(service))
    app.include_router(jobs.router(service))
    app.include_router(backups.router(service))
    app.include_router(schedules.router(service))
    app.include_router(health.router(service))
    add_docs(app, service.base)
    describe(app, has_credentials=bool(service.credentials))
    app.add_exception_handler(classic.BadBody, _bad_body)
    app.add_exception_handler(MbkError, _mbk_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal)
    app.api_route("/", methods=["GET", "POST", "PUT", "DELETE", "PATCH"], include_in_schema=False)(_greeting)
    return app


def create_server_app(service: Service, waits: Waits = Waits()) -> AccessMiddleware:  # noqa: B008 - frozen
    """The application behind the middleware: what the server serves."""
    server = service.settings.server
    return AccessMiddleware(
        create_app(service),
        credentials=service.credentials,
        max_body=server.max_body_size,
        body_seconds=waits.body,
        # A browser presents a client certificate by itself, too, but only to the host that the certificate was issued for.
        any_host=server.allow_anonymous or bool(server.tls_client_ca),
    )


def _greeting() -> PlainTextResponse:
    return PlainTextResponse(classic.GREETING)


def _is_classic(request: Request) -> bool:
    return request.url.path.startswith("/api/v1/")


def _answer(request: Request, status: int, detail: str, headers: Any = None) -> JSONResponse:
    if _is_classic(request):
        return JSONResponse({"error": detail}, status, headers=headers)
    return JSONResponse(problem(status, detail), status, media_type=PROBLEM, headers=headers)


async def _bad_body(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, 400, str(error))


async def _mbk_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MbkError)
    status = status_of(error)
    if _is_classic(request):
        return JSONResponse({"error": str(error)}, status)
    headers = {"Retry-After": "5"} if status in (429, 503) else None
    return JSONResponse(problem_of(error), status, media_type=PROBLEM, headers=headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Names the place of each problem. What was sent is not repeated: it may be a secret."""
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    if _is_classic(request):
        return JSONResponse({"error": "; ".join(problems)}, 400)
    body = problem(422, "the request is not valid") | {"errors": problems}
    return JSONResponse(body, 422, media_type=PROBLEM)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, str(error.detail), error.headers)


async def _internal(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, 500, f"internal error ({type(error).__name__})")
