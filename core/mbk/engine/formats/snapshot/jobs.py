"""What backup and restore of snapshots share: Milvus' view of the storage, and waiting for its jobs.

See docs/reference/milvus-protocol.md#snapshots.

Milvus copies the files of a snapshot itself, into ``bundle/`` of the backup and back: mbk only says where that is, and
compares what Milvus reports with a listing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mbk.engine.runtime.pace import SnapshotPace
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import ImportFailed, MbkError, MilvusError, Unsupported, VerificationFailed
from mbk.frozen import frozen
from mbk.model.events import ImportProgressed
from mbk.model.layout import BackupLayout
from mbk.model.records import SnapshotBackup
from mbk.ports.milvus.values import ImportPhase, SnapshotState
from mbk.ports.storage import Location, MilvusReachable, ObjectInfo, Storage, ability

SNAPSHOT = "snapshot"
_METADATA = re.compile(r"bundle/(?:.+/)?snapshots/\d+/metadata/\d+\.json")


@frozen
class External:
    """A storage as Milvus reaches it. ``spec`` is empty if Milvus' own credentials are sufficient."""

    storage: Storage
    reachable: MilvusReachable
    own: bool
    spec: str = field(repr=False)

    @classmethod
    def of(cls, storage: Storage, milvus_storage: Storage) -> External:
        """`Unsupported` if Milvus does not support the storage or cannot be given access."""
        reachable = ability(storage, MilvusReachable)
        if reachable is None:
            raise Unsupported(
                "Milvus cannot write snapshots to {location}",
                code="snapshot-storage-unsupported",
                location=storage.location,
                hint="use --format binlog, or a storage that Milvus supports",
            )
        own = _service(storage.location) == _service(milvus_storage.location)
        return cls(storage, reachable, own, "" if own else reachable.external_spec())

    def uri(self, key: str) -> str:
        return self.reachable.external_uri(key, own=self.own)

    def metadata_path(self, uri: str, place: BackupLayout) -> str:
        """The path of the metadata in the backup, from the URI that Milvus reports; its scheme and endpoint may differ."""
        segments = uri.partition("://")[2].split("/")
        bucket = self.storage.location.bucket
        if bucket in segments[:2]:
            key = "/".join(segments[segments.index(bucket) + 1 :])
            path = key.removeprefix(place.prefix.lstrip("/"))
            if path != key and _METADATA.fullmatch(path):
                return path
        raise MilvusError(
            "Milvus exported the snapshot to {uri}, outside {prefix} in bucket {bucket}",
            code="snapshot-exported-elsewhere",
            uri=uri,
            prefix=place.prefix,
            bucket=bucket,
            hint="does Milvus reach the backup storage under another name? see milvusAddress",
        )


def _service(location: Location) -> tuple[str, ...]:
    return location.backend, location.endpoint, location.account, location.region


def bundle_of(place: BackupLayout) -> str:
    return f"{place.prefix}bundle"


def export_root(place: BackupLayout, metadata_path: str) -> str:
    """The prefix of one export: ``bundle/``, or a directory of its own on newer servers."""
    return f"{place.prefix}{metadata_path[: metadata_path.rindex('snapshots/')]}"


def require_bundle(
    storage: Storage, place: BackupLayout, bundle: SnapshotBackup, label: str, run: Run
) -> list[ObjectInfo]:
    """The files of one export; `VerificationFailed` unless there are as many files and bytes as Milvus reported, and the
    metadata among them."""
    root = export_root(place, bundle.metadata_path)
    files = listing.objects(storage, run, root)
    if f"{place.prefix}{bundle.metadata_path}" not in {entry.key for entry in files}:
        raise VerificationFailed(
            "{path} of {collection} is missing in {location}",
            code="snapshot-metadata-missing",
            path=bundle.metadata_path,
            collection=label,
            location=storage.location,
            hint="does Milvus write to another storage than mbk reads? see milvusAddress",
        )
    size = sum(entry.size for entry in files)
    if len(files) < bundle.total_files or size < bundle.total_bytes:
        raise VerificationFailed(
            "the snapshot of {collection} in {prefix} has {files} files with {size} bytes, expected {expected_files} with {expected_size}",
            code="snapshot-incomplete",
            collection=label,
            prefix=root,
            files=len(files),
            size=size,
            expected_files=bundle.total_files,
            expected_size=bundle.total_bytes,
            hint="another process may be deleting objects there",
        )
    return files


@dataclass(slots=True)
class SnapshotJob:
    """One export or restore job in Milvus. For one thread."""

    run: Run
    label: str
    what: str
    job: str
    state: Callable[[], SnapshotState]
    pace: SnapshotPace

    def wait(self) -> SnapshotState:
        """Waits for completion. `ImportFailed` if it failed, makes no progress, or is unknown."""
        percent, moved, noticed = -1, time.monotonic(), 0.0
        pause = min(self.pace.first, self.pace.poll)
        while True:
            state = self.run.retry.call(f"get the state of {self.what} {self.job}", self.state)
            now = time.monotonic()
            if state.phase is ImportPhase.COMPLETED:
                self._emit(100)
                return state
            if state.phase is ImportPhase.FAILED:
                raise ImportFailed(
                    "{operation} of {collection} failed: {reason}",
                    code="snapshot-job-failed",
                    operation=self.what,
                    collection=self.label,
                    reason=state.reason or "Milvus gave no reason",
                )
            if state.percent > percent:
                percent, moved = state.percent, now
                self._emit(percent)
            elif now - moved > self.pace.patience:
                raise ImportFailed(
                    "{operation} of {collection} has made no progress for {seconds:.0f} s ({percent} %)",
                    code="snapshot-job-stalled",
                    operation=self.what,
                    collection=self.label,
                    percent=percent,
                    seconds=now - moved,
                    hint="see the log of Milvus' data coordinator",
                )
            elif now - max(moved, noticed) > self.pace.notice:
                noticed = now
                self.run.notice(
                    "snapshot-stalled",
                    "{collection}: {operation} {job} is making no progress ({percent} %)",
                    self.label,
                    operation=self.what,
                    job=self.job,
                    percent=percent,
                )
            self.run.sleep(pause)
            pause = min(self.pace.poll, pause * 1.5)

    def settle(self) -> bool:
        """Waits for a given-up job to end, as Milvus cannot be asked to stop it; False if it is still running."""
        deadline = time.monotonic() + self.pace.settle
        try:
            while self.state().phase is ImportPhase.RUNNING:
                if time.monotonic() > deadline:
                    return False
                time.sleep(min(self.pace.poll, 1.0))
        except ImportFailed:
            return True  # Milvus no longer knows it
        except MbkError:
            return False
        return True

    def _emit(self, percent: int) -> None:
        self.run.emit(ImportProgressed(collection=self.label, job=self.job, percent=percent))
