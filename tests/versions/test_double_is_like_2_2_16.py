"""The double playing 2.2.16, held against the real 2.2.16 by the script that 2.3.5 is held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_2_2
from tests.milvus_double import MilvusDouble
from tests.versions.both import Both
from tests.versions.steps import STEPS

#: Where only the words of an error differ, and those name ids or say how the server found out.
OTHER_WORDS = frozenset(
    {
        "DescribeIndex of an empty collection",
        "alias of another",
        "empty DescribeResourceGroup",
        "empty GetIndexStatistics",
        "empty RenameCollection",
        "import into no partition",
        "load without an index",
        "no such index",
        "query what is not loaded",
        "rename what is gone",
    }
)
#: What the real one does not survive: the next flush ends its process.
DEADLY = frozenset({"delete without condition"})


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    home = tmp_path_factory.mktemp("likeness")
    with (
        milvus_2_2(home / "real", STABLE_SEGMENTS) as real,
        MilvusDouble("v2.2.16-lite", home=home / "double") as double,
    ):
        pair = Both(real, double)
        yield pair.answers(without=OTHER_WORDS | DEADLY)
        pair.close()


@pytest.mark.parametrize("label", [label for label in STEPS if label not in OTHER_WORDS | DEADLY])
def test_the_double_answers_as_the_real_server_does(
    answers: Mapping[str, Mapping[str, Any]], label: str
) -> None:
    assert answers["double"][label] == answers["real"][label]
