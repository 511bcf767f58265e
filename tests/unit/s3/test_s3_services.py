"""What is known of services by their hosts: it stands in for what a configuration leaves out, and for nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mbk.ports.storage import WRITE_OPTIONS
from mbk_s3.services import SERVICES, service_at
from mbk_s3.settings import GenericSettings, MinioSettings, S3Settings

PAGE = Path(__file__).parents[3] / "docs/reference/storage-s3.md"
R2 = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"
OCI = "axabcdefghij.compat.objectstorage.us-phoenix-1.oci.customer-oci.com"
KNOWN = [
    (R2, "auto", "path"),
    (R2.replace(".r2", ".eu.r2"), "auto", "path"),
    ("s3.us-west-004.backblazeb2.com", "us-west-004", "path"),
    ("s3.wasabisys.com", "us-east-1", "path"),
    ("s3.eu-central-2.wasabisys.com", "eu-central-2", "path"),
    ("obs.cn-north-4.myhuaweicloud.com", "cn-north-4", "virtual"),
    ("obs.eu-west-101.myhuaweicloud.eu", "eu-west-101", "virtual"),
    (OCI, "us-phoenix-1", "path"),
    ("axabcdefghij.compat.objectstorage.eu-frankfurt-1.oraclecloud.com", "eu-frankfurt-1", "path"),
]


@pytest.mark.parametrize("kind", [GenericSettings, MinioSettings])
@pytest.mark.parametrize(("host", "region", "style"), KNOWN)
def test_a_known_host_needs_nothing_but_itself(
    kind: type[S3Settings], host: str, region: str, style: str
) -> None:
    settings = kind(address=host, bucket="bucket", access_key_id="k", secret_access_key="s")
    assert settings.endpoint == f"{host}:443"
    assert (settings.tls, settings.signing_region, settings.addressing_style) == (True, region, style)


@pytest.mark.parametrize(("host", "region", "style"), KNOWN)
def test_what_is_set_comes_first(host: str, region: str, style: str) -> None:
    set_: dict[str, Any] = {"port": 8080, "use_ssl": False, "region": "mine", "path_style": style != "path"}
    settings = GenericSettings(address=host, bucket="bucket", **set_)
    assert settings.endpoint == f"{host}:8080"
    assert (settings.tls, settings.signing_region) == (False, "mine")
    assert settings.signing_region != region
    assert settings.addressing_style != style


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "s3.example.com",
        "r2.cloudflarestorage.com.example",
        "obs.myhuaweicloud.com",
        "rgw.local",
    ],
)
def test_other_hosts_are_not_taken_for_one(host: str) -> None:
    assert service_at(host) is None


def test_tags_are_not_sent_to_who_refuses_them() -> None:
    given: dict[str, Any] = {"bucket": "bucket", "write_options": None}
    assert "tags" in MinioSettings(**given).honoured_options
    assert "tags" not in MinioSettings(address="s3.us-west-004.backblazeb2.com", **given).honoured_options
    assert all(service.refuses <= WRITE_OPTIONS for service in SERVICES)


def test_the_page_lists_each_with_its_sources() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for service in SERVICES:
        assert service.name in page
        assert [source for source in service.sources if source not in page] == []
        assert all(re.match(r"https://", source) for source in service.sources)
