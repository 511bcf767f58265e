"""The storage conformance kit: every rule of :mod:`mbk.ports.storage` as a test."""

from __future__ import annotations

from mbk.testing.access import AccessConformance
from mbk.testing.copying import Copying
from mbk.testing.deleting import Deleting
from mbk.testing.faults import FaultConformance
from mbk.testing.keys import Keys
from mbk.testing.kit import rule_of
from mbk.testing.listing import Listing
from mbk.testing.locks import Locks
from mbk.testing.options import Options
from mbk.testing.parts import Parts
from mbk.testing.reading import Reading
from mbk.testing.versions import Versions
from mbk.testing.whole import Whole
from mbk.testing.writing import Writing


class StorageConformance(
    Listing, Keys, Reading, Writing, Deleting, Copying, Parts, Options, Versions, Locks, Whole
):
    """Subclass it as ``class TestAcme(StorageConformance)`` with a fixture ``storage``, and let pytest collect it."""


#: The classes that hold rules, in the order of the reference page.
FAMILIES = (*StorageConformance.__bases__, FaultConformance, AccessConformance)


def rules() -> dict[str, str]:
    """Each rule's number and sentence, in the kits' order."""
    found: dict[str, str] = {}
    for family in FAMILIES:
        for name, test in vars(family).items():
            if rule_of(name):
                number, _, sentence = " ".join((test.__doc__ or "").split()).partition(". ")
                found[number] = sentence
    return found
