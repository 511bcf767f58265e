"""Where requests go, and through which proxy."""

from __future__ import annotations

import base64
import os
import sys
from dataclasses import field
from urllib.parse import unquote, urlsplit

from mbk.frozen import frozen
from mbk.plugin.http.failures import BadProxy

_DEFAULT_PORTS = {True: 443, False: 80}


@frozen(kw_only=True)
class Origin:
    """Scheme, host and port of a service; an IPv6 address without brackets. ``port`` None: that of the scheme."""

    host: str
    port: int | None = None
    tls: bool = True

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port or _DEFAULT_PORTS[self.tls]

    @property
    def authority(self) -> str:
        """The value of the Host header: without the port where that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = self.address[1]
        return host if port == _DEFAULT_PORTS[self.tls] else f"{host}:{port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@frozen(kw_only=True)
class Proxy:
    """An HTTP proxy. ``authorization`` is the value of the header Proxy-Authorization, empty for none."""

    host: str
    port: int
    tls: bool = False
    authorization: str = field(default="", repr=False)

    @classmethod
    def of_url(cls, url: str) -> Proxy:
        """``http://user:password@host:port``; without a scheme it is http. Raises `BadProxy`."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url.lstrip('/')}")
            port = parts.port
        except ValueError:
            raise BadProxy("the address of the proxy is not a URL") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadProxy(f"a proxy of the kind {parts.scheme!r} is not supported")
        authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        tls = parts.scheme == "https"
        return cls(
            host=parts.hostname, port=port or _DEFAULT_PORTS[tls], tls=tls, authorization=authorization
        )


def proxy_of_environment(origin: Origin, *, or_all: bool = False) -> Proxy | None:
    """The proxy that the environment (on macOS and Windows also the system) names for a service, None for none.

    ``or_all``: ``all_proxy`` is meant, too, as some vendors' SDKs have it. Raises `BadProxy`.
    """
    names_one = any(name.lower().endswith("_proxy") for name in os.environ)
    if not names_one and sys.platform not in ("darwin", "win32"):
        return None
    # Costs more than everything else here, and is seldom needed.
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    url = proxies.get("https" if origin.tls else "http") or (proxies.get("all") if or_all else None)
    if not url or proxy_bypass(origin.authority):
        return None
    return Proxy.of_url(url)
