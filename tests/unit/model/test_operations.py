"""The table of operations says what there is."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from mbk.config.schema import Settings, StorageChoice
from mbk.errors import UsageError
from mbk.model.declared import Options
from mbk.model.operations import OPERATIONS, Operation
from mbk.session import Session

ALL = list(OPERATIONS.values())
RUN = [operation for operation in ALL if operation.module]


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
def test_an_operation_has_options_and_a_method(operation: Operation) -> None:
    assert issubclass(operation.options, Options)
    method = inspect.signature(getattr(Session, operation.method))
    explicit = {*method.parameters} & {item.name for item in operation.options.declared()}
    by_keywords = any(item.kind is item.VAR_KEYWORD for item in method.parameters.values())
    # `list` filters on the command line alone: the library's listing is lazy.
    if operation.name != "list":
        assert by_keywords or explicit == {item.name for item in operation.options.declared()}


@pytest.mark.parametrize("operation", RUN, ids=lambda operation: operation.name)
def test_what_runs_plans_previews_and_executes(operation: Operation) -> None:
    module = import_module(operation.module)
    assert all(callable(getattr(module, name)) for name in ("plan", "preview", "execute"))
    assert "{" not in operation.resume.format(name="nightly", output="flat")
    assert operation.writes


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
def test_no_two_options_of_an_operation_have_one_spelling(operation: Operation) -> None:
    declared = operation.options.declared()
    flags = [
        flag
        for item in declared
        for flag in (
            *item.option.flags,
            *item.option.off,
            *(flag for also in item.option.also for flag in also.flags),
        )
    ]
    names = [item.rest_name for item in declared if item.rest_name]
    assert len(flags) == len({*flags})
    assert len(names) == len({*names})
    assert all(item.option.help for item in declared)


@pytest.mark.parametrize("name", ["creat", "list", ""])
def test_only_an_operation_can_be_run_or_planned(name: str) -> None:
    place = StorageChoice(type="local")
    with Session(Settings(storage=place, backup_storage=place)) as session:
        for door in (session.run, session.plan):
            with pytest.raises(UsageError) as caught:
                door(name, "nightly")
            assert "create" in (caught.value.hint or "")
