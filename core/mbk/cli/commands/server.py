"""``mbk server``."""

from __future__ import annotations

from importlib.util import find_spec

import click

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.parsing import COMMANDS, Command, Number
from mbk.cli.render import emit
from mbk.errors import MissingDependency, UsageError

NEEDED = ("fastapi", "uvicorn", "prometheus_client", "fastapi_offline", "cronsim")


@click.command("server", cls=Command, help=COMMANDS["server"])
@click.option("--port", "-p", type=Number(0, 65535), help="Port; 0: any free one.  [default: 8080]")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--new-token", metavar="NAME", help="Only create a token, and print its line for the authFile.")
@click.option(
    "--new-user", metavar="NAME", help="Only ask for a password, and print its line for the authFile."
)
@click.pass_obj
def command(
    app: App, port: int | None, host: str | None, new_token: str | None, new_user: str | None
) -> None:
    if new_token or new_user:
        _credentials(new_token, new_user)
        return
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        from mbk.extras import to_install

        raise MissingDependency(
            "the server needs {package}",
            code="server-package-missing",
            package=missing[0],
            requirement=to_install("api"),
            hint="pip install {requirement}",
        )
    given = {"server.port": port, "server.host": host}
    loaded = app.load({key: str(value) for key, value in given.items() if value is not None})

    from mbk.api.server import Serving
    from mbk.observe.tracing import export_as_the_environment_says

    export_as_the_environment_says()
    serving = Serving(loaded.settings, config=loaded.path)
    serving.run(
        on_ready=lambda: terminal.line(f"mbk: serving on {serving.url} (API: {serving.url}/api/v1/docs/)")
    )


def _credentials(token_name: str | None, user_name: str | None) -> None:
    from mbk.api import auth

    if token_name:
        token, line = auth.new_token(token_name)
        terminal.line(f"mbk: the token, which is shown only once: {token}")
        emit(line)
    if user_name:
        if not terminal.can_ask():
            raise UsageError(
                "--new-user asks for a password, which needs a terminal",
                code="terminal-missing",
                hint="run it in a terminal",
            )
        emit(
            auth.user_line(
                user_name, click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
            )
        )
