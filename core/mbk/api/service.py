"""Builds everything the routes work with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mbk.api import auth
from mbk.api.auth import Credentials
from mbk.api.event_stream import EventStream
from mbk.api.ready import Readiness
from mbk.config.schema import Settings
from mbk.errors import ConfigError
from mbk.jobs.definitions import Definitions
from mbk.jobs.notifications import Notifications
from mbk.jobs.runner import Observer, Runner
from mbk.jobs.schedule import Surroundings, all_of
from mbk.jobs.scheduler import Scheduler
from mbk.jobs.sessions import Open, Sessions
from mbk.jobs.store import Store
from mbk.observe.metrics import ServerMetrics
from mbk.observe.tracing import Tracing
from mbk.session import Session


@dataclass(slots=True)
class Service:
    """The components of one server. ``base`` is the path prefix under which a proxy exposes it."""

    settings: Settings
    credentials: Credentials
    sessions: Sessions
    runner: Runner
    scheduler: Scheduler
    metrics: ServerMetrics
    readiness: Readiness
    notifications: Notifications
    event_stream: EventStream = field(default_factory=EventStream)

    @property
    def base(self) -> str:
        path = self.settings.server.swagger_base_path.strip("/")
        return f"/{path}" if path else ""

    def start(self) -> None:
        """Starts the jobs; called once the event loop runs."""
        self.event_stream.bind()
        self.runner.on_change = self.event_stream.wake
        self.runner.start()
        self.scheduler.start()

    def begin_stop(self) -> None:
        self.runner.begin_stop()
        self.event_stream.close()

    def stop(self) -> None:
        """Waits until the jobs have stopped cleanly, and closes everything."""
        self.begin_stop()
        self.scheduler.stop()
        self.runner.stop()
        self.readiness.close()
        self.notifications.close()
        self.sessions.close()
        self.runner.store.close()


def build(
    settings: Settings,
    *,
    config: Path | None = None,
    open: Open = Session,
    observers: Sequence[Observer] = (),
) -> Service:
    """``config``: the file of the settings. Raises `ConfigError` for an invalid credentials file or schedule, `UsageError` for an unusable jobs file."""
    server = settings.server
    told = {name: target for name, target in settings.notifications.items() if target.strip()}
    around = Surroundings(zone=settings.retention.time_zone, profiles=[*settings.profiles], targets=[*told])
    schedules, problems = all_of(settings.schedules, around)
    if problems:
        raise ConfigError(str(config or "configuration"), problems)
    credentials = auth.read(server.auth_file)
    sessions = Sessions(settings, open=open)
    metrics = ServerMetrics(lambda: sessions.reader)
    notifications = Notifications(server.on_success, server.on_failure, told)
    runner = Runner(
        Store(jobs_file(server.jobs_file, config)),
        sessions,
        concurrency=server.jobs_concurrency,
        queue=server.jobs_queue,
        keep_days=server.jobs_keep_days,
        observers=[metrics, Tracing(), notifications, *observers],
    )
    scheduler = Scheduler(runner, Definitions(sessions, schedules, around), tell=notifications.tell)
    metrics.count_jobs(runner.store.counts)
    metrics.tell_schedules(
        lambda: [(item.schedule.name, item.standing, item.following) for item in scheduler.states()]
    )
    return Service(
        settings, credentials, sessions, runner, scheduler, metrics, Readiness(sessions), notifications
    )


def jobs_file(configured: str, config: Path | None) -> Path:
    """The configured file, or one in the user's state directory for each configuration file."""
    if configured:
        return Path(configured)
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mbk"
    if config is None:
        return state / "jobs.db"
    path = config.resolve()
    # The name is for people, the digest tells files of one name apart.
    return state / f"jobs-{path.stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}.db"
