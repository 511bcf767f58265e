"""The entry point: options in, exit code out. Only here do errors become lines and exit codes."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from select import select
from types import FrameType

import click

from mbk.about import __version__
from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.failing import chain, flat, line, own_hint, told_as_json
from mbk.cli.loading import LazyGroup, complete
from mbk.cli.parsing import nearest, normalize
from mbk.errors import ConfigError, Interrupted, MbkError, UsageError, known

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
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
        with _orderly_stop():
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


@contextmanager
def _orderly_stop() -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or hang-up stops the run cleanly; the second only says so; the third exits at once.

    A signal that was ignored when mbk was started (``nohup``, a shell's background job) stays ignored.
    """
    # The interpreter itself writes one byte per signal, whichever thread the kernel delivers it to: while one signal is
    # pending for the main thread, the next goes to another, and the main thread, waiting for its workers, is not woken.
    counter, signalled = os.pipe()
    os.set_blocking(signalled, False)
    raised = over = False
    guard = threading.Lock()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal raised
        if not raised:
            raised = True
            raise KeyboardInterrupt

    def rouse(number: int) -> bool:
        """The kernel may have given the signal to another thread, or to the main one between its last look and its going to
        sleep: without this the run would go on to its end."""
        with guard:
            if raised or over or not hasattr(signal, "pthread_kill"):
                return False
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            return True

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    try:
        before = {number: signal.getsignal(number) for number in numbers}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    except ValueError:  # not the main thread: a program that calls main() keeps its own handlers
        before = {}
    watcher = threading.Thread(target=_watch, args=(counter, rouse), name="mbk-signals", daemon=True)
    # Without it, where no thread can be had, the first signal stops the run all the same.
    with suppress(RuntimeError):
        watcher.start()
    try:
        yield
    finally:
        with guard:
            over = True
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            signal.set_wakeup_fd(-1)
        os.close(signalled)
        if watcher.ident is not None:
            watcher.join()
        os.close(counter)


#: Seconds in which the main thread notices a signal, if it does by itself.
_NOTICED = 0.1


def _watch(counter: int, rouse: Callable[[int], bool]) -> None:
    """Reads one byte per signal until the other end is closed; the third signal ends the process.

    ``rouse`` sends the main thread the first one again, unless it has noticed it: False then.
    """
    count = 0
    while number := os.read(counter, 1):
        count += 1
        if count == 1:
            while not select([counter], [], [], _NOTICED)[0] and rouse(number[0]):
                os.read(counter, 1)  # of this signal, which nobody sent
        elif count == 2:
            os.write(2, b"mbk: still stopping cleanly; interrupt once more to exit at once\n")
        elif count > 2:
            # An exception would wait for the threads, and they for a stalled server.
            # Not through a buffered stream: another thread may be in the middle of a write.
            shown = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides the cursor
            os.write(2, shown + b"mbk: interrupted\n")
            os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
