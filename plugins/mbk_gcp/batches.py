"""Many deletes in one request: https://cloud.google.com/storage/docs/batch."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from mbk.errors import TransferInterrupted
from mbk.plugin.batches import Call, Said, answers_of, batch_of
from mbk.plugin.wire import WireError
from mbk_gcp.service import Service

PATH = "/batch/storage/v1"


def deleted(service: Service, paths: Sequence[str]) -> list[Said]:
    """Status and body of the answer for each path of an object, in their order."""
    boundary = uuid4().hex
    answer = service.send(
        "POST",
        PATH,
        200,
        headers={"Content-Type": f"multipart/mixed; boundary={boundary}"},
        body=batch_of([Call("DELETE", path) for path in paths], boundary),
        repeatable=True,
    )
    found = answers_of(answer)
    if len(found) != len(paths):
        raise WireError(TransferInterrupted, "the answer is incomplete", code="answer-incomplete")
    return found
