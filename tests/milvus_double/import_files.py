"""What an import request's paths lead to: the directories and objects as Milvus' own chunk managers list them.

Sources: milvus ``internal/storage/local_chunk_manager.go`` (globbing, prefixes of absolute paths) and
``remote_chunk_manager.go`` (keys as they are, no root path put before); ``internal/datacoord/import_util.go``
(``ListBinlogsAndGroupBySegment``). The rules of 2.3 were met by running 2.3.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from mbk.errors import InvalidKey
from mbk.ports.storage import Storage
from tests.milvus_double.refusal import Refused
from tests.milvus_double.versions import MANY

Answer = TypeVar("Answer")


def import_failed(reason: str) -> Refused:
    """merr.ErrImportFailed."""
    return Refused(f"{reason}: importing data failed", code=2100)


class Listing(Protocol):
    def level(self, prefix: str) -> list[str]:
        """What lies one level below: names that start with ``prefix``, directories of object stores ending with ``/``."""

    def below(self, prefix: str) -> list[str]:
        """Every object whose name starts with ``prefix``, sorted."""

    def read(self, path: str) -> bytes: ...


class ObjectListing:
    """Object storage: names are keys of Milvus' own bucket, prefixes are compared by characters."""

    def __init__(self, store: Storage) -> None:
        self._store = store

    def level(self, prefix: str) -> list[str]:
        level = self._asked(prefix, self._store.list_level)
        keys = [*(info.key for info in level.objects), *level.prefixes] if level else []
        return sorted(key for key in keys if key.startswith(prefix))

    def below(self, prefix: str) -> list[str]:
        listed = self._asked(prefix, lambda directory: [*self._store.list(directory)])
        return sorted(info.key for info in listed or () if info.key.startswith(prefix))

    def _asked(self, prefix: str, ask: Callable[[str], Answer]) -> Answer | None:
        # The port knows only whole directories; a prefix without a slash at its end also matches the siblings.
        directory = prefix[: prefix.rfind("/") + 1]
        if directory.startswith("/"):
            return None
        try:
            return ask(directory)
        except InvalidKey:
            return None

    def read(self, path: str) -> bytes:
        with self._store.read(path) as chunks:
            return b"".join(chunks)


class LocalListing:
    """Local storage: any absolute path of the machine; one level is a glob, a recursive listing a comparison of prefixes."""

    def level(self, prefix: str) -> list[str]:
        head, _, start = prefix.rpartition("/")
        directory = Path(f"{head}/")
        if not prefix.startswith("/") or not directory.is_dir():
            return []
        names = (path.name for path in directory.iterdir())
        return sorted(f"{head}/{name}" for name in names if _globbed(name, start))

    def below(self, prefix: str) -> list[str]:
        head = prefix.rpartition("/")[0]
        if not prefix.startswith("/"):
            return []
        found = (str(path) for path in Path(f"{head}/").rglob("*") if path.is_file())
        return sorted(path for path in found if path.startswith(prefix))

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()


def _globbed(name: str, start: str) -> bool:
    return name.startswith(start) and (bool(start) or not name.startswith("."))


def listing_of(store: Storage) -> Listing:
    return LocalListing() if store.location.mount else ObjectListing(store)


@dataclass(slots=True)
class SegmentFiles:
    """One segment to import: directory (field or column group) -> its files in the order in which they are paired."""

    inserts: dict[int, list[str]] = field(default_factory=dict)
    deltas: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SegmentPaths:
    """One segment's prefixes, as DataCoord hands them to a data node."""

    insert: str
    delta: str = ""


def expand(listing: Listing, files: Sequence[Sequence[str]]) -> list[SegmentPaths]:
    """2.4 and later: every sub-directory of a file's first path is a segment, with the delta directory of its name."""
    found: list[SegmentPaths] = []
    for paths in files:
        if len(paths) > 2:
            shown = " ".join(paths)
            raise import_failed(
                "list binlogs failed, err=too many input paths for binlog import. "
                f"Valid paths length should be one or two, but got paths:[{shown}]: importing data failed"
            )
        deltas = {_base(path): path for path in listing.level(paths[1])} if len(paths) == 2 else {}
        found += [SegmentPaths(path, deltas.get(_base(path), "")) for path in listing.level(paths[0])]
    if not found:
        shown = " ".join(f'paths:"{path}"' for paths in files for path in paths)
        raise import_failed(f"no binlog to import, input=[{shown}]")
    if len(found) > MANY:
        raise import_failed(f"The max number of import files should not exceed {MANY}, but got {len(found)}")
    return found


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def segment_files(listing: Listing, paths: SegmentPaths) -> SegmentFiles:
    """2.4 and later: all below, the field is the parent directory of a file."""
    files = SegmentFiles(deltas=listing.below(paths.delta) if paths.delta else [])
    for path in listing.below(paths.insert):
        files.inserts.setdefault(_number(path, -2, "failed to parse field id from log, error:"), []).append(
            path
        )
    return files


def classic_segments(listing: Listing, insert: str, delta: str) -> list[SegmentFiles]:
    """2.2 and 2.3: all below both, segment and field by their place in the path; nothing at all is no error."""
    segments: dict[int, SegmentFiles] = {}
    for path in listing.below(insert):
        problem = f"failed to parse field id from insert log path {path}, error:"
        number = _number(path, -2, problem)
        segment = segments.setdefault(_number(path, -3, problem), SegmentFiles())
        segment.inserts.setdefault(number, []).append(path)
    for path in listing.below(delta) if delta else ():
        owner = segments.get(
            _number(path, -2, f"failed to parse segment id from delta log path {path}, error:")
        )
        if owner is not None:
            owner.deltas.append(path)
    return [segments[number] for number in sorted(segments)]


def _number(path: str, part: int, problem: str) -> int:
    parts = path.split("/")
    text = parts[part] if len(parts) >= -part else ""
    try:
        return int(text)
    except ValueError:
        raise import_failed(f'{problem} strconv.ParseInt: parsing "{text}": invalid syntax') from None
