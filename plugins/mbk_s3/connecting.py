"""How a storage reaches its bucket: by `mbk_s3.client`, or by the SDK's client where that cannot do it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from mbk.plugin.failures import Translation
from mbk.plugin.http import BadProxy, proxy_of_environment, sender_to
from mbk_s3 import errors
from mbk_s3.addresses import address_of
from mbk_s3.bucket import Bucket
from mbk_s3.client import Client
from mbk_s3.payloads import Payloads
from mbk_s3.settings import S3Settings
from mbk_s3.signing import Keys


def connect(settings: S3Settings) -> Any:
    """A client, of one of two kinds with the same methods; sends nothing to the storage.

    With keys in the settings the SDK is not loaded, nor are its shared files read.
    """
    if needs_sdks_client(settings):
        from mbk_s3 import sdk

        return sdk.client_of(sdk.session_of(settings), settings)
    keys, bundle = _keys_and_bundle(settings)
    bucket = Bucket(
        region=settings.signing_region,
        address_in=partial(address_of, settings),
        # The SDK does not know all_proxy.
        sender_to=partial(sender_to, ca_cert=settings.ca_cert or bundle, or_all=False),
        keys=keys,
    )
    return Client(bucket, Payloads(settings))


def failures_of(settings: S3Settings) -> Translation:
    """What the client raises, as mbk's errors; the SDK's exceptions are known where it is used."""
    if not uses_sdk(settings):
        return errors.TRANSLATION
    from mbk_s3 import sdk_errors

    return sdk_errors.TRANSLATION


def uses_sdk(settings: S3Settings) -> bool:
    return not settings.static_keys or needs_sdks_client(settings)


def needs_sdks_client(settings: S3Settings) -> bool:
    """Directory buckets have sessions and signatures of their own, and a proxy behind https wants TLS within TLS."""
    if settings.bucket.endswith("--x-s3"):
        return True
    try:
        proxy = proxy_of_environment(address_of(settings).origin)
    except BadProxy:  # told when the sender is made
        return False
    return proxy is not None and proxy.tls


def _keys_and_bundle(settings: S3Settings) -> tuple[Callable[[], Keys], str]:
    if settings.static_keys:
        keys = Keys(*settings.static_keys, settings.session_token.get_secret_value())
        return lambda: keys, os.environ.get("AWS_CA_BUNDLE", "")
    from mbk_s3 import sdk

    session = sdk.session_of(settings)
    return sdk.keys_of(session), sdk.ca_bundle_of(session)
