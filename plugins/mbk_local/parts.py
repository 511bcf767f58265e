"""Multipart uploads into a directory: each part a file, joined when the upload is completed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import xxhash

from mbk.plugin.conditions import range_past_end, upload_empty
from mbk.ports.storage import MultipartUpload, ObjectInfo, Storage
from mbk_local.copying import add_to, copy_range, write_all
from mbk_local.directory import Directory, object_info
from mbk_local.errors import translating
from mbk_local.files import open_for_reading


class LocalUpload:
    """The parts lie in a temporary directory beside the key, named by their numbers.

    Their sizes are unknown before the last one came, so they cannot be written to their place in one file. Joining
    is copy_file_range: no bytes move on file systems that share blocks.
    """

    def __init__(self, target: Directory, key: str, *, durable: bool) -> None:
        self._target = target
        self._durable = durable
        self._key = key
        self._path = target.path(key)
        with translating(self._path):
            self._directory = target.tree.new_directory_beside(self._path, durable=durable)

    def __enter__(self) -> MultipartUpload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.abort()

    def put_part(self, number: int, data: bytes) -> None:
        with translating(self._path):
            descriptor = self._open_part(number)
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        origin, size = Directory.of(source).open_object(key)
        try:
            if offset + length > size:
                raise range_past_end(key, source.location, offset + length)
            with translating(self._path):
                descriptor = self._open_part(number)
                try:
                    copy_range(origin, descriptor, offset=offset, length=length)
                finally:
                    os.close(descriptor)
        finally:
            os.close(origin)

    def complete(self) -> ObjectInfo:
        with translating(self._path):
            parts = sorted(self._directory.iterdir(), key=lambda part: int(part.name))
        if not parts:
            raise upload_empty(self._key, self._target.tree.root)
        digest = xxhash.xxh3_128()
        with (
            self._target.new(self._key, durable=self._durable) as target,
            translating(self._path),
        ):
            for part in parts:
                _append(part, target, digest)
            info = object_info(self._key, os.fstat(target), digest)
        self._remove()
        return info

    def abort(self) -> None:
        self._remove()
        self._target.tree.prune(self._path.parent)

    def _remove(self) -> None:
        with translating(self._path):
            if self._directory.exists():
                shutil.rmtree(self._directory)

    def _open_part(self, number: int) -> int:
        return os.open(self._directory / str(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)


def _append(part: Path, target: int, digest: xxhash.xxh3_128) -> None:
    descriptor = open_for_reading(part)
    try:
        size = os.fstat(descriptor).st_size
        copy_range(descriptor, target, offset=0, length=size)
        add_to(digest, descriptor, size)
    finally:
        os.close(descriptor)
