"""The configuration files of an embedded Milvus, made from the template in its package, and the ports in them."""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import field
from pathlib import Path
from typing import Any

from mbk.frozen import frozen

LOOPBACK = "127.0.0.1"
ROLES = ("rootCoord", "queryCoord", "queryNode", "indexCoord", "indexNode", "dataCoord", "dataNode")
PORT_NAMES = (*ROLES, "proxy", "proxyInternal", "etcdClient", "etcdPeer", "metrics")
GRACEFUL_STOP_SECONDS = 2
GLOG_CONF = (
    "--logtostdout=false\n--logtostderr=false\n--alsologtostderr=false\n--minloglevel=1\n--log_dir=logs/\n"
)
_PLACEHOLDER = re.compile(r"\{\{[^{}:]*(?::\s*([^{}]*?))?\s*\}\}")
_FIRST_PORT = 15000
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@frozen
class S3Target:
    """The S3 endpoint and bucket that a Milvus keeps its data in. Milvus creates the bucket itself.

    ``root_path`` is the prefix of everything Milvus writes there, without slashes at its ends.
    """

    address: str
    port: int
    access_key_id: str
    secret_access_key: str = field(repr=False)
    bucket: str
    root_path: str = "files"
    use_ssl: bool = False


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports on which nothing listens now.

    They are below the kernel's range of client ports: a server takes seconds until it listens on all of its ports, and
    no client connection may get one of them meanwhile.
    """
    candidates = random.sample(range(_FIRST_PORT, _first_client_port()), k=_first_client_port() - _FIRST_PORT)
    chosen: list[int] = []
    with ExitStack() as listeners:
        for port in candidates:
            if len(chosen) == count:
                break
            listener = listeners.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("", port))
                listener.listen()
            except OSError:
                continue
            chosen.append(port)
    if len(chosen) < count:
        raise OSError(f"fewer than {count} free TCP ports")
    return chosen


def _first_client_port() -> int:
    try:
        low = int(_RANGE_FILE.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        low = 32768
    return low if low > _FIRST_PORT + 1000 else 32768


def parse_template(template: str) -> dict[str, Any]:
    """The package's ``config.yaml.template`` as a tree; ``{{ name(type): default }}`` becomes its default."""
    import yaml

    tree: dict[str, Any] = yaml.safe_load(_PLACEHOLDER.sub(lambda found: found[1] or "", template))
    return tree


def milvus_config(
    template: str,
    *,
    home: Path,
    ports: Mapping[str, int],
    storage: S3Target | None = None,
    overrides: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The tree of ``milvus.yaml`` for a standalone server in ``home``; ``overrides`` (dotted keys) take precedence."""
    tree = parse_template(template)
    # 2.2 expects the endpoints as a list, 2.3 as a string; each refuses the other form.
    endpoint = f"{LOOPBACK}:{ports['etcdClient']}"
    endpoints = [endpoint] if isinstance(tree["etcd"]["endpoints"], list) else endpoint
    settings: dict[str, object] = {
        "etcd.use.embed": True,
        "etcd.endpoints": endpoints,
        "etcd.data.dir": str(home / "etcd"),
        "etcd.config.path": str(home / "configs" / "etcd.yaml"),
        "etcd.log.path": str(home / "logs" / "etcd.log"),
        "etcd.log.level": "warn",
        "localStorage.path": str(home / "data"),
        "rocksmq.path": str(home / "rocksmq"),
        "common.storageType": "minio" if storage else "local",
        "common.gracefulStopTimeout": GRACEFUL_STOP_SECONDS,
        "log.file.rootPath": str(home / "logs"),
        "log.level": "info",
        "log.stdout": False,
        "proxy.ip": LOOPBACK,
        "proxy.port": ports["proxy"],
        "proxy.internalPort": ports["proxyInternal"],
    }
    for role in ROLES:
        settings |= {f"{role}.ip": LOOPBACK, f"{role}.address": LOOPBACK, f"{role}.port": ports[role]}
    if storage:
        settings |= _minio_settings(storage)
    for key, value in {**settings, **(overrides or {})}.items():
        _put(tree, key, value)
    return tree


def _minio_settings(storage: S3Target) -> dict[str, object]:
    return {
        "minio.address": storage.address,
        "minio.port": storage.port,
        "minio.accessKeyID": storage.access_key_id,
        "minio.secretAccessKey": storage.secret_access_key,
        "minio.useSSL": storage.use_ssl,
        "minio.bucketName": storage.bucket,
        "minio.rootPath": storage.root_path,
        "minio.useIAM": False,
        "minio.cloudProvider": "aws",
        "minio.region": "",
    }


def _put(tree: dict[str, Any], dotted: str, value: object) -> None:
    *parents, last = dotted.split(".")
    for name in parents:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = value


def etcd_config(home: Path, ports: Mapping[str, int]) -> dict[str, Any]:
    """The tree of ``etcd.yaml``. Only this file moves the embedded etcd away from 2379 and 2380."""
    client = f"http://{LOOPBACK}:{ports['etcdClient']}"
    peer = f"http://{LOOPBACK}:{ports['etcdPeer']}"
    return {
        "name": "default",
        "data-dir": str(home / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }


def write_configs(home: Path, milvus: Mapping[str, Any], etcd: Mapping[str, Any]) -> None:
    """Write ``home/configs``, readable only by the owner: ``milvus.yaml`` contains the storage's secret key."""
    import yaml

    configs = home / "configs"
    for directory in (home, configs, home / "logs", home / "data"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {
        "milvus.yaml": yaml.safe_dump(dict(milvus), sort_keys=False),
        "etcd.yaml": yaml.safe_dump(dict(etcd), sort_keys=False),
        "glog.conf": GLOG_CONF,
    }
    for name, text in files.items():
        path = configs / name
        path.touch(mode=0o600)
        path.write_text(text, "utf-8")
