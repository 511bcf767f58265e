"""The entry point: options in, exit code out. Only here do errors become lines and exit codes."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

from mbk.about import __version__
from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.failing import chain, flat, line, own_hint, told_as_json
from mbk.cli.loading import LazyGroup, complete
from mbk.cli.parsing import nearest, normalize
from mbk.cli.stopping import INTERRUPTED, orderly_stop
from mbk.errors import ConfigError, Interrupted, MbkError, UsageError, known

OK, FAILED, USAGE = 0, 1, 2
#: Asks for JSON, in a command line that could not be parsed.
_JSON = re.compile(r"(^| )(-o ?|--output[ =]|--log[-_]format[ =])json( |$)")


@click.group(
    name="mbk",
    cls=LazyGroup,
    epilog="Dashes and underscores in options are interchangeable. See also 'mbk COMMAND --help'.",
)
@click.version_option(__version__, message="mbk %(version)s")
def cli() -> None:
    """Back up and restore Milvus over any object storage."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code (docs/reference/cli.md lists them)."""
    app = App()
    terminal.json_lines(False)
    given = sys.argv[1:] if args is None else args
    try:
        with orderly_stop():
            completed = complete(cli)
            return completed if completed is not None else _run(given, app)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.UsageError as exc:
        return _refused(_usage(exc), app, given)
    except click.ClickException as exc:
        terminal.error(exc.format_message())
        return FAILED
    except MbkError as exc:
        _forget_interrupt()
        return _reported(exc, app)
    except (KeyboardInterrupt, click.Abort) as exc:
        _forget_interrupt()
        if not told_as_json(Interrupted("interrupted", code="command-interrupted"), app):
            terminal.line("mbk: interrupted")
            chain(exc, app)
        return INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the last resort: no traceback reaches a user
        ours = known(exc)
        return _reported(ours, app) if ours else _internal(exc, app)


def _forget_interrupt() -> None:
    """A KeyboardInterrupt amid code that `exec` runs, as dataclasses do when a module is imported, makes the interpreter
    end itself by SIGINT at its exit, handled or not, until `exec` runs again (CPython: `run_eval_code_obj`)."""
    exec("")


def _run(args: Sequence[str], app: App) -> int:
    with cli.make_context("mbk", list(args), obj=app) as context:
        code = cli.invoke(context)
    return code if isinstance(code, int) else OK


def _usage(error: click.UsageError) -> UsageError:
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        options = error.ctx.command.get_params(error.ctx) if error.ctx else []
        names = {name for option in options for name in option.opts if name.startswith("--")}
        message = f"no such option {error.option_name!r}{nearest(normalize(error.option_name), names)}"
    message = message[:1].lower() + message[1:]
    path = error.ctx.command_path if error.ctx else "mbk"
    return UsageError(
        "{problem}", code="command-line", problem=message, command=path, hint="see '{command} --help'"
    )


def _refused(error: UsageError, app: App, given: Sequence[str]) -> int:
    """A command line that cannot be parsed: its options may not have been read yet."""
    if app.output is None and _JSON.search(" ".join(given)):
        app.output = "json"
    if not told_as_json(error, app):
        terminal.error(str(error))
    return USAGE


def _reported(error: MbkError, app: App) -> int:
    lacks = "" if isinstance(error, Interrupted) else app.lacks
    if told_as_json(error, app, lacks=lacks):
        return error.exit_code
    if isinstance(error, ConfigError):
        for problem in error.problems:
            terminal.error(f"{error.source}: {problem}")
        if error.hint:
            terminal.line(f"mbk: hint: {error.hint}")
    elif isinstance(error, Interrupted):
        terminal.line(f"mbk: {line(error)}")
    else:
        hint = own_hint(error.hint, error.facts, app)
        terminal.error(flat(f"{error.message}: {hint}" if hint else error.message))
    if lacks:
        terminal.line(f"mbk: hint: {lacks}")
    chain(error, app)
    return error.exit_code


def _internal(error: Exception, app: App) -> int:
    import logging

    from mbk.cli.logs import FILE_ONLY

    what = ": ".join(filter(None, (type(error).__name__, line(error))))
    logging.getLogger(FILE_ONLY).error("internal error", exc_info=error)
    if told_as_json(error, app):
        return FAILED
    terminal.error(f"internal error, please report it: {what}: -v shows more")
    if app.verbose:
        import traceback

        terminal.line("".join(traceback.format_exception(error)).rstrip())
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
