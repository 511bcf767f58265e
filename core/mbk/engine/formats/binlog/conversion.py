"""What segments may have to be changed into while they are staged, so that an older server can import them.

The plan says what is needed (`ImportGroup.conversion`), staging has it done by a `Converter`, which the module
``mbk.engine.formats.binlog.late`` is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Flag, auto
from typing import Protocol

from mbk.engine.formats.binlog.places import Place
from mbk.model.records import CollectionSchema, SegmentHead


class Conversion(Flag):
    """``UNPACK``: column groups (storage version 2) become one binlog a field. ``FOLD_L0``: what L0 segments delete is
    put beside each data segment. ``PLAIN_DELTAS``: deltas become the JSON form that servers before 2.4 read.
    ``CUT_L0``: deletes after the consistency point are left out of L0 segments. ``APPLY_DELETES``: where a delete beside a segment
    would take a younger row of its key, too, the rows that it hits are left out instead.
    """

    NONE = 0
    UNPACK = auto()
    FOLD_L0 = auto()
    PLAIN_DELTAS = auto()
    CUT_L0 = auto()
    APPLY_DELETES = auto()


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """The segments of one import, to be written below ``insert`` and ``delta`` of Milvus' own storage.

    Objects go to ``{insert}{segment}/{field}/{log}`` and ``{delta}{segment}/{log}``. ``places`` say where each segment
    lies in the backup, ``folded`` where the L0 segments lie that delete in them. ``end_ts``: hybrid, deletes after it
    are left out; 0 for none. ``label``: the target, in events and errors.
    """

    conversion: Conversion
    schema: CollectionSchema
    segments: tuple[SegmentHead, ...]
    places: tuple[Place, ...]
    folded: tuple[Place, ...]
    insert: str
    delta: str
    end_ts: int = 0
    label: str = ""


class Converter(Protocol):
    """Reads from the backup's storage, writes to Milvus' own. Safe to be repeated: the same job writes the same keys."""

    def convert(self, job: ConversionJob) -> Iterable[str]:
        """Writes everything and returns the keys written, so that nothing else is left there from an earlier run."""
