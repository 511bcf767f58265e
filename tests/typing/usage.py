"""How programs use mbk, checked by mypy and never run. ``# E: code`` marks a line that a type checker must refuse."""

from __future__ import annotations

import mbk


def told(event: mbk.Event) -> None:
    if isinstance(event, mbk.ObjectCopied):
        event.key.encode()


def good(session: mbk.Session) -> None:
    made: mbk.RunReport = session.create("nightly", filter="shop.*", strategy="skip_flush", on_event=told)
    outcomes: tuple[mbk.CollectionOutcome, ...] = made.failed
    session.create()
    session.create(
        filter={"shop": ["docs"]}, exclude=mbk.Selection.parse("a*"), format="snapshot", pause_gc=None
    )
    session.create("nightly", mbk.CreateOptions(rbac=True, strategy=mbk.Strategy.AUTO), resume=True)
    session.restore("nightly", suffix="_back", rebuild_index=True, max_shards=2)
    session.restore("nightly", mbk.RestoreOptions(filter="a,b"), rename={"a": "b"})
    session.restore("nightly", mapping=[{"source": "a", "target": "b"}], skip_params={"indexParams": ["x"]})
    plan: mbk.Plan = session.plan("delete", "nightly")
    gone: int = session.delete("nightly")
    session.copy("nightly", path="elsewhere")
    session.copy("archive@nightly", "weekly", checksum="full")
    sizes: list[int | None] = [entry.size for entry in session.ls("nightly", recursive=True)]
    session.l0compact("nightly", "flat", force=True)
    info: mbk.BackupInfo = session.get("nightly", detail=True)
    rows: int = sum(part.rows for item in info.collections for part in item.partitions)
    started: mbk.MigrationReport = session.migrate("nightly", "in01")
    session.restore_secondary("nightly", source="a", target="b")
    names: list[str] = [backup.name for backup in session.list() if backup.state == "complete"]
    assert (
        len(outcomes) + len(sizes) == gone + rows + (plan.objects or 0)
        or started.job in names
        or mbk.__version__
    )


def bad(session: mbk.Session) -> None:
    session.create("nightly", filtre="a")  # E: call-arg
    session.create("nightly", rbac="yes")  # E: arg-type
    session.create("nightly", filter=1)  # E: arg-type
    session.create("nightly", strategy="quick")  # E: arg-type
    session.create("nightly", format="zip")  # E: arg-type
    session.create("nightly", mbk.RestoreOptions())  # E: arg-type
    session.create("nightly", suffix="_x")  # E: call-arg
    session.restore("nightly", sufix="_x")  # E: call-arg
    session.restore("nightly", max_shards="2")  # E: arg-type
    session.restore("nightly", "_x")  # E: arg-type
    session.get("nightly")["name"]  # E: index
    session.migrate("nightly")  # E: call-arg
    session.restore_secondary("nightly", "a", "b")  # E: call-arg
    mbk.CreateOptions(filtre="a")  # E: call-arg
    mbk.CreateOptions("a")  # E: call-arg
    mbk.Sesion()  # E: attr-defined
