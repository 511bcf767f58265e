"""Jobs: running, finished and queued ones. They survive the server."""
