"""The steps of ``mbk demo``: create a collection, back it up, restore it beside the original, compare row by row."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbk.config.load import load
from mbk.config.schema import MilvusSettings, Settings
from mbk.demo.embedded import EmbeddedMilvus
from mbk.demo.wheel import locate_wheel
from mbk.errors import CollectionExists, MilvusError, UsageError, VerificationFailed
from mbk.frozen import frozen
from mbk.model.reports import RunReport
from mbk.session import OnEvent, Session, connect

if TYPE_CHECKING:
    from pymilvus import MilvusClient

COLLECTION = "hello_milvus"
SUFFIX = "_recover"
ROWS = 3_000
DIMENSION = 8
_BATCH = 1_000
_FIELDS = ["pk", "random", "var", "embeddings"]

Say = Callable[[str], None]


@frozen
class DemoResult:
    """``rows`` were compared and are identical. ``directory`` contains the files; None on the user's own server."""

    milvus_version: str
    collection: str
    restored: str
    rows: int
    backup: str
    location: str
    directory: str | None
    config: str | None
    create_seconds: float
    restore_seconds: float


@frozen
class _Stage:
    settings: Settings
    backup: str
    directory: Path | None = None


def run_demo(
    *,
    say: Say,
    tell: Say = lambda _: None,
    settings: Settings | None = None,
    directory: Path | None = None,
    rows: int = ROWS,
    on_event: OnEvent | None = None,
) -> DemoResult:
    """Runs the demo on the server of ``settings``, or on an embedded Milvus in ``directory``.

    ``say`` is given its steps once they are done, ``tell`` what is under way.

    The directory must be new or empty; it is kept. Raises `VerificationFailed` if a row differs, `CollectionExists` if the
    user's server has collections with these names (they are not touched), and what `EmbeddedMilvus` raises if it cannot
    run.
    """
    if settings is not None:
        from mbk.model.reports import default_name

        return _play(_Stage(settings, default_name()), say=say, tell=tell, rows=rows, on_event=on_event)
    with _embedded(directory, say, tell) as stage:
        return _play(stage, say=say, tell=tell, rows=rows, on_event=on_event)


@contextmanager
def _embedded(directory: Path | None, say: Say, tell: Say) -> Iterator[_Stage]:
    wheel = locate_wheel()  # first: where there is none, no directory is left behind
    home = _fresh(directory)
    tell(f"a Milvus of its own, in {home}: takes about a minute, the first time two")
    began = time.monotonic()
    with EmbeddedMilvus(home / "milvus", wheel=wheel, tell=tell) as server:
        took = time.monotonic() - began
        say(f"Milvus {server.version} runs at {server.address}:{server.port} (started in {took:.1f} s)")
        config = home / "backup.yaml"
        config.write_text(_config(server, home / "backup"), encoding="utf-8")
        # The user's variables (MILVUS_PORT ...) are for another server.
        yield _Stage(load(config, environ={}).settings, "demo", home)


def _fresh(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="mbk-demo-"))
    home = directory.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        used = any(home.iterdir())
    except OSError as exc:
        raise UsageError(
            "cannot use {directory}: {reason}",
            code="demo-directory-unusable",
            directory=home,
            reason=exc.strerror,
            hint="choose another directory with --dir",
        ) from exc
    if used:
        raise UsageError(
            "{directory} is not empty",
            code="demo-directory-not-empty",
            directory=home,
            hint="choose a new directory with --dir",
        )
    return home


def _config(server: EmbeddedMilvus, backups: Path) -> str:
    import yaml

    tree = {
        "configVersion": "v2",
        "milvus": {
            "grpc": {"address": server.address, "port": server.port},
            "management": {"endpoint": server.management_url},
            "storage": {"provider": "local", "rootPath": str(server.storage_root)},
        },
        "backup": {"storage": {"provider": "local", "rootPath": str(backups)}, "pauseGC": False},
    }
    return "# Written by mbk demo.\n" + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _play(stage: _Stage, *, say: Say, tell: Say, rows: int, on_event: OnEvent | None) -> DemoResult:
    restored = COLLECTION + SUFFIX
    tell("loading pymilvus, which makes the rows, and connecting")
    with connect(stage.settings) as session, _client(session) as client:
        for name in (COLLECTION, restored):
            if client.has_collection(name):
                raise CollectionExists(
                    "collection {collection!r} already exists",
                    code="demo-collection-exists",
                    collection=name,
                    hint="drop it if it is from an earlier demo",
                )
        tell(f"inserting {rows} rows into {COLLECTION}")
        _fill(client, rows)
        say(f"{COLLECTION}: {rows} rows inserted, index built, loaded")
        created = session.create(stage.backup, filter=COLLECTION, on_event=on_event)
        say(f"create -n {stage.backup}: {_summary(created)}, at {created.location}")
        report = session.restore(stage.backup, suffix=SUFFIX, rebuild_index=True, on_event=on_event)
        say(f"restore -n {stage.backup} -s {SUFFIX}: {_summary(report)}, as {restored}")
        tell(f"loading {restored}, and comparing")
        client.load_collection(restored)
        same = _compare(client, COLLECTION, restored, rows)
    say(f"compared row by row: {same} of {rows} rows of {restored} are the same as in {COLLECTION}")
    if same != rows:
        raise VerificationFailed(
            "{differing} of {rows} rows differ",
            code="demo-rows-differ",
            differing=rows - same,
            rows=rows,
            location=created.location,
            hint="the backup is at {location}",
        )
    result = DemoResult(
        milvus_version=created.milvus_version,
        collection=COLLECTION,
        restored=restored,
        rows=rows,
        backup=stage.backup,
        location=created.location,
        directory=str(stage.directory) if stage.directory else None,
        config=str(stage.directory / "backup.yaml") if stage.directory else None,
        create_seconds=created.seconds,
        restore_seconds=report.seconds,
    )
    _where(result, stage, say)
    return result


def _summary(report: RunReport) -> str:
    objects = sum(item.objects or 0 for item in report.collections)
    present = [item.rows_present for item in report.collections if item.rows_present is not None]
    rows = f"{sum(present)} rows, " if present else ""
    return f"{rows}{objects} objects, {report.size / 1024:.1f} KiB in {report.seconds:.1f} s"


def _where(result: DemoResult, stage: _Stage, say: Say) -> None:
    if stage.directory is None:
        say(
            f"left on your server: {result.collection}, {result.restored}; the backup: mbk get -n {result.backup}"
        )
        return
    for what, place in (
        ("Milvus' data", stage.directory / "milvus" / "data"),
        ("the backup", stage.directory / "backup" / result.backup),
        ("configuration", stage.directory / "backup.yaml"),
    ):
        say(f"  {what:<14} {place}")
    say(f"look into it: mbk --config {result.config} get -n {result.backup}")


@contextmanager
def _client(session: Session) -> Iterator[MilvusClient]:
    """A pymilvus client of the session's server; its errors are mapped to ours."""
    from pymilvus import MilvusClient, MilvusException

    version = session.milvus.version  # an unreachable server raises our own error
    milvus = session.settings.milvus
    secure = milvus.tls_mode != "disabled"
    try:
        client = MilvusClient(
            uri=f"{'https' if secure else 'http'}://{milvus.address}:{milvus.port}",
            user=milvus.user,
            password=milvus.password.get_secret_value(),
            **(_tls(milvus) if secure else {}),
        )
        try:
            yield client
        finally:
            client.close()
    except MilvusException as exc:
        raise MilvusError(
            "Milvus {version} returned an error: {reason}",
            code="milvus-client-error",
            version=version,
            reason=exc.message,
            server_code=exc.code,
        ) from exc


def _tls(milvus: MilvusSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"secure": True, "server_name": milvus.server_name}
    if milvus.tls_mode == "server":
        return options | {"server_pem_path": milvus.ca_cert_path}
    return options | {
        "ca_pem_path": milvus.ca_cert_path,
        "client_pem_path": milvus.mtls_cert_path,
        "client_key_path": milvus.mtls_key_path,
    }


def _fill(client: MilvusClient, rows: int) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, description="made by mbk demo")
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("random", DataType.DOUBLE)
    schema.add_field("var", DataType.VARCHAR, max_length=64)
    schema.add_field("embeddings", DataType.FLOAT_VECTOR, dim=DIMENSION)
    client.create_collection(COLLECTION, schema=schema, consistency_level="Strong")
    chance = random.Random(19530)
    for first in range(0, rows, _BATCH):
        client.insert(COLLECTION, [_row(key, chance) for key in range(first, min(first + _BATCH, rows))])
    client.flush(COLLECTION)
    index = client.prepare_index_params()
    index.add_index("embeddings", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 128})
    client.create_index(COLLECTION, index)
    client.load_collection(COLLECTION)


def _row(key: int, chance: random.Random) -> dict[str, Any]:
    vector = [chance.random() for _ in range(DIMENSION)]
    return {"pk": key, "random": chance.random(), "var": f"hello {key}", "embeddings": vector}


def _compare(client: MilvusClient, left: str, right: str, rows: int) -> int:
    """How many rows of ``left`` are in ``right`` with the same values, minus the rows that are only in ``right``."""
    originals, copies = _rows(client, left, rows), _rows(client, right, rows)
    same = sum(copies.get(key) == row for key, row in originals.items())
    return same - len(copies.keys() - originals.keys())


def _rows(client: MilvusClient, collection: str, rows: int) -> dict[int, dict[str, Any]]:
    by_key = {}
    for first in range(0, rows, _BATCH):
        window = f"pk >= {first} and pk < {first + _BATCH}"
        for row in client.query(collection, filter=window, output_fields=_FIELDS):
            by_key[row["pk"]] = {name: row[name] for name in _FIELDS}
    return by_key
