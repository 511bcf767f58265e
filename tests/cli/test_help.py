"""What `--help` shows beside the options: groups, defaults, examples, and where to read more."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from mbk.about import PAGES
from mbk.cli.helping import EXAMPLES, GROUPS
from tests.cli.conftest import Run
from tests.cli.test_reference import LEAVES
from tests.docs.pages import Page
from tests.docs.test_command_lines import parse

COMMANDS = {path.removeprefix("mbk").strip(): command for path, command in LEAVES.items()}
#: So many options are read at a glance; more want groups.
_AT_A_GLANCE = 12


def test_each_command_has_examples_and_no_other() -> None:
    assert {*EXAMPLES} == {*COMMANDS, ""}


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples_are_commands_that_mbk_understands(path: str, run: Run) -> None:
    shown = run(*path.split(), "--help").out
    for line in EXAMPLES[path]:
        assert f"  {line}\n" in shown
        program, *arguments = shlex.split(line.partition(" > ")[0])
        assert program == "mbk"
        assert " ".join(parse(arguments)[1:]) == path or not path


@pytest.mark.parametrize("path", [*EXAMPLES, "config", "plan"])
def test_the_help_leads_to_a_section_that_there_is(path: str, run: Run) -> None:
    (link,) = re.findall(r"^  More: (\S+)$", run(*path.split(), "--help").out, re.MULTILINE)
    file, _, anchor = link.partition("#")
    assert file.startswith(f"{PAGES}/")
    titles = re.findall(r"^## (mbk .*)$", Page(file).text, re.MULTILINE)
    assert not anchor or anchor in {title.replace(" ", "-") for title in titles}


def test_groups_hold_options_that_there_are() -> None:
    known = {option.name for command in COMMANDS.values() for option in command.params}
    assert {name for names in GROUPS.values() for name in names} <= known


@pytest.mark.parametrize("path", COMMANDS)
def test_many_options_are_shown_by_groups(path: str) -> None:
    grouped = {name for names in GROUPS.values() for name in names}
    shown = [
        option for option in COMMANDS[path].params if isinstance(option, click.Option) and not option.hidden
    ]
    if len(shown) > _AT_A_GLANCE:
        assert len([option for option in shown if option.name not in grouped]) < _AT_A_GLANCE / 2


@pytest.mark.parametrize("path", [*COMMANDS, ""])
def test_an_option_with_choices_tells_its_default(path: str, run: Run) -> None:
    words = " ".join(run(*path.split(), "--help").out.split())
    for _, text in re.findall(r"(--[a-z-]+) \[[a-z0-9_]+\|[a-z0-9_|]+\] (.*?)(?= -|$)", words):
        assert "[default: " in text
