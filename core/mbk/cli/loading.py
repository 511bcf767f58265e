"""The commands, each loaded only when it runs."""

from __future__ import annotations

import os
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from mbk.cli.parsing import ALIASES, COMMANDS, Group
from mbk.model.operations import OPERATIONS


class LazyGroup(Group):
    """Imports a command's module only when the command runs, so that ``--help`` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in COMMANDS:
            return None
        declared = next((item for item in OPERATIONS.values() if item.command == cmd_name), None)
        if declared is not None and declared.module:
            from mbk.cli import operation, several

            return several.command_of(declared) if declared.several else operation.command_of(declared)
        command: click.Command = import_module(f"mbk.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Some commands have two words, the first of which is a command itself."""
        if " ".join(args[:2]) in COMMANDS:
            args = [" ".join(args[:2]), *args[2:]]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """A command of two words would be offered as one."""
        return [item for item in super().shell_complete(ctx, incomplete) if " " not in item.value]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


#: The variable by which a shell asks for completions.
COMPLETE = "_MBK_COMPLETE"


def complete(group: click.Command) -> int | None:
    """Answers a shell's request for completions (`COMPLETE`); None in an ordinary run."""
    instruction = os.environ.get(COMPLETE)
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(group, {}, "mbk", COMPLETE, instruction)
