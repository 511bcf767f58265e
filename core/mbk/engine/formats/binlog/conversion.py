"""Conversions of segments while they are staged, so that an older server can import them.

The import plan says what is needed (`ImportGroup.conversion`); staging calls a `Converter` (see
``mbk.engine.formats.binlog.late``).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Flag, auto
from typing import Protocol

from mbk.engine.formats.binlog.contents import Contents
from mbk.engine.formats.binlog.places import Place
from mbk.frozen import frozen
from mbk.model.records import CollectionSchema, SegmentHead


class Conversion(Flag):
    """``UNPACK``: column groups (storage version 2) become one binlog a field. ``FOLD_L0``: the deletes of L0 segments
    become delta logs of the data segments. ``PLAIN_DELTAS``: deltas become the JSON form that servers before 2.4 read.
    ``CUT_L0``: deletes newer than the consistency point are excluded from L0 segments. ``APPLY_DELETES``: where a delete
    would also remove a newer row of its key, the rows that it deletes are left out instead.
    """

    NONE = 0
    UNPACK = auto()
    FOLD_L0 = auto()
    PLAIN_DELTAS = auto()
    CUT_L0 = auto()
    APPLY_DELETES = auto()


def folding(conversion: Conversion) -> Conversion:
    """The conversion where L0 segments turned out to be refused."""
    return (conversion | Conversion.FOLD_L0) & ~Conversion.CUT_L0


@frozen
class ConversionJob:
    """The segments of one import, to be written below ``insert`` and ``delta`` in Milvus' storage.

    Objects go to ``{insert}{segment}/{field}/{log}`` and ``{delta}{segment}/{log}``. ``places`` are the locations of the
    segments in the backup, ``folded`` those of the L0 segments whose deletes apply to them. ``end_ts``: hybrid timestamp,
    deletes after it are excluded; 0: no limit. ``label``: the target, in events and errors. ``contents``: through which the
    objects of the backup are read.
    """

    conversion: Conversion
    schema: CollectionSchema
    segments: tuple[SegmentHead, ...]
    places: tuple[Place, ...]
    folded: tuple[Place, ...]
    insert: str
    delta: str
    contents: Contents
    end_ts: int = 0
    label: str = ""


class Converter(Protocol):
    """Reads from the backup's storage, writes to Milvus' storage. Repeatable: the same job writes the same keys."""

    def convert(self, job: ConversionJob) -> Iterable[str]:
        """Writes everything and returns the keys, so that leftovers of an earlier run can be deleted."""
