"""What the project measures of itself; see README.md here."""

import os

# Installed modules are compiled; what runs from a checkout is only where Python may keep what it compiled. Without it each
# process that is measured would begin with a second or more of compiling.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
