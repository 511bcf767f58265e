"""docs/reference/cli.md says every command, option and exit code, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mbk import errors
from mbk.cli.main import cli
from mbk.cli.parsing import COMMANDS, global_options
from tests.docs.tables import REST, written, written_rest

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
GLOBAL = {name for option in global_options(hidden=False) for name in option.opts}


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from leaves(child, f"{path} {name}")
    else:
        yield path, command


LEAVES = dict(leaves(cli, "mbk"))
PLAN = "mbk plan"


def documented(section: str) -> set[str]:
    cells = re.findall(r"^\| (.*?) \|", section.replace("\\|", "/"), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", cell)}


def taken(command: click.Command) -> set[str]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    own = [option for option in options if option.expose_value]
    return {name for option in own for name in (*option.opts, *option.secondary_opts)}


def section_of(path: str) -> str:
    """Its own, except for `mbk plan`, whose commands have one."""
    return PLAN if path.startswith(f"{PLAN} ") else path


def planned(path: str) -> set[str]:
    """The options of the command that `mbk plan` takes them from."""
    return taken(LEAVES[f"mbk {path.removeprefix(f'{PLAN} ')}"]) if section_of(path) == PLAN else set()


def test_each_command_has_its_section() -> None:
    assert {title for title in SECTIONS if title.startswith("mbk ")} == {*map(section_of, LEAVES)}


@pytest.mark.parametrize("path", LEAVES)
def test_a_section_lists_the_options_of_its_command(path: str) -> None:
    assert documented(SECTIONS[section_of(path)]) == taken(LEAVES[path]) - planned(path)


def test_the_tables_of_options_are_those_of_the_declarations() -> None:
    assert written(PAGE) == PAGE, "write them anew: python -m tests.docs.tables"


def test_the_tables_of_rest_bodies_are_those_of_the_declarations() -> None:
    page = REST.read_text(encoding="utf-8")
    assert written_rest(page) == page, "write them anew: python -m tests.docs.tables"


def test_the_global_options_are_listed() -> None:
    assert documented(SECTIONS["Global options"]) == GLOBAL | {"--version", "--help", "-h"}


def test_every_option_has_a_help_text() -> None:
    for path, command in LEAVES.items():
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{path} {option.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_help_begins_that_of_the_command(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").startswith(COMMANDS[name])


def test_each_exit_code_is_listed() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MbkError)
    ]
    listed = set(map(int, re.findall(r"^\| (\d+) \|", SECTIONS["Exit codes"], re.MULTILINE)))
    assert listed == {kind.exit_code for kind in kinds} | {0, 141}
