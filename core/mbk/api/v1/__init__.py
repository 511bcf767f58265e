"""``/api/v1``: the routes, spellings and answers of the Go tool (docs/reference/classic-tool.md#rest-api)."""
