"""The command line's grammar: global options before or after a command, the classic spellings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mbk.cli import terminal
from mbk.cli.app import OUTPUTS, PROGRESS, App
from mbk.cli.helping import Helpful
from mbk.model.operations import OPERATIONS

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # not generic before click 8.2

#: Commands that are not operations on backups, each in its own module, with its line in ``mbk --help``.
OTHERS = {
    "plan": "Tell what a run would take: objects, requests, time and cost.",
    "server": "Serve the REST API.",
    "config": "Write, show or migrate the configuration.",
    "plugins": "List the installed storages and what they still need.",
    "plugin": "Make, check or list storage plugins.",
    "completion": "Print what makes a shell complete the commands of mbk.",
    "demo": "Back up and restore an embedded Milvus, and compare row by row.",
    "version": "Print the version.",
}
#: Every command of the main group, with the line that ``mbk --help`` shows without loading it.
COMMANDS: Mapping[str, str] = {item.command: item.summary for item in OPERATIONS.values()} | OTHERS
#: Other words for some of them.
ALIASES: Mapping[str, str] = {name: item.command for name, item in OPERATIONS.items() if name != item.command}

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def normalize(token: str) -> str:
    """Dashes and underscores are interchangeable: ``--drop_exist_collection`` is ``--drop-exist-collection``."""
    return token.replace("_", "-")


CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": normalize,
    "max_content_width": 110,
}


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    name = parameter.name
    if name is None or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
        return
    app = context.ensure_object(App)
    if name == "sets":
        app.sets.extend(value)
    else:
        setattr(app, name, value)
    if name == "log_format":
        terminal.json_lines(value == "json")


def completer(name: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """A function of `mbk.cli.completing`, which is imported when a shell asks."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from mbk.cli import completing

        found: list[str] = getattr(completing, name)(context, parameter, incomplete)
        return found

    return complete


class Choice(_Choice):
    """Its words as they are written, and the nearest one to a wrong one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as exc:
            choices = [str(choice) for choice in self.choices]
            near = nearest(str(value).replace("-", "_"), choices)
            message = f"{value!r} is not one of {', '.join(choices)}{near}"
            raise click.BadParameter(message, ctx, param) from exc


class Number(click.IntRange):
    """A whole number, and in words what is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a whole number", ctx, param) from None
        found: int = super().convert(number, param, ctx)
        return found


def global_options(*, hidden: bool) -> list[click.Option]:
    def option(*names: str, **attributes: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_remember, hidden=hidden, **attributes)

    return [
        option(
            "--config", metavar="FILE", type=click.Path(), help="Configuration file.  [default: backup.yaml]"
        ),
        option(
            "--set",
            "sets",
            metavar="KEY=VALUE",
            multiple=True,
            help="Override a key; repeatable, or a comma list.",
        ),
        option(
            "--storage",
            metavar="TYPE",
            shell_complete=completer("storage_types"),
            help="Storage type of this run, over the file's storageType.",
        ),
        option(
            "--backup-storage",
            metavar="TYPE",
            shell_complete=completer("storage_types"),
            help="Storage type of the backup side only.",
        ),
        option("--output", "-o", type=Choice(OUTPUTS), help="Output format.  [default: table; get: json]"),
        option(
            "--progress",
            type=Choice(PROGRESS),
            help="How a run is watched: drawn on a terminal and as lines elsewhere, lines, JSON, or not at all.  "
            "[default: auto]",
        ),
        option(
            "--log-format",
            type=Choice(("text", "json")),
            help="Lines on standard error and of the log file: text, or JSON objects.  [default: text]",
        ),
        option("--verbose", "-v", is_flag=True, help="Also print the causes of an error."),
        option("--quiet", "-q", is_flag=True, help="Only results and errors."),
    ]


class _Grammar(Helpful):
    """Takes the global options in any position, unless the command has its own option with that name."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes["context_settings"] = CONTEXT | attributes.get("context_settings", {})
        super().__init__(*args, **attributes)
        taken = {name for parameter in self.params for name in parameter.opts}
        extra = global_options(hidden=self.name != "mbk")
        self.params += [option for option in extra if taken.isdisjoint(option.opts)]


class Command(_Grammar):
    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes.setdefault("epilog", "The options of 'mbk --help' are accepted here, too.")
        super().__init__(*args, **attributes)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(self._translated(ctx, args)))
        except click.UsageError as exc:
            exc.ctx = exc.ctx or ctx  # whose help tells more; click leaves it out of some
            raise

    def _translated(self, context: click.Context, args: Iterable[str]) -> Iterator[str]:
        """Go's ``--flag=true`` and ``-n=NAME``."""
        options = [option for option in self.get_params(context) if isinstance(option, click.Option)]
        # A flag with an on and an off form has an opposite; the others are off if absent.
        flags = {
            normalize(name): option.secondary_opts[:1]
            for option in options
            if option.is_flag
            for name in option.opts
        }
        valued = {name for option in options if not option.is_flag for name in option.opts}
        rest = iter(args)
        for item in rest:
            if item == "--":
                yield from (item, *rest)
                return
            name, equals, value = item.partition("=")
            if not equals:
                yield item
            elif normalize(name) in flags:
                if value.lower() not in _TRUE | _FALSE:
                    raise click.BadParameter(f"{value!r} is neither true nor false", context, param_hint=name)
                yield from [name] if value.lower() in _TRUE else flags[normalize(name)]
            elif len(name) == 2 and name in valued:
                yield from (name, value)
            else:
                yield item


def _help_without_command(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(click.UsageError.exit_code)


class Group(_Grammar, click.Group):
    """Only shows its help, as a usage error, if no command follows. The decorated function is not called."""

    command_class = Command

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes["callback"] = click.pass_context(_help_without_command)
        super().__init__(*args, invoke_without_command=True, **attributes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, normalize(name)) is None:
            raise click.UsageError(f"no such command {name!r}{nearest(name, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


def nearest(word: str, words: Iterable[str]) -> str:
    """``, did you mean …?``, to be appended; empty if no word is near."""
    from mbk.model.declared import nearest as meant

    suggestion = meant(word, words)
    return f", {suggestion}" if suggestion else ""
