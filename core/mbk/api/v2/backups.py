"""``/api/v2/backups``: the backups in the backup storage."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from mbk.api.service import Service
from mbk.api.v2.bodies import BackupDetail, BackupPage, JobBody, backup_body, backup_detail, job_body
from mbk.api.v2.documented import problems
from mbk.api.v2.jobs import LOCATION
from mbk.jobs.params import made
from mbk.model.states import BackupState

Name = Annotated[str, Path(min_length=1, max_length=256)]
Place = Annotated[str, Query(max_length=1024, description="instead of the configured one")]


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/api/v2", tags=["backups"])

    @routes.get(
        "/backups",
        response_model=BackupPage,
        responses=problems(400, 404, 422, 502, 503),
        summary="Lists the backups by name",
    )
    def page(
        state: Annotated[str, Query(pattern=f"^({'|'.join(BackupState)})?$")] = "",
        cursor: Annotated[str, Query(max_length=256, description="next_cursor of the previous page")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        path: Place = "",
        bucket: Annotated[str, Query(max_length=63)] = "",
    ) -> BackupPage:
        with service.sessions.reading(path=path, bucket=bucket) as session:
            backups = [
                item for item in session.list() if item.name > cursor and (not state or item.state == state)
            ]
        more = backups[limit - 1].name if len(backups) > limit else None
        return BackupPage(items=[backup_body(item) for item in backups[:limit]], next_cursor=more)

    @routes.get(
        "/backups/{name}",
        response_model=BackupDetail,
        responses=problems(400, 404, 409, 422, 502, 503),
        summary="One backup with collections, partitions and indexes",
    )
    def get(name: Name, path: Place = "", bucket: Annotated[str, Query(max_length=63)] = "") -> BackupDetail:
        with service.sessions.reading(path=path, bucket=bucket) as session:
            return backup_detail(session.get(name, detail=True))

    @routes.delete(
        "/backups/{name}",
        status_code=202,
        response_model=JobBody,
        responses=problems(400, 409, 422, 429, 502, 503) | {202: {"headers": LOCATION}},
        summary="Deletes a backup, as a job",
    )
    def delete(
        name: Name, response: Response, path: Place = "", bucket: Annotated[str, Query(max_length=63)] = ""
    ) -> JobBody:
        job, _ = service.runner.submit(made("delete", {"backup": name, "path": path, "bucket": bucket}))
        response.headers["Location"] = f"{service.base}/api/v2/jobs/{job.id}"
        return job_body(job)

    return routes
