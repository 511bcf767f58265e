"""How many rows a restored collection must have, and which rows of a damaged backup are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mbk.engine.formats.binlog.contents import Contents
from mbk.engine.formats.binlog.known import segments_in
from mbk.engine.formats.binlog.places import Place, SegmentPlaces
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.run import Run
from mbk.errors import DamagedBackup, InvalidBackup, MissingDependency, UsageError
from mbk.frozen import frozen
from mbk.model.options import RestoreOptions
from mbk.model.records import SegmentHead, as_dict

TTL = "collection.ttl.seconds"
#: Segments that are named in a report, each with what is wrong with it.
NAMED = 20

Located = tuple[SegmentHead, Place]


@frozen(kw_only=True)
class Expected:
    """``imported``: the rows that the import jobs must report; ``live`` those that a query must see, None if unknown.

    ``exact``: another number is a failure. Otherwise ``note`` says why not, or ``imported`` is what a query counted while
    the backup was made, and writers may explain a difference.
    """

    imported: int
    live: int | None = None
    exact: bool = False
    note: str = ""

    def jobs(self, *, folded: bool) -> int:
        """The rows of all jobs. ``folded``: the deletes of L0 segments are imported beside the rows."""
        return self.live if folded and self.exact and self.live is not None else self.imported


@frozen(kw_only=True)
class Expecting:
    """For one run. ``counted``: collection id -> rows that a query counted. ``cuts_exactly``: the server cuts at the very
    timestamp that it is given."""

    run: Run
    options: RestoreOptions
    counted: Mapping[str, int]
    cuts_exactly: bool

    def of(
        self,
        task: RestoreTask,
        found: SegmentPlaces,
        contents: Contents,
        end: Callable[[SegmentHead], int] | None,
    ) -> Expected:
        """``end``: the hybrid timestamp at which a segment is cut, None: nothing is.

        Rows that no delete and no cut concerns are counted by the metadata. Otherwise the keys and times of rows and deletes
        are read. `DamagedBackup` if these are not what was recorded.
        """
        data, l0 = located(task, found)
        stored = sum(segment.num_of_rows for segment, _ in data)
        if TTL in as_dict(task.record.properties):
            return Expected(
                imported=stored, note="expected rows are an upper bound: rows of this collection expire"
            )
        deletes = bool(l0) or any(place.delta for _, place in data)
        if not deletes and end is None:
            return Expected(imported=stored, live=stored, exact=True)
        if self.options.verify in ("auto", "contents") and (end is None or self.cuts_exactly):
            exact = self._read(task, data, l0, contents, end)
            if exact is not None:
                return exact
        counted = None if task.partial or found.lost else self.counted.get(str(task.record.collection_id))
        if counted is not None and not l0:
            return Expected(imported=counted, live=counted)
        note = "expected rows are an upper bound: the number of deleted rows is unknown"
        return Expected(imported=stored, note=note)

    def _read(
        self,
        task: RestoreTask,
        data: list[Located],
        l0: list[Located],
        contents: Contents,
        end: Callable[[SegmentHead], int] | None,
    ) -> Expected | None:
        self.run.phase("count", str(task.target))
        try:
            from mbk.engine.formats.binlog.counting import RowCount
            from mbk.engine.formats.binlog.rows import Source

            rows = RowCount(
                source=Source(contents.storage, self.run, contents),
                schema=task.record.schema,
                label=str(task.target),
                data=data,
                l0=l0,
                end=end or (lambda _: 0),
            ).rows()
        except DamagedBackup:
            raise
        except MissingDependency as error:
            self.run.notice(
                "rows-not-counted",
                "deleted rows are not counted, so that rows cannot be compared exactly: {reason}",
                reason=error,
            )
            return None
        except (InvalidBackup, UsageError) as error:
            self.run.notice(
                "rows-uncountable",
                "{collection}: deleted rows cannot be counted, so that rows cannot be compared exactly: {reason}",
                str(task.target),
                reason=error.message,
            )
            return None
        return Expected(imported=rows.imported, live=rows.live, exact=True)


def located(task: RestoreTask, found: SegmentPlaces) -> tuple[list[Located], list[Located]]:
    """The segments with rows, and those with only deletes; each once."""
    unique = {segment.segment_id: segment for segment in segments_in(task.record)}
    pairs = [(segment, found.places[number]) for number, segment in unique.items() if number in found.places]
    return [pair for pair in pairs if pair[1].insert], [pair for pair in pairs if not pair[1].insert]


def lost_rows(task: RestoreTask, found: SegmentPlaces) -> int:
    """The rows of segments that are not whole, as far as the metadata knows them."""
    unique = {item.segment_id: item for item in segments_in(task.record) if item.segment_id in found.lost}
    return sum(item.num_of_rows for item in unique.values() if not item.is_l0)


def losses(task: RestoreTask, found: SegmentPlaces) -> Iterator[str]:
    """What is not restored of a damaged backup, for people: a sum, then segment by segment."""
    if not found.lost:
        return
    unique = {item.segment_id: item for item in segments_in(task.record)}
    yield f"{lost_rows(task, found)} rows of {len(found.lost)} segments are not restored"
    for number, why in sorted(found.lost.items())[:NAMED]:
        segment = unique.get(number)
        if segment is None:
            yield f"segment {number}: an unknown number of rows lost: {why}"
        elif segment.is_l0:
            yield f"segment {number}: {segment.num_of_rows} deletes lost, so that rows are back: {why}"
        else:
            yield f"segment {number}: {segment.num_of_rows} rows lost: {why}"
    if len(found.lost) > NAMED:
        yield f"and {len(found.lost) - NAMED} more segments"
