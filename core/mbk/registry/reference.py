"""Opening a storage again somewhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from mbk.frozen import frozen

if TYPE_CHECKING:
    from mbk.config.schema import StorageChoice
    from mbk.model.addresses import Address
    from mbk.ports.storage import Storage, StorageRef


@frozen
class Reference:
    """A :class:`mbk.ports.storage.StorageRef`: what a user chose, which another process opens with its own plugins.

    The choice carries secrets. It travels with a pickle, which must therefore stay on the machine or go encrypted, and
    is in no representation.
    """

    choice: StorageChoice = field(repr=False)

    def __repr__(self) -> str:
        return f"<Reference to a storage of type {self.choice.type!r}>"

    def open(self) -> Storage:
        """With the plugins installed where this is called; not with those that a program registered itself."""
        from mbk.registry.registry import Registry

        return Registry().open(self.choice)


@frozen
class OwnReference:
    """A :class:`mbk.ports.storage.StorageRef` without a secret: a side of the configuration that the other process has."""

    side: Literal["storage", "backup_storage"]

    def open(self) -> Storage:
        """With the file and the environment of the process that calls, which `mbk` would find there, too."""
        from mbk.config.load import load
        from mbk.registry.registry import Registry

        choice: StorageChoice = getattr(load().settings, self.side)
        return Registry().open(choice)


@frozen
class OwnPlace:
    """As `OwnReference`, of the place of an address (`mbk.registry.places.choice_for`)."""

    address: Address
    inside: bool
    changes: Mapping[str, str] = field(default_factory=dict, hash=False)

    def open(self) -> Storage:
        """With the profiles and the credentials of the process that calls."""
        from mbk.config.load import load
        from mbk.registry.places import choice_for
        from mbk.registry.registry import Registry

        registry = Registry()
        choice = choice_for(self.address, load().settings, registry, inside=self.inside, changes=self.changes)
        return registry.open(choice)


class References:
    """What opens which storage elsewhere. Several threads may call it."""

    def __init__(self) -> None:
        self._known: list[tuple[Storage, StorageRef]] = []

    def add(self, storage: Storage, reference: StorageRef) -> None:
        self._known.append((storage, reference))

    def discard(self, storage: Storage) -> None:
        self._known = [(known, reference) for known, reference in self._known if known is not storage]

    def of(self, storage: Storage) -> StorageRef | None:
        """Of this very storage, or of the one that it wraps."""
        layer: object | None = storage
        while layer is not None:
            for known, reference in self._known:
                if known is layer:
                    return reference
            layer = getattr(layer, "wrapped", None)
        return None
