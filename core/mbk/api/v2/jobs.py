"""``/api/v2/jobs``."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Union

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import Field

from mbk.api.service import Service
from mbk.api.v2.bodies import JobBody, JobPage, job_body
from mbk.api.v2.documented import problems
from mbk.errors import UsageError
from mbk.jobs.kinds import KINDS
from mbk.model.jobs import Job
from mbk.model.states import JobState

#: Seconds of silence after which a stream sends a heartbeat, so that proxies keep it open.
HEARTBEAT = 15.0
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
Cursor = Annotated[str, Query(max_length=64, description="next_cursor of the previous page")]
Limit = Annotated[int, Query(ge=1, le=500)]
LOCATION = {"Location": {"description": "where the job can be watched", "schema": {"type": "string"}}}
EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["state", "phase", "collection", "notice", "progress"]},
        "data": {"type": "string", "description": "JSON"},
    },
}
KindName = Annotated[str, Query(max_length=64)]
#: A union of the registered kinds, which no type checker can see through.
Body: Any = Annotated[Union[tuple(kind.params for kind in KINDS.values())], Field(discriminator="kind")]  # noqa: UP007 - made of a tuple


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/api/v2", tags=["jobs"])
    runner = service.runner

    @routes.post(
        "/jobs",
        status_code=202,
        response_model=JobBody,
        responses=problems(400, 409, 422, 429, 502, 503) | {202: {"headers": LOCATION}},
        summary="Submits a job",
    )
    def submit(
        body: Body,
        response: Response,
        idempotency_key: Annotated[
            str,
            Header(
                max_length=255,
                description="a repeated key with the same body returns the job of the first request",
            ),
        ] = "",
    ) -> JobBody:
        params: Any = body
        digest = hashlib.sha256(
            json.dumps(params.model_dump(mode="json"), sort_keys=True).encode()
        ).hexdigest()
        job, replayed = runner.submit(body, key=idempotency_key, digest=digest)
        response.headers["Location"] = f"{service.base}/api/v2/jobs/{job.id}"
        if replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return job_body(job)

    @routes.get(
        "/jobs", response_model=JobPage, responses=problems(400, 422), summary="Lists jobs, newest first"
    )
    def page(
        state: Annotated[list[JobState], Query(description="only jobs in these states")] = [],  # noqa: B006 - FastAPI's way
        kind: Annotated[list[KindName], Query(max_length=16, description="only jobs of these kinds")] = [],  # noqa: B006 - FastAPI copies it
        backup: Annotated[str, Query(max_length=256)] = "",
        cursor: Cursor = "",
        limit: Limit = 50,
    ) -> JobPage:
        before = _decoded(cursor)
        jobs = runner.store.page(states=state, kinds=kind, name=backup, before=before, limit=limit + 1)
        shown = jobs[:limit]
        more = _encoded(shown[-1].number) if len(jobs) > limit else None
        return JobPage(items=[job_body(runner.current(job)) for job in shown], next_cursor=more)

    @routes.get(
        "/jobs/{id}", response_model=JobBody, responses=problems(404, 422), summary="One job, as it is now"
    )
    def get(id: JobId) -> JobBody:
        return job_body(runner.get(id))

    @routes.post(
        "/jobs/{id}:cancel",
        status_code=202,
        response_model=JobBody,
        responses=problems(404, 409, 422),
        summary="Cancels a job",
    )
    def cancel(id: JobId) -> JobBody:
        return job_body(runner.cancel(id))

    @routes.post(
        "/jobs/{id}:resume",
        status_code=202,
        response_model=JobBody,
        responses=problems(404, 409, 422, 429),
        summary="Resumes a job that ended without success",
    )
    def resume(id: JobId) -> JobBody:
        return job_body(runner.resume(id))

    @routes.get(
        "/jobs/{id}/events",
        response_class=StreamingResponse,
        responses=problems(404, 422)
        | {
            200: {
                "description": "server-sent events: state, phase, collection, notice, progress; the stream ends with the job",
                "content": {"text/event-stream": {"schema": EVENT}},
            }
        },
        summary="Watches a job",
    )
    async def events(
        id: JobId,
        last_event_id: Annotated[int, Header(ge=0, le=2**62, description="continue after this event")] = 0,
    ) -> StreamingResponse:
        job = await run_in_threadpool(runner.get, id)
        return StreamingResponse(_stream(service, job, last_event_id), media_type="text/event-stream")

    return routes


async def _stream(service: Service, job: Job, after: int) -> AsyncIterator[str]:
    runner, stream = service.runner, service.event_stream
    while True:
        changed = stream.mark()
        is_over = (await run_in_threadpool(runner.get, job.id)).state.is_over
        events = await run_in_threadpool(runner.store.events, job, after=after)
        for number, kind, data in events:
            after = number
            yield f"id: {number}\nevent: {kind}\ndata: {data}\n\n"
        if events:
            continue
        if is_over or stream.closed:
            return
        yield ": alive\n\n"
        await stream.wait(changed, HEARTBEAT)


def _encoded(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def _decoded(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        number = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        number = 0
    if not 0 < number < 2**62:
        raise UsageError(
            "cursor {cursor!r} is not valid",
            code="cursor-invalid",
            cursor=cursor,
            hint="omit it to start with the first page",
        )
    return number
