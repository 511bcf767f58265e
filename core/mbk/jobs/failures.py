"""What may be wrong with a request for a job, and errors as a job keeps them."""

from __future__ import annotations

from mbk import errors
from mbk.errors import MbkError
from mbk.model.jobs import Failure


class QueueFull(MbkError):
    """More jobs are waiting than the configuration allows."""


class JobNotFound(errors.NotFound):
    pass


class WrongState(MbkError):
    """The job's state does not allow what was asked."""


class KeyReused(errors.UsageError):
    """An idempotency key came again with another request."""


def failure(error: BaseException) -> Failure:
    """An error as a job keeps it. Anything but an `MbkError` is a bug: its text is left out, it may hold a secret."""
    if not isinstance(error, MbkError):
        return Failure(kind="InternalError", message=f"internal error ({type(error).__name__})")
    return Failure(
        kind=type(error).__name__,
        message=error.message,
        hint=error.hint,
        retryable=error.retryable or isinstance(error, errors.Unreachable),
        exit_code=error.exit_code,
    )
