"""Encryption zones: databases with a key, and that key handed out and asked for again.

Data are not really encrypted here; what is enforced is that a key comes with an import into an encrypted database, and
that it is one that a double handed out. Sources: milvus
``internal/util/hookutil/cipher.go`` (``cipher.ezID``, ``cipher.key``, ``GetEzIDByImportEzk``).
"""

from __future__ import annotations

import base64
import binascii
import json

from tests.milvus_double.import_files import import_failed
from tests.milvus_double.state import Collection, Database, State

ZONE, ROOT_KEY = "cipher.ezID", "cipher.key"


def is_encrypted(database: Database) -> bool:
    return bool(database.properties.get(ZONE) and database.properties.get(ROOT_KEY))


def exported_key(database: Database) -> str:
    """What ``/management/rootcoord/ez/backup`` hands out: the zone's key, wrapped; opaque to clients."""
    inside = {"ez_id": database.properties[ZONE], "wrapped_by": database.properties[ROOT_KEY]}
    return base64.b64encode(json.dumps(inside).encode()).decode()


def check_key(state: State, collection: Collection, key: str) -> None:
    """Refuses an import without a key into an encrypted database, and any key that is none."""
    if not key:
        if is_encrypted(state.database(collection.database)):
            raise import_failed(f"no encryption key to read the binlogs of collection {collection.name} with")
        return
    try:
        json.loads(base64.b64decode(key, validate=True))["ez_id"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise import_failed("invalid import ezk") from None
