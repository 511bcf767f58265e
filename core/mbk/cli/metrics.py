"""``--metrics-file`` and ``--push-gateway``: the figures of one run, for Prometheus. They never change its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mbk.cli import terminal
from mbk.errors import MissingDependency
from mbk.model.events import Event
from mbk.model.reports import RunReport

if TYPE_CHECKING:
    from mbk.observe.run_metrics import RunFigures

F = TypeVar("F", bound=Callable[..., Any])


def figured(function: F) -> F:
    """The two options, as ``metrics_file`` and ``push_gateway``."""
    push = click.option(
        "--push-gateway", metavar="URL", help="Push the run's figures to this Prometheus gateway."
    )
    file = click.option(
        "--metrics-file", metavar="FILE", help="Write the run's figures here; -: standard error."
    )
    return file(push(function))


@dataclass(slots=True)
class Run:
    """``listen`` gets the run's events beside whoever else listens; ``report`` is set when there is one."""

    listen: Callable[[Event], None]
    report: RunReport | None = None


@contextmanager
def counting(
    kind: str, metrics_file: str | None, push_gateway: str | None, listener: Callable[[Event], None]
) -> Iterator[Run]:
    """Counts a run where somebody asked for its figures; passes the events on to ``listener`` in any case."""
    if not metrics_file and not push_gateway:
        yield Run(listener)
        return
    if find_spec("prometheus_client") is None:
        raise MissingDependency("figures need prometheus-client", hint="pip install 'mbk[api]'")
    from mbk.observe.run_metrics import RunFigures

    figures = RunFigures(kind)

    def listen(event: Event) -> None:
        figures(event)
        listener(event)

    run = Run(listen)
    try:
        yield run
    except BaseException as error:
        figures.end(error)
        _tell(figures, metrics_file, push_gateway)
        raise
    if run.report is not None:
        figures.end(run.report)
        _tell(figures, metrics_file, push_gateway)


def _tell(figures: RunFigures, metrics_file: str | None, push_gateway: str | None) -> None:
    if metrics_file == "-":
        terminal.line(figures.text().rstrip())
    elif metrics_file:
        try:
            figures.save(metrics_file)
        except OSError as exc:
            terminal.warning(f"no figures in {metrics_file}: {exc.strerror or exc}")
    if push_gateway:
        try:
            figures.push(push_gateway)
        except (OSError, ValueError) as exc:
            terminal.warning(f"the figures were not pushed: {type(exc).__name__}")
