"""Notifications of finished jobs and of schedules: a POST to a URL, or a command. No result ever depends on them."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import urllib.request
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mbk.model.events import Event
from mbk.model.jobs import Job
from mbk.model.states import JobState

log = logging.getLogger(__name__)
#: What a command gets of the server's environment, which may hold credentials of Milvus and of the storages.
_PASSED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"}
)
_PASSED_PREFIXES = ("LC_", "MBK_HOOK_")
#: Seconds for one notification: later ones and the server's shutdown wait for it.
PATIENCE = 30


class Notifications:
    """``on_success`` and ``on_failure`` are ``http(s)://`` URLs or command lines; an empty one sends nothing. ``named``: such
    targets by name, for schedules.

    A cancelled or interrupted job counts as failed. One separate thread sends them in order.
    """

    def __init__(self, on_success: str, on_failure: str, named: Mapping[str, str] | None = None) -> None:
        self._targets = {True: on_success, False: on_failure}
        self._named = named or {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mbk-notification")

    def started(self, job: Job) -> None:
        pass

    def event(self, job: Job, event: Event) -> None:
        pass

    def finished(self, job: Job) -> None:
        target = self._targets[job.state is JobState.SUCCEEDED]
        if target:
            facts = {
                "MBK_JOB_ID": job.id,
                "MBK_JOB_KIND": job.kind,
                "MBK_JOB_STATE": job.state,
                "MBK_BACKUP": job.name,
            }
            self._pool.submit(notify, target, f"job {job.id}", _body(job), facts)

    def tell(self, news: Mapping[str, Any], names: Collection[str]) -> None:
        """Tells the targets of these names what became of a schedule."""
        about = f"schedule {news['schedule']}"
        facts = {
            "MBK_SCHEDULE": str(news["schedule"]),
            "MBK_EVENT": str(news["event"]),
            "MBK_BACKUP": str(news["backup"]),
        }
        for name in names:
            if target := self._named.get(name):
                self._pool.submit(notify, target, about, news, facts)
            else:
                log.warning("%s: the configuration has no target %s, which is not told", about, name)

    def close(self) -> None:
        """Waits for the notifications that are not sent yet."""
        self._pool.shutdown(wait=True)


def notify(target: str, about: str, news: Mapping[str, Any], facts: Mapping[str, str]) -> None:
    """Sends one notification. A failure is logged without the target, which may hold a token."""
    body = json.dumps(news).encode()
    try:
        if target.startswith(("http://", "https://")):
            _post(target, body)
        else:
            _run(target, facts, body)
    except Exception as exc:  # noqa: BLE001 - a notification must not fail the job
        log.warning("%s: the notification failed: %s", about, type(exc).__name__)


def _post(url: str, body: bytes) -> None:
    request = urllib.request.Request(
        url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        answer.read(1024)


def _run(command: str, facts: Mapping[str, str], body: bytes) -> None:
    """Passes the news as JSON on standard input, and its main facts in the environment; no shell is involved.

    Of the server's environment it gets only what programs need to run, and the variables whose names begin with ``MBK_HOOK_``.
    """
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    subprocess.run(
        shlex.split(command),
        input=body,
        env={**passed, **facts},
        timeout=PATIENCE,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _body(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "backup": job.name,
        "state": job.state,
        "attempt": job.attempt,
        "seconds": round(job.finished - job.started, 3) if job.started else 0,
        "error": job.error.message if job.error else None,
        "collections": {item.target: item.state for item in job.collections},
        "result": dict(job.result),
    }
