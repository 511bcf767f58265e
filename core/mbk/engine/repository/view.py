"""The operation `get`: one backup as data, in the classic tool's brief view or in full.

See docs/reference/classic-tool.md#rest-api.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mbk.engine.repository import verified
from mbk.engine.repository.catalog import Catalog, Stored, begun
from mbk.engine.repository.codec import decode_tree, head
from mbk.errors import InvalidBackup
from mbk.model.layout import FULL_META
from mbk.model.manifest import Manifest, Verified
from mbk.model.records import Backup, BackupExtras, Collection, CollectionHead
from mbk.model.states import BackupState

#: The classic tool's state code of a complete backup.
SUCCESS = 2

BRIEF_COLLECTION = (
    "id",
    "collection_id",
    "db_name",
    "collection_name",
    "schema",
    "shards_num",
    "backup_timestamp",
    "size",
    "has_index",
    "index_infos",
    "load_state",
    "backup_physical_timestamp",
    "channel_checkpoints",
    "properties",
)


def view(catalog: Catalog, name: str, *, detail: bool = False) -> dict[str, Any]:
    """A backup as plain data. ``detail`` adds partitions, segments, their files and everything else except secrets."""
    committed = catalog.committed(name)
    backup, manifest = committed.backup, committed.manifest
    result: dict[str, Any] = {
        **_plain(head(backup, BackupExtras)),
        "state_code": SUCCESS,
        "progress": 100,
        "state": BackupState.PARTIAL if manifest.failed else BackupState.COMPLETE,
        "collection_backups": _whole(catalog, name, backup)
        if detail
        else [*map(_brief, backup.collection_backups)],
        "meta_size": catalog.meta_size(name),
    }
    result.pop("mbk", None)
    _add_protection(result, manifest)
    result |= _times(committed.stored, manifest)
    if manifest.failed:
        result["failed"] = manifest.failed
    if manifest.labels:
        result["labels"] = manifest.labels
    if pin := catalog.pin(committed.stored):
        result["pin"] = msgspec.to_builtins(pin)
    if lock := catalog.lock(committed.stored):
        result["locked"] = msgspec.to_builtins(lock)
    if manifest.added:
        result["added"] = manifest.added.size
    _add_verified(result, catalog.verified(name, manifest.commit or backup.id))
    _hide_secrets(result, backup, detail=detail)
    return result


def incomplete(catalog: Catalog, name: str) -> dict[str, Any] | None:
    """What is known of a backup that was never committed; None if there is none under the name."""
    stored = catalog.find(name)
    if not stored.is_backup or stored.is_committed:
        return None
    manifest = catalog.read_manifest(name)
    return {
        "name": name,
        "id": manifest.id,
        "state": BackupState.INCOMPLETE,
        **_times(stored, manifest),
        "tool": manifest.tool,
        **({"labels": manifest.labels} if manifest.labels else {}),
        **({"locked": msgspec.to_builtins(lock)} if (lock := catalog.lock(stored)) else {}),
        "reason": f"{manifest.remedy(name)}, or delete it",
    }


def _times(stored: Stored, manifest: Manifest) -> dict[str, str]:
    """``created`` as in the listing; ``started`` and ``finished`` are recorded by mbk only."""
    created = begun(stored, manifest)
    told = {"created": created.isoformat()} if created else {}
    return told | ({"started": manifest.started, "finished": manifest.finished} if manifest.started else {})


def _whole(catalog: Catalog, name: str, backup: Backup) -> list[Any]:
    """Collections with the file lists of their segments, which the reading records leave out."""
    stored = catalog.find(name)
    if FULL_META not in stored.files:
        return [*map(_plain, backup.collection_backups)]
    where = stored.layout.meta(FULL_META)
    tree = decode_tree(catalog.read_file(where), where=where)
    return tree.get("collection_backups") or []


def _add_protection(result: dict[str, Any], manifest: Manifest) -> None:
    """The consistency point of each collection, if mbk made the backup; a key that classic clients ignore."""
    for collection in result["collection_backups"]:
        protection = manifest.protection.get(str(collection.get("collection_id", 0)))
        if protection is not None:
            collection["protection"] = {
                "boundary": protection.boundary,
                "at": protection.at,
                "gc_paused": protection.gc_paused,
                "point": protection.point,
            }


def _add_verified(result: dict[str, Any], known: Verified) -> None:
    """The last verification, as in the listing, and all that are still valid."""
    last = verified.latest(known)
    if last is not None:
        result["verified"] = {
            "at": last.at.isoformat(),
            "depth": last.depth,
            "findings": last.findings,
            "sample": last.sample,
            "results": msgspec.to_builtins(known.results),
        }


def _brief(collection: Collection) -> dict[str, Any]:
    whole = _plain(head(collection, CollectionHead))
    return {key: whole[key] for key in BRIEF_COLLECTION if key in whole}


def _plain(record: msgspec.Struct) -> dict[str, Any]:
    plain = msgspec.to_builtins(record)
    if not isinstance(plain, dict):
        raise InvalidBackup("a record in the backup is not a JSON object", code="record-not-object")
    return plain


def _hide_secrets(result: dict[str, Any], backup: Backup, *, detail: bool) -> None:
    """Password hashes and zone keys stay in the bucket."""
    for database in result.get("database_backups", []):
        if "ezk" in database:
            database["ezk"] = "***"
    if not detail or backup.rbac_meta is None:
        result.pop("rbac_meta", None)
        return
    for user in result["rbac_meta"].get("users", []):
        user.pop("password", None)
