"""The proxy through which gRPC connects, as it reads the environment: it takes one for addresses of this machine, too."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from mbk.frozen import frozen

#: In gRPC's order; capital letters are not looked at.
_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


@frozen(kw_only=True)
class Proxy:
    """``variable`` names it; ``place`` is its host and port, without credentials."""

    variable: str
    place: str


def proxy_of(target: str) -> Proxy | None:
    """That of ``HOST:PORT``, None for none."""
    variable = next((name for name in _VARIABLES if os.environ.get(name)), None)
    exceptions = next((os.environ[name] for name in _EXCEPTIONS if os.environ.get(name)), "")
    host = target.rpartition(":")[0].strip("[]")
    if variable is None or any(host.endswith(item.strip()) for item in exceptions.split(",") if item.strip()):
        return None
    url = os.environ[variable]
    return Proxy(
        variable=variable, place=urlsplit(url if "//" in url else f"//{url}").netloc.rpartition("@")[2]
    )
