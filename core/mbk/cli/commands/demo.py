"""``mbk demo``."""

from __future__ import annotations

from pathlib import Path

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.parsing import COMMANDS, Command, Number
from mbk.cli.progress import listening
from mbk.cli.render import emit, emit_data


@click.command("demo", cls=Command, help=COMMANDS["demo"])
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory for its files; new or empty.  [default: a temporary one]",
)
@click.option(
    "--use-config", is_flag=True, help="Run on the Milvus of your configuration (implied by --config)."
)
@click.option(
    "--milvus-address",
    metavar="HOST",
    help="Run on the Milvus there, with the storage of your configuration.",
)
@click.option("--milvus-port", type=Number(1, 65535), metavar="PORT", help="Port of that Milvus.")
@click.option(
    "--rows", type=Number(min=1), default=None, metavar="N", help="Number of rows.  [default: 3000]"
)
@click.pass_obj
def command(
    app: App,
    directory: Path | None,
    use_config: bool,
    milvus_address: str | None,
    milvus_port: int | None,
    rows: int | None,
) -> None:
    from mbk.cli.logs import configure
    from mbk.config.schema import LogSettings
    from mbk.demo.run import ROWS, run_demo

    as_data = app.output in ("json", "yaml")
    server = {"milvus.address": milvus_address, "milvus.port": milvus_port}
    elsewhere = use_config or app.config or milvus_address or milvus_port
    configure(LogSettings(), quiet=app.quiet)
    settings = app.load(server).settings if elsewhere else None
    with listening(app) as listener:
        result = run_demo(
            say=terminal.line if as_data else emit,
            tell=_silent if app.quiet else _told,
            settings=settings,
            directory=directory,
            rows=rows or ROWS,
            on_event=listener,
        )
    if as_data:
        emit_data(result, app.output)


def _told(text: str) -> None:
    terminal.line(f"mbk: {text}")


def _silent(_: str) -> None:
    pass
