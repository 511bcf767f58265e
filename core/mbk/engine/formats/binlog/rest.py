"""Whether import jobs go over REST, which takes many segments a job, or over gRPC."""

from __future__ import annotations

from collections.abc import Sequence

from mbk.engine.formats.binlog.checks import Places, segments_of
from mbk.engine.formats.binlog.places import SegmentPlaces
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext
from mbk.errors import AccessError, MbkError, Unreachable, Unsupported
from mbk.model.options import RestoreOptions
from mbk.ports.milvus.values import Feature


def rest_imports(
    context: ClusterContext, tasks: Sequence[RestoreTask], options: RestoreOptions, places: Places
) -> bool | None:
    """True: all jobs over REST; None: those that gain by it; False: none.

    One that was asked for must answer; else gRPC does, and that is told.
    """
    milvus, run, asked = context.milvus, context.run, options.rest_import
    if Feature.REST_IMPORT not in milvus.features:
        if asked:
            run.notice(
                "rest-missing",
                "Milvus {version} imports over gRPC alone: that is used instead",
                version=milvus.version,
            )
        return False
    if asked is False or not (asked or _gains(tasks, places)):
        return False

    def probe() -> object:
        return milvus.imports.jobs("default", "", rest=True)

    try:
        run.retry.call("ask for REST", probe) if asked else probe()
    except Unsupported as error:
        run.notice("rest-missing", "{reason}: gRPC is used instead", reason=error.message)
        return False
    except (Unreachable, AccessError) as error:
        if asked:
            raise
        run.notice("rest-unreachable", "{reason}: gRPC is used instead", reason=error.message)
        return False
    except MbkError:
        pass  # it is there
    return asked


def _gains(tasks: Sequence[RestoreTask], places: Places) -> bool:
    """Whether any collection has several segments, which can share a job there."""
    counts = (sum(map(len, segments_of(task, places.get(task.target, SegmentPlaces())))) for task in tasks)
    return any(count > 1 for count in counts)
