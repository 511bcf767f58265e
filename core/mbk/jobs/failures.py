"""Errors of requests for jobs, and errors as a job records them."""

from __future__ import annotations

from mbk import errors
from mbk.errors import MbkError
from mbk.model.jobs import Failure


class QueueFull(MbkError):
    """More jobs are queued than the configuration allows."""


class JobNotFound(errors.NotFound):
    pass


class WrongState(MbkError):
    """The job's state does not allow this request."""


class KeyReused(errors.UsageError):
    """An idempotency key was reused for a different request."""


def failure(error: BaseException) -> Failure:
    """An error as a job records it. Anything but an `MbkError` is a bug: its text is omitted, it may hold a secret."""
    if not isinstance(error, MbkError):
        return Failure(kind="InternalError", message=f"internal error ({type(error).__name__})")
    return Failure(
        kind=type(error).__name__,
        message=error.message,
        hint=error.hint,
        retryable=error.retryable or isinstance(error, errors.Unreachable),
        exit_code=error.exit_code,
    )
