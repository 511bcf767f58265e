"""What is known of the verifications of a backup: ``meta/verified.json``, and the progress of one that runs.

Both lie beside the metadata and belong to no commit: a backup that is changed has another subject, and a copy of it has
not been verified. See docs/reference/backup-format.md#verifiedjson.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from mbk.model.manifest import Verified, VerifiedResult, VerifyProgress
from mbk.model.reports import Verification
from mbk.model.states import Depth

#: An interrupted verification is continued this long; what it has seen says little about today's objects later.
KEPT = timedelta(days=7)
#: How much each depth covers: a drill begins with the digests, and compares no contents.
_COVERS = {
    Depth.LISTING: {Depth.LISTING},
    Depth.DIGESTS: {Depth.LISTING, Depth.DIGESTS},
    Depth.CONTENTS: {Depth.LISTING, Depth.DIGESTS, Depth.CONTENTS},
    Depth.DRILL: {Depth.LISTING, Depth.DIGESTS, Depth.DRILL},
}
_WHOLE = 100


def with_result(verified: Verified, result: VerifiedResult) -> Verified:
    """Without those that the new one replaces: as deep or less deep, and as much of it.

    A sample in which nothing is found says nothing about what another one found.
    """
    kept = [older for older in verified.results if not _replaces(result, older)]
    return msgspec.structs.replace(verified, results=[*kept, result])


def _replaces(result: VerifiedResult, older: VerifiedResult) -> bool:
    if older.depth not in _COVERS.get(Depth(result.depth), set()):
        return False
    if result.sample == _WHOLE or older.depth != Depth.CONTENTS:
        return True
    return older.sample != _WHOLE and not older.found


def latest(verified: Verified) -> Verification | None:
    """The newest one, but damage that was found and not disproved since comes first."""
    results = [
        (bool(item.found), at, number, item)
        for number, item in enumerate(verified.results)
        if (at := _moment(item.at))
    ]
    if not results:
        return None
    _, at, _, result = max(results, key=lambda entry: entry[:3])
    return Verification(at, Depth(result.depth), result.found, result.sample)


def continues(progress: VerifyProgress, wanted: VerifyProgress) -> bool:
    """Whether a verification goes on where another one of the same kind was interrupted."""
    at = _moment(progress.at)
    same = (progress.subject, progress.depth, progress.sample) == (
        wanted.subject,
        wanted.depth,
        wanted.sample,
    )
    return same and at is not None and datetime.now(UTC) - at < KEPT


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
