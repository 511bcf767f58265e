"""File, environment and flags to :class:`mbk.config.schema.Settings`, with every problem at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from mbk.config import profiles, schedules, source, targets
from mbk.config.keys import KEYS, LOCK, NOTIFICATIONS, PROFILES, Dialect
from mbk.config.layers import Layers, Origin
from mbk.config.schema import Settings, StorageChoice
from mbk.config.sides import choose
from mbk.config.v1 import V1
from mbk.config.v2 import V2
from mbk.errors import ConfigError, Problem
from mbk.frozen import frozen


@frozen
class LoadedConfig:
    """``path`` None: no file. ``origins``: target (``milvus.port``) to the origin of its value, without defaults.

    ``lacks``: that no file was found, and where it was looked for, or that the file sets nothing; empty otherwise.
    """

    settings: Settings
    path: Path | None
    dialect: Literal["v1", "v2"]
    warnings: tuple[str, ...]
    origins: Mapping[str, Origin]
    lacks: str = ""


def dialect_of(loaded: LoadedConfig) -> Dialect:
    """Its dialect, with the names of its profiles and targets."""
    settings = loaded.settings
    dialect = profiles.with_profiles(V2 if loaded.dialect == "v2" else V1, settings.profiles)
    return targets.with_targets(dialect, settings.notifications)


def load(
    path: str | PathLike[str] | None = None,
    *,
    sets: Sequence[str] = (),
    overrides: Mapping[str, object] | None = None,
    storage: str | None = None,
    backup_storage: str | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> LoadedConfig:
    """Precedence: flags (``storage``, ``overrides``), ``sets``, environment, file, default.

    ``path`` None: ``backup.yaml`` if it exists, otherwise no file, as v1. Raises `ConfigError`.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    file = source.find(path, environ, cwd)
    root = source.read(file, cwd) if file else None
    scheduled, unscheduled = schedules.taken(root)
    where = str(file) if file else "configuration"
    layers = _layers(source.version(root), where)
    given = [*(item for text in sets for item in text.split(",")), *(overrides or {})]
    named = dict.fromkeys([*source.children(root, PROFILES), *profiles.of_settings(given)])
    told = dict.fromkeys(
        [
            *source.children(root, NOTIFICATIONS),
            *targets.of_settings(given),
            *targets.of_environment(environ),
        ]
    )
    named |= dict.fromkeys(profiles.of_environment(layers.dialect, environ, named))
    layers.problems += [*profiles.unfit(named), *targets.unfit(told), *unscheduled]
    layers.dialect = targets.with_targets(profiles.with_profiles(layers.dialect, named), told)
    flat = source.flatten(root, layers.dialect, layers.other)
    layers.add_file(flat, where)
    layers.add_environment(environ)
    layers.add_sets(sets)
    layers.add_overrides(overrides or {})
    layers.add_types(storage, backup_storage)
    layers.refuse_foreign(where)
    settings, origins = _settings(layers, cwd, where, scheduled)
    version: Literal["v1", "v2"] = "v2" if layers.dialect.version == "v2" else "v1"
    lacks = "" if flat.values else _lacks(file, source.places(path, environ), cwd)
    return LoadedConfig(settings, file, version, tuple(layers.warnings), origins, lacks)


def _lacks(file: Path | None, places: Sequence[Path], cwd: Path) -> str:
    if file:
        return f"configuration file {file} sets nothing"
    return f"no configuration file found (looked for {', '.join(str(cwd / place) for place in places)})"


def _layers(version: str, where: str) -> Layers:
    if version.lower() not in ("v1", "v2"):
        problem = Problem(source.VERSION_KEY, f"unknown version {version!r}", "write v2, or omit it for v1")
        raise ConfigError(where, [problem])
    return Layers(V2, V1) if version.lower() == "v2" else Layers(V1, V2)


def _settings(
    layers: Layers, cwd: Path, where: str, scheduled: Mapping[str, Mapping[str, Any]]
) -> tuple[Settings, Mapping[str, Origin]]:
    values = layers.parsed()
    given = {target: item.origin for target, item in layers.given.items()}
    stored = {target: value for target, value in values.items() if KEYS[target].stored}
    sides = choose(layers.dialect, {t: v for t, v in stored.items() if KEYS[t].side}, given)
    tree: dict[str, Any] = {
        "storage": sides.storage,
        "backup_storage": sides.backup_storage,
        "profiles": {name: _locked(name, choice, stored) for name, choice in sides.profiles.items()},
        "schedules": scheduled,
    }
    for target, value in stored.items():
        if KEYS[target].side is None:
            section, _, name = target.partition(".")
            tree.setdefault(section, {})[name] = value
    problems = layers.problems + _cross_checks(layers, values, cwd)
    problems += [
        Problem(layers.shown_key(f"{side}.type"), "is missing: a profile has a storage type of its own")
        for side in sides.untyped
    ]
    settings = None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as exc:
        problems += [_explained(layers, error) for error in exc.errors(include_url=False)]
    if problems or settings is None:
        raise ConfigError(where, problems)
    others = {target: given[target] for target in values if KEYS[target].side is None or target not in stored}
    return settings, {**others, **sides.origins}


def _locked(profile: str, choice: StorageChoice, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a profile, with those of its lock, which the schema has yet to look at."""
    lock = {name: stored.get(f"{PROFILES}.{profile}.{name}") for name in LOCK}
    return {**vars(choice), **{name: value for name, value in lock.items() if value is not None}}


def _explained(layers: Layers, error: ErrorDetails) -> Problem:
    """An error of the schema, in terms of the user's keys."""
    target = ".".join(str(part) for part in error["loc"])
    value = "" if target not in KEYS or KEYS[target].secret else f", not {error['input']!r}"
    context = error.get("ctx", {})
    suggestion = None
    if "ge" in context:
        message = f"must be at least {context['ge']}{value}"
    elif "le" in context:
        message = f"must be at most {context['le']}{value}"
    elif error["type"] == "literal_error":
        message = f"expected {context['expected'].replace(chr(39), '')}{value}"
        suggestion = _nearest(str(error["input"]), context["expected"])
    else:
        message = error["msg"][:1].lower() + error["msg"][1:]
    return Problem(layers.shown_key(target), message, suggestion)


def _nearest(word: str, expected: str) -> str | None:
    from difflib import get_close_matches

    words = [item.strip(" '") for item in expected.replace(" or ", ", ").split(",")]
    matches = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {matches[0]}?" if matches else None


def _cross_checks(layers: Layers, values: Mapping[str, Any], cwd: Path) -> list[Problem]:
    return [*_authorization(layers, values), *_tls(layers, values, cwd), *_storage_files(layers, values, cwd)]


def _authorization(layers: Layers, values: Mapping[str, Any]) -> list[Problem]:
    target = "milvus.authorization"
    if not values.get(target) or values.get("milvus.user"):
        return []
    user = layers.dialect.by_target["milvus.user"]
    suggestion = f"set {user.key} and the password, or {user.env} in the environment"
    return [Problem(layers.shown_key(target), "true, but no user is set", suggestion)]


def _tls(layers: Layers, values: Mapping[str, Any], cwd: Path) -> list[Problem]:
    """Certificates are checked only with TLS: sample files name paths that do not exist."""
    mode = values.get("milvus.tls_mode", "disabled")
    if mode == "disabled":
        return []
    problems = []
    mutual = ("milvus.mtls_cert_path", "milvus.mtls_key_path")
    for target in ("milvus.ca_cert_path", *(mutual if mode == "mutual" else ())):
        path = values.get(target)
        if path:
            problems += _missing(layers, target, path, cwd)
        elif target in mutual:
            mode_key = layers.shown_key("milvus.tls_mode")
            problems.append(Problem(layers.shown_key(target), f"required by {mode_key} (mutual TLS)"))
    return problems


def _storage_files(layers: Layers, values: Mapping[str, Any], cwd: Path) -> list[Problem]:
    return [
        problem
        for target in values
        if KEYS[target].side and target.endswith(".ca_cert") and values[target]
        for problem in _missing(layers, target, values[target], cwd)
    ]


def _missing(layers: Layers, target: str, path: str, cwd: Path) -> list[Problem]:
    try:
        with (cwd / path).open("rb"):
            return []
    except (OSError, ValueError) as exc:
        reason = (getattr(exc, "strerror", None) or "not a path").lower()
        return [Problem(layers.shown_key(target), f"cannot read {path}: {reason}")]


def revealed(value: Any) -> Any:
    """A secret's text, any other value unchanged. For files and clients, never for display."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value
