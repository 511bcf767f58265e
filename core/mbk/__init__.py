"""mbk: backup and restore for Milvus, the vector database, over any object storage.

>>> import mbk
>>> with mbk.connect("backup.yaml") as session:             # doctest: +SKIP
...     session.create("nightly")
...     session.restore("nightly", suffix="_recover")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbk import errors

if TYPE_CHECKING:
    from mbk.plugin import hookimpl
    from mbk.session import Session, connect

__all__ = ["Session", "__version__", "connect", "errors", "hookimpl"]

__version__ = "0.1.0"

_LAZY = {"Session": "mbk.session", "connect": "mbk.session", "hookimpl": "mbk.plugin"}


def __getattr__(name: str) -> Any:
    """Loads the library's parts on first use: `import mbk` alone stays cheap."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
