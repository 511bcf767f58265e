"""The least that copying can cost from Python: a loop over kept connections, with a signature of its own.

    python -m benchmarks.bare '<json of a Job>'

It lists nothing, verifies nothing, and hashes no payload: the ceiling that `benchmarks.copying` holds mbk
against.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

#: As fast as a Python process gets: more of them wait for the interpreter's lock.
THREADS = 32
UNSIGNED = "UNSIGNED-PAYLOAD"
CHUNK = 1024 * 1024
#: rclone's server answers 500 now and then, for no reason.
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Job:
    """``way``: ``copy``, ``stream``, ``put`` or ``get``; ``keys`` from ``source`` to ``destination``, buckets or directories."""

    way: str
    host: str
    access_key: str
    secret_key: str
    source: str
    destination: str
    keys: list[str]


class Client:
    """One connection; one thread at a time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.connection = http.client.HTTPConnection(job.host)

    def request(self, method: str, path: str, body: object = None, **more: str) -> http.client.HTTPResponse:
        headers = self._signed(method, quote(path), {name.replace("_", "-"): more[name] for name in more})
        self.connection.request(method, quote(path), body=body, headers=headers)
        answer = self.connection.getresponse()
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {answer.read()!r}")
        return answer

    def _signed(self, method: str, path: str, more: dict[str, str]) -> dict[str, str]:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = {
            "host": self.job.host,
            "x-amz-content-sha256": UNSIGNED,
            "x-amz-date": now,
            **{name: value for name, value in more.items() if name.startswith("x-amz-")},
        }
        names = sorted(signed)
        lines = "".join(f"{name}:{signed[name]}\n" for name in names)
        canonical = "\n".join((method, path, "", lines, ";".join(names), UNSIGNED))
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.new(_key(self.job.secret_key, now[:8]), text.encode(), "sha256").hexdigest()
        credential = f"Credential={self.job.access_key}/{scope}"
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return {**more, **signed}


@lru_cache
def _key(secret: str, day: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    return key


def copy(client: Client, _source: Client, key: str) -> None:
    job = client.job
    client.request("PUT", f"/{job.destination}/{key}", x_amz_copy_source=quote(f"/{job.source}/{key}")).read()


def stream(client: Client, source: Client, key: str) -> None:
    body = source.request("GET", f"/{client.job.source}/{key}")
    length = body.headers["Content-Length"]
    client.request("PUT", f"/{client.job.destination}/{key}", body, content_length=length).read()


def put(client: Client, _source: Client, key: str) -> None:
    path = Path(client.job.source, key)
    with path.open("rb") as file:
        length = str(path.stat().st_size)
        client.request("PUT", f"/{client.job.destination}/{key}", file, content_length=length).read()


def get(client: Client, source: Client, key: str) -> None:
    path = Path(client.job.destination, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    body = source.request("GET", f"/{client.job.source}/{key}")
    with path.open("wb") as file:
        while chunk := body.read(CHUNK):
            file.write(chunk)


WAYS = {"copy": copy, "stream": stream, "put": put, "get": get}


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    keys, way = deque(job.keys), WAYS[job.way]
    failed: list[BaseException] = []

    def work() -> None:
        client, source = Client(job), Client(job)
        try:
            while not failed:
                again(client, source, keys.popleft())
        except IndexError:
            pass
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failed.append(error)

    def again(client: Client, source: Client, key: str) -> None:
        for attempt in range(ATTEMPTS):
            try:
                way(client, source, key)
            except OSError:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                return

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


if __name__ == "__main__":
    main()
