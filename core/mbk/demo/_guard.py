"""A process between us and the server, so that no server outlives us.

Run as a script: ``python -I -S _guard.py JSON`` with ``{"parent", "grace", "command", "env"}``. It starts the
command and ends it on SIGTERM or when the parent process is gone, for whatever reason: SIGTERM first, SIGKILL after
``grace`` seconds. It exits when the command has.

A process of its own rather than PR_SET_PDEATHSIG on the server itself: that signal is sent when the *thread* which
started the child ends, and setting it needs code between fork and exec, unsafe in a process with threads (gRPC has
many). Here both are harmless, and the death signal only has to cover a SIGKILL of this guard.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5
WATCHED = {signal.SIGTERM, signal.SIGCHLD}


def main(parent: int, grace: float, command: list[str], env: dict[str, str]) -> int:
    # Blocked before the child exists: from now on a SIGTERM waits to be read instead of ending only the guard.
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    if os.getppid() != parent:
        return 0
    prctl = ctypes.CDLL(None).prctl

    def die_with_guard() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())

    child = subprocess.Popen(command, env=env, preexec_fn=die_with_guard)
    while child.poll() is None and os.getppid() == parent:
        received = signal.sigtimedwait(WATCHED, POLL_SECONDS)
        if received is not None and received.si_signo == signal.SIGTERM:
            break
    return end(child, grace)


def end(child: subprocess.Popen[bytes], grace: float) -> int:
    child.terminate()
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
