"""``/api/v2``: backups and jobs."""
