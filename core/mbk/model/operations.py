"""The operations: each declared once, for the command line, REST jobs and `Session`.

A table of values in the model, so that everything that lists, describes or starts operations can read it, ``mbk --help``
included: options classes and the modules that plan and run are only named here, and imported when needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Literal

from mbk.frozen import frozen

if TYPE_CHECKING:
    from mbk.model.declared import Options
    from mbk.model.options import (
        DeleteOptions,
        GcOptions,
        ImportOptions,
        L0CompactOptions,
        PruneOptions,
        RestoreOptions,
    )

#: What an operation talks to: Milvus, the storage that Milvus keeps its data in, the backups' storage, Zilliz Cloud.
Side = Literal["milvus", "storage", "backups", "cloud"]
#: What it changes: one of these, the named backup, another backup, or what the named backup says of its verification.
Written = Literal["milvus", "storage", "backup", "other backup", "cloud", "result"]
#: What it does with a storage. ``note``: it reads, and writes what it can do without.
Access = Literal["none", "read", "note", "write"]


@frozen(kw_only=True)
class Question:
    """The confirmation before something is destroyed, and why ``--yes`` is required without a terminal.

    ``{targets}`` in the text is replaced by the collections of the plan that are replaced, or the backups or leftovers that go; it is made first,
    and without any nothing is asked.
    """

    text: str
    reason: str


@frozen(kw_only=True)
class Operation:
    """``summary`` is its line in ``mbk --help``, ``more`` follows it in its own help.

    ``takes`` is a class of :mod:`mbk.model.options`, ``module`` has ``plan``, ``preview`` and ``execute``.
    ``name_of_backup``: whether a backup must be named; ``or moment``: unless the options name the moment that it is to be of. ``resume`` says how to resume an interrupted run, with ``{name}``
    and the options. ``job`` is its kind in ``/api/v2``, empty: none. ``asks`` returns what must be confirmed, from the
    backup's name and the options. ``measured``: the command line offers the metrics of a run. ``several``: it takes the names
    of several backups there, and ``--all``. ``word``: what the command line calls it, if that is another word, which is
    accepted, too. ``backup``: how its help names the backup.
    """

    name: str
    summary: str
    more: str = ""
    takes: str
    module: str = ""
    name_of_backup: Literal["required", "optional", "none", "or moment"] = "required"
    needs: tuple[Side, ...]
    writes: tuple[Written, ...] = ()
    resume: str = "run it again to resume"
    asks: Callable[[str, Any], Question | None] | None = None
    job: str = ""
    measured: bool = False
    several: bool = False
    word: str = ""
    backup: str = "NAME"

    @property
    def command(self) -> str:
        """Its word on the command line."""
        return self.word or self.name

    @property
    def access_to_storage(self) -> Access:
        """What it does with the storage that Milvus keeps its data in."""
        if "storage" not in self.needs:
            return "none"
        return "write" if "storage" in self.writes else "read"

    @property
    def access_to_backups(self) -> Access:
        if "backups" not in self.needs:
            return "none"
        if {"backup", "other backup"} & {*self.writes}:
            return "write"
        return "note" if "result" in self.writes else "read"

    @property
    def options(self) -> type[Options]:
        """The class of its options."""
        options: type[Options] = getattr(import_module("mbk.model.options"), self.takes)
        return options

    @property
    def method(self) -> str:
        """The method of `Session`."""
        word = self.name.replace(" ", "_")
        return f"{word}_backup" if iskeyword(word) else word


def _before_a_restore(_: str, options: RestoreOptions) -> Question | None:
    text = "Drop what exists of {targets}, and restore?"
    return (
        Question(text=text, reason="--drop_exist_collection drops collections")
        if options.drop_existing
        else None
    )


def _before_a_deletion(name: str, _: DeleteOptions) -> Question:
    return Question(text=f"Delete backup {name!r} for good?", reason="delete removes the backup for good")


def _before_a_prune(_: str, __: PruneOptions) -> Question:
    return Question(text="Delete {targets} for good?", reason="prune removes backups for good")


def _before_a_collection(_: str, __: GcOptions) -> Question:
    return Question(text="Remove for good: {targets}?", reason="gc removes objects for good")


def _before_an_import(name: str, _: ImportOptions) -> Question:
    text = f"Move the objects of backup {name!r} into the pool? The Go tool cannot read it afterwards."
    return Question(
        text=text, reason="import deletes the classic copies, and the Go tool no longer reads the backup"
    )


def _before_a_replacement(name: str, options: L0CompactOptions) -> Question | None:
    from mbk.model.reports import compacted_name

    replaced = options.output or compacted_name(name)
    text = f"Delete backup {replaced!r} for good, if there is one?"
    return Question(text=text, reason="--force deletes a backup for good") if options.force else None


OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            name="create",
            summary="Back up databases and collections.",
            takes="CreateOptions",
            module="mbk.engine.operations.create",
            name_of_backup="optional",
            needs=("milvus", "storage", "backups"),
            writes=("backup",),
            resume="finish it: mbk create -n {name} --resume",
            job="backup",
            measured=True,
        ),
        Operation(
            name="list",
            summary="List the backups.",
            more="With -q only their names, one a line.",
            takes="ListOptions",
            name_of_backup="none",
            needs=("backups",),
        ),
        Operation(
            name="get",
            summary="Show the contents of a backup.",
            more="JSON unless -o says otherwise.",
            takes="GetOptions",
            needs=("backups",),
        ),
        Operation(
            name="restore",
            summary="Restore a backup, beside the originals or in their place.",
            takes="RestoreOptions",
            module="mbk.engine.operations.restore",
            name_of_backup="or moment",
            needs=("milvus", "storage", "backups"),
            writes=("milvus", "storage"),
            resume="run it again",
            asks=_before_a_restore,
            job="restore",
        ),
        Operation(
            name="restore secondary",
            summary="Seed a standby cluster from a backup.",
            takes="StandbyOptions",
            module="mbk.engine.operations.standby",
            needs=("milvus", "storage", "backups"),
            writes=("milvus", "storage"),
            job="secondary",
        ),
        Operation(
            name="verify",
            summary="Verify that a backup is what was backed up.",
            more="Exit code 8 if anything is wrong.",
            takes="VerifyOptions",
            module="mbk.engine.operations.verify",
            needs=("backups",),
            writes=("result",),
            resume="run it again to continue",
            job="verify",
            measured=True,
            several=True,
        ),
        Operation(
            name="copy",
            summary="Copy a backup to another storage, bucket, directory or name.",
            more="SOURCE and DEST: NAME, PROFILE@NAME, a URL such as SCHEME://BUCKET/PATH/NAME, or ./PATH/NAME.",
            takes="CopyOptions",
            module="mbk.engine.operations.copy",
            needs=("backups",),
            writes=("other backup",),
            job="copy",
            word="cp",
            backup="SOURCE",
        ),
        Operation(
            name="import",
            summary="Take a classic backup into the pool of incremental backups.",
            more="Its objects are moved there by the storage itself; the Go tool cannot read it afterwards.",
            takes="ImportOptions",
            module="mbk.engine.operations.take_in",
            needs=("backups",),
            writes=("backup",),
            resume="run it again: mbk import -n {name}",
            asks=_before_an_import,
            job="import",
        ),
        Operation(
            name="ls",
            summary="List the objects of a backup, or what lies in any place.",
            more="PLACE: NAME, NAME/PATH, PROFILE@NAME, a URL such as SCHEME://BUCKET/PATH, or ./PATH; without it, the backups.",
            takes="LsOptions",
            name_of_backup="none",
            needs=("backups",),
        ),
        Operation(
            name="delete",
            summary="Delete a backup, also an incomplete one.",
            takes="DeleteOptions",
            module="mbk.engine.operations.delete",
            needs=("backups",),
            writes=("backup",),
            resume="delete the rest: mbk delete -n {name}",
            asks=_before_a_deletion,
            job="delete",
        ),
        Operation(
            name="undelete",
            summary="Bring back a deleted backup from a bucket that keeps versions.",
            more="Only marks of deletion are removed; what other bytes were written over is written again.",
            takes="UndeleteOptions",
            module="mbk.engine.operations.undelete",
            needs=("backups",),
            writes=("backup",),
            resume="run it again: mbk undelete -n {name}",
            job="undelete",
        ),
        Operation(
            name="pin",
            summary="Keep a backup from being deleted.",
            takes="PinOptions",
            module="mbk.engine.operations.pin",
            needs=("backups",),
            writes=("backup",),
        ),
        Operation(
            name="prune",
            summary="Delete the backups that no rule keeps.",
            more="The newest complete backup, the newest verified one and pinned ones never go.",
            takes="PruneOptions",
            module="mbk.engine.operations.prune",
            name_of_backup="none",
            needs=("backups",),
            writes=("backup",),
            resume="run it again",
            asks=_before_a_prune,
            job="prune",
        ),
        Operation(
            name="gc",
            summary="Remove what belongs to no backup and to no run.",
            more="Objects of the pool that no backup has, unfinished uploads, copies that a restore left in the storage of Milvus, what "
            "interrupted deletions left, and leases of the dead.",
            takes="GcOptions",
            module="mbk.engine.operations.gc",
            name_of_backup="none",
            needs=("backups",),
            writes=("storage", "backup"),
            resume="run it again",
            asks=_before_a_collection,
            job="gc",
        ),
        Operation(
            name="l0compact",
            summary="Rewrite a backup without L0 segments.",
            takes="L0CompactOptions",
            module="mbk.engine.operations.l0compact",
            needs=("backups",),
            writes=("other backup",),
            resume="start over: mbk l0compact -n {name} -o {output} --force",
            asks=_before_a_replacement,
        ),
        Operation(
            name="migrate",
            summary="Migrate a backup to Zilliz Cloud.",
            takes="MigrateOptions",
            module="mbk.engine.operations.migrate",
            needs=("backups", "cloud"),
            writes=("cloud",),
        ),
        Operation(
            name="check",
            summary="Check that everything is reachable, writable and consistent.",
            takes="CheckOptions",
            name_of_backup="none",
            needs=("milvus", "storage", "backups"),
        ),
    )
}
