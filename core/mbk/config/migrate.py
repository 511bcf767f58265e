"""``config migrate``: translates a v1 file to an equivalent v2 file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import field
from os import PathLike
from pathlib import Path
from typing import Any

from mbk.config import parse as p
from mbk.config.keys import BACKUP, KEYS, PRIMARY, Name
from mbk.config.layers import Origin
from mbk.config.load import LoadedConfig, load, revealed
from mbk.config.profiles import with_profiles
from mbk.config.schema import Settings, StorageChoice
from mbk.config.show import value_of
from mbk.config.source import DEFAULT_NAME, SCHEDULES, VERSION_KEY
from mbk.config.targets import with_targets
from mbk.config.v1 import AUTH_WORDS
from mbk.config.v2 import V2
from mbk.errors import ConfigError, Problem
from mbk.frozen import frozen
from mbk.model.rates import Bandwidth, RequestRate

#: By credential, the words of `AUTH_WORDS` with which the classic tool takes it.
_APPLYING: Mapping[str, Set[str]] = {
    "access_key_id": {"static"},
    "secret_access_key": {"static"},
    "session_token": {"static"},
    "account_key": {"sharedKey"},
    "credentials_file": {"serviceAccount"},
    "iam_endpoint": {"iam"},
}
CREDENTIALS = frozenset(_APPLYING)
_NAMES: Mapping[str, Name] = {name.target: name for name in V2.names}


@frozen
class Migration:
    """``text`` of the v2 file, which may contain secrets. ``dropped``: keys without a counterpart, each with the reason.

    ``env_renames``: variables that v2 reads under another name; their values are not in ``text``.
    """

    text: str = field(repr=False)
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    env_renames: tuple[tuple[str, str], ...]


def migrate(
    path: str | PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ignored: Callable[[str], Set[str]] = lambda _: frozenset(),
) -> Migration:
    """Translates. Raises `ConfigError` for a file with problems, a v2 file, or no file.

    ``ignored``: the values that a storage type does not use, although a file may set them.
    """
    loaded = load(path, environ=environ, cwd=cwd)
    if loaded.path is None:
        raise ConfigError(
            DEFAULT_NAME, [Problem("", "no configuration file to migrate", "give it with --config")]
        )
    if loaded.dialect != "v1":
        raise ConfigError(str(loaded.path), [Problem(VERSION_KEY, "already v2, nothing to migrate")])
    writer = _Writer(loaded)
    dialect = with_targets(with_profiles(V2, loaded.settings.profiles), loaded.settings.notifications)
    for name in dialect.names:
        if KEYS[name.target].stored:
            writer.add(name)
    writer.settle_logins(ignored)
    unstored = [(KEYS[t], origin) for t, origin in loaded.origins.items() if t in KEYS and not KEYS[t].stored]
    return Migration(
        text=writer.text(),
        # Where a login is required, there is one, or the file has a problem.
        dropped=tuple(
            f"{origin.key}: {key.help}" for key, origin in unstored if key.target != "milvus.authorization"
        ),
        warnings=(*loaded.warnings, *writer.warnings),
        env_renames=tuple(writer.renames),
    )


class _Writer:
    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.tree: dict[str, Any] = {VERSION_KEY: "v2"}
        self.warnings: list[str] = []
        self.renames: list[tuple[str, str]] = []
        self.removed: set[str] = set()

    def add(self, name: Name) -> None:
        origin = self.loaded.origins.get(name.target, Origin("default", ""))
        value = value_of(self.loaded.settings, name.target)
        if origin.source in ("default", "inherited"):
            if name.target == f"{BACKUP}.root_path" and value != V2.defaults[name.target]:
                self.put(name, value)
            elif _must_be_blanked(self.loaded.settings, name.target):
                self.put(name, "")
        elif origin.source == "environment" and name.env:
            if origin.key != name.env:
                self.renames.append((origin.key, name.env))
        else:
            if origin.source == "environment":
                self.warnings.append(
                    f"{origin.key}: v2 does not read this variable, its value was written to {name.key}"
                )
            self.put(name, "" if value is None else value)

    def put(self, name: Name, value: Any) -> None:
        of_type = name.target in (f"{PRIMARY}.type", f"{BACKUP}.type")
        self._write(name.key, V2.canonical(value) if of_type else _plain(name.parser, value))

    def settle_logins(self, ignored: Callable[[str], Set[str]]) -> None:
        """The classic tool refuses a v2 file with another word for a service's credentials than its own, and with credentials
        that do not apply, also empty ones. What mbk does not use either is left out."""
        settings = self.loaded.settings
        self._settle(PRIMARY, settings.storage, "static", ignored(settings.storage.type))
        inherited, same = (
            _auth_word(settings.storage),
            _canonical(settings.storage) == _canonical(settings.backup_storage),
        )
        # mbk inherits no way to log in from a storage of another type, the classic tool does.
        self._settle(
            BACKUP, settings.backup_storage, inherited if same else "", ignored(settings.backup_storage.type)
        )

    def _settle(self, side: str, choice: StorageChoice, inherited: str, ignored: Set[str]) -> None:
        by_role, word = bool(choice.values.get("use_iam")), _auth_word(choice)
        self._remove(f"{side}.use_iam")
        # A side with credentials of its own inherits no role.
        if word and (word != inherited or (by_role and side == BACKUP)):
            self._set(f"{side}.use_iam", word)
        for value, words in _APPLYING.items():
            if word in words:
                continue
            # A role comes before keys, and its endpoint is part of it; a service account's file comes before keys.
            by_file = word == "serviceAccount" and bool(choice.values.get("credentials_file"))
            unused = value in ignored or by_file or (by_role and value != "iam_endpoint")
            if unused or not (choice.values.get(value) or self._says_something(side, value)):
                self._remove(f"{side}.{value}")
                self.removed.add(f"{side}.{value}")
                self._leave_to_backups(side, value)

    def _leave_to_backups(self, side: str, value: str) -> None:
        """What the side of the backups inherited, and uses, becomes its own."""
        origin = self.loaded.origins.get(f"{BACKUP}.{value}", Origin("default", ""))
        given = self.loaded.settings.backup_storage.values.get(value)
        from_file = self.loaded.origins.get(f"{side}.{value}", origin).source != "environment"
        if side == PRIMARY and given and origin.source in ("default", "inherited") and from_file:
            self._set(f"{BACKUP}.{value}", revealed(given))

    def _says_something(self, side: str, value: str) -> bool:
        """Whether an empty value keeps a side from taking the other's."""
        given = self.loaded.settings.storage.values
        if side == BACKUP:
            return bool(given.get(value)) and f"{PRIMARY}.{value}" not in self.removed
        return not any(given.get(name) for name in (*_APPLYING, "account_name"))

    def _remove(self, target: str) -> None:
        """Also sections that are empty then."""
        *sections, leaf = _NAMES[target].key.split(".")
        nodes = [self.tree]
        for section in sections:
            nodes.append(nodes[-1].get(section, {}))
        nodes[-1].pop(leaf, None)
        for node, section in reversed([*zip(nodes, sections, strict=False)]):
            if not node.get(section, True):
                del node[section]

    def _set(self, target: str, value: Any) -> None:
        self._write(_NAMES[target].key, value)

    def _write(self, key: str, value: Any) -> None:
        *sections, leaf = key.split(".")
        node = self.tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value

    def text(self) -> str:
        import yaml

        if self.loaded.settings.schedules:
            self.tree[SCHEDULES] = {**self.loaded.settings.schedules}
        return yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True, width=1 << 20)


def _canonical(choice: StorageChoice) -> str:
    return V2.canonical(choice.type)


def _auth_word(choice: StorageChoice) -> str:
    """How the classic tool calls this way to log in; empty where there is none."""
    return AUTH_WORDS.get(_canonical(choice), AUTH_WORDS[""])[bool(choice.values.get("use_iam"))]


def _must_be_blanked(settings: Settings, target: str) -> bool:
    """Whether the backup side would inherit a value from the primary in v2 but not in v1."""
    name = target.removeprefix(f"{BACKUP}.")
    return (
        target.startswith(f"{BACKUP}.")
        and name not in V2.not_inherited
        and name in settings.storage.values
        and name not in settings.backup_storage.values
        and V2.canonical(settings.storage.type) == V2.canonical(settings.backup_storage.type)
    )


def _plain(parser: p.Parser, value: Any) -> Any:
    if isinstance(parser, p.Choice) and value != "":
        return parser.word(value)
    if isinstance(value, (Bandwidth, RequestRate)):
        return str(value)
    return list(value) if isinstance(value, tuple) else revealed(value)
