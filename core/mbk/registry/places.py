"""From an address as people write it to the storage to open: its own, a profile's, a configured one, or the environment's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mbk.errors import UsageError
from mbk.model.declared import nearest

if TYPE_CHECKING:
    from mbk.config.schema import Settings, StorageChoice
    from mbk.model.addresses import Address
    from mbk.plugin.spec import StorageBackend
    from mbk.registry.registry import Registry

#: Of a side whose credentials serve for another bucket: what belongs to its own bucket.
_OF_THE_BUCKET = frozenset({"bucket", "root_path", "local_path"})


def choice_for(
    address: Address,
    settings: Settings,
    registry: Registry,
    *,
    inside: bool,
    changes: Mapping[str, str] | None = None,
) -> StorageChoice:
    """The storage in which an address lies. Sends no request.

    A name lies in the profile's bucket and root path, or in those of the backups. The root path for a URL is all of its
    path (``inside``), or all but the last element. Address and credentials for a URL are the profile's, or those of the
    configured side that is the same kind of service (the one with this bucket first), or the environment's. ``changes``:
    other values for a name than the configured ones.
    Raises `UsageError`, and `MbkError` if a plugin cannot be loaded.
    """
    if not address.scheme:
        choice = _profile(address.profile, settings) if address.profile else settings.backup_storage
        return choice.model_copy(update={"values": {**choice.values, **(changes or {})}})
    backend, base = _base(address, settings, registry)
    elements, path = _split(address, backend)
    root = path if inside else path.rstrip("/").rpartition("/")[0]
    if not backend.url and not inside:
        root = root or "/"
    shared = {name: value for name, value in base.values.items() if name not in _OF_THE_BUCKET}
    for name, value in elements.items():
        if shared.get(name, value) != value:
            raise UsageError(
                "profile {profile!r} has another {setting} than the URL: {value!r}",
                code="address-of-another-account",
                profile=address.profile,
                setting=name.replace("_", " "),
                value=value,
                hint="use a profile for that one",
            )
    keys = {**base.keys, **dict.fromkeys((*elements, "root_path"), address.url)}
    return base.model_copy(update={"values": {**shared, **elements, "root_path": root}, "keys": keys})


def _profile(name: str, settings: Settings) -> StorageChoice:
    choice = settings.profiles.get(name)
    if choice is None:
        raise UsageError(
            "there is no profile {profile!r}",
            code="profile-unknown",
            profile=name,
            known=f"the profiles are {', '.join(settings.profiles)}"
            if settings.profiles
            else "none is configured",
            near=nearest(name, settings.profiles),
            hint="{near}"
            if nearest(name, settings.profiles)
            else "{known}; add profiles.{profile} to the configuration",
        )
    return choice


def _base(address: Address, settings: Settings, registry: Registry) -> tuple[StorageBackend, StorageChoice]:
    """The storage that answers to the URL, with the values to open it."""
    if address.profile:
        choice = _profile(address.profile, settings)
        backend = registry.backend(choice.type, key=choice.type_key)
        if not backend.answers(address.scheme):
            raise UsageError(
                "profile {profile!r} is of storage type {type!r}, which {scheme}:// does not name",
                code="profile-of-another-type",
                profile=address.profile,
                type=choice.type,
                scheme=address.scheme,
                hint="use another profile, or {type}://",
            )
        return backend, choice
    backend = registry.for_scheme(address.scheme)
    sides = list(_sides(address, settings, registry))
    if sides:
        return sides[0]
    from mbk.config.schema import StorageChoice

    return backend, StorageChoice(type=backend.name, type_key=f"{address.scheme}://")


def _sides(
    address: Address, settings: Settings, registry: Registry
) -> Iterator[tuple[StorageBackend, StorageChoice]]:
    """The configured sides that are the same service, those with the very bucket first."""
    fitting = []
    for choice in (settings.backup_storage, settings.storage):
        if not registry.answers(choice.type, address.scheme):
            continue
        backend = registry.backend(choice.type, key=choice.type_key)
        elements, _ = _split(address, backend)
        differs = [name for name, value in elements.items() if choice.values.get(name, value) != value]
        if differs in ([], ["bucket"]):
            fitting.append((bool(differs), backend, choice))
    for _, backend, choice in sorted(fitting, key=lambda item: item[0]):
        yield backend, choice


def _split(address: Address, backend: StorageBackend) -> tuple[Mapping[str, str], str]:
    """The settings that the first elements of a URL are, and the path behind them."""
    if not backend.url:
        if not address.path.startswith(("/", ".")):
            raise UsageError(
                "{scheme}://{path} names no absolute directory",
                code="address-not-absolute",
                scheme=address.scheme,
                path=address.path,
                hint="write {scheme}:///{path}, with three slashes",
            )
        return {}, address.path
    values = address.path.split("/", len(backend.url))
    elements = dict(zip(backend.url, values, strict=False))
    if len(elements) < len(backend.url) or not all(elements.values()):
        form = "/".join(name.removesuffix("_name").upper() for name in backend.url)
        raise UsageError(
            "{scheme}://{path} does not say where it is",
            code="address-without-bucket",
            scheme=address.scheme,
            path=address.path,
            form=form,
            hint="write {scheme}://{form}/PATH",
        )
    return elements, values[len(backend.url)] if len(values) > len(backend.url) else ""
