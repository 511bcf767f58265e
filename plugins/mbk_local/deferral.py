"""Files that need not each be durable at once: all files below a prefix become so together, by one call.

fsync of each file and each directory took three to five times as long as copying 4,000 files of 256 KiB on ext4.

A file in the prefix's directory says that its files are not durable yet, and since which boot of the machine. It is
locked for all of them as long as their writer is there (:mod:`mbk_local.locks`). Once they are durable, it is removed. While the machine runs nothing is lost, whoever is killed. If it is found after a crash of the
machine, each file below the prefix may have lost its bytes, and they are all removed.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mbk_local.errors import translated
from mbk_local.files import Tree, sync_directory
from mbk_local.locks import locked
from mbk_local.names import MARKER

#: ext4, XFS, Btrfs: syncfs waits for all of their bytes and names. Others may only hand them on (FUSE), or do so at
#: close anyway (NFS). tmpfs is memory: it has nothing to wait for.
_SYNC_TOGETHER = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994})
#: Since this version of Linux syncfs tells that bytes could not be written.
_TELLS_ERRORS = (5, 8)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: More than ``struct statfs`` has on any architecture; its first word is the kind of file system.
_STATFS = 512


@dataclass(slots=True)
class Deferrals:
    """Of one opened storage. Several threads may call it."""

    tree: Tree
    #: Whether one call makes all files of the file system of a directory durable, and tells whether it did.
    can: Callable[[Path], bool]
    #: The open markers: an error that the kernel meets from now on is told by syncfs on such a descriptor.
    _markers: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cover(self, key: str) -> bool:
        return key.startswith(tuple(self._markers))

    def begin(self, prefix: str, directory: Path) -> None:
        boot = _boot() if self.can(self.tree.root) else b""
        if not boot:
            return
        marker = directory / MARKER
        if _is_in_doubt(marker, boot):
            _discard(directory)
        self.tree.make(str(directory))
        descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, boot, 0)
            os.fsync(descriptor)
            sync_directory(directory)
            locked(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        with self._lock:
            before, self._markers[prefix] = self._markers.get(prefix), descriptor
        if before is not None:
            os.close(before)

    def settle(self, prefix: str, directory: Path) -> None:
        descriptor = self._markers.get(prefix)
        if descriptor is not None:
            _sync(descriptor, directory)
            _remove(directory / MARKER)
            self._forget(prefix)

    def close(self) -> None:
        for prefix in tuple(self._markers):
            self._forget(prefix)

    def clean(self, marker: Path) -> bool:
        """Of a run that has ended: what it made becomes durable. After a crash the marker stays, if anything else does.

        Whether the marker was removed.
        """
        directory = marker.parent
        if not _is_in_doubt(marker, _boot()):
            descriptor = os.open(marker, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _sync(descriptor, directory)
            finally:
                os.close(descriptor)
        elif [*directory.iterdir()] != [marker]:
            return False
        _remove(marker)
        self._forget(f"{directory.relative_to(self.tree.root).as_posix()}/")
        return True

    def _forget(self, prefix: str) -> None:
        with self._lock:
            descriptor = self._markers.pop(prefix, None)
        if descriptor is not None:
            os.close(descriptor)


def _is_in_doubt(marker: Path, boot: bytes) -> bool:
    try:
        return marker.read_bytes() != boot
    except FileNotFoundError:
        return False


def _discard(directory: Path) -> None:
    """The marker goes last: killed before that, the next run does it again."""
    for path in [*directory.iterdir()]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
    _remove(directory / MARKER)


def _remove(marker: Path) -> None:
    with suppress(FileNotFoundError):
        marker.unlink()
    sync_directory(marker.parent)


def _sync(marker: int, directory: Path) -> None:
    """The kernel tells an error once: the marker remembers it, so that no later call believes the files."""
    try:
        _syncfs(marker)
    except OSError as error:
        os.ftruncate(marker, 0)
        raise translated(error, str(directory)).final() from error


def _syncfs(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _boot() -> bytes:
    try:
        return _BOOT.read_bytes()
    except OSError:
        return b""


def syncs_together(root: Path) -> bool:
    if sys.platform != "linux":
        return False
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or tuple(map(int, release.groups())) < _TELLS_ERRORS:
        return False
    buffer = ctypes.create_string_buffer(_STATFS)
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(root), buffer):
        return False
    return ctypes.c_ulong.from_buffer(buffer).value in _SYNC_TOGETHER
