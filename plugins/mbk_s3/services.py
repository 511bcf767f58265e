"""Services at hosts of their own that speak S3, as data: what their documentation says they take for granted.

A service is known by its host, whichever type a configuration calls it; what a configuration sets comes before all of it.
What cannot be told by a host (Ceph, SeaweedFS, StorageGRID, MinIO), and what no documentation promises, is found out by trying.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """``hosts``: its names, of which a group is the region; ``region`` where no name tells it. All of them speak https.

    ``refuses``: the `mbk.ports.storage.WriteOptions` that it is known to refuse. ``sources``: where each fact is from.
    """

    name: str
    hosts: re.Pattern[str]
    sources: tuple[str, ...]
    region: str = ""
    path_style: bool = True
    refuses: frozenset[str] = frozenset()

    def region_of(self, host: str) -> str:
        found = self.hosts.fullmatch(host)
        return (found and found.groupdict().get("region")) or self.region


SERVICES = (
    Service(
        "Cloudflare R2",
        re.compile(r"[0-9a-f]+(\.[a-z]+)?\.r2\.cloudflarestorage\.com"),
        # Region; conditional writes; parts of one size, as all uploads here have.
        (
            "https://developers.cloudflare.com/r2/api/s3/api/",
            "https://developers.cloudflare.com/r2/api/s3/conditional-operations/",
            "https://developers.cloudflare.com/r2/objects/multipart-objects",
        ),
        region="auto",
    ),
    Service(
        "Backblaze B2",
        re.compile(r"s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com"),
        # Only https, the region in the host; tags are rejected.
        (
            "https://www.backblaze.com/docs/cloud-storage-call-the-s3-compatible-api",
            "https://www.backblaze.com/apidocs/s3-copy-object",
        ),
        refuses=frozenset({"tags"}),
    ),
    Service(
        "Wasabi",
        re.compile(r"s3(\.(?P<region>[a-z]{2}-[a-z]+-\d))?\.wasabisys\.com"),
        ("https://docs.wasabi.com/docs/service-urls-for-wasabis-storage-regions-2",),
        region="us-east-1",
    ),
    Service(
        "Huawei OBS",
        re.compile(r"obs\.(?P<region>[a-z0-9-]+)\.myhuaweicloud\.(com|eu)"),
        # The bucket in the host name, and since the end of 2023 nowhere else.
        (
            "https://support.huaweicloud.com/intl/en-us/ugobs-obs/obs_41_0003.html",
            "https://www.huaweicloud.com/notice/2022/20231106133534969.html",
        ),
        path_style=False,
    ),
    Service(
        "Oracle OCI",
        re.compile(
            r"[a-z0-9]+\.compat\.objectstorage\.(?P<region>[a-z0-9-]+)\.(oci\.customer-oci|oraclecloud)\.com"
        ),
        # By path at this host, by host name at another one.
        ("https://docs.oracle.com/en-us/iaas/Content/Object/s3-virtual-style.htm",),
    ),
)


def service_at(host: str) -> Service | None:
    """The one that answers at this host."""
    return next((service for service in SERVICES if service.hosts.fullmatch(host)), None)
