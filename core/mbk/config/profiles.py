"""Profiles: named storages besides Milvus' own and the backups', for addresses such as ``archive@weekly``.

A profile has the keys of a side of the same dialect, below ``profiles.NAME``, how copies in it are locked, and a variable for
each: ``MBK_PROFILE_NAME_`` and the key in capitals, ``ACCESS_KEY_ID`` for ``accessKeyID``. It inherits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mbk.config.keys import OBJECT_LOCK, PRIMARY, PROFILES, Dialect, Name
from mbk.errors import Problem

VARIABLE = "MBK_PROFILE_"
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def with_profiles(dialect: Dialect, profiles: Iterable[str]) -> Dialect:
    """The dialect with the names of the values of these profiles."""
    names = (name for profile in profiles for name in _names(dialect, profile))
    return replace(dialect, names=(*dialect.names, *names))


def of_environment(dialect: Dialect, environ: Mapping[str, str], known: Iterable[str]) -> Iterator[str]:
    """The profiles that have variables, beside those that are ``known``; what names no value is passed over."""
    spelled = {_capitals(name) for name in known}
    suffixes = sorted((f"_{_capitals(key)}" for _, key in _keys(dialect)), key=len, reverse=True)
    for variable in sorted(environ):
        if not variable.startswith(VARIABLE):
            continue
        rest = variable.removeprefix(VARIABLE)
        suffix = next(filter(rest.endswith, suffixes), None)
        name = rest.removesuffix(suffix) if suffix else ""
        if name and name not in spelled:
            spelled.add(name)
            yield name.lower()


def of_settings(keys: Iterable[str]) -> Iterator[str]:
    """The profiles that dotted keys name."""
    for key in keys:
        section, _, rest = key.strip().partition(".")
        if section.lower() == PROFILES and "." in rest:
            yield rest.partition(".")[0].lower()


def unfit(names: Iterable[str]) -> Iterator[Problem]:
    """A problem for each name that no profile can have."""
    for name in names:
        if not _NAME.fullmatch(name):
            yield Problem(
                f"{PROFILES}.{name}",
                "is not a valid name of a profile",
                "use letters, digits, - and _, beginning with a letter",
            )


def _keys(dialect: Dialect) -> Iterator[tuple[Name, str]]:
    """The names of the primary side's values and of a lock, each with its key in the section that it stands in."""
    section = dialect.by_target[f"{PRIMARY}.bucket"].key.rpartition(".")[0] + "."
    for name in dialect.names:
        side, _, _ = name.target.rpartition(".")
        if side == PRIMARY and name.key.startswith(section):
            yield name, name.key.removeprefix(section)
    for name in OBJECT_LOCK:
        yield name, name.key.removeprefix("backup.")


def _names(dialect: Dialect, profile: str) -> Iterator[Name]:
    for name, key in _keys(dialect):
        yield Name(
            f"{PROFILES}.{profile}.{name.target.rpartition('.')[2]}",
            f"{PROFILES}.{profile}.{key}",
            f"{VARIABLE}{_capitals(profile)}_{_capitals(key)}",
            parse=name.parse,
        )


def _capitals(key: str) -> str:
    """``accessKeyID`` is ``ACCESS_KEY_ID``, ``auth.type`` is ``AUTH_TYPE``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[.-]", "_", key).upper()
