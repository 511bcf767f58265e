"""Milvus' generated modules without the rest of pymilvus, beside a program that uses pymilvus itself: one process each."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

OURS = "from mbk.milvus.proto import common, milvus, msg, schema"
THEIRS = """
import pymilvus
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, msg_pb2, schema_pb2
"""
#: Messages of either side go into fields, calls and encodings of the other.
TOGETHER = """
assert milvus.ConnectRequest is milvus_pb2.ConnectRequest and schema.DataType.Int64 == DataType.INT64
request = milvus_pb2.ConnectRequest(client_info=common.ClientInfo(user="ann"))
assert milvus.ConnectRequest.FromString(request.SerializeToString()) == request
assert schema.FieldSchema(data_type=schema_pb2.JSON) == schema_pb2.FieldSchema(data_type=schema.JSON)
assert msg.InsertRequest().DESCRIPTOR is msg_pb2.InsertRequest.DESCRIPTOR
"""
AT_ONCE = f"""
import sys, threading
barrier, errors = threading.Barrier(2), []
def load(code):
    barrier.wait()
    try:
        exec(code, globals())
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=load, args=(code,)) for code in ({OURS!r}, {THEIRS!r})]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not errors, errors
"""


def _run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_messages_come_without_the_client_of_pymilvus() -> None:
    loaded = f"{OURS}\nimport sys\nprint({{'pymilvus', 'pandas', 'numpy', 'grpc'}} & set(sys.modules))"
    assert _run(loaded) == "{'grpc'}"


@pytest.mark.parametrize(
    "order",
    [f"{OURS}\n{THEIRS}", f"{THEIRS}\n{OURS}", AT_ONCE],
    ids=["before", "after", "at once"],
)
def test_a_program_may_use_pymilvus_itself(order: str) -> None:
    _run(order + TOGETHER)


def test_so_it_may_with_the_messages_in_python() -> None:
    code = f"{OURS}\n{THEIRS}{TOGETHER}"
    _run(code, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")


def test_modules_kept_elsewhere_are_those_that_pymilvus_finds(tmp_path: Path) -> None:
    spec = find_spec("pymilvus")
    assert spec
    assert spec.submodule_search_locations
    package = tmp_path / "pymilvus"
    package.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "grpc_gen").symlink_to(Path(spec.submodule_search_locations[0], "grpc_gen"))
    (package / "__init__.py").write_text(f"__path__.append({str(tmp_path / 'elsewhere')!r})\n")
    code = f"{OURS}\nimport mbk.milvus.stubs\nprint(*mbk.milvus.stubs.__path__, milvus.ConnectRequest().ByteSize())"
    assert _run(code, PYTHONPATH=str(tmp_path)) == f"{tmp_path}/elsewhere/grpc_gen 0"
