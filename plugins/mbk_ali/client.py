"""What is left to the SDK: making a bucket, which a run asks for once or never."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import oss2  # noqa: TID253  loaded only where a bucket is made
from oss2.credentials import StaticCredentialsProvider  # noqa: TID253  loaded only where a bucket is made

from mbk.plugin.http import Answer, Timeouts
from mbk.plugin.transport import failure_of, session_of
from mbk_ali.credentials import source

if TYPE_CHECKING:
    from requests import Session

    from mbk_ali.settings import AliSettings


def create_bucket(settings: AliSettings, check: Callable[[Answer], object]) -> None:
    """By one request. Raises what ``check`` raises of its answer, the failures of `mbk.plugin.http`, and `ValueError`."""
    # What the SDK logs holds signatures and tokens, and repeats every error that is raised anyway.
    logging.getLogger("oss2").setLevel(logging.CRITICAL)
    with session_of(settings.ca_cert, check) as session, _told():
        _bucket(settings, session).create_bucket()


def _bucket(settings: AliSettings, session: Session) -> oss2.Bucket:
    keys = source(settings)()
    held = StaticCredentialsProvider(keys.id, keys.secret, keys.token)
    region = settings.signing_region
    sending = oss2.Session()
    sending.session = session
    timeouts = Timeouts()
    return oss2.Bucket(
        oss2.ProviderAuthV4(held) if region else oss2.ProviderAuth(held),
        settings.url,
        settings.bucket,
        session=sending,
        connect_timeout=(timeouts.connect, timeouts.read),
        app_name="mbk",
        region=region or None,
        is_path_style=bool(settings.path_style),
    )


@contextmanager
def _told() -> Iterator[None]:
    """What the SDK raises, as `mbk_ali.errors` knows it. Answers of errors are refused before the SDK reads them."""
    try:
        yield
    except oss2.exceptions.RequestError as exc:
        raise failure_of(exc.exception) from exc.exception
    except oss2.exceptions.OssError as exc:
        raise ValueError(exc.body) from exc
