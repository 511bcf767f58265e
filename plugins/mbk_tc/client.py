"""What is left to the SDK: making a bucket, which a run asks for once or never."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qcloud_cos import CosClientError, CosConfig, CosS3Client  # noqa: TID253  loaded only where a bucket is made
from requests import RequestException

from mbk.plugin.failures import WireError
from mbk.plugin.http import Answer, Timeouts
from mbk.plugin.refusals import Refused
from mbk.plugin.transport import failure_of, session_of
from mbk_tc.credentials import source

if TYPE_CHECKING:
    from mbk_tc.settings import TcSettings


def create_bucket(settings: TcSettings, check: Callable[[Answer], object]) -> None:
    """By one request. Raises what ``check`` raises of its answer, the failures of `mbk.plugin.http`, and `ValueError`."""
    # What the SDK logs holds signatures and tokens, and repeats every error that is raised anyway.
    logging.getLogger("qcloud_cos").setLevel(logging.CRITICAL)
    with session_of(settings.ca_cert, check) as session, _told():
        client = CosS3Client(_config(settings), retry=0, session=session)
        client.create_bucket(Bucket=settings.bucket)


def _config(settings: TcSettings) -> CosConfig:
    keys = source(settings)()
    timeouts = Timeouts()
    return CosConfig(
        SecretId=keys.id,
        SecretKey=keys.secret,
        Token=keys.token or None,
        Scheme="https" if settings.tls else "http",
        Endpoint=settings.authority,
        # The address to connect to, when the name in the Host header is not one that resolves.
        IP=settings.authority if settings.without_names else None,
        Timeout=(timeouts.connect, timeouts.read),
        # The SDK signs a name without its port, which a service at another port may take amiss.
        SignHost=settings.without_names or ":" not in settings.authority,
        UA="mbk",
    )


@contextmanager
def _told() -> Iterator[None]:
    """What the SDK raises, as `mbk_tc.errors` knows it.

    Its error has the text of the one that it handles, which is that of the transport, or the refusal of the answer.
    """
    try:
        yield
    except CosClientError as exc:
        below = exc.__context__
        if isinstance(below, RequestException):
            raise failure_of(below) from below
        if isinstance(below, Refused | WireError):
            raise below from None
        raise ValueError(str(exc)) from exc
