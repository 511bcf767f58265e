"""What `import mbk` offers to a program."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import mbk
from mbk import about
from mbk.model import events

ROOT = Path(__file__).parents[2]


def test_everything_that_is_offered_is_there_and_shown() -> None:
    assert sorted(mbk.__all__) == mbk.__all__
    for name in mbk.__all__:
        assert getattr(mbk, name) is not None
    assert {*mbk.__all__} <= {*dir(mbk)}


def test_every_kind_of_event_is_offered() -> None:
    kinds = {
        name
        for name, kind in vars(events).items()
        if inspect.isclass(kind) and issubclass(kind, events.Event)
    }
    assert kinds <= {*mbk.__all__}


def test_the_package_has_the_version_that_the_program_tells() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "core/mbk/about.py"
    assert mbk.__version__ == about.__version__
