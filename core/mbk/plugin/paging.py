"""Listings that come in pages, from services that may give the same ones for ever."""

from __future__ import annotations

from collections.abc import Sequence

from mbk.plugin.conditions import listing_repeats


class Onwards:
    """Watches over one listing with one marker in memory: the markers of pages must not go in a circle (R. P. Brent, 1980),
    and no two pages in a row begin alike.
    """

    def __init__(self) -> None:
        self._marker: object = None
        self._steps = self._left = 1
        self._first: Sequence[object] = ()

    def require(self, marker: object, first: Sequence[object]) -> None:
        """``marker`` of the next page, ``first`` of the entries of this one. `WireError` where the listing has no end."""
        if marker and (marker == self._marker or (first and first == self._first)):
            raise listing_repeats()
        self._first = first
        self._left -= 1
        if not self._left:
            self._marker, self._steps = marker, 2 * self._steps
            self._left = self._steps
