"""What this is, for whoever wants to say so: a user agent, a manifest, ``mbk version``. The build reads it, too."""

from __future__ import annotations

__version__ = "0.1.0"
#: As it signs the backups that it makes.
TOOL = f"mbk {__version__}"
#: Where the pages are: a directory of the source, until they are published at an address.
PAGES = "docs"
