"""Whom a server tells of its schedules, by name: ``notifications.NAME`` is a URL or a command line, as is the variable
``MBK_NOTIFICATION_NAME``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mbk.config.keys import NOTIFICATIONS, Dialect, Name
from mbk.errors import Problem

VARIABLE = "MBK_NOTIFICATION_"
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


def with_targets(dialect: Dialect, targets: Iterable[str]) -> Dialect:
    """The dialect with a key and a variable for each."""
    names = (
        Name(f"{NOTIFICATIONS}.{target}", f"{NOTIFICATIONS}.{target}", f"{VARIABLE}{target.upper()}")
        for target in targets
    )
    return replace(dialect, names=(*dialect.names, *names))


def of_environment(environ: Mapping[str, str]) -> Iterator[str]:
    """The targets that have variables."""
    for variable in sorted(environ):
        if variable.startswith(VARIABLE):
            yield variable.removeprefix(VARIABLE).lower()


def of_settings(keys: Iterable[str]) -> Iterator[str]:
    """The targets that dotted keys name."""
    for key in keys:
        section, _, name = key.partition("=")[0].strip().partition(".")
        if section.lower() == NOTIFICATIONS and name:
            yield name.lower()


def unfit(targets: Iterable[str]) -> Iterator[Problem]:
    """A problem for each name that no target can have."""
    for target in targets:
        if not NAME.fullmatch(target):
            yield Problem(
                f"{NOTIFICATIONS}.{target}",
                "is not a valid name of a target",
                "use up to 41 letters, digits and _, beginning with a letter",
            )
