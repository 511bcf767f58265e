"""Kinds of S3 service, as data: what each takes for granted when the settings do not say."""

from __future__ import annotations

from dataclasses import dataclass

from mbk.ports.storage import WRITE_OPTIONS


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of S3 service takes for granted.

    ``address``, ``port``, ``keys`` and ``tls`` stand in for settings that are left out. An ``address`` may hold
    ``{region}``: then a region or an address must be given, and an address of that form tells the region. An empty
    one means that an address must be given. ``regional`` services want to be told the region of a bucket that is
    made; a regional one without an address is Amazon's, whose region may come from the environment and the shared
    profile. ``path_style`` is the habit, ``strict_conditions`` whether the service is known to refuse a conditional
    write rather than to ignore the condition.
    """

    name: str
    summary: str
    address: str = ""
    port: int | None = None
    keys: tuple[str, str] | None = None
    tls: bool = False
    regional: bool = False
    path_style: bool = True
    #: What Milvus calls such a service (``minio.cloudProvider`` of its configuration).
    provider: str = "aws"
    strict_conditions: bool = False
    #: Which of `mbk.ports.storage.WriteOptions` the service is known to honour rather than to ignore.
    write_options: frozenset[str] = frozenset()

    @property
    def is_amazon(self) -> bool:
        return self.regional and not self.address


MINIO = Profile(
    "minio",
    "MinIO, and what Milvus ships with by default",
    address="localhost",
    port=9000,
    provider="minio",
    keys=("minioadmin", "minioadmin"),
    write_options=WRITE_OPTIONS,
)
#: Whether its buckets can lock objects, each of them tells.
S3 = Profile(
    "s3", "any S3-compatible service at an address of its own", write_options=frozenset({"retention"})
)
AWS = Profile(
    "aws",
    "Amazon S3",
    tls=True,
    regional=True,
    path_style=False,
    strict_conditions=True,
    write_options=WRITE_OPTIONS,
)

PROFILES = (MINIO, S3, AWS)
