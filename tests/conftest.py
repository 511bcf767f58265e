"""What holds for every test, wherever the run was started from."""

from __future__ import annotations

import signal

# A shell starts its background jobs with Ctrl-C ignored, and what is ignored stays so in every child: a run of the
# tests in the background would find that mbk, rightly, does not stop. The children of a process that handles the
# signal begin with its default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
