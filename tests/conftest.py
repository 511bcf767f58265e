"""What holds for every test, wherever the run was started from."""

from __future__ import annotations

import signal

# A shell starts background jobs with Ctrl-C ignored, and `nohup` ignores the hang-up; what is ignored stays so in every
# child, so that mbk, rightly, does not stop and the tests of its stopping fail. The children of a process that handles
# a signal begin with its default, whatever the handler does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
