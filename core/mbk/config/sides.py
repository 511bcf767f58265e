"""The two storages, Milvus' and the backup's: their own values and those inherited from each other.

The backup side inherits every value that it does not set from the primary, except those that the dialect excludes. If the
two types differ, only bucket and root path are inherited: address and credentials of one vendor are useless for another.
Credentials are inherited as a group: a backup side with its own inherits none of another kind. A session token is only
inherited with its own access key. A primary without any credentials uses the backup side's, if both are the same kind of
storage at the same address.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from pydantic import SecretStr

from mbk.config.keys import BACKUP, LOCK, PRIMARY, PROFILES, Dialect
from mbk.config.layers import Origin
from mbk.config.schema import StorageChoice
from mbk.frozen import frozen

_ENDPOINT = ("address", "port", "region")
#: Each credential, and the kind that it is part of.
_KINDS = {
    "access_key_id": "key pair",
    "secret_access_key": "key pair",
    "session_token": "key pair",
    "use_iam": "role",
    "profile": "profile",
    "account_name": "account",
    "account_key": "account",
    "connection_string": "connection string",
    "sas_token": "signature",
    "credentials_file": "file",
}
_OF_ANY_TYPE = frozenset({"bucket", "root_path"})


@frozen
class _Value:
    value: Any
    origin: Origin


_Side = dict[str, _Value]


@frozen
class Sides:
    """``origins``: target to origin, for every value of all choices. ``untyped``: profiles without a storage type."""

    storage: StorageChoice
    backup_storage: StorageChoice
    profiles: Mapping[str, StorageChoice]
    origins: Mapping[str, Origin]
    untyped: tuple[str, ...] = ()


def choose(dialect: Dialect, values: Mapping[str, Any], given: Mapping[str, Origin]) -> Sides:
    """From the parsed storage values of both sides and of the profiles (by target), and their origins."""
    primary, backup = (_own(side, values, given) for side in (PRIMARY, BACKUP))
    for target, default in dialect.defaults.items():
        side, _, name = target.partition(".")
        (primary if side == PRIMARY else backup).setdefault(name, _Value(default, Origin("default", "")))
    kind = primary["type"]
    backup.setdefault("type", _inherited(kind, dialect.by_target["storage.type"].key))
    same = dialect.canonical(kind.value) == dialect.canonical(backup["type"].value)
    _rename(primary, dialect)
    _rename(backup, dialect)
    if same:
        _borrow(primary, backup, dialect)
    _inherit(primary, backup, dialect, same=same)
    origins = {f"{PRIMARY}.{name}": value.origin for name, value in primary.items()}
    origins |= {f"{BACKUP}.{name}": value.origin for name, value in backup.items()}
    named = {target.rpartition(".")[0] for target in values if target.startswith(f"{PROFILES}.")}
    own = {side: _own(side, values, given) for side in sorted(named)}
    untyped = tuple(side for side, held in own.items() if "type" not in held)
    for side in untyped:
        del own[side]
    for held in own.values():
        _rename(held, dialect)
    origins |= {f"{side}.{name}": item.origin for side, held in own.items() for name, item in held.items()}
    return Sides(
        _choice(PRIMARY, primary, dialect),
        _choice(BACKUP, backup, dialect),
        {side.partition(".")[2]: _choice(side, held, dialect) for side, held in own.items()},
        origins,
        untyped,
    )


def _own(side: str, values: Mapping[str, Any], given: Mapping[str, Origin]) -> _Side:
    start = side + "."
    return {
        target.removeprefix(start): _Value(value, given[target])
        for target, value in values.items()
        if target.startswith(start)
    }


def _rename(side: _Side, dialect: Dialect) -> None:
    for old, new in dialect.renamed.get(side["type"].value, {}).items():
        if old in side:
            side.setdefault(new, side.pop(old))


def _borrow(primary: _Side, backup: _Side, dialect: Dialect) -> None:
    """``use_iam: false`` alone is not a credential: classic files contain it. An explicit empty text means none."""
    if any(name in primary and primary[name].value is not False for name in _KINDS):
        return
    if any(name in backup and backup[name].value != _plain(primary.get(name)) for name in _ENDPOINT):
        return
    for name in _KINDS:
        if name in backup and name not in primary:
            primary[name] = _inherited(backup[name], _key(dialect, BACKUP, name))


def _inherit(primary: _Side, backup: _Side, dialect: Dialect, *, same: bool) -> None:
    own = {name for name in _KINDS if _is_its_own(backup, primary, name)}
    key = backup.get("access_key_id")
    other_key = key is not None and _plain(key) != _plain(primary.get("access_key_id"))
    for name, value in primary.items():
        if name in backup or name in dialect.not_inherited or not (same or name in _OF_ANY_TYPE):
            continue
        if (own and not _goes_with(name, own)) or (name == "session_token" and other_key):
            continue
        backup[name] = _inherited(value, _key(dialect, PRIMARY, name))


def _is_its_own(side: _Side, other: _Side, name: str) -> bool:
    """Whether a side sets a value that is neither empty, nor ``use_iam: false``, nor the other side's."""
    value = _plain(side.get(name))
    return bool(value) and value != _plain(other.get(name))


def _goes_with(name: str, own: Set[str]) -> bool:
    """Whether a value may be inherited by a side with these credentials of its own."""
    if name not in _KINDS:
        return True
    if name == "account_name":
        # A signature and a role need it, too; a connection string contains its own account.
        return "connection_string" not in own
    if name == "use_iam":
        # A machine's role is not tied to an account.
        return own == {"account_name"}
    return _KINDS[name] in {_KINDS[other] for other in own}


def _inherited(value: _Value, key: str) -> _Value:
    return _Value(value.value, Origin("inherited", value.origin.key or key))


def _choice(side: str, values: _Side, dialect: Dialect) -> StorageChoice:
    kept = {
        name: value
        for name, value in values.items()
        if name not in ("type", *LOCK) and (name == "root_path" or _plain(value) != "")
    }
    return StorageChoice(
        type=values["type"].value,
        type_key=values["type"].origin.key or _key(dialect, side, "type"),
        values={name: value.value for name, value in kept.items()},
        keys={name: value.origin.key or _key(dialect, side, name) for name, value in kept.items()},
    )


def _plain(value: _Value | None) -> Any:
    if value is None:
        return None
    return value.value.get_secret_value() if isinstance(value.value, SecretStr) else value.value


def _key(dialect: Dialect, side: str, name: str) -> str:
    """The dialect's key of a value, which may be the key of another one."""
    for old_names in dialect.renamed.values():
        name = next((old for old, new in old_names.items() if new == name), name)
    known = dialect.by_target.get(f"{side}.{name}")
    return known.key if known else f"{side}.{name}"
