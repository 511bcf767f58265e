"""The host's side of plugins: finds, validates and opens storages."""
