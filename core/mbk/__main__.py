"""``python -m mbk``."""

import sys

from mbk.cli.main import main

sys.exit(main())
