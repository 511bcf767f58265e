"""What a listing of objects shows."""

from __future__ import annotations

from datetime import datetime

from mbk.frozen import frozen


@frozen(kw_only=True)
class Entry:
    """An object, or a directory: the common beginning of objects' keys, which ends with ``/``.

    ``name`` is relative to what is listed. ``size`` in bytes and ``modified`` (UTC) are None where they are not known: of
    directories unless their objects are counted, ``objects``. ``etag`` and ``storage_class`` as the service tells them.
    """

    name: str
    size: int | None = None
    modified: datetime | None = None
    objects: int | None = None
    etag: str = ""
    storage_class: str = ""

    @property
    def is_directory(self) -> bool:
        return self.objects is not None or self.size is None
