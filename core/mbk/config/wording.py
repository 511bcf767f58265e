"""Hints in the user's own words: the keys of his dialect and of the side that is meant, instead of a setting's usual name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mbk.config.keys import BACKUP, PRIMARY, Dialect
from mbk.config.load import LoadedConfig, dialect_of
from mbk.config.schema import StorageChoice
from mbk.config.v1 import V1
from mbk.config.v2 import V2

#: What hints call the settings of a storage, by the name of the value.
_SETTINGS: Mapping[str, str] = {
    "accessKeyID": "access_key_id",
    "secretAccessKey": "secret_access_key",
    "accountKey": "account_key",
    "credentialsFile": "credentials_file",
    "useIAM": "use_iam",
    "useSSL": "use_ssl",
    "pathStyle": "path_style",
    "caCert": "ca_cert",
    "bucketName": "bucket",
    "rootPath": "root_path",
}
#: Settings that hints describe: their key follows in brackets.
_DESCRIBED: Mapping[str, str] = {
    "the access key id": "access_key_id",
    "the secret access key": "secret_access_key",
    "a new session token": "session_token",
    "the address": "address",
    "the port": "port",
    "the region": "region",
}
_WORDS = re.compile(rf"(?<![\w.])({'|'.join((*_SETTINGS, *_DESCRIBED))})(?![\w.])")
_PLACE = re.compile(r"(?<![\w.])(bucketName|rootPath)(?![\w.])")
_PROFILES = "profiles."
_DOTTED = re.compile(r"(?<![\w.])[a-z]+(?:\.[A-Za-z]+)+")


def in_own_keys(text: str, loaded: LoadedConfig, side: object) -> str:
    """``side``: the storage that the text is about: ``storage``, ``backup_storage``, ``profiles.NAME``, or what says its
    bucket and path, a URL or a flag; empty for none."""
    dialect, side = dialect_of(loaded), str(side or "")
    profile = (
        loaded.settings.profiles.get(side.removeprefix(_PROFILES)) if side.startswith(_PROFILES) else None
    )
    if profile is not None or side in (PRIMARY, BACKUP):
        choice: StorageChoice = profile or getattr(loaded.settings, side)
        text = _WORDS.sub(lambda found: _named(found[0], side, choice, dialect), text)
    elif side:
        text = _PLACE.sub(lambda _: side, text)
    return _DOTTED.sub(lambda found: _translated(found[0], dialect), text)


def _named(word: str, side: str, choice: StorageChoice, dialect: Dialect) -> str:
    value = _SETTINGS.get(word) or _DESCRIBED[word]
    name = dialect.by_target.get(f"{side}.{value}")
    key = choice.keys.get(value) or (name.key if name else word)
    if word in _DESCRIBED:
        return f"{word} ({key})"
    return f"{key}: iam" if value == "use_iam" and dialect.version == "v2" else key


def _translated(key: str, dialect: Dialect) -> str:
    """A key of another dialect in this one; anything else as it is."""
    name = key.lower()
    known = None if name in dialect.by_key else V1.by_key.get(name) or V2.by_key.get(name)
    here = dialect.by_target.get(known.target) if known else None
    return here.key if here else key
