"""``/api/v2/schedules``: what the server does by itself, as its configuration says."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from mbk.api.service import Service
from mbk.api.v2.bodies import ScheduleBody, SchedulePage, schedule_body
from mbk.api.v2.documented import problems

Name = Annotated[str, Path(min_length=1, max_length=64)]


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/api/v2", tags=["schedules"])
    scheduler = service.scheduler

    @routes.get(
        "/schedules", response_model=SchedulePage, responses=problems(500), summary="Lists the schedules"
    )
    def page() -> SchedulePage:
        return SchedulePage(items=[schedule_body(item) for item in scheduler.states()])

    @routes.get(
        "/schedules/{name}",
        response_model=ScheduleBody,
        responses=problems(404, 422, 500),
        summary="One schedule with its last and its next run",
    )
    def get(name: Name) -> ScheduleBody:
        return schedule_body(scheduler.state(name))

    @routes.post(
        "/schedules/{name}:run",
        status_code=202,
        response_model=ScheduleBody,
        responses=problems(404, 409, 422, 500),
        summary="Runs a schedule now",
    )
    def run(name: Name) -> ScheduleBody:
        return schedule_body(scheduler.run(name))

    @routes.post(
        "/schedules/{name}:pause",
        response_model=ScheduleBody,
        responses=problems(404, 422, 500),
        summary="Pauses a schedule; what runs goes on",
    )
    def pause(name: Name) -> ScheduleBody:
        return schedule_body(scheduler.pause(name, paused=True))

    @routes.post(
        "/schedules/{name}:resume",
        response_model=ScheduleBody,
        responses=problems(404, 422, 500),
        summary="Ends the pause; what was missed is not made up",
    )
    def resume(name: Name) -> ScheduleBody:
        return schedule_body(scheduler.pause(name, paused=False))

    return routes
