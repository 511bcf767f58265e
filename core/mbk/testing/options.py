"""Rules of `WriteOptions`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from mbk.errors import Unsupported
from mbk.ports.storage import MIB, WRITE_OPTIONS, Storage, WriteOptions
from mbk.testing.kit import Kit, content, keys_of, part_size, put, sample

Write = Callable[[str, WriteOptions], object]


class Options(Kit):
    def test_o1_options_that_are_not_declared(self, storage: Storage, prefix: str) -> None:
        """O1. An option that is not declared is `Unsupported` in every call that makes an object, and nothing is made."""
        assert storage.capabilities.write_options <= WRITE_OPTIONS
        put(storage, f"{prefix}source")
        for name in sorted(WRITE_OPTIONS - storage.capabilities.write_options):
            for way, write in _ways(storage, f"{prefix}source"):
                with pytest.raises(Unsupported):
                    write(f"{prefix}{name}/{way}", self.options(name))
        assert keys_of(storage, prefix) == [f"{prefix}source"]

    def test_o2_options_are_honoured(self, storage: Storage, prefix: str) -> None:
        """O2. The options that are declared are honoured, together, by every call that makes an object, as the service itself tells."""
        put(storage, f"{prefix}source")
        names = sorted(storage.capabilities.write_options)
        if not names:
            return
        if self.options_of(storage, f"{prefix}source") is None:
            pytest.skip("no way to ask the service was given (override `options_of`)")
        options = WriteOptions(**{name: getattr(self.options(name), name) for name in names})
        for way, write in _ways(storage, f"{prefix}source"):
            write(f"{prefix}{way}", options)
            told = self.options_of(storage, f"{prefix}{way}")
            assert told is not None
            assert {name: _shown(told, name) for name in names} == {
                name: _shown(options, name) for name in names
            }, way
            assert content(storage, f"{prefix}{way}")
        if options.retention:
            time.sleep(max(0.0, (options.retention.until - datetime.now(UTC)).total_seconds()))


def _shown(options: WriteOptions, name: str) -> object:
    """A value to compare: services cut times to the second or the millisecond."""
    if name == "retention" and options.retention:
        return options.retention.mode, int(options.retention.until.timestamp())
    return getattr(options, name)


def _ways(storage: Storage, source: str) -> Iterator[tuple[str, Write]]:
    """Each call that makes an object, if it is declared."""
    capabilities = storage.capabilities
    yield "write", lambda key, options: storage.write(key, [b"x"], size=1, options=options)
    yield "stream", lambda key, options: storage.write(key, _large(), options=options)
    if capabilities.conditional_write:
        yield "if absent", lambda key, options: storage.write_if_absent(key, [b"x"], options=options)
        yield "stream if absent", lambda key, options: storage.write_if_absent(key, _large(), options=options)
    if capabilities.multipart:
        yield "parts", lambda key, options: _in_parts(storage, key, options)
    if capabilities.server_side_copy:
        yield "copy", lambda key, options: storage.copy(storage, source, key, options=options)


def _large() -> Iterator[bytes]:
    for _ in range(9):
        yield sample(MIB)


def _in_parts(storage: Storage, key: str, options: WriteOptions) -> None:
    with storage.multipart(key, options=options) as upload:
        upload.put_part(1, sample(part_size(storage)))
        upload.complete()
