"""``python -m tests.milvus_double --version v2.5.8 --directory DIR``: a double by hand; ends with Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tests.milvus_double import MilvusDouble
from tests.milvus_double.versions import PLAYED


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.milvus_double", description=__doc__)
    parser.add_argument("--version", default="v2.6.12", help=f"any, such as {', '.join(PLAYED)}")
    parser.add_argument("--directory", type=Path, help="where its data lie (a temporary one by default)")
    parser.add_argument("--port", type=int, default=0, help="of gRPC (a free one by default)")
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--management-port", type=int, default=0)
    parser.add_argument(
        "--authorization", action="store_true", help="ask for user and password (root, Milvus)"
    )
    parser.add_argument(
        "--write-version", type=int, choices=(1, 2, 3), help="layout of the segments (the version's own)"
    )
    parser.add_argument(
        "--flush-rate",
        type=float,
        help="flushes of a collection a second, 0 for any number (the version's own)",
    )
    asked = parser.parse_args()
    with MilvusDouble(
        asked.version,
        home=asked.directory,
        port=asked.port,
        rest_port=asked.rest_port,
        management_port=asked.management_port,
        authorization=asked.authorization,
        write_version=asked.write_version,
        flush_rate=asked.flush_rate,
    ) as double:
        lines = (
            f"Milvus      {double.version.name}",
            f"gRPC        {double.target}",
            f"REST        {double.rest_url}",
            f"management  {double.management_url}",
            f"data        {double.storage_root}",
        )
        sys.stdout.write("\n".join((*lines, "")))
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
