"""The routes of ``/api/v1``. Business errors are HTTP 200 with a ``code``; 400 is for bodies that cannot be parsed."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError

from mbk.api.errors import FAIL, code_of, line
from mbk.api.service import Service
from mbk.api.v1 import answers, translate
from mbk.api.v1.bodies import ClassicBody, CreateRequest, RestoreRequest, SecondaryRequest
from mbk.api.v1.documented import ENVELOPE, ERRORS, FAILED, body_of, text
from mbk.errors import MbkError, NotFound, UsageError
from mbk.jobs.params import Params, made
from mbk.model.jobs import Job
from mbk.model.states import BackupState, JobState

GREETING = "Hello, this is the backup service of Milvus"
CREATING = "create backup is executing asynchronously"
RESTORING = "restore backup is executing asynchronously"
B = TypeVar("B", bound=ClassicBody)
RequestId = Annotated[str, Header(alias="request_id", convert_underscores=False, max_length=256)]
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def router(service: Service) -> APIRouter:  # noqa: C901 each route is a function of its own in here
    routes = APIRouter(prefix="/api/v1", tags=["classic"], responses=ERRORS)
    runner = service.runner

    @routes.get("/hello", response_class=PlainTextResponse, responses=text("a greeting"))
    def hello() -> str:
        return GREETING

    @routes.post("/create", responses=ENVELOPE, openapi_extra=body_of(CreateRequest), summary="Backs up")
    async def create(request: Request, request_id: RequestId = "") -> JSONResponse:
        body = await _parsed(CreateRequest, request)
        task = body.request_id or request_id

        async def work() -> JSONResponse:
            params = translate.backup(body)
            msg = _gc_warning(service, body)
            job = await _submitted(service, params, task)
            if body.run_async:
                return _answer(job.id, answers.backup_of_job(job), msg=_joined(CREATING, msg))
            job = await _over(service, job)
            return await run_in_threadpool(_created, service, job, msg)

        return await _answered(task, work)

    @routes.get("/list", responses=ENVELOPE, summary="Lists the backups")
    async def list_backups(
        request_id: RequestId = "",
        collection_name: Annotated[str, Query(deprecated=True)] = "",
    ) -> JSONResponse:
        async def work() -> JSONResponse:
            if collection_name:
                raise UsageError(
                    "collection_name is no longer supported",
                    code="collection-name-unsupported",
                    hint="omit it",
                )
            return _answer(request_id, await run_in_threadpool(_listed, service))

        return await _answered(request_id, work)

    @routes.get("/get_backup", responses=ENVELOPE, summary="One backup, or its progress")
    async def get_backup(
        request_id: RequestId = "",
        backup_name: str = "",
        backup_id: str = "",
        path: str = "",
        bucket_name: Annotated[str, Query(deprecated=True)] = "",  # noqa: ARG001 - accepted, ignored as ever
        without_detail: Annotated[str, Query(deprecated=True)] = "",  # noqa: ARG001
    ) -> JSONResponse:
        async def work() -> JSONResponse:
            if not backup_name and not backup_id:
                raise translate.missing("backup_name or backup_id")
            data = await run_in_threadpool(_backup, service, backup_name, backup_id, path)
            return _answer(request_id, _brief(service, data))

        return await _answered(request_id, work)

    @routes.delete("/delete", responses=ENVELOPE, summary="Deletes a backup")
    async def delete(request_id: RequestId = "", backup_name: str = "") -> JSONResponse:
        async def work() -> JSONResponse:
            if not backup_name:
                raise translate.missing("backup_name")
            params = made("delete", {"backup": backup_name})
            job = await _over(service, await _submitted(service, params, ""))
            return _ended(request_id, job, None)

        return await _answered(request_id, work)

    @routes.post("/restore", responses=ENVELOPE, openapi_extra=body_of(RestoreRequest), summary="Restores")
    async def restore(request: Request, request_id: RequestId = "") -> JSONResponse:
        body = await _parsed(RestoreRequest, request)
        task = body.request_id or request_id

        async def work() -> JSONResponse:
            job = await _submitted(service, translate.restore(body), body.id)
            if body.run_async:
                return _answer(task, answers.restore_task(job), msg=RESTORING)
            job = await _over(service, job)
            return _ended(task, job, answers.restore_task(job))

        return await _answered(task, work)

    @routes.get("/get_restore", responses=ENVELOPE, summary="The progress of a restore")
    async def get_restore(request_id: RequestId = "", id: str = "") -> JSONResponse:
        async def work() -> JSONResponse:
            job = await run_in_threadpool(runner.get, id)
            if job.kind not in ("restore", "secondary"):
                raise NotFound("restore {id!r} does not exist", code="restore-missing", id=id)
            return _answer(request_id, answers.restore_task(job), msg=_warned(job))

        return await _answered(request_id, work)

    @routes.post(
        "/restore_secondary",
        responses=ENVELOPE,
        openapi_extra=body_of(SecondaryRequest),
        summary="Restores into the secondary of a replication",
    )
    async def restore_secondary(request: Request, request_id: RequestId = "") -> JSONResponse:
        body = await _parsed(SecondaryRequest, request)
        task = body.request_id or request_id

        async def work() -> JSONResponse:
            job = await _submitted(service, translate.secondary(body), "")
            if body.run_async:
                return _answer(task, answers.restore_task(job), msg=RESTORING)
            job = await _over(service, job)
            return _ended(task, job, answers.restore_task(job))

        return await _answered(task, work)

    @routes.get(
        "/check",
        response_class=PlainTextResponse,
        responses=text("the report") | FAILED,
        summary="Checks that everything is reachable and configured correctly",
    )
    def check() -> Any:
        with service.sessions.opened() as session:
            results = list(session.check())
        lines = [f"{'ok' if item.ok else 'FAILED'}  {item.what}: {item.detail}" for item in results]
        if all(item.ok for item in results):
            return PlainTextResponse("\n".join(lines) + "\n")
        return JSONResponse({"error": "; ".join(line for line in lines if line.startswith("FAILED"))}, 500)

    return routes


# -- shared by the routes ----------------------------------------------------------------------------------------


async def _parsed(kind: type[B], request: Request) -> B:
    """Parses the body as Go does, whatever its content type. Raises `BadBody`."""
    raw = await request.body()
    try:
        return kind.model_validate(json.loads(raw))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        raise BadBody(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError) as exc:
        raise BadBody(f"the body is not valid JSON: {type(exc).__name__}") from None


class BadBody(Exception):
    """HTTP 400, the only error status of the classic API."""


async def _answered(request_id: str, work: Callable[[], Awaitable[JSONResponse]]) -> JSONResponse:
    try:
        return await work()
    except MbkError as error:
        return _answer(request_id, None, msg=str(error), code=code_of(error))


async def _submitted(service: Service, params: Params, id: str) -> Job:
    """An id that was used before names the new job, as in the Go tool."""
    requested = id if _ID.fullmatch(id) else ""
    job, _ = await run_in_threadpool(lambda: service.runner.submit(params, id=requested, replaces=True))
    return job


async def _over(service: Service, job: Job) -> Job:
    """Waits for the job, which continues if the client disconnects."""
    return await asyncio.shield(asyncio.wrap_future(service.runner.over(job.id)))


def _created(service: Service, job: Job, msg: str) -> JSONResponse:
    view = None
    if job.state in (JobState.SUCCEEDED, JobState.PARTIAL):
        with service.sessions.reading(path=job.path) as session:
            view = session.get(job.name).document
    return _ended(job.id, job, _brief(service, answers.backup_of_job(job, view)), msg)


def _ended(request_id: str, job: Job, data: Any, msg: str = "") -> JSONResponse:
    if job.state is JobState.SUCCEEDED:
        return _answer(request_id, data, msg=_joined(_warned(job), msg))
    if job.error is None:
        return _answer(request_id, data, msg=str(job.state), code=FAIL)
    return _answer(request_id, data, msg=line(job.error), code=code_of(job.error))


def _brief(service: Service, data: dict[str, Any]) -> dict[str, Any]:
    return answers.shortened(data) if service.settings.server.simple_response else data


def _listed(service: Service) -> list[dict[str, Any]]:
    backups = [item for item in service.sessions.reader.list() if item.state.is_restorable]
    return [
        {
            key: value
            for key, value in (
                ("id", item.id),
                ("name", item.name),
                ("size", item.size or 0),
                ("milvus_version", item.milvus_version),
            )
            if value or key == "size"
        }
        for item in backups
    ]


def _backup(service: Service, name: str, id: str, path: str) -> dict[str, Any]:
    """A running job shows its progress. Otherwise the storage decides, and a failed job says why; whoever asks for the id
    of a failed job is told of that one, even if another backup has its name.
    """
    path, _ = service.sessions.normal(path, "")
    job = _job(service, name, id, path)
    if job is not None and (not job.state.is_over or (not name and job.state is JobState.FAILED)):
        return answers.backup_of_job(job)
    with service.sessions.reading(path=path) as session:
        name = (
            name
            or (job.name if job else "")
            or next((item.name for item in session.list() if item.id == id), "")
        )
        if not name:
            raise NotFound("no backup has the id {id!r}", code="backup-id-missing", id=id)
        try:
            view = session.get(name).document
        except NotFound:
            if job is None:
                raise
            return answers.backup_of_job(job)
    if job is None or view.get("id") != job.id:
        return answers.backup_of_view(view)
    return answers.backup_of_job(job, view if view.get("state") != BackupState.INCOMPLETE else None)


def _job(service: Service, name: str, id: str, path: str) -> Job | None:
    store, runner = service.runner.store, service.runner
    if name:
        jobs = [job for job in store.page(kinds=["backup"], name=name, limit=20) if job.path == path]
        return runner.current(jobs[0]) if jobs else None
    job = store.get(id)
    return runner.current(job) if job is not None and job.kind == "backup" else None


def _warned(job: Job) -> str:
    return "; ".join(["success", *(f"warning: {notice}" for notice in job.notices)])


def _gc_warning(service: Service, body: CreateRequest) -> str:
    """No request can make this server call an address other than the configured one."""
    configured = service.settings.milvus.management_endpoint
    if not body.gc_pause_address or body.gc_pause_address.rstrip("/") == configured.rstrip("/"):
        return ""
    return "warning: gc_pause_address is ignored, the configured one is used"


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _answer(request_id: str, data: Any, *, msg: str = "success", code: int = 0) -> JSONResponse:
    return JSONResponse(answers.envelope(request_id or str(uuid.uuid4()), data, msg=msg, code=code))
