"""pymilvus' generated modules (``common_pb2`` and so on), under this name and without the rest of pymilvus.

``import pymilvus.grpc_gen`` runs ``pymilvus/__init__.py`` first: its client, pandas and numpy, ten times the processor time and
the memory of the messages themselves. The search path of this package is the directory of the generated modules instead, which
import only each other, gRPC and protobuf. Nothing of pymilvus' name is touched: a program that imports pymilvus, before or after or
in another thread, gets the whole of it. Its modules and these then describe the same files, of which protobuf registers one copy,
and the message classes are the same, too.

This relies on where pymilvus 3 keeps them, hence the upper bound of its version in pyproject.toml. Where they are not found,
pymilvus itself is imported and asked.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def _directories() -> list[str]:
    spec = find_spec("pymilvus")
    packages = (spec.submodule_search_locations if spec else None) or ()
    found = [str(place) for package in packages if (place := Path(package, "grpc_gen")).is_dir()]
    return found or [*import_module("pymilvus.grpc_gen").__path__]


__path__ = _directories()
