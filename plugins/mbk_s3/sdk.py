"""What the SDK is kept for: credentials and their renewal, its shared files, and a client for what `mbk_s3.client` cannot do."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# Of boto3 only the core is used: its resources and its transfer manager are not needed.
import botocore.session  # noqa: TID253  loaded only with an opened storage
from botocore import credentials  # noqa: TID253  loaded only with an opened storage
from botocore.config import Config  # noqa: TID253  loaded only with an opened storage
from botocore.exceptions import (  # noqa: TID253  loaded only with an opened storage
    ClientError,
    NoCredentialsError,
)
from botocore.utils import InstanceMetadataFetcher  # noqa: TID253  loaded only with an opened storage

from mbk.plugin.http import KEPT, Timeouts
from mbk_s3.payloads import md5_of
from mbk_s3.signing import Keys

if TYPE_CHECKING:
    from mbk_s3.settings import S3Settings


#: In place of what the environment names: a profile for other work must not matter here.
_NOTHING_SHARED = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def session_of(settings: S3Settings) -> botocore.session.Session:
    """Its credentials chain may ask a metadata service. With keys in the settings it reads no shared files."""
    if settings.static_keys:
        return botocore.session.Session(session_vars=_NOTHING_SHARED)
    session = botocore.session.Session(profile=settings.profile or None)
    if settings.use_iam and settings.iam_endpoint:
        provider = _iam_provider(session, settings)
        session.register_component("credential_provider", credentials.CredentialResolver([provider]))
    return session


def keys_of(session: botocore.session.Session) -> Callable[[], Keys]:
    """Asks the credentials each time, which renew themselves before they expire. Raises what the SDK raises."""
    found = session.get_credentials()

    def keys() -> Keys:
        if found is None:
            raise NoCredentialsError
        now = found.get_frozen_credentials()
        return Keys(now.access_key or "", now.secret_key or "", now.token or "")

    return keys


def ca_bundle_of(session: botocore.session.Session) -> str:
    """What the environment and the shared files name; empty where they name none."""
    return str(session.get_config_variable("ca_bundle") or "")


def client_of(session: botocore.session.Session, settings: S3Settings) -> Any:
    """A thread-safe client. Sends nothing to the storage."""
    access_key, secret_key = settings.static_keys or (None, None)
    scheme = "https" if settings.tls else "http"
    client: Any = session.create_client(
        "s3",
        region_name=settings.signing_region,
        endpoint_url=f"{scheme}://{settings.endpoint}",
        verify=settings.ca_cert or None,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=(settings.session_token.get_secret_value() or None) if access_key else None,
        config=_config(settings),
    )
    client.refusal = ClientError
    client.meta.events.register("provide-client-params.s3.UploadPart", _with_bytes)
    client.meta.events.register("before-call.s3.DeleteObjects", _sign_off_with_md5)
    return client


def _config(settings: S3Settings) -> Config:
    timeouts = Timeouts()
    return Config(
        # One call is one attempt: the engine retries.
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        tcp_keepalive=True,
        max_pool_connections=KEPT,
        # Servers other than Amazon's stumble over the trailing checksums that are the SDK's default since 1.36.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="mbk",
        s3={
            "addressing_style": settings.addressing_style,
            # Hashing the body costs a second of CPU a GiB; TLS protects it already.
            "payload_signing_enabled": not settings.tls,
        },
    )


def _with_bytes(params: dict[str, Any], **_: object) -> dict[str, Any]:
    """The SDK takes no views."""
    return {**params, "Body": bytes(params["Body"])}


def _sign_off_with_md5(params: dict[str, Any], **_: object) -> None:
    """DeleteObjects must carry a digest; older servers know only Content-MD5, newer ones accept it too."""
    params["headers"]["Content-MD5"] = md5_of(params["body"])
    params["context"]["checksum"] = {}


def _iam_provider(session: botocore.session.Session, settings: S3Settings) -> credentials.CredentialProvider:
    """The one source that ``iam_endpoint`` names, chosen by the environment as the classic tool's client does."""
    endpoint = settings.iam_endpoint
    if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):

        def sts_client(service: str, **kwargs: Any) -> Any:
            kwargs |= {"endpoint_url": endpoint, "region_name": settings.signing_region}
            return session.create_client(service, **kwargs)

        return credentials.AssumeRoleWithWebIdentityProvider(
            load_config=lambda: session.full_config,
            client_creator=sts_client,
            profile_name=settings.profile or "default",
        )
    container = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if any(os.environ.get(name) for name in container):
        rest = {name: value for name, value in os.environ.items() if name not in container}
        return credentials.ContainerProvider(environ={**rest, container[1]: endpoint})
    fetcher = InstanceMetadataFetcher(
        timeout=2, num_attempts=1, config={"ec2_metadata_service_endpoint": endpoint}
    )
    return credentials.InstanceMetadataProvider(iam_role_fetcher=fetcher)
