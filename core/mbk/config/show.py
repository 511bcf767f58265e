"""``config show``: every setting, its value and its origin. Secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from mbk.config import parse as p
from mbk.config.keys import KEYS, LOCK, Name
from mbk.config.layers import Origin, Source
from mbk.config.load import LoadedConfig, dialect_of
from mbk.config.schema import Settings, StorageChoice
from mbk.config.source import SCHEDULES
from mbk.frozen import frozen

MASK = "******"


@frozen
class Row:
    """``parameter`` is the dialect's key, ``source_key`` the key, variable or flag that set the value.

    A storage value that is not set is empty: its plugin has the default, if there is one.
    """

    parameter: str
    value: str
    source: Source
    source_key: str


def show(loaded: LoadedConfig) -> list[Row]:
    dialect = dialect_of(loaded)
    rows = []
    for name in dialect.names:
        if not KEYS[name.target].stored:
            continue
        target = _target(name, loaded)
        origin = loaded.origins.get(target, Origin("default", ""))
        value = written(name.parser, value_of(loaded.settings, target))
        rows.append(Row(name.key, value, origin.source, origin.key))
    return [*rows, *_scheduled(SCHEDULES, loaded.settings.schedules)]


def _scheduled(key: str, value: Any) -> Iterator[Row]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _scheduled(f"{key}.{name}", below)
    else:
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        yield Row(key, text.lower() if isinstance(value, bool) else text, "file", key)


def _target(name: Name, loaded: LoadedConfig) -> str:
    """The target of ``name``, also for a storage type whose values use the keys of others in this dialect."""
    side = KEYS[name.target].side
    if side is None:
        return name.target
    choice = _choice(loaded.settings, side)
    value = name.target.removeprefix(side + ".")
    return f"{side}.{dialect_of(loaded).renamed.get(choice.type, {}).get(value, value)}"


def value_of(settings: Settings, target: str) -> Any:
    """The value of a target; None for a storage value that is not set."""
    section, _, name = target.rpartition(".")
    if KEYS[target].side is None:
        found = getattr(settings, section)
        return found[name] if isinstance(found, Mapping) else getattr(found, name)
    choice = _choice(settings, section)
    return getattr(choice, name) if name in ("type", *LOCK) else choice.values.get(name)


def _choice(settings: Settings, side: str) -> StorageChoice:
    section, _, profile = side.partition(".")
    choice: StorageChoice = settings.profiles[profile] if profile else getattr(settings, section)
    return choice


def written(parser: p.Parser, value: Any) -> str:
    """``value`` as the dialect writes it; a secret as a mask."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(parser, p.Choice):
        return parser.word(value)
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return p.masked_command(text) if parser is p.hook else p.masked_url(text)
