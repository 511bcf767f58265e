"""Jobs: what runs, what ran, and what waits. They survive the server."""
