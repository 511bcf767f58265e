"""What can happen to one object of a backup while nobody looks, for every kind of object."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Kind -> the objects that are of it, by their path below the backup's own prefix or below an id of the pool. The first that fits is
#: the kind.
KINDS: dict[str, str] = {
    "mbk.json": r"meta/mbk\.json",
    "full_meta.json": r"meta/full_meta\.json",
    "backup_meta.json": r"meta/backup_meta\.json",
    "collection_meta.json": r"meta/collection_meta\.json",
    "partition_meta.json": r"meta/partition_meta\.json",
    "segment_meta.json": r"meta/segment_meta\.json",
    "record of objects": r"meta/objects-.*",
    "L0 log": r"binlogs/delta_log/\d+/-1/.*",
    "delta log": r"binlogs/delta_log/.*",
    "row ids": r"binlogs/insert_log/.*/0/\d+",
    "timestamps": r"binlogs/insert_log/.*/1/\d+",
    "$meta": r"binlogs/insert_log/.*/103/\d+",
    "vectors": r"binlogs/insert_log/.*/101/\d+",
    "field": r"binlogs/insert_log/.*/\d+/\d+",
    "bundle": r"bundle/.*",
}
METADATA = frozenset(kind for kind, pattern in KINDS.items() if pattern.startswith("meta/"))


@dataclass(frozen=True, slots=True)
class Target:
    """One object of a kind below ``prefix`` (the directory of the backups), and the others of its kind."""

    prefix: Path
    kind: str
    path: Path
    peers: tuple[Path, ...]

    @property
    def is_pooled(self) -> bool:
        """Whether other backups may have something beside it."""
        return ".mbk" in self.path.relative_to(self.prefix).parts

    def in_copy(self, prefix: Path) -> Target:
        """The same object in a copy of the backups."""
        moved = [prefix / path.relative_to(self.prefix) for path in (self.path, *self.peers)]
        return Target(prefix, self.kind, moved[0], tuple(moved[1:]))


def targets(prefix: Path) -> Iterator[Target]:
    """One object of each kind that the only backup in a directory has."""
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in prefix.rglob("*") if path.is_file()):
        key = path.relative_to(prefix).as_posix()
        name = re.sub(r"^(\.mbk/pool/[^/]+|[^/]+)/", "", key)
        kind = next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), None)
        assert kind is not None, f"{key} is of no known kind"
        found.setdefault(kind, []).append(path)
    for kind, paths in found.items():
        yield Target(prefix, kind, paths[0], tuple(paths[1:]))


def flip(place: int, places: int = 5) -> Callable[[Target], None]:
    """One bit, at one of ``places`` places from the first to the last byte."""

    def damage(target: Target) -> None:
        data = bytearray(target.path.read_bytes())
        data[(len(data) - 1) * place // (places - 1)] ^= 0x10
        target.path.write_bytes(data)

    return damage


def truncate(target: Target) -> None:
    data = target.path.read_bytes()
    target.path.write_bytes(data[: len(data) // 2])


def shorten(target: Target) -> None:
    target.path.write_bytes(target.path.read_bytes()[:-1])


def empty(target: Target) -> None:
    target.path.write_bytes(b"")


def remove(target: Target) -> None:
    target.path.unlink()


def swap(target: Target) -> None:
    """With another object of its kind, of the same size and with other bytes where there is one."""
    own = target.path.read_bytes()
    others = [path for path in target.peers if path.read_bytes() != own]
    other = next((path for path in others if path.stat().st_size == len(own)), others[0])
    theirs = other.read_bytes()
    other.write_bytes(own)
    target.path.write_bytes(theirs)


def duplicate(target: Target) -> None:
    """The same bytes once more, under another number."""
    name = target.path.name
    other = str(int(name) + 1_000_000) if name.isdecimal() else f"1{name}"
    shutil.copy(target.path, target.path.with_name(other))


def stranger(target: Target) -> None:
    """An object that has no business there."""
    target.path.with_name("7777777" if target.path.name.isdecimal() else "stranger.json").write_bytes(b"{}")


DAMAGES: dict[str, Callable[[Target], None]] = {
    **{f"flip {place + 1}/5": flip(place) for place in range(5)},
    "truncate": truncate,
    "shorten": shorten,
    "empty": empty,
    "remove": remove,
    "swap": swap,
    "duplicate": duplicate,
    "stranger": stranger,
}
#: What adds to a backup and changes nothing of it.
EXTRAS = frozenset({"duplicate", "stranger"})


def cases(prefix: Path) -> Iterator[tuple[Target, str]]:
    """Every object and damage that can be done to it."""
    for target in targets(prefix):
        for name in DAMAGES:
            alone = name == "swap" and all(
                path.read_bytes() == target.path.read_bytes() for path in target.peers
            )
            if not alone:
                yield target, name
