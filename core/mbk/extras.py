"""How to install what is missing: always by the names of the packages themselves.

``pip install 'mbk[gcp]'`` asks an index for mbk, which may have come from a checkout, a wheel or an image. The packages that an
extra stands for are in the installed metadata, and are on every index. The distribution's own name is looked up there, too, so
that it stands in pyproject.toml only.
"""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, entry_points, requires

_REQUIREMENT = re.compile(
    r"\s*(?P<package>(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^]]*)\])?[^;]*);.*\bextra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]"
)
_EXTRA = re.compile(r"\s*(?P<name>[\w.-]+)\s*\[\s*(?P<extra>[\w.-]+)\s*\]")


def distribution() -> str:
    """The name under which mbk is installed."""
    points = entry_points(group="mbk.storage", name="local")
    return next(point.dist.name for point in points if point.value == "mbk_local" and point.dist)


def to_install(extra: str) -> str:
    """What ``pip install`` takes to bring an extra of mbk (``gcp``), quoted for a shell."""
    return arguments(f"{distribution()}[{extra}]")


def arguments(extra: str) -> str:
    """The same for an extra of any distribution (``mbk-acme[sdk]``): the extra itself where its packages are not known."""
    return shlex.join(packages(extra) or (extra,))


def packages(extra: str) -> tuple[str, ...]:
    """The requirements in an extra (``boto3>=1.36``), also by way of further extras; empty if unknown."""
    asked = _EXTRA.match(extra)
    if asked is None:
        return ()
    try:
        lines = requires(asked["name"]) or []
    except PackageNotFoundError:
        return ()
    found: dict[str, None] = {}
    for hit in filter(None, map(_REQUIREMENT.match, lines)):
        if hit["extra"] != asked["extra"]:
            continue
        if hit["name"] == asked["name"]:
            inner = [name.strip() for name in (hit["extras"] or "").split(",")]
            found |= dict.fromkeys(
                package for name in inner for package in packages(f"{hit['name']}[{name}]")
            )
        else:
            found[hit["package"].strip()] = None
    return tuple(found)


def names(extra: str) -> tuple[str, ...]:
    """The distributions in an extra, without their versions."""
    return tuple(re.split(r"[^\w.-]", package, maxsplit=1)[0] for package in packages(extra))
