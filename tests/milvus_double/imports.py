"""Imports: what is let in, how a job goes on, and what it leaves. Both APIs and replication lead here.

Sources: milvus ``internal/proxy/task_import.go`` (checks of the proxy), ``internal/datacoord/services.go`` and
``import_util.go`` (admission), ``import_checker.go`` (states, disk quota), ``internal/util/importutilv2/option.go``,
``internal/datanode/importv2`` (L0); for 2.2 and 2.3 runs of 2.2.16 and 2.3.5, whose texts and quirks these are.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.milvus_double import objects
from tests.milvus_double.encryption import check_key
from tests.milvus_double.faults import Faults
from tests.milvus_double.import_files import (
    SegmentPaths,
    classic_segments,
    expand,
    import_failed,
    listing_of,
    segment_files,
)
from tests.milvus_double.import_rows import LATEST, Reader, Span
from tests.milvus_double.refusal import Refused, invalid, no_partition
from tests.milvus_double.state import (
    ALL_PARTITIONS,
    FLUSHED,
    IMPORTING,
    L0,
    Collection,
    Delete,
    ImportJob,
    Row,
    Segment,
    State,
)
from tests.milvus_double.versions import MANY

PENDING, RUNNING, UNCOMMITTED, COMMITTING = "Pending", "Importing", "Uncommitted", "Committing"
COMPLETED, FAILED = "Completed", "Failed"
_ENDED = (COMPLETED, FAILED)
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+")
_WRAP = (1 << 64) - 1
#: What a hybrid timestamp may be: 2019 to 9999, in milliseconds of 1970 (``IsValidHybridTs`` in ``pkg/util/tsoutil``; run: 2.5.27).
_VALID_MILLISECONDS = (1_546_300_800_000, 253_402_300_799_000)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an import request asks for. ``files``: one list of paths a file; gRPC has only one."""

    database: str
    collection: str
    partition: str
    files: Sequence[Sequence[str]]
    options: Mapping[str, str]

    def asks(self, option: str) -> bool:
        return self.options.get(option, "").lower() == "true"

    @property
    def backup(self) -> bool:
        return self.asks("backup")

    @property
    def l0(self) -> bool:
        return self.asks("l0_import")


class Imports:
    """The import side of one server.

    ``seconds`` is how long a job takes; 0 for as long as reading lasts. ``disk_full`` makes jobs fail that do not ask to
    skip the quota. ``l0_enabled`` is ``dataCoord.import.enableL0Import``, ``max_jobs`` ``dataCoord.import.maxImportJobNum``.
    2.2 and 2.3 run one job at a time.
    """

    def __init__(self, state: State, faults: Faults | None = None) -> None:
        self.state = state
        self.faults = faults or Faults()
        self.seconds = 0.0
        self.disk_full = False
        self.l0_enabled = not state.version.has("l0_import_disabled")
        self.max_jobs = MANY
        workers = 4 if state.version.has("import_v2") else 1
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="import")
        self._closing = threading.Event()
        self._replicated: set[int] = set()

    def close(self) -> None:
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- letting in ----------------------------------------------------------------------------------------------------

    def create(self, wanted: Wanted, *, job_id: int = 0) -> ImportJob:
        """A job that runs from now on, or `Refused`. ``job_id`` as replication names it; 0 for a new one."""
        with self.state.lock:
            collection = self.state.collection(wanted.database, wanted.collection)
            if wanted.l0 and not self.l0_enabled and not job_id:
                # Whether replication is refused, too, is not known.
                raise import_failed(
                    "l0 import is disabled (dataCoord.import.enableL0Import=false); "
                    "fold L0 deletes into data segment deltalogs before restore"
                )
            plan = self._plan_v2 if self.state.version.has("import_v2") else self._plan_classic
            run = plan(wanted, collection)
            job = ImportJob(
                id=job_id or self.state.clock.new_id(),
                database=wanted.database,
                collection_id=collection.id,
                collection=collection.name,
                partition=wanted.partition,
                files=[list(paths) for paths in wanted.files],
                options=dict(wanted.options),
                started=time.time(),
            )
            self.state.jobs[job.id] = job
            if job_id:
                self._replicated.add(job_id)
        self._pool.submit(self._run, job, run)
        return job

    def commit(self, job_id: int) -> None:
        """The second phase of a job made with ``auto_commit=false``: only now its rows are seen."""
        with self.state.lock:
            job = self.job(job_id)
            if job.state == COMPLETED:
                return
            if job.state != UNCOMMITTED:
                raise import_failed(f"import job {job_id} is {job.state}, not Uncommitted")
            self._publish(job)

    def job(self, job_id: int) -> ImportJob:
        try:
            return self.state.jobs[job_id]
        except KeyError:
            raise self._unknown(job_id) from None

    def _unknown(self, job_id: int) -> Refused:
        if self.state.version.has("import_v2"):
            reason = f"import job does not exist, jobID={job_id}"
            if self.state.version.has("input_errors"):
                return Refused(f"{reason}: importing data failed on server side", code=2101)
            return import_failed(reason)
        return Refused(f"key not found[key=by-dev/meta/importtask/{job_id}]", code=1000)

    def _plan_classic(self, wanted: Wanted, collection: Collection) -> Callable[[ImportJob], None]:
        """2.2 and 2.3: nearly everything is found out by the job, not by the call."""
        (paths,) = wanted.files or [[]]
        if wanted.backup and not wanted.partition:
            raise invalid("partition not specified: invalid parameter")
        if not paths:
            raise invalid("import request is empty: invalid parameter")
        span = self._span(wanted)
        partition = collection.partition_named(wanted.partition).id

        def run(job: ImportJob) -> None:
            if not wanted.backup or len(paths) != 2:
                raise import_failed(f"unsupported file type: '{paths[0]}'")
            listing = listing_of(self.state.store)
            reader = Reader(listing, self.state.version, collection, span=span)
            for files in classic_segments(listing, *paths):
                self._write_rows(job, collection, partition, reader.rows(files))

        return run

    def _plan_v2(self, wanted: Wanted, collection: Collection) -> Callable[[ImportJob], None]:
        partition = self._partition(wanted, collection)
        files = [list(paths) for paths in wanted.files if paths]
        if not files:
            raise invalid("import request is empty: invalid parameter")
        if len(files) > MANY:
            raise import_failed(
                f"The max number of import files should not exceed {MANY}, but got {len(files)}"
            )
        if not wanted.backup and not wanted.l0:
            raise import_failed(f"unexpected file type, files={files}")
        self._check_admission(wanted)
        if wanted.l0 and not wanted.backup:
            return lambda job: self._run_l0(job, wanted, collection, partition, files)
        segments = self._expanded(files)
        return lambda job: self._run_backup(job, wanted, collection, partition, segments)

    def _expanded(self, files: list[list[str]]) -> list[SegmentPaths]:
        try:
            return expand(listing_of(self.state.store), files)
        except Refused as refused:
            if not self.state.version.has("imports_broadcast"):
                raise
            refused.reason = refused.detail = (
                f"failed to broadcast import: failed to validate import request: {refused.reason}"
            )
            raise

    def _partition(self, wanted: Wanted, collection: Collection) -> int:
        if wanted.backup:
            if not wanted.partition:
                raise invalid("partition not specified: invalid parameter")
            # Mended in 2.4.1: milvus-backup#317.
            if collection.partition_key is not None and self.state.version.number == (2, 4, 0):
                raise import_failed("not allow to set partition name for collection with partition key")
        if wanted.l0 and not wanted.backup:
            if collection.loaded:
                raise import_failed("for l0 import, collection cannot be loaded, please release it first")
            if not wanted.partition:
                return ALL_PARTITIONS
        if wanted.partition and wanted.partition not in collection.partitions:
            raise no_partition(wanted.partition)
        return collection.partition_named(wanted.partition).id

    def _check_admission(self, wanted: Wanted) -> None:
        timeout = wanted.options.get("timeout", "")
        if timeout and not _DURATION.fullmatch(timeout):
            raise import_failed(f'parse import timeout failed, err=time: invalid duration "{timeout}"')
        version = wanted.options.get("storage_version")
        if self.state.version.has("packed_segments") and version is not None:
            self._storage_version(wanted)
        unfinished = sum(job.state not in _ENDED for job in self.state.jobs.values())
        if unfinished >= self.max_jobs:
            raise import_failed(
                "The number of jobs has reached the limit, please try again later. "
                "If your request is set to only import a single file, "
                "please consider importing multiple files in one request for better efficiency."
            )

    def _storage_version(self, wanted: Wanted) -> int:
        """2.6 and later; an older server does not know the option and reads everything as version 1."""
        text = wanted.options.get("storage_version", "")
        if not self.state.version.has("packed_segments") or not text:
            return 1
        if text == "3":
            raise import_failed("storage version 3 can only be imported with source_type=snapshot")
        return 2 if text == "2" else 1

    def _span(self, wanted: Wanted) -> Span:
        """``ParseTimeRange``: hybrid timestamps, or milliseconds shifted by 18 bits, which overflow as they do in Go."""
        ends = [self._timestamp(wanted, names) for names in (("start_ts", "startts"), ("end_ts", "endts"))]
        start, end = ends[0] or 0, LATEST if ends[1] is None else ends[1]
        if start > end:
            shown = f", start_ts:{start}, end_ts:{end}" if self.state.version.has("import_v2") else ""
            raise import_failed(f"start_ts shouldn't be larger than end_ts{shown}")
        return Span(start, end)

    def _timestamp(self, wanted: Wanted, names: Sequence[str]) -> int | None:
        for key, value in wanted.options.items():
            if key.lower() not in names:
                continue
            if not re.fullmatch(r"[+-]?\d+", value):
                problem = f'strconv.ParseUint: parsing "{value}": invalid syntax'
                if not self.state.version.has("import_v2"):
                    raise Refused(problem)
                raise import_failed(f"parse {key} failed, value={value}, err={problem}")
            if not self.state.version.hybrid_end_ts:
                return (int(value) << 18) & _WRAP
            if not _VALID_MILLISECONDS[0] <= int(value) >> 18 <= _VALID_MILLISECONDS[1]:
                raise import_failed(f"{names[0]} is not a valid hybrid timestamp, value={value}")
            return int(value)
        return None

    # -- running -------------------------------------------------------------------------------------------------------

    def _run(self, job: ImportJob, run: Callable[[ImportJob], None]) -> None:
        fault = self.faults.of_job(job)
        try:
            self._pass_time(job)
            if fault is not None and not fault.reason:
                self._set(job, RUNNING, fault.percent)
                return
            if fault is not None:
                raise Refused(fault.reason)
            run(job)
            self._settle(job)
        except Refused as refused:
            self._fail(job, refused.reason)
        except Exception as error:  # a defect of the double must end the job: a stalled one would hide it
            self._fail(job, f"{type(error).__name__}: {error}")
            raise

    def _pass_time(self, job: ImportJob) -> None:
        steps = 10 if self.seconds else 1
        for step in range(steps):
            if self._closing.wait(self.seconds / steps if self.seconds else 0):
                raise Refused("the server shuts down")
            self._set(job, RUNNING, 10 + 80 * step // steps)

    def _set(self, job: ImportJob, state: str, percent: int) -> None:
        with self.state.lock:
            job.state, job.progress = state, percent

    def _settle(self, job: ImportJob) -> None:
        with self.state.lock:
            two_phases = self.state.version.has("two_phase_import") or job.id in self._replicated
            if two_phases and job.options.get("auto_commit", "").lower() == "false":
                job.state, job.progress = UNCOMMITTED, 100
            else:
                self._publish(job)

    def _publish(self, job: ImportJob) -> None:
        collection = self._target(job)
        for number in job.segments:
            collection.segments[number].state = FLUSHED
        job.state, job.progress = COMPLETED, 100

    def _fail(self, job: ImportJob, reason: str) -> None:
        with self.state.lock:
            collection = self.state.collections.get(job.collection_id)
            if collection is not None:
                objects.drop_segments(self.state, [collection.segments[number] for number in job.segments])
            if self.state.version.number < (2, 3, 0):
                # Errors have no common ending yet (2.2.16, run).
                reason = reason.replace(": importing data failed", "")
            job.state, job.progress, job.reason, job.rows = FAILED, 0, reason, 0

    def _target(self, job: ImportJob) -> Collection:
        return self.state.collection_by_id(job.collection_id)

    def _run_backup(
        self,
        job: ImportJob,
        wanted: Wanted,
        collection: Collection,
        partition: int,
        segments: Sequence[SegmentPaths],
    ) -> None:
        self._check_quota(wanted)
        check_key(self.state, collection, wanted.options.get("ezk", ""))
        version = self._storage_version(wanted)
        reader = Reader(
            listing_of(self.state.store), self.state.version, collection, version, self._span(wanted)
        )
        for paths in segments:
            files = segment_files(reader.listing, paths)
            self._write_rows(job, collection, partition, reader.rows(files))

    def _run_l0(
        self,
        job: ImportJob,
        wanted: Wanted,
        collection: Collection,
        partition: int,
        files: Sequence[Sequence[str]],
    ) -> None:
        self._check_quota(wanted)
        if len(files) > self.state.version.max_l0_files or any(len(paths) != 1 for paths in files):
            raise import_failed(f"there should be one prefix for l0 import, but got {files}")
        reader = Reader(listing_of(self.state.store), self.state.version, collection, span=self._span(wanted))
        for (path,) in files:
            self._write_deletes(job, collection, partition, reader.deletes(reader.listing.below(path)))

    def _check_quota(self, wanted: Wanted) -> None:
        """Asked to be skipped by backup imports of every 2.4, by those of L0 from 2.6 on."""
        may_skip = wanted.backup or self.state.version.has("packed_segments")
        if self.disk_full and not (may_skip and wanted.asks("skip_disk_quota_check")):
            raise Refused("disk quota exceeded, please allocate more resources: quota exceeded")

    def _write_rows(
        self, job: ImportJob, collection: Collection, partition: int, rows: Sequence[Row]
    ) -> None:
        """In the server's own storage version, hashed over the target's channels, with the primary keys in order."""
        sorts = self.state.version.has("segment_is_sorted")
        with self.state.lock:
            self._target(job)
            for channel in collection.channels:
                own = [row for row in rows if row.channel == channel]
                if sorts:
                    own.sort(key=lambda row: row.pk)
                if own:
                    segment = objects.write_segment(
                        self.state, collection, partition, channel, own, segment_state=IMPORTING
                    )
                    segment.is_sorted = sorts
                    self._made(job, segment)
            job.rows += len(rows)

    def _write_deletes(
        self, job: ImportJob, collection: Collection, partition: int, deletes: Sequence[Delete]
    ) -> None:
        with self.state.lock:
            self._target(job)
            for channel in collection.channels:
                own = [item for item in deletes if collection.channel_of(item.pk) == channel]
                if own:
                    segment = objects.write_segment(
                        self.state,
                        collection,
                        partition,
                        channel,
                        deletes=own,
                        level=L0,
                        segment_state=IMPORTING,
                    )
                    self._made(job, segment)
            job.rows += len(deletes)

    @staticmethod
    def _made(job: ImportJob, segment: Segment) -> None:
        job.segments.append(segment.id)
