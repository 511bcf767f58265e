"""``mbk completion``."""

from __future__ import annotations

import click

from mbk.cli.loading import COMPLETE
from mbk.cli.parsing import COMMANDS, Choice, Command
from mbk.cli.render import emit

SHELLS = ("bash", "zsh", "fish")
_HELP = f"""{COMMANDS["completion"]}

For bash and zsh add to ~/.bashrc or ~/.zshrc: eval "$(mbk completion bash)". For fish: mbk completion fish >
~/.config/fish/completions/mbk.fish. It knows commands, options, storage types, files, and the backups and collections of the
configuration.
"""


@click.command("completion", cls=Command, help=_HELP)
@click.argument("shell", type=Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    emit(kind(context.find_root().command, {}, "mbk", COMPLETE).source().rstrip("\n"))
