"""Real servers for tests: each a process on a free loopback port, stopped by its own id."""
