"""Opening a storage again somewhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbk.config.schema import StorageChoice
    from mbk.ports.storage import Storage


@dataclass(frozen=True, slots=True)
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
