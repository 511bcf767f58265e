"""The global options, and the session they lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mbk.cli import terminal

if TYPE_CHECKING:
    from mbk.config.load import LoadedConfig
    from mbk.session import Session

OUTPUTS = ("table", "json", "yaml")
#: What to do without a configuration file.
TO_CONFIGURE = "write one with mbk config init, or name it with --config FILE"
#: How a run that lasts is watched.
PROGRESS = ("auto", "plain", "json", "none")


@dataclass(slots=True)
class App:
    """``config`` None: the default file, found in the usual order. ``output`` None: the command's default.

    ``loaded`` is what `load` returned last. ``progress`` auto: drawn on a terminal, plain lines elsewhere. ``log_format``
    None: as the configuration says.
    """

    config: str | None = None
    sets: list[str] = field(default_factory=list)
    storage: str | None = None
    backup_storage: str | None = None
    output: str | None = None
    verbose: bool = False
    quiet: bool = False
    loaded: LoadedConfig | None = None
    progress: str = "auto"
    log_format: str | None = None

    def load(self, overrides: Mapping[str, object] | None = None) -> LoadedConfig:
        """Loads the configuration and sets up logging. ``overrides`` are flags of one command. Raises `ConfigError`."""
        from mbk.cli.logs import configure
        from mbk.config.load import load

        loaded = load(
            self.config,
            sets=self.sets,
            overrides=overrides,
            storage=self.storage,
            backup_storage=self.backup_storage,
        )
        self.loaded = loaded
        self.log_format = self.log_format or loaded.settings.log.format
        terminal.json_lines(self.log_format == "json")
        configure(loaded.settings.log, quiet=self.quiet)
        if not self.quiet:
            for warning in loaded.warnings:
                terminal.warning(str(warning))
        return loaded

    def own(self, text: str, side: object) -> str:
        """A text with the keys of the user's own dialect, and of the side of the storages that it is about."""
        if self.loaded is None:
            return text
        from mbk.config.wording import in_own_keys

        return in_own_keys(text, self.loaded, side)

    @property
    def lacks(self) -> str:
        """That no configuration was read, and what to do: often why something fails or is not found. Empty otherwise."""
        return f"{self.loaded.lacks}: {TO_CONFIGURE}" if self.loaded and self.loaded.lacks else ""

    @contextmanager
    def session(self) -> Iterator[Session]:
        from mbk.session import connect

        with connect(self.load().settings) as session:
            yield session
