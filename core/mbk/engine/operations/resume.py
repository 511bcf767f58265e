"""The options of `create`, kept in the manifest, so that a later run goes on as the backup was begun."""

from __future__ import annotations

from mbk.engine.runtime.run import Run
from mbk.errors import InvalidBackup, UsageError
from mbk.model.manifest import Manifest
from mbk.model.options import CreateOptions
from mbk.model.selection import Selection

#: How a run goes about it, not what the backup shall be.
_OF_ONE_RUN = frozenset({"resume", "fail_fast", "dry_run", "allow_missing"})


def asked(options: CreateOptions) -> dict[str, bool | int | str]:
    """The options that were chosen, as `Manifest.asked`."""
    selection = options.selection
    kept: dict[str, bool | int | str] = {"filter": selection.text}
    if selection.excluded is not None:
        kept["exclude"] = selection.excluded.text
    return kept | {name: str(v) if isinstance(v, str) else v for name, v in _chosen(options).items()}


def as_begun(options: CreateOptions, manifest: Manifest, run: Run) -> CreateOptions:
    """``options``, and those of the run that began the backup where none is chosen. What differs is told.

    `InvalidBackup` if the manifest has options that cannot be.
    """
    if not manifest.asked:
        if manifest.id and options.selection.everything:
            _tell_unknown(run, manifest.name)
        return options
    begun = _begun(manifest)
    before, now = _chosen(begun), _chosen(options)
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            _tell(run, manifest.name, name, before[name], now[name])
    selection = begun.selection
    if not options.selection.everything:
        if options.selection != selection:
            _tell(run, manifest.name, "filter", _words(selection), _words(options.selection))
        selection = options.selection
    for name in sorted(now.keys() - before.keys()):
        _tell(run, manifest.name, name, getattr(begun, name), now[name])
    return CreateOptions.of(options, {**before, **now, "selection": selection})


def _chosen(options: CreateOptions) -> dict[str, bool | int | str]:
    """The options that differ from their defaults, except those of which the selection is made."""
    return {
        item.name: value
        for item in options.declared()
        if item.is_stored and item.name not in _OF_ONE_RUN and not item.option.secret
        if (value := getattr(options, item.name)) != item.default and isinstance(value, bool | int | str)
    }


def _begun(manifest: Manifest) -> CreateOptions:
    """Options that this version does not know are left out: a newer mbk began the backup."""
    known = {item.name for item in CreateOptions.declared()} - _OF_ONE_RUN
    given = {name: value for name, value in manifest.asked.items() if name in known and value != ""}
    try:
        return CreateOptions.of(None, given)
    except UsageError as wrong:
        raise InvalidBackup(
            "the options with which backup {backup!r} was begun cannot be used: {reason}",
            code="begun-options-invalid",
            backup=manifest.name,
            reason=wrong.message,
            hint="delete it, and back up again: mbk delete -n {backup}",
        ) from wrong


def _words(selection: Selection) -> str:
    excluded = f" without {selection.excluded.text}" if selection.excluded is not None else ""
    return (selection.text or "everything") + excluded


def _tell_unknown(run: Run, backup: str) -> None:
    """An older mbk began it, and may have been told to back up less."""
    run.notice(
        "begun-unknown",
        "backup {backup!r} does not tell which collections it was begun with: it goes on with all, unless --filter "
        "names them",
        backup=backup,
    )


def _tell(run: Run, backup: str, option: str, before: object, now: object) -> None:
    run.notice(
        "begun-otherwise",
        "backup {backup!r} was begun with {option} = {before}, and goes on with {now}",
        backup=backup,
        option=option,
        before=before,
        now=now,
    )
