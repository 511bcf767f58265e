"""Checksums as the service writes them."""

from __future__ import annotations

import google_crc32c

from mbk_gcp.answers import add, encoded


def test_the_checksum_of_a_view_is_that_of_its_bytes() -> None:
    data = bytes(range(256)) * 5000
    summed = add(add(google_crc32c.Checksum(), data[:7]), memoryview(data)[7:])
    assert encoded(summed) == encoded(google_crc32c.Checksum(data))
