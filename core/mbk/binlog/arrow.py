"""Imports pyarrow in one place: it is slow, and it needs the extra `parquet`."""

from __future__ import annotations

from mbk.errors import MissingDependency

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as exc:
    from mbk.extras import to_install

    raise MissingDependency(
        "reading backup data requires pyarrow",
        code="pyarrow-missing",
        requirement=to_install("parquet"),
        hint="pip install {requirement}",
    ) from exc

__all__ = ["pa", "pc", "pq"]
