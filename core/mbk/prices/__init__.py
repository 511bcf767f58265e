"""List prices of storage services, as data that a user can replace."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mbk.errors import UsageError
from mbk.model.forecast import Prices

if TYPE_CHECKING:
    from mbk.ports.storage import Location

FILE = "prices.yaml"


def known(path: str | PathLike[str] | None = None) -> tuple[Prices, ...]:
    """The prices of the file at ``path``, if one is given, before those that mbk knows. Raises `UsageError`."""
    own = _read(files(__name__).joinpath(FILE).read_text(encoding="utf-8"), FILE)
    if path is None:
        return own
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(
            "cannot read the prices in {path}: {reason}",
            code="prices-unreadable",
            path=path,
            reason=getattr(exc, "strerror", None) or "it is not UTF-8",
        ) from exc
    return (*_read(text, str(path)), *own)


def price_of(location: Location, prices: Iterable[Prices]) -> Prices | None:
    """The first that applies to the location; None for a service without a list price, such as one's own MinIO."""
    for price in prices:
        fits = not price.endpoints or any(fnmatchcase(location.endpoint, each) for each in price.endpoints)
        if location.backend in price.backends and fits:
            return price
    return None


def _read(text: str, path: str) -> tuple[Prices, ...]:
    import msgspec
    import yaml

    try:
        return msgspec.convert(yaml.safe_load(text), tuple[Prices, ...])
    except (yaml.YAMLError, msgspec.ValidationError) as exc:
        raise UsageError(
            "the prices in {path} are not understood: {reason}",
            code="prices-invalid",
            path=path,
            reason=" ".join(str(exc).split()),
            hint="write them as docs/reference/prices.md shows",
        ) from exc
