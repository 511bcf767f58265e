"""``mbk plan`` on a real directory: what it tells, that it leaves nothing, and what it says of prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.test_plans import files

OURS = """
- name: ours
  as_of: 2026-01
  currency: EUR
  backends: [local]
  per_thousand: {get: 2, copy: 4, list: 8}
  gib_month: 1024
  gib_out: 2048
"""


def told(run: Run, *words: str) -> Any:
    result = run("-o", "json", "plan", *words)
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_a_probe_measures_and_leaves_nothing(run: Run, backups: Path) -> None:
    before, target = files(backups), backups.parent / "elsewhere"
    (backups.parent / "elsewhere").mkdir()
    made = told(run, "copy", "old", "--path", str(target))
    assert made["seconds"] > 0
    assert [item["way"] for item in made["speeds"]] == ["server"]
    assert files(backups) == before
    assert [*target.iterdir()] == []


def test_without_a_probe_nothing_is_read_or_measured(run: Run, backups: Path) -> None:
    made = told(run, "verify", "old", "--depth", "contents", "--no-probe")
    assert (made["seconds"], made["speeds"]) == (None, [])
    (flow,) = made["plan"]["flows"]
    plan = made["plan"]
    assert (flow["way"], flow["objects"], flow["size"]) == ("read", plan["objects"], plan["size"])
    assert plan["size"] > 0


def test_what_cannot_be_measured_is_told_and_the_rest_stands(run: Run, backups: Path) -> None:
    made = told(run, "copy", "old", "--path", str(backups.parent / "elsewhere"))
    assert made["seconds"] is None
    assert "does not exist" in made["notes"][0]
    assert made["plan"]["objects"]


def test_prices_of_ones_own_are_charged_by_request_and_by_what_is_kept(run: Run, backups: Path) -> None:
    Path("prices.yaml").write_text(OURS, encoding="utf-8")
    target = ("--path", str(backups.parent / "elsewhere"), "--no-probe", "--prices", "prices.yaml")
    made = told(run, "copy", "old", *target)
    plan, (there, _) = made["plan"], sorted(made["costs"], key=lambda cost: -cost["month"])
    assert there["run"] == pytest.approx((4 * plan["objects"] + 8) / 1000)
    assert there["month"] == pytest.approx(plan["size"] / 1024**2)
    read = told(run, "verify", "old", "--depth", "contents", "--no-probe", "--prices", "prices.yaml")
    (cost,) = read["costs"]
    assert cost["outside"] == pytest.approx(2 * read["plan"]["size"] / 1024**2)
    text = run("plan", "copy", "old", *target).out
    assert "EUR for requests" in text
    assert "ours, list prices of 2026-01" in text


@pytest.mark.parametrize("content", ["- {name: ours}", "[", "a: b", "- {name: a, as_of: 1}"])
def test_prices_that_are_not_understood_are_refused(content: str, run: Run, backups: Path) -> None:
    Path("prices.yaml").write_text(content, encoding="utf-8")
    result = run("plan", "verify", "old", "--prices", "prices.yaml")
    assert result.code == 2
    assert "prices.yaml" in result.err


def test_a_plan_refuses_what_the_run_refuses(run: Run, backups: Path) -> None:
    assert run("plan", "copy", "none", "--path", "x").code == run("copy", "none", "--path", "x").code == 4
    assert run("plan", "verify", "old", "--prices", "nowhere.yaml").code == 2
