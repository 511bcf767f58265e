"""What the environment wants of requests, in the variables of the library `requests`, which most SDKs send with."""

from __future__ import annotations

import os

from mbk.plugin.http.dialling import Timeouts, trusting
from mbk.plugin.http.origin import Origin, proxy_of_environment
from mbk.plugin.http.sender import Sender

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def sender_to(
    origin: Origin,
    ca_cert: str = "",
    *,
    host: str = "",
    or_all: bool = True,
    timeouts: Timeouts = Timeouts(),  # noqa: B008  a frozen value
) -> Sender:
    """Through the proxy that the environment names, with ``or_all`` by ``all_proxy``, too; trusting ``ca_cert``, else the environment's bundle.

    ``host`` and ``timeouts`` as `Sender` has them. Raises `BadProxy`.
    """
    bundle = ca_cert or next((path for name in _BUNDLES if (path := os.environ.get(name))), "")
    return Sender(
        origin,
        trust=trusting(bundle) if origin.tls else None,
        proxy=proxy_of_environment(origin, or_all=or_all),
        host=host,
        timeouts=timeouts,
    )
