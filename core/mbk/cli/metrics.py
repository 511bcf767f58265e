"""``--metrics-file`` and ``--push-gateway``: a run's metrics for Prometheus. They never change its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from mbk.cli import terminal
from mbk.cli.options import Documented
from mbk.errors import MissingDependency
from mbk.model.events import Event
from mbk.model.reports import RunReport, VerifyReport

if TYPE_CHECKING:
    from mbk.observe.run_metrics import RunMetrics


def metrics_options() -> list[click.Parameter]:
    """The two options, ``metrics_file`` and ``push_gateway``."""
    needs = "Needs prometheus-client, and never changes the result."
    return [
        Documented(
            ["--metrics-file"],
            metavar="FILE",
            type=click.Path(),
            help="Write the run's metrics here for Prometheus (textfile collector); -: standard error.",
            more=needs,
        ),
        Documented(
            ["--push-gateway"],
            metavar="URL",
            help="Push the run's metrics to this Prometheus gateway.",
            more=needs,
        ),
    ]


@dataclass(slots=True)
class Run:
    """``listen`` takes the run's events and passes them on; the reports are set once there are some."""

    listen: Callable[[Event], None]
    report: RunReport | None = None
    reports: tuple[VerifyReport, ...] = ()


@contextmanager
def counting(
    kind: str, metrics_file: str | None, push_gateway: str | None, listener: Callable[[Event], None]
) -> Iterator[Run]:
    """Counts a run if its metrics are requested; always passes the events on to ``listener``.

    Raises `MissingDependency`.
    """
    if not metrics_file and not push_gateway:
        yield Run(listener)
        return
    if find_spec("prometheus_client") is None:
        from mbk.extras import to_install

        raise MissingDependency(
            "metrics need prometheus-client",
            code="metrics-package-missing",
            requirement=to_install("metrics"),
            hint="pip install {requirement}",
        )
    from mbk.observe.run_metrics import RunMetrics

    metrics = RunMetrics(kind)

    def listen(event: Event) -> None:
        metrics(event)
        listener(event)

    run = Run(listen)
    try:
        yield run
    except BaseException as error:
        metrics.end(error)
        _publish(metrics, metrics_file, push_gateway)
        raise
    if run.report is not None:
        metrics.end(run.report)
        _publish(metrics, metrics_file, push_gateway)
    elif run.reports:
        metrics.verified(run.reports)
        _publish(metrics, metrics_file, push_gateway)


def _publish(metrics: RunMetrics, metrics_file: str | None, push_gateway: str | None) -> None:
    if metrics_file == "-":
        terminal.line(metrics.text().rstrip())
    elif metrics_file:
        try:
            metrics.save(metrics_file)
        except OSError as exc:
            terminal.warning(f"cannot write the metrics to {metrics_file}: {exc.strerror or exc}")
    if push_gateway:
        try:
            metrics.push(push_gateway)
        except (OSError, ValueError) as exc:
            terminal.warning(f"cannot push the metrics: {type(exc).__name__}")
