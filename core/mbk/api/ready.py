"""Readiness: whether Milvus and both storages answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from mbk.errors import MbkError
from mbk.jobs.sessions import Sessions

#: Seconds that a probe waits for answers, and that an answer stays valid.
PATIENCE, FRESH = 5.0, 2.0
SILENT = "no answer yet"


class Readiness:
    """Sends each component one question at a time, however many probes come, and never waits longer than `PATIENCE`."""

    def __init__(self, sessions: Sessions) -> None:
        self._questions: dict[str, Callable[[], object]] = {
            "milvus": lambda: sessions.reader.milvus.inventory.databases(),
            "storage": lambda: sessions.reader.storage.check(),
            "backup_storage": lambda: sessions.reader.backup_storage.check(),
        }
        self._pool = ThreadPoolExecutor(len(self._questions), thread_name_prefix="mbk-ready")
        self._lock = threading.Lock()
        self._asked: dict[str, tuple[float, Future[str]]] = {}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def answers(self) -> dict[str, str]:
        """For each component ``ok``, or one line that says what is wrong. Several threads may call it."""
        with self._lock:
            now = time.monotonic()
            for name in self._questions:
                moment, future = self._asked.get(name, (0.0, None))
                if future is None or (future.done() and now - moment > FRESH):
                    self._asked[name] = (now, self._pool.submit(self._ask, name))
            asked = {name: future for name, (_, future) in self._asked.items()}
        wait(asked.values(), timeout=PATIENCE)
        return {name: future.result() if future.done() else SILENT for name, future in asked.items()}

    def _ask(self, name: str) -> str:
        try:
            self._questions[name]()
        except MbkError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - a probe must answer
            return f"internal error ({type(error).__name__})"
        return "ok"
