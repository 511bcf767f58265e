"""Every command line in the documentation is one that mbk understands."""

from __future__ import annotations

from itertools import pairwise

import click
import pytest

from mbk.cli.app import App
from mbk.cli.main import cli
from mbk.cli.parsing import COMMANDS
from tests.docs.pages import Page, documented_commands, mbk_commands

HELP = {"--help", "-h"}
DOCUMENTED = documented_commands()


def parse(arguments: list[str]) -> list[str]:
    """Parses a command line as mbk does, without running it; returns the path of commands in it."""
    path = ["mbk"]
    command: click.Command = cli
    context = cli.make_context("mbk", list(arguments), obj=App())
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break
        name, found, rest = command.resolve_command(context, rest)
        assert name is not None
        assert found is not None
        path.append(name)
        command, context = found, found.make_context(name, rest, parent=context)
    return path


def test_every_documented_command_line_parses() -> None:
    wrong = []
    for where, arguments in DOCUMENTED:
        try:
            path = parse([word for word in arguments if word not in HELP])
        except click.ClickException as exc:
            wrong.append(f"{where}: mbk {' '.join(arguments)}: {exc.format_message()}")
        else:
            if len(path) == 1 and not HELP & {*arguments}:
                wrong.append(f"{where} names no command")
    assert wrong == []


def test_every_command_has_an_example() -> None:
    said = [arguments for _, arguments in DOCUMENTED]
    shown = {word for arguments in said for word in arguments}
    shown |= {" ".join(pair) for arguments in said for pair in pairwise(arguments)}
    assert set(COMMANDS) <= shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["creat"],
        ["create", "--nam", "x"],
        ["create", "--strategy", "quick"],
        ["get", "-n"],
        ["config", "shw"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_would_be_noticed(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(arguments)


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        (".venv/bin/pip install -e . && .venv/bin/mbk demo", [["demo"]]),
        ("mbk list --quiet | xargs -r -n 1 mbk delete --yes", [["list", "--quiet"], ["delete", "--yes"]]),
        ("0 2 * * * cd /srv && mbk create -q >> out 2>&1", [["create", "-q"]]),
        ("mbk create -n 'a b' > report.json", [["create", "-n", "a b"]]),
        ("echo nothing", []),
    ],
)
def test_calls_are_found_in_lines_of_shell(line: str, calls: list[list[str]]) -> None:
    assert [*mbk_commands(line)] == calls


def test_the_reference_has_a_section_for_every_command() -> None:
    page = Page("docs/reference/cli.md").text
    assert [name for name in COMMANDS if f"## mbk {name}" not in page] == []
