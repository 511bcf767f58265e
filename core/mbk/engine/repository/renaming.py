"""The metadata files of a backup under another name. All other members keep their bytes."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import msgspec
from msgspec import structs

from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.seal import digest_of, seal
from mbk.errors import InvalidBackup
from mbk.model import layout
from mbk.model.manifest import Manifest

#: Those that contain the name, beside the manifest.
_NAMED = (layout.BACKUP_META, layout.FULL_META)


def renamed(
    catalog: Catalog, committed: Committed, files: Container[str], name: str
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and the bytes of those of ``files`` that contain the backup's name, with another one."""
    stored = committed.stored
    made = {
        file: with_members(catalog.read_file(where), {"name": name}, where=where)
        for file, where in ((file, stored.layout.meta(file)) for file in _NAMED)
        if file in files
    }
    digests = {file: digest_of([data]) for file, data in made.items() if file in committed.manifest.files}
    manifest = structs.replace(committed.manifest, name=name, files={**committed.manifest.files, **digests})
    if layout.MANIFEST in files:
        made[layout.MANIFEST] = seal(manifest)
    return manifest, made


def with_members(data: bytes | bytearray, changed: Mapping[str, Any], *, where: str) -> bytes:
    """The JSON object with these members, None: without it. `InvalidBackup` if it is none."""
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidBackup("{key} is not a JSON object", code="full-meta-no-object", key=where) from error
    made = {name: value for name, value in {**members, **changed}.items() if value is not None}
    return msgspec.json.encode(made)
