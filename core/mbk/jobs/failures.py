"""Errors of requests for jobs."""

from __future__ import annotations

from mbk import errors
from mbk.errors import MbkError


class QueueFull(MbkError):
    """More jobs are queued than the configuration allows."""


class JobNotFound(errors.NotFound):
    pass


class ScheduleNotFound(errors.NotFound):
    pass


class ScheduleExists(errors.AlreadyExists):
    pass


class ScheduleConfigured(MbkError):
    """A schedule of the configuration cannot be changed by a request."""


class WrongState(MbkError):
    """The job's state does not allow this request."""


class JobsFileUnusable(MbkError):
    """The file of the jobs cannot be read or written."""


class KeyReused(errors.UsageError):
    """An idempotency key was reused for a different request."""
