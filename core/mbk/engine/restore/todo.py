"""What a restore leaves to be done before its collections can be searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mbk.engine.restore.plan import RestoreTask
from mbk.model.options import RestoreOptions
from mbk.model.records import LOADED
from mbk.model.reports import CollectionOutcome, Todo
from mbk.model.states import CollectionState


def left_to_do(
    tasks: Sequence[RestoreTask], options: RestoreOptions, outcomes: Sequence[CollectionOutcome]
) -> tuple[Todo, ...]:
    """Of the collections that were restored. Those that were there before have what they had."""
    if options.skip_create:
        return ()
    states = {outcome.target: CollectionState(outcome.outcome) for outcome in outcomes}
    done = [task for task in tasks if states[str(task.target)].has_ended]
    return tuple(_todo(done, options))


def _todo(done: Sequence[RestoreTask], options: RestoreOptions) -> Iterator[Todo]:
    unindexed = tuple(str(task.target) for task in done if task.record.index_infos)
    if unindexed and not options.rebuild_index:
        yield Todo(
            code="indexes-not-built",
            message="no index was built",
            option="--rebuild-index",
            collections=unindexed,
        )
    unloaded = tuple(str(task.target) for task in done if task.record.load_state == LOADED)
    if unloaded and not options.load:
        yield Todo(
            code="not-loaded",
            message="not loaded",
            option="--load",
            collections=unloaded,
        )
