"""The double playing 2.5.27 and 2.6.19, held against what real servers of these versions answered (recorded/README.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.milvus_double import MilvusDouble
from tests.versions.script import Server, Site, comparable
from tests.versions.steps import STEPS

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = ("2.5.27", "2.6.19")
#: By this step the real servers had replaced what was flushed before by sorted segments.
SORTED_BEFORE = "segments after it"


@cache
def recorded(version: str) -> Mapping[str, Any]:
    found = json.loads((RECORDED / f"milvus-{version}.json").read_text(encoding="utf-8"))
    return {label: comparable(answer) for label, answer in found.items()}


@cache
def differences(version: str) -> Mapping[str, str]:
    """Step -> why the double answers it otherwise."""
    named = json.loads((RECORDED / "differences.json").read_text(encoding="utf-8"))[version]
    return {label: reason for reason, labels in named.items() for label in labels}


def answered(double: MilvusDouble, server: Server, label: str) -> Any:
    if label == SORTED_BEFORE:
        double.sort()
    try:
        answer = STEPS[label](server)
    except AssertionError as error:
        answer = {"EXC": repr(error)}
    # As it would come back from a file: no tuples, keys in order.
    return comparable(json.loads(json.dumps(answer, sort_keys=True)))


@pytest.fixture(scope="module", params=VERSIONS)
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    version = request.param
    with MilvusDouble(version, home=tmp_path_factory.mktemp("recorded")) as double:
        server = Server(Site(double.target, double.rest_url, double.management_url, double.storage_root))
        yield version, {label: answered(double, server, label) for label in STEPS}
        server.close()


@pytest.mark.parametrize("label", STEPS)
def test_the_double_answers_as_the_recorded_server(
    answers: tuple[str, Mapping[str, Any]], label: str
) -> None:
    version, given = answers
    if label in differences(version):
        assert given[label] != recorded(version)[label], "no difference is left: take it off the list"
    else:
        assert given[label] == recorded(version)[label]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_question_was_recorded_and_every_difference_is_one_of_them(version: str) -> None:
    assert set(recorded(version)) == set(STEPS)
    assert set(differences(version)) <= set(STEPS)
    assert all(len(reason) > 30 for reason in differences(version).values())
