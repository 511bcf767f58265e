"""Which version supports which feature, as data; and the minimum version of an unknown server, found by probing it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from mbk.ports.milvus.values import Feature

Version = tuple[int, int, int]

#: A build such as ``2.6-20260404-abc`` is newer than every patch of its line.
HEAD = 9999
OLDEST: Version = (2, 2, 0)

#: The first version with the feature, for features that this adapter uses. `Feature.DATABASES` is probed instead.
#: docs/reference/milvus-protocol.md, "Versions and features"; adding fields: milvus-proto's ``AddCollectionField`` came with 2.6.0; snapshots: milvus PR 49092 (2.6.19 has none, seen there).
#: The times of deletes: milvus issue 29162, fixed in 2.3 in December 2023 (PR 29176), too late for 2.2.16 (seen there);
#: 2.3.5 is the first version that we tested.
SINCE: dict[Feature, Version] = {
    Feature.ALIASES: OLDEST,
    # milvus-proto: with the databases; seen on 2.2.16 and 2.3.5, also for loaded collections and in a database.
    Feature.RENAME: (2, 2, 9),
    Feature.COUNT: (2, 3, 0),
    Feature.FLUSHES_DELETES: (2, 3, 0),
    Feature.DELETE_TIMES: (2, 3, 5),
    Feature.L0_SEGMENTS: (2, 4, 0),
    Feature.L0_IMPORT: (2, 4, 0),
    Feature.REST_IMPORT: (2, 4, 0),
    Feature.DESCRIBE_DATABASE: (2, 4, 3),
    Feature.RBAC_BACKUP: (2, 4, 10),
    Feature.REPLICATE_POSITION: (2, 5, 0),
    Feature.SEGMENT_DETAIL: (2, 5, 8),
    Feature.FILLS_COLUMNS: (2, 5, 8),
    Feature.ADD_FIELD: (2, 6, 0),
    Feature.STREAMING: (2, 6, 0),
    Feature.PACKED_SEGMENTS: (2, 6, 0),
    Feature.MULTI_L0_IMPORT: (2, 6, 5),
    Feature.COLLECTION_GC_PAUSE: (2, 6, 8),
    Feature.FUNCTION_CHECK_SWITCH: (2, 6, 8),
    Feature.FLUSH_ALL: (2, 6, 11),
    Feature.REPLICATE_STREAM: (2, 6, 11),
    Feature.SNAPSHOT: (3, 0, 0),
    Feature.MANIFEST_SEGMENTS: (3, 0, 0),
}

#: The first version without the feature. 3.0 refuses imports of L0 segments unless ``dataCoord.import.enableL0Import`` is set
#: (seen on 3.0.0).
UNTIL: dict[Feature, Version] = {Feature.REPLICATE_POSITION: (2, 6, 0), Feature.L0_IMPORT: (3, 0, 0)}

#: A call without side effects that shows whether a server of the right version really has the feature: a build of the line
#: may be older than the calls that a backup needs.
PROBES: dict[Feature, str] = {Feature.SNAPSHOT: "GetExportSnapshotState"}

#: The unit changed in patches of two release lines (milvus PRs 40332-40334). In doubt hybrid: an older server overflows
#: on it and truncates nothing, while a newer one refuses milliseconds (seen on 2.5.27).
HYBRID_END_TS: tuple[tuple[Version, Version], ...] = (((2, 4, 23), (2, 5, 0)), ((2, 5, 6), (99, 0, 0)))

#: Calls without side effects, and the first version that implements them, newest first. Sources: the releases of
#: milvus-io/milvus-proto (``proto/milvus.proto``).
WITNESSES: tuple[tuple[str, Version], ...] = (
    ("GetExportSnapshotState", (3, 0, 0)),
    ("ListFileResources", (2, 6, 11)),
    ("ListPrivilegeGroups", (2, 5, 0)),
    ("DescribeDatabase", (2, 4, 3)),
    ("ListDatabases", (2, 2, 9)),
)

_STRICT = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:\.\d+)?(?:[-+][0-9A-Za-z.+-]*)?")
_LOOSE = re.compile(r"(?:^v?|Milvus\s+v?)(\d+)\.(\d+)(?:\.(\d+))?(?![\d.])")


def parse_version(texts: Iterable[str]) -> Version | None:
    """The version in the server's strings, None if there is none.

    A strict ``MAJOR.MINOR.PATCH`` in any of them wins (four-part hotfix numbers lose the fourth); then
    ``MAJOR.MINOR[.PATCH]`` at the start or after the word Milvus, where a missing patch means `HEAD`.
    Pre-releases count as their release.
    """
    texts = tuple(texts)
    for text in texts:
        if found := _STRICT.fullmatch(text.strip()):
            return int(found[1]), int(found[2]), int(found[3])
    for text in texts:
        if found := _LOOSE.search(text.strip()):
            return int(found[1]), int(found[2]), int(found[3] or HEAD)
    return None


def is_release(text: str) -> bool:
    """Whether ``text`` is a complete version number."""
    return _STRICT.fullmatch(text.strip()) is not None


def server_version(texts: Sequence[str], implements: Callable[[str], bool]) -> tuple[Version, bool]:
    """The reported version, and True; otherwise the newest version proven by an implemented call, and False."""
    reported = parse_version(texts)
    if reported is not None:
        return reported, True
    return next((version for method, version in WITNESSES if implements(method)), OLDEST), False


def features_of(
    version: Version,
    *,
    databases: bool,
    reported: bool = True,
    implements: Callable[[str], bool] = lambda _: True,
) -> frozenset[Feature]:
    """``version`` is a lower bound unless ``reported``. ``implements`` is called for features that have a probe."""
    features = {
        feature
        for feature, since in SINCE.items()
        if since <= version < UNTIL.get(feature, (version[0] + 1, 0, 0)) and _proven(feature, implements)
    }
    if databases:
        features.add(Feature.DATABASES)
    if any(low <= version < high for low, high in HYBRID_END_TS) or (not reported and version >= (2, 4, 0)):
        features.add(Feature.HYBRID_END_TS)
    return frozenset(features)


def _proven(feature: Feature, implements: Callable[[str], bool]) -> bool:
    return feature not in PROBES or implements(PROBES[feature])
