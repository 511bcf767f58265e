"""``/api/v2/schedules``: what the server does by itself, as its configuration or a request says."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response

from mbk.api.service import Service
from mbk.api.v2.bodies import ScheduleBody, SchedulePage, ScheduleSpec, schedule_body
from mbk.api.v2.documented import problems

Name = Annotated[str, Path(min_length=1, max_length=64)]


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/api/v2", tags=["schedules"])
    scheduler = service.scheduler

    @routes.get(
        "/schedules", response_model=SchedulePage, responses=problems(500), summary="Lists the schedules"
    )
    def page() -> SchedulePage:
        scheduler.refresh()
        return SchedulePage(items=[schedule_body(item) for item in scheduler.states()])

    @routes.get(
        "/schedules/{name}",
        response_model=ScheduleBody,
        responses=problems(400, 404, 422, 500),
        summary="One schedule with its last and its next run",
    )
    def get(name: Name) -> ScheduleBody:
        scheduler.refresh(name)
        return schedule_body(scheduler.state(name))

    @routes.post(
        "/schedules/{name}:run",
        status_code=202,
        response_model=ScheduleBody,
        responses=problems(400, 404, 409, 422, 500),
        summary="Runs a schedule now",
    )
    def run(name: Name) -> ScheduleBody:
        return schedule_body(scheduler.run(name))

    @routes.post(
        "/schedules/{name}:pause",
        response_model=ScheduleBody,
        responses=problems(400, 404, 409, 422, 500, 502, 503),
        summary="Pauses a schedule; what runs goes on",
    )
    def pause(name: Name) -> ScheduleBody:
        return schedule_body(scheduler.pause(name, paused=True))

    @routes.post(
        "/schedules/{name}:resume",
        response_model=ScheduleBody,
        responses=problems(400, 404, 409, 422, 500, 502, 503),
        summary="Ends the pause; what was missed is not made up",
    )
    def resume(name: Name) -> ScheduleBody:
        return schedule_body(scheduler.pause(name, paused=False))

    # After the routes with a verb, which look like names to these.
    @routes.post(
        "/schedules/{name}",
        status_code=201,
        response_model=ScheduleBody,
        responses=problems(400, 409, 422, 500, 502, 503, 507),
        summary="Makes a schedule",
    )
    def create(
        name: Name,
        body: ScheduleSpec,
        response: Response,
        idempotency_key: Annotated[
            str,
            Header(
                max_length=255,
                description="a repeated key with the same body returns the schedule of the first request",
            ),
        ] = "",
    ) -> ScheduleBody:
        state, replayed = scheduler.create(name, _given(body), key=idempotency_key)
        if replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return schedule_body(state)

    @routes.put(
        "/schedules/{name}",
        response_model=ScheduleBody,
        responses=problems(400, 409, 422, 500, 502, 503, 507)
        | {201: {"model": ScheduleBody, "description": "it is new"}},
        summary="Replaces a schedule, or makes it",
    )
    def replace(name: Name, body: ScheduleSpec, response: Response) -> ScheduleBody:
        state, is_new = scheduler.replace(name, _given(body))
        if is_new:
            response.status_code = 201
        return schedule_body(state)

    @routes.delete(
        "/schedules/{name}",
        status_code=204,
        responses=problems(404, 409, 422, 500, 502, 503),
        summary="Deletes a schedule; the job that runs goes on",
    )
    def delete(name: Name) -> None:
        scheduler.delete(name)

    return routes


def _given(body: ScheduleSpec) -> dict[str, Any]:
    """As the configuration has it: what was left out is left out."""
    return body.model_dump(mode="json", by_alias=True, exclude_defaults=True)
