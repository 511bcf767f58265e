"""``/api/v1``: the routes, spellings and answers of the Go tool (PARITY.md 1.2)."""
