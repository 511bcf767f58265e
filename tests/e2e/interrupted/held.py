"""Killed, interrupted and failing runs: what is acknowledged stays, what is half is never visible, all can go on.

A proxy before the S3 server holds a run at a certain request: there it is killed, or something happens beside it.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.e2e import data
from tests.e2e.site import MINUTES, ROOT, Site
from tests.servers.faults import Fault, FaultProxy
from tests.servers.s3 import S3Server

BUCKET, BACKUPS = "milvus", "held"
EVER = 1_000_000
#: Seconds in which a command that waits at the fault hears of Ctrl-C. Let go at once, a hundred copies and the main
#: thread would race for the interpreter, and on a busy machine the restore could be over first.
HEARD = 1.0
COPIES = "/insert_log/"
STAGED = "restore-temp[^?]*/insert_log/"
JOURNAL = "restore-temp[^?]*/mbk.json"


@dataclass(frozen=True, slots=True)
class Held:
    """A site whose storages are reached through a proxy, also the management port of Milvus."""

    site: Site
    proxy: FaultProxy
    management: FaultProxy
    store: S3Server

    def start(self, fault: Fault, *words: str) -> subprocess.Popen[str]:
        """Starts a command and returns when it waits at the fault."""
        fault.times = EVER
        self.proxy.faults.append(fault)
        process = self.site.start(*words)
        wait_for(lambda: fault.seen > fault.skip, process)
        return process

    def let_go(self) -> None:
        """Breaks the connections that are held; from now on everything passes."""
        self.proxy.faults.clear()
        self.proxy.closing.set()

    def kill(self, fault: Fault, *words: str) -> None:
        process = self.start(fault, *words)
        process.kill()
        process.communicate(timeout=MINUTES)
        self.let_go()

    def interrupt(self, fault: Fault, *words: str) -> str:
        """What the command says to Ctrl-C; requires its exit code."""
        process = self.start(fault, *words)
        process.send_signal(signal.SIGINT)
        time.sleep(HEARD)
        self.let_go()
        _, errors = process.communicate(timeout=MINUTES)
        assert process.returncode == 130, errors
        return errors

    def finish(self, process: subprocess.Popen[str], *, code: int = 0) -> str:
        self.let_go()
        output, errors = process.communicate(timeout=MINUTES)
        assert process.returncode == code, errors
        return output

    def state(self, name: str) -> str:
        (line,) = [item for item in self.site.json("list") if item["name"] == name]
        return str(line["state"])

    def left(self) -> list[str]:
        """Temporary copies and journals of restores."""
        return data.keys_below(self.store, BUCKET, f"{ROOT}/restore-temp")

    def gc_requests(self) -> list[str]:
        """``pause`` and ``resume`` as they came."""
        return [item.target.partition("?")[0].rpartition("/")[2] for item in self.management.requests]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + MINUTES
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"ended before it was held: {process.communicate()}")
        assert time.monotonic() < deadline, "the fault was never met"
        time.sleep(0.02)
