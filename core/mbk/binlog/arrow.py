"""Imports pyarrow in one place: it is slow, and it needs the extra `parquet`."""

from __future__ import annotations

from mbk.errors import MissingDependency

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as exc:
    raise MissingDependency(
        "reading backup data requires pyarrow",
        code="pyarrow-missing",
        hint="pip install 'mbk[parquet]'",
    ) from exc

__all__ = ["pa", "pc", "pq"]
