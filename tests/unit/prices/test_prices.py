"""The list prices that mbk ships."""

from __future__ import annotations

import pytest

from mbk.model.flows import KINDS
from mbk.ports.storage import Location
from mbk.prices import known, price_of


@pytest.mark.parametrize(
    ("backend", "endpoint", "name"),
    [
        ("aws", "s3.us-east-1.amazonaws.com", "Amazon S3"),
        ("s3", "s3.eu-central-1.amazonaws.com", "Amazon S3"),
        ("gcp", "storage.googleapis.com", "Google"),
        ("azure", "account.blob.core.windows.net", "Azure"),
        ("ali", "oss-cn-hangzhou.aliyuncs.com", "Alibaba"),
        ("tc", "cos.ap-guangzhou.myqcloud.com", "Tencent"),
    ],
)
def test_each_vendor_has_its_prices(backend: str, endpoint: str, name: str) -> None:
    found = price_of(Location(backend, endpoint, "bucket"), known())
    assert found is not None
    assert name in found.name
    assert {*found.per_thousand} == {*KINDS}


@pytest.mark.parametrize(
    ("backend", "endpoint"), [("minio", "localhost:9000"), ("s3", "ceph:7480"), ("local", "")]
)
def test_a_service_of_ones_own_has_no_list_price(backend: str, endpoint: str) -> None:
    assert price_of(Location(backend, endpoint, "bucket"), known()) is None
