"""What a program passes by mistake is told in one line, before anything is connected to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mbk
from mbk.errors import UsageError
from tests.raising import raised

Call = Callable[[Any], object]
connect: Any = mbk.connect


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Any]:
    config = tmp_path / "backup.yaml"
    config.write_text(f"minio: {{storageType: local, rootPath: {tmp_path}/a, backupRootPath: {tmp_path}/b}}")
    with connect(config) as opened:
        yield opened


@pytest.mark.parametrize(
    ("call", "option"),
    [
        (lambda session: session.create(1), "name"),
        (lambda session: session.restore(b"x"), "name"),
        (lambda session: session.delete(3), "name"),
        (lambda session: session.verify(["x"]), "name"),
        (lambda session: session.get(b"x"), "name"),
        (lambda session: session.copy("x", 3), "to"),
        (lambda session: list(session.ls(3)), "where"),
        (lambda session: session.create("x", filter=["a"]), "filter"),
        (lambda session: session.create("x", filter={1: ["a"]}), "filter"),
        (lambda session: session.create("x", rbac="yes"), "rbac"),
        (lambda session: session.create("x", on_event=3), "on_event"),
        (lambda session: session.restore("x", cancelled=True), "cancelled"),
        (lambda session: connect(3), "config"),
        (lambda session: connect({"minio": {}}), "config"),
    ],
)
def test_a_value_of_another_type_is_named(call: Call, option: str, session: Any) -> None:
    with raised(UsageError, "option-type-wrong", option=option):
        call(session)


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (lambda session: session.create("x", fliter="a"), "did you mean 'filter'?"),
        (lambda session: session.create("x", strategy="bulk"), "use one of"),
        (lambda session: session.check("creat"), "did you mean 'create'?"),
        (lambda session: session.create("x", 1), "keywords: filter"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest_one(call: Call, near: str, session: Any) -> None:
    with pytest.raises(UsageError) as caught:
        call(session)
    assert near in str(caught.value)
