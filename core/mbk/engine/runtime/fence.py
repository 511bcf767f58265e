"""The fence: what a run asks before it does what cannot be taken back."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Fence(Protocol):
    """Of a run that holds a lease. Several threads may call it."""

    @property
    def is_held(self) -> bool:
        """Whether there is a lease that others see; makes no request. False where none could be written."""

    @property
    def is_lost(self) -> bool:
        """Whether another run is known to have taken over. Makes no request; tidying up asks it."""

    def require(self) -> None:
        """Reads the lease; `LeaseLost` if another run has taken over, and then every other step of the run is cancelled.

        Right before a write that commits, a drop, a rename, a delete or an import; right after it where the step can be
        taken back. Raises what the storage raises when the lease cannot be read.
        """


@runtime_checkable
class Guarding(Protocol):
    """An `ability` of storages that ask the fence."""

    def is_guarded(self, key: str) -> bool:
        """Whether this key is written under the lease only."""


class _Open:
    """Of a run that holds no lease, such as a plan: nobody can take it over."""

    is_held = False
    is_lost = False

    def require(self) -> None:
        """Always passes."""


OPEN: Fence = _Open()
