"""The command ``mbk``, and ``python -m mbk``: a process for one command line."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

from mbk.cli.stopping import INTERRUPTED, orderly_stop


def run() -> NoReturn:
    """One command line and the end of the process: from the first moment to the last, a signal leaves no traceback and does not
    change the exit code of what has ended."""
    code = INTERRUPTED

    with orderly_stop(then=lambda: os._exit(code)):
        try:
            from mbk.cli.main import main

            code = main()
        except KeyboardInterrupt:
            exec("")  # as `_forget_interrupt` of main.py, which may not be there yet
            os.write(2, b"mbk: interrupted\n")
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
    sys.exit(code)


if __name__ == "__main__":
    run()
