"""pyarrow in one place: the import that is slow, and that needs the extra `parquet`."""

from __future__ import annotations

from mbk.errors import MissingDependency

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as exc:
    raise MissingDependency(
        "reading the rows of a backup needs pyarrow",
        code="reading-rows-backup-needs",
        hint="pip install 'mbk[parquet]'",
    ) from exc

__all__ = ["pa", "pc", "pq"]
