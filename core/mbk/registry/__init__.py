"""The host's side of plugins: finding, validating and opening storages."""
