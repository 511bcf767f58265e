"""``restore --at``: what comes back is what was there at the moment that the report tells, on servers of every way of cutting."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mbk.engine.repository.timeline import hybrid_of
from mbk.errors import BackupNotFound, CollectionNotFound, UsageError
from mbk.model.events import Event, Notice, PhaseStarted
from mbk.model.options import RestoreOptions
from mbk.model.reports import CollectionOutcome, RunReport
from tests.raising import raised
from tests.robustness.moments import Scene, on_double
from tests.robustness.writing import Wire, Writers, compared
from tests.shell import Shell
from tests.versions.places import Place, place


@dataclass
class Series:
    """Backups ``b0``, ``b1``, ``b2`` of a collection under writers; ``asked``: moments between and after them."""

    scene: Scene
    wire: Wire
    writers: Writers
    asked: list[datetime] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def restored(self, name: str | None, at: datetime) -> RunReport:
        self.wire.drop("docs_back") if self.notices else None
        self.notices = ["-"]
        with self.scene.session() as session:
            return session.restore(name, at=at, suffix="_back", on_event=self.heard)

    def heard(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.code)

    def faults(self, outcome: CollectionOutcome) -> tuple[int, int, int]:
        assert outcome.moment is not None
        rows = self.scene.rows(self.wire, "docs_back")
        return compared(self.writers, rows, hybrid_of(outcome.moment)).faults


@contextmanager
def backed_up(home: Path, version: str, *, foreign: bool = False) -> Iterator[Series]:
    """``foreign``: another client flushes and compacts between the backups."""
    with on_double(home, version) as scene:
        wire = Wire(scene.address)
        wire.create("docs", shards=2)
        writers = Writers(scene.address, "docs", seed=5, upserts=not version.startswith("v2.2"))
        writers.fill(wire)
        wire.load("docs")
        series = Series(scene, wire, writers)
        with writers.working():
            for number in range(3):
                with scene.session() as session:
                    session.create(f"b{number}", filter="docs", format="binlog")
                writers.wait(writers.ops + 20)
                series.asked.append(datetime.now(UTC))
                writers.wait(writers.ops + 20)
                if foreign:
                    wire.flush("docs")
                    wire.compact("docs")
                    threading.Event().wait(1.5)  # the double's compactions take a second
        yield series
        wire.close()


@pytest.mark.parametrize("version", ["v2.3.4", "v2.3.5", "v2.4.23", "v2.5.20", "v2.6.12", "v3.0.1"])
def test_the_state_is_that_of_the_moment_that_is_told(tmp_path: Path, version: str) -> None:
    with backed_up(tmp_path, version) as series:
        for number, at in enumerate(series.asked):
            report = series.restored(None, at)
            (outcome,) = report.collections
            assert outcome.moment is not None
            assert outcome.behind is not None
            assert timedelta(seconds=outcome.behind) < timedelta(milliseconds=1) + at - outcome.moment
            assert outcome.moment <= at
            assert report.asked is not None
            assert series.faults(outcome) == (0, 0, 0), f"moment {number}"
            assert report.name in (f"b{number}", f"b{number + 1}")


def test_a_later_backup_is_cut_where_nothing_can_have_gone(tmp_path: Path) -> None:
    with backed_up(tmp_path, "v2.3.5") as series:
        (outcome,) = series.restored(None, series.asked[0]).collections
        assert outcome.behind == 0.0
        report = series.restored(None, series.asked[2])
        assert report.name == "b2", "the newest there is"
        assert report.collections[0].behind > 0


def test_a_later_backup_is_not_cut_once_rows_were_compacted_away(tmp_path: Path) -> None:
    with backed_up(tmp_path, "v2.3.5", foreign=True) as series:
        report = series.restored(None, series.asked[0])
        (outcome,) = report.collections
        assert report.name == "b0"
        assert outcome.behind > 0
        assert series.faults(outcome) == (0, 0, 0)
        assert "cut-uncertain" not in series.notices
        named = series.restored("b1", series.asked[0])
        assert named.collections[0].behind == 0.0
        assert "cut-uncertain" in series.notices, "who names the backup is told what may be missing"


def test_deletes_of_2_2_are_cut_as_its_flush_leaves_them(tmp_path: Path) -> None:
    with backed_up(tmp_path, "v2.2.16") as series:
        (outcome,) = series.restored(None, series.asked[0]).collections
        missing, _, _ = series.faults(outcome)
        assert (missing, outcome.behind) == (0, 0.0), "deletes that are in no file yet cannot be told"


# -- which backup ------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """Backups ``first`` and ``second`` of docs, and what was said."""

    place: Place
    wire: Wire
    home: Path
    heard: list[Event] = field(default_factory=list)
    began: int = 0

    def create(self, name: str, **options: Any) -> datetime:
        """Returns a moment after it. A listing tells seconds: no two of them begin within one."""
        while (now := int(time.time())) == self.began:
            threading.Event().wait(0.05)
        self.began = now
        with self.place.session() as session:
            session.create(name, **{"format": "binlog", **options})
        return self.now()

    def now(self) -> datetime:
        """Some milliseconds from whatever comes before and after: Milvus tells none apart within one."""
        threading.Event().wait(0.01)
        now = datetime.now(UTC)
        threading.Event().wait(0.01)
        return now

    def insert(self, *keys: int) -> datetime:
        self.wire.insert("docs", keys, 1)
        return self.now()

    def planned(self, name: str | None = None, **options: Any) -> Any:
        self.heard.clear()
        with self.place.session() as session:
            chosen = RestoreOptions(**{"suffix": "_back", **options})
            return session.plan("restore", name, chosen, on_event=self.heard.append)

    @property
    def notices(self) -> Sequence[str]:
        return [item.code for item in self.heard if isinstance(item, Notice)]

    def meta(self, name: str, file: str) -> Path:
        return self.home / "backups" / name / "meta" / file

    def as_classic(self, name: str) -> None:
        """As the Go tool writes it: without mbk's files and mark."""
        full = self.meta(name, "full_meta.json")
        tree = json.loads(full.read_bytes())
        del tree["mbk"]
        full.write_text(json.dumps(tree), encoding="utf-8")
        self.meta(name, "mbk.json").unlink()
        for path in full.parent.glob("objects*"):
            path.unlink()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with place(tmp_path, "v2.5.20") as found:
        wire = Wire(f"{found.double.address}:{found.double.port}")
        wire.create("docs", shards=1)
        wire.insert("docs", range(5), 0)
        yield Site(found, wire, tmp_path)
        wire.close()


def test_the_newest_backup_before_the_moment_is_taken(site: Site) -> None:
    site.create("first")
    after_first = site.insert(10)
    site.create("second")
    assert site.planned(at=site.now()).name == "second"
    plan = site.planned(at=after_first, filter="docs_back")
    assert plan.name in ("first", "second")
    assert plan.collections[0].moment <= after_first


def test_a_moment_before_all_backups_tells_the_earliest(site: Site) -> None:
    before = site.now()
    site.create("first")
    site.create("second")
    with raised(BackupNotFound, "no-backup-at-moment", backup="first"):
        site.planned(at=before)


def test_a_place_without_backups_says_so(site: Site) -> None:
    (site.home / "backups").mkdir(exist_ok=True)
    with raised(BackupNotFound, "no-backup-at-all"):
        site.planned(at="1s")


def test_the_future_is_refused(site: Site) -> None:
    site.create("first")
    for at in (datetime.now(UTC) + timedelta(hours=1), "2999-01-01", "2999-01-01T00:00:00+01:00"):
        with raised(UsageError, "moment-in-future"):
            site.planned(at=at)


def test_a_time_without_a_zone_is_of_the_given_one_and_told(site: Site) -> None:
    now = site.create("first")
    local = now.replace(tzinfo=None)
    assert site.planned(at=local.isoformat()).name == "first"
    assert "moment-without-zone" in site.notices
    with raised(UsageError, "moment-in-future"):
        site.planned(at=local.isoformat(), time_zone="America/New_York")


def test_a_named_backup_must_contain_the_moment(site: Site) -> None:
    at = site.create("first")
    with raised(UsageError, "moment-after-backup", backup="first", collection="default.docs"):
        site.planned("first", at=at)
    point = site.planned("first").collections[0].moment
    assert site.planned("first", at=point).collections[0].behind == 0.0
    with raised(UsageError, "moment-before-collection"):
        site.planned("first", at="1h")


def test_only_backups_with_the_collection_and_the_label_count(site: Site) -> None:
    site.create("first", labels={"team": "search"})
    site.wire.create("notes", shards=1)
    site.create("second", filter="notes")
    at = site.now()
    assert site.planned(at=at, source_filter="docs").name == "first"
    assert site.planned(at=at).name == "second"
    assert site.planned(at=at, labels="team=search").name == "first"
    with raised(CollectionNotFound):
        site.planned(at=at, source_filter="nothing")
    with raised(BackupNotFound, "no-backup-at-all"):
        site.planned(at=at, labels="team=other")
    with raised(UsageError, "labels-beside-name"):
        site.planned("first", at=at, labels="team=search")


def test_a_backup_amid_which_all_was_dropped_is_not_chosen(site: Site) -> None:
    site.create("first")
    at = _dropped_amid(site, "second")
    assert site.planned(at=at).name == "first"
    (skipped,) = (item for item in site.heard if isinstance(item, Notice) and item.code == "moment-skipped")
    assert skipped.facts["backup"] == "second"


def test_a_collection_that_was_dropped_amid_the_nearest_backup_is_told(site: Site) -> None:
    site.wire.create("notes", shards=1)
    site.create("first")
    at = _dropped_amid(site, "second")
    assert site.planned(at=at).name == "second"
    (lacking,) = (item for item in site.heard if isinstance(item, Notice) and item.code == "moment-lacking")
    assert (lacking.facts["collections"], lacking.facts["before"]) == ("default.docs", "first")
    assert site.planned(at=at, source_filter="docs").name == "first", "as the notice says"
    assert "moment-lacking" not in site.notices


def _dropped_amid(site: Site, name: str) -> datetime:
    """A backup that found docs, and whose flush did not. Returns a moment before the drop, after the backup was begun."""
    moments = list[datetime]()

    def drop(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == "flush":
            threading.Event().wait(1.0)  # a listing tells seconds
            moments.append(site.now())
            site.wire.drop("docs")

    site.create(name, on_event=drop)
    return moments[0]


def test_backups_that_are_not_whole_are_left_out_and_named(site: Site) -> None:
    site.create("first")
    site.create("unfinished")
    site.meta("unfinished", "full_meta.json").unlink()
    site.create("damaged")
    path = site.meta("damaged", "full_meta.json")
    path.write_bytes(path.read_bytes().replace(b"docs", b"dogs"))
    site.create("lost")
    site.meta("lost", "mbk.json").write_bytes(b"{")
    plan = site.planned(at=site.now())
    assert plan.name == "first"
    skipped = {
        str(item.facts["backup"])
        for item in site.heard
        if isinstance(item, Notice) and item.code == "moment-skipped"
    }
    assert skipped == {"unfinished", "damaged", "lost"}


def test_backups_of_no_moment_are_not_chosen(site: Site) -> None:
    site.create("first")
    site.create("unflushed", strategy="skip_flush")
    at = site.create("definitions", strategy="meta_only")
    assert site.planned(at=at).name == "first"
    for name in ("unflushed", "definitions"):
        with raised(UsageError, "moment-not-cuttable", backup=name):
            site.planned(name, at=at)
    assert site.planned(at=at, meta_only=True).name == "definitions"


def test_a_backup_of_the_go_tool_is_of_about_the_time_it_was_written(site: Site) -> None:
    early = site.insert(7)
    site.create("first")
    site.as_classic("first")
    plan = site.planned(at=site.now())
    assert plan.name == "first"
    assert plan.collections[0].moment is None
    assert "moment-inexact" in site.notices
    with raised(UsageError, "moment-after-backup", backup="first"):
        site.planned("first", at=site.now())
    cut = site.planned("first", at=early).collections[0]
    assert cut.behind == 0.0
    assert "cut-uncertain" in site.notices


def test_what_an_interrupted_restore_cut_elsewhere_is_not_completed(site: Site) -> None:
    early = site.insert(7)
    site.insert(8)
    site.create("first")
    assert site.planned("first", at=early).resumes is False
    with site.place.session() as session:
        report = session.restore("first", at=early, suffix="_early")
        assert report.collections[0].rows_present == 6
        whole = session.restore("first", suffix="_whole")
        assert whole.collections[0].rows_present == 7


def test_options_that_make_no_sense_together_are_refused() -> None:
    for options in ({"truncate": True}, {"no_cut": True}):
        with raised(UsageError, "options-conflict"):
            RestoreOptions(at="1h", **options)
    for options in ({"labels": "team"}, {"time_zone": "UTC"}):
        with raised(UsageError, "option-without-moment"):
            RestoreOptions(**options)
    for text in ("yesterday", "30x", "2026-13-01", "", 5):
        with raised(UsageError, "moment-invalid"):
            RestoreOptions(at=text)


def test_the_command_line_needs_no_name_and_tells_the_moment(site: Site) -> None:
    site.create("first")
    shell = Shell(site.place.config)
    at = site.now().isoformat()
    shown = shell.run("restore", "--at", at, "-s", "_back", "--dry-run")
    assert "as of 20" in shown
    assert "before the moment asked for" in shown
    told = json.loads(shell.run("restore", "--at", at, "-s", "_back", "-o", "json"))
    (outcome,) = told["collections"]
    assert (told["name"], outcome["outcome"]) == ("first", "done")
    assert outcome["moment"] < told["asked"]
    assert outcome["behind"] >= 0
