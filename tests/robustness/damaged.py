"""One damaged backup: what each command says of it, and what a restore of it leaves."""

from __future__ import annotations

from collections.abc import Callable

from mbk.errors import InvalidBackup, MbkError
from mbk.model.states import BackupState
from mbk.session import Session
from tests.robustness.damage import DAMAGES, EXTRAS, METADATA, Target
from tests.robustness.scene import BACKUP, Scene
from tests.robustness.table import Table

#: Exit codes that say that the backup is damaged, or parts of it.
DAMAGED = (1, 3, 4, 8)


#: The files that `list` reads, all others it sees in a listing.
READ_BY_LIST = frozenset({"mbk.json", "backup_meta.json"})


def is_listed_as_damaged(session: Session) -> bool:
    """`list` never fails because of one backup."""
    (found,) = [item for item in session.list() if item.name == BACKUP] or [None]
    return found is None or found.state != BackupState.COMPLETE


def is_refused(ask: Callable[[], object]) -> bool:
    """Whether the answer is that the backup, or a part of it, is damaged; other errors are errors of the test."""
    try:
        ask()
    except MbkError as error:
        if error.exit_code in DAMAGED:
            return True
        raise
    return False


def whole(session: Session) -> None:
    """`get` shows an incomplete backup as what it is."""
    found = session.get(BACKUP, detail=True)
    if found.state != BackupState.COMPLETE:
        raise InvalidBackup(f"{found.state}: {found.reason}", code="shown-as-damaged")


def judge(scene: Scene, target: Target, damage: str, table: Table) -> None:
    """Damages a copy of the backup and counts who noticed."""
    backups = scene.fresh()
    DAMAGES[damage](target.in_copy(backups))
    what = f"{damage} of {target.path.relative_to(target.prefix)}"
    with scene.session(backups) as session:
        if target.kind in METADATA and damage not in EXTRAS:
            # A directory tells no digests: what list does not read, it knows by its size.
            if target.kind in READ_BY_LIST or not damage.startswith("flip"):
                table.count(target.kind, "list", good=is_listed_as_damaged(session), what=what)
            table.count(target.kind, "get", good=is_refused(lambda: whole(session)), what=what)
        if hasattr(session, "verify"):
            found = is_refused(lambda: session.verify(BACKUP, depth="contents"))
            may_be_anothers = target.is_pooled and damage in EXTRAS
            table.count(target.kind, "verify", good=found != may_be_anothers, what=what)
        good, why = restores_rightly(scene, session, damage)
        table.count(target.kind, "restore", good=good, what=f"{what}: {why}")


def restores_rightly(scene: Scene, session: Session, damage: str) -> tuple[bool, str]:
    """In place of what lives there: refused and all as before, or done with the rows of the backup."""
    before = scene.rows()
    try:
        session.restore(BACKUP, drop_existing=True)
    except MbkError as error:
        why = f"{type(error).__name__} {error.code}: {error}"
        unchanged = scene.alive() and scene.rows() == before
        return unchanged and damage not in EXTRAS, why
    same = scene.alive() and scene.rows() == scene.wanted
    scene.change()
    return same and damage in EXTRAS, "restored" + ("" if same else " WRONG ROWS")
