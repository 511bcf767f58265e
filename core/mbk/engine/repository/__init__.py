"""Backups below a root: finding, reading, writing and committing them."""
