"""Every setting, one row each, and dialects: sets of names for the same settings.

A setting is identified by its *target*: the path of a field of :class:`mbk.config.schema.Settings`
(``milvus.port``), or a side and the name of a storage value (``backup_storage.access_key_id``).
:mod:`mbk.config.v1` and :mod:`mbk.config.v2` name the targets; loading, ``config show``, ``config migrate``,
suggestions and docs/reference/configuration.md all read these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mbk.config import parse as p
from mbk.frozen import frozen

PRIMARY, BACKUP = "storage", "backup_storage"
#: The section of further storages, each with a name; the values of one have targets such as ``profiles.archive.bucket``.
PROFILES = "profiles"
#: The section of whom a server tells of its schedules, each with a name.
NOTIFICATIONS = "notifications"

#: The fields of a profile that its plugin does not see: how mbk locks what it makes there.
LOCK = ("object_lock_mode", "object_lock_days")


@frozen
class Key:
    """``stored`` False: checked, but not a field of `Settings`; the help says what it does instead."""

    target: str
    help: str
    parse: p.Parser = p.text
    secret: bool = False
    stored: bool = True

    @property
    def side(self) -> str | None:
        """The storage that it is a value of: one of the two, or ``profiles.NAME``."""
        side = self.target.rpartition(".")[0]
        return side if side in (PRIMARY, BACKUP) or side.startswith(f"{PROFILES}.") else None


_SETTINGS = (
    Key("log.level", "`debug`, `info`, `warn`, `error`, `panic` or `fatal`", p.lower),
    Key("log.console", "write the log to standard error", p.boolean),
    Key("log.format", "lines on standard error and of the log file: `text`, or `json`", p.lower),
    Key("log.file", "also write the log to this file; empty: no file", p.file),
    Key("log.max_size_mib", "size in MiB at which the log file is rotated; 0: never", p.integer),
    Key("log.max_days", "days to keep rotated log files; 0: forever", p.integer),
    Key("log.max_backups", "how many rotated log files to keep; 0: all", p.integer),
    Key("server.enabled", "accepted, no effect: `mbk server` starts the server", p.boolean, stored=False),
    Key("server.debug", "debug output of the REST server", p.boolean),
    Key("server.swagger_base_path", "path prefix of the API description"),
    Key(
        "server.simple_response",
        "responses of `/api/v1` without schemas, indexes, properties and checkpoints",
        p.boolean,
    ),
    Key("server.host", "address on which the REST server listens", p.host),
    Key("server.port", "port of the REST server; 0: any free port", p.integer),
    Key("server.auth_file", "file with the tokens and users that may use the REST server", p.file),
    Key("server.allow_anonymous", "listen beyond this machine without authentication", p.boolean),
    Key("server.tls_cert", "PEM file of the REST server's certificate; with its key: TLS", p.file),
    Key("server.tls_key", "PEM file of the private key", p.file),
    Key("server.tls_client_ca", "PEM file of the authorities whose client certificates are required", p.file),
    Key("server.max_body_size", "largest request body: bytes, or with K, M, G, T", p.size),
    Key(
        "server.jobs_file",
        "file with the jobs (SQLite); empty: one for each configuration file, below `mbk` in the state directory",
        p.file,
    ),
    Key("server.jobs_concurrency", "jobs that run at once", p.integer),
    Key("server.jobs_queue", "maximum number of waiting jobs; more are refused", p.integer),
    Key("server.jobs_keep_days", "days to keep finished jobs; 0: forever", p.integer),
    Key("server.on_success", "URL to post to, or command to run, when a job succeeds", p.hook),
    Key("server.on_failure", "URL to post to, or command to run, when a job fails", p.hook),
    Key("milvus.address", "host of the Milvus proxy", p.host),
    Key("milvus.port", "gRPC port of the Milvus proxy", p.integer),
    Key("milvus.user", "user; empty, with an empty password: no credentials are sent"),
    Key("milvus.password", "password", secret=True),
    Key(
        "milvus.authorization",
        "`true`: a user is required; `false`: optional, a configured user is still sent",
        p.boolean,
        stored=False,
    ),
    Key("milvus.tls_mode", "no TLS, TLS that verifies the server's certificate, or mutual TLS"),
    Key("milvus.ca_cert_path", "PEM file of the authority that signed the server's certificate", p.file),
    Key("milvus.server_name", "name expected in the server's certificate, if it is not the address"),
    Key("milvus.mtls_cert_path", "PEM file of the client's certificate", p.file),
    Key("milvus.mtls_key_path", "PEM file of the client's private key", p.file),
    Key("milvus.rest_endpoint", "URL of Milvus' REST API; empty: from address and port", p.url),
    Key("milvus.management_endpoint", "URL of Milvus' management port, for the GC pause", p.url),
    Key("milvus.rpc_channel_name", "replicate channel whose position is recorded"),
    Key("milvus.etcd_endpoints", "etcd of Milvus: a list, or separated by commas", p.Listing()),
    Key("milvus.etcd_root_path", "root path of Milvus in etcd"),
    Key("backup.collections", "collections backed up at once", p.integer),
    Key("backup.segments", "segments backed up at once", p.integer),
    Key("backup.layout", "classic, or shared: every backup is an incremental one", p.lower),
    Key(
        "backup.object_lock_mode",
        "new backups cannot be deleted: `governance`, or `compliance`, which nobody can lift",
        p.lower,
    ),
    Key("backup.object_lock_days", "for so many days", p.integer),
    Key("backup.pause_gc", "pause Milvus' garbage collection during a backup", p.boolean),
    Key(
        "backup.gc_pause_seconds",
        "seconds of one GC pause lease, which is renewed during the run",
        p.integer,
    ),
    Key("restore.collections", "collections restored at once", p.integer),
    Key("restore.import_jobs", "import jobs that run at once", p.integer),
    Key("restore.max_segments_per_import_job", "segments merged into one import job", p.integer),
    Key(
        "restore.max_group_size",
        "maximum size of the data merged into one import job: bytes, or with K, M, G, T",
        p.size,
    ),
    Key("restore.keep_temp_files", "keep the staged copies of a restore, for debugging", p.boolean),
    Key("transfer.mode", "server-side copy where possible, always, or never", p.lower),
    Key(
        "transfer.concurrency",
        "objects copied at once, and requests in flight at one storage; unset: as many as the storages can do with, "
        "at most 128",
        p.integer,
    ),
    Key(
        "transfer.max_rate",
        "requests a second to each storage: `200`, `3000/min`; retries, pages of listings and parts count too",
        p.request_rate,
    ),
    Key(
        "transfer.max_bandwidth",
        "bytes a second that pass through mbk, read and written each: `50MiB/s`, `400Mbit/s`, or by the hour: "
        "`08:00-18:00 50MiB/s; 200MiB/s`",
        p.Bandwidths(),
    ),
    Key(
        "transfer.time_zone",
        "time zone of these hours, such as `Europe/Berlin`; empty: the machine's own",
        p.time_zone,
    ),
    Key(
        "transfer.memory",
        "memory that all objects on their way through mbk use together: bytes, or with K, M, G, T",
        p.size,
    ),
    Key("transfer.multipart_copy_threshold_mib", "objects from this size on are copied in parts", p.integer),
    Key(
        "transfer.executor",
        "what copies: `threads` of this process, `processes` on all cores, or the workers of a `dask` cluster",
        p.lower,
    ),
    Key(
        "transfer.workers",
        "how many processes; 0: as many as cores. Of a Dask cluster: how many to wait for at the start",
        p.integer,
    ),
    Key("transfer.dask_scheduler", "address of the Dask scheduler: `tls://host:8786`, `tcp://host:8786`"),
    Key(
        "transfer.dask_scheduler_file",
        "file in which the scheduler wrote its address, instead of the address",
        p.file,
    ),
    Key("transfer.dask_tls_ca", "PEM file of the authority of the cluster's certificates", p.file),
    Key("transfer.dask_tls_cert", "PEM file of the certificate shown to the scheduler", p.file),
    Key("transfer.dask_tls_key", "PEM file of its private key", p.file),
    Key(
        "transfer.dask_credentials",
        "`send`: workers get the settings of the storages; `own`: they have a configuration of their own",
        p.lower,
    ),
    Key(
        "transfer.dask_allow_plain",
        "send credentials to a scheduler without TLS, beyond this machine",
        p.boolean,
    ),
    Key("transfer.dask_patience", "seconds to wait for a worker while there is none", p.integer),
    Key("retention.keep_last", "backups that `mbk prune` keeps: the newest so many", p.integer),
    Key(
        "retention.keep_within",
        "all that are not older than this: `12h`, `30d`, `8w`, `6m` (months), `2y`",
        p.span,
    ),
    Key("retention.keep_hourly", "the newest of each of so many hours", p.integer),
    Key("retention.keep_daily", "the newest of each of so many days", p.integer),
    Key("retention.keep_weekly", "the newest of each of so many weeks", p.integer),
    Key("retention.keep_monthly", "the newest of each of so many months", p.integer),
    Key("retention.keep_yearly", "the newest of each of so many years", p.integer),
    Key("retention.keep_labels", "all with one of these labels: `KEY` or `KEY=VALUE`, a list", p.Labels()),
    Key(
        "retention.time_zone",
        "time zone in which days begin, such as `Europe/Berlin`; empty: UTC",
        p.time_zone,
    ),
    Key("cloud.endpoint", "URL of the managed service's API", p.url),
    Key("cloud.api_key", "key of the managed service's API", secret=True),
)

#: The values of a storage side: the vocabulary of :class:`mbk.plugin.StorageSettings`, and its type.
_STORAGE = (
    ("type", "type of the storage: a name or alias that `mbk plugins` lists", p.lower, False),
    ("address", "host", p.host, False),
    ("port", "port", p.port, False),
    ("region", "region", p.text, False),
    ("use_ssl", "TLS", p.boolean, False),
    ("ca_cert", "PEM file of the authorities to trust", p.file, False),
    (
        "path_style",
        "the bucket in the path rather than in the host name; unset: the vendor's default",
        p.boolean,
        False,
    ),
    ("bucket", "bucket, or container", p.word, False),
    ("root_path", "prefix of all keys in the bucket", p.text, False),
    ("access_key_id", "access key", p.text, False),
    ("secret_access_key", "secret key", p.text, True),
    ("session_token", "session token of temporary keys", p.text, True),
    ("use_iam", "credentials of the machine's role instead of keys", p.boolean, False),
    ("iam_endpoint", "endpoint that issues these credentials", p.text, False),
    ("profile", "profile in the vendor's own credential files", p.text, False),
    ("account_name", "account", p.text, False),
    ("account_key", "key of the account", p.text, True),
    ("connection_string", "connection string", p.text, True),
    ("sas_token", "shared access signature", p.text, True),
    ("credentials_file", "file with the credentials of a service account", p.file, False),
    ("local_path", "the directory as seen by the Milvus process", p.text, False),
    (
        "milvus_address",
        "host by which Milvus itself reaches the storage, if different (snapshots)",
        p.host,
        False,
    ),
    ("milvus_port", "port by which Milvus itself reaches the storage", p.port, False),
)


class _Keys(dict[str, Key]):
    """Lists the settings that every configuration has. What has names of the user's is found, too, whatever they are."""

    def __missing__(self, target: str) -> Key:
        side, _, value = target.rpartition(".")
        if side == NOTIFICATIONS:
            return Key(target, "URL to post to, or command to run, for the schedules that name it", p.hook)
        if not side.startswith(f"{PROFILES}."):
            raise KeyError(target)
        section = "backup" if value in LOCK else PRIMARY
        return replace(self[f"{section}.{value}"], target=target)


KEYS: Mapping[str, Key] = _Keys(
    (key.target, key)
    for key in (
        *_SETTINGS,
        *(
            Key(f"{side}.{name}", help_, parse, secret)
            for side in (PRIMARY, BACKUP)
            for name, help_, parse, secret in _STORAGE
        ),
    )
)


@frozen
class Name:
    """A dialect's name of a target: ``key`` in the file, older spellings, the environment variable.

    ``parse``: if the dialect writes the value in its own way.
    """

    target: str
    key: str
    env: str = ""
    aliases: tuple[str, ...] = ()
    parse: p.Parser | None = None

    @property
    def parser(self) -> p.Parser:
        return self.parse or KEYS[self.target].parse

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, *self.aliases)


#: Names that both dialects share: the classic tool knew none of these settings.
STEERING = (
    Name("transfer.max_rate", "transfer.maxRate", "TRANSFER_MAX_RATE"),
    Name("transfer.max_bandwidth", "transfer.maxBandwidth", "TRANSFER_MAX_BANDWIDTH"),
    Name("transfer.time_zone", "transfer.timeZone", "TRANSFER_TIME_ZONE"),
    Name("transfer.memory", "transfer.memory", "TRANSFER_MEMORY"),
)
OBJECT_LOCK = (
    Name("backup.object_lock_mode", "backup.objectLock.mode"),
    Name("backup.object_lock_days", "backup.objectLock.days"),
)
RETENTION = (
    Name("retention.keep_last", "retention.keepLast"),
    Name("retention.keep_within", "retention.keepWithin"),
    Name("retention.keep_hourly", "retention.keepHourly"),
    Name("retention.keep_daily", "retention.keepDaily"),
    Name("retention.keep_weekly", "retention.keepWeekly"),
    Name("retention.keep_monthly", "retention.keepMonthly"),
    Name("retention.keep_yearly", "retention.keepYearly"),
    Name("retention.keep_labels", "retention.keepLabels"),
    Name("retention.time_zone", "retention.timeZone"),
)
SERVER = (
    Name("server.host", "server.host", "SERVER_HOST"),
    Name("server.port", "server.port", "SERVER_PORT"),
    Name("server.auth_file", "server.authFile"),
    Name("server.allow_anonymous", "server.allowAnonymous"),
    Name("server.tls_cert", "server.tls.cert"),
    Name("server.tls_key", "server.tls.key"),
    Name("server.tls_client_ca", "server.tls.clientCA"),
    Name("server.max_body_size", "server.maxBodySize"),
    Name("server.jobs_file", "server.jobs.file"),
    Name("server.jobs_concurrency", "server.jobs.concurrency"),
    Name("server.jobs_queue", "server.jobs.queue"),
    Name("server.jobs_keep_days", "server.jobs.keepDays"),
    Name("server.on_success", "server.onSuccess"),
    Name("server.on_failure", "server.onFailure"),
)

EXECUTOR = (
    Name("transfer.executor", "transfer.executor"),
    Name("transfer.workers", "transfer.workers"),
    Name("transfer.dask_scheduler", "transfer.dask.scheduler"),
    Name("transfer.dask_scheduler_file", "transfer.dask.schedulerFile"),
    Name("transfer.dask_tls_ca", "transfer.dask.tls.ca"),
    Name("transfer.dask_tls_cert", "transfer.dask.tls.cert"),
    Name("transfer.dask_tls_key", "transfer.dask.tls.key"),
    Name("transfer.dask_credentials", "transfer.dask.credentials"),
    Name("transfer.dask_allow_plain", "transfer.dask.allowPlain"),
    Name("transfer.dask_patience", "transfer.dask.patience"),
)


@dataclass(frozen=True)
class Dialect:
    """A version of the configuration file.

    ``defaults``: target to value, for storage values with a classic default. ``not_inherited``: storage values that the
    backup side does not inherit from the primary. ``spellings``: storage type to its canonical spelling.
    ``renamed``: for a storage type, value names for which the dialect uses the keys of others.
    """

    version: str
    names: tuple[Name, ...]
    defaults: Mapping[str, str]
    not_inherited: frozenset[str]
    spellings: Mapping[str, str]
    renamed: Mapping[str, Mapping[str, str]]

    @cached_property
    def by_key(self) -> Mapping[str, Name]:
        """Keys match in any case, as in the Go tool."""
        return {key.lower(): name for name in self.names for key in name.keys}

    @cached_property
    def by_env(self) -> Mapping[str, Name]:
        return {name.env: name for name in self.names if name.env}

    @cached_property
    def by_target(self) -> Mapping[str, Name]:
        return {name.target: name for name in self.names}

    @cached_property
    def sections(self) -> frozenset[str]:
        """Every proper prefix of a key, in lower case."""
        parts = [key.split(".") for key in self.by_key]
        return frozenset(".".join(words[:n]) for words in parts for n in range(1, len(words))) | {
            PROFILES,
            NOTIFICATIONS,
        }

    def canonical(self, storage_type: str) -> str:
        return self.spellings.get(storage_type, storage_type)

    def nearest(self, key: str) -> str | None:
        """The most similar key, section or variable."""
        from difflib import get_close_matches

        known = {written.lower(): written for name in self.names for written in name.keys}
        known |= {section: known_section(known, section) for section in self.sections}
        known |= {name.env.lower(): name.env for name in self.names if name.env}
        matches = get_close_matches(key.lower(), list(known), n=1, cutoff=0.75)
        return known[matches[0]] if matches else None


def known_section(known: Mapping[str, str], section: str) -> str:
    """``section`` in the dialect's own case."""
    keys = (key for lowered, key in known.items() if lowered.startswith(section + "."))
    return next(keys, section)[: len(section)]
