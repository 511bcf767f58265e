"""The web server that the servers and proxies of the tests are made of."""

from __future__ import annotations

from http.server import ThreadingHTTPServer
from typing import Any


class WebServer(ThreadingHTTPServer):
    """A thread for each connection; none is waited for when it is closed, as a client may keep its own open."""

    daemon_threads = True
    block_on_close = False
    # More than any test opens at once: a connection that is refused would be a fault that no test asked for.
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is an everyday thing here."""
