"""Whether import jobs go over REST, which takes many segments a job, or over gRPC."""

from __future__ import annotations

from collections.abc import Sequence

from mbk.engine.formats.binlog.checks import Places, segments_of
from mbk.engine.formats.binlog.places import SegmentPlaces
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, MbkError, Unreachable, Unsupported
from mbk.model.options import RestoreOptions
from mbk.ports.milvus.values import Feature


def rest_imports(
    context: ClusterContext, tasks: Sequence[RestoreTask], options: RestoreOptions, places: Places
) -> bool | None:
    """True: all jobs over REST; None: those that benefit; False: none.

    If the user asked for REST, it must be reachable; otherwise gRPC is used, with a notice.
    """
    milvus, run, asked = context.milvus, context.run, options.rest_import
    if Feature.REST_IMPORT not in milvus.features:
        if asked:
            _use_grpc(run, f"Milvus {milvus.version} has no REST API for imports")
        return False
    if asked is False or not (asked or _gains(tasks, places)):
        return False

    def probe() -> object:
        return milvus.imports.jobs("default", "", rest=True)

    try:
        run.retry.call("probe the REST API", probe) if asked else probe()
    except Unsupported as error:
        _use_grpc(run, error.message)
        return False
    except (Unreachable, AccessError) as error:
        if asked:
            raise
        run.notice(
            "rest-unreachable", "importing over gRPC, REST does not answer: {reason}", reason=error.message
        )
        return False
    except MbkError:
        pass  # it answered
    return asked


def _use_grpc(run: Run, reason: str) -> None:
    run.notice("rest-missing", "importing over gRPC instead of REST: {reason}", reason=reason)


def _gains(tasks: Sequence[RestoreTask], places: Places) -> bool:
    """Whether any collection has several segments, which can share a job over REST."""
    counts = (sum(map(len, segments_of(task, places.get(task.target, SegmentPlaces())))) for task in tasks)
    return any(count > 1 for count in counts)
