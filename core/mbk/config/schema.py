"""The settings that mbk runs with: typed, frozen, independent of the dialect of the file.

:mod:`mbk.config.v1` and :mod:`mbk.config.v2` translate a file into these; nothing else depends on the dialects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, SkipValidation

from mbk.model.locking import LockMode
from mbk.model.rates import Bandwidth, RequestRate


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LogSettings(_Frozen):
    """``file`` empty: no log file. ``max_size_mib`` 0: no rotation."""

    level: Literal["debug", "info", "warn", "error", "panic", "fatal"] = "info"
    console: bool = True
    format: Literal["text", "json"] = "text"
    file: str = ""
    max_size_mib: int = Field(300, ge=0)
    max_days: int = Field(0, ge=0)
    max_backups: int = Field(0, ge=0)


class MilvusSettings(_Frozen):
    """``rest_endpoint`` empty: derived from address and port. Credentials are sent when ``user`` or ``password`` is set."""

    address: str = "localhost"
    port: int = Field(19530, ge=1, le=65535)
    user: str = ""
    password: SecretStr = SecretStr("")
    tls_mode: Literal["disabled", "server", "mutual"] = "disabled"
    ca_cert_path: str = ""
    server_name: str = ""
    mtls_cert_path: str = ""
    mtls_key_path: str = ""
    rest_endpoint: str = ""
    management_endpoint: str = "http://localhost:9091"
    rpc_channel_name: str = "by-dev-replicate-msg"
    etcd_endpoints: tuple[str, ...] = ("localhost:2379",)
    etcd_root_path: str = "by-dev"


class StorageChoice(_Frozen):
    """One side's storage, before its plugin has validated it.

    ``values`` are named as in :class:`mbk.plugin.StorageSettings` and contain only what was set, plus the classic defaults
    of bucket and root path; secrets are `SecretStr`. ``keys`` maps each name to the key under which it was set, in the
    user's own dialect, so that errors of a plugin can name it. ``object_lock_mode``: of a profile, how copies in it are locked.
    """

    type: str
    type_key: str = "storageType"
    object_lock_mode: LockMode | None = None
    object_lock_days: int = Field(0, ge=0, le=36500)
    values: SkipValidation[Mapping[str, Any]] = Field(default_factory=dict)
    keys: SkipValidation[Mapping[str, str]] = Field(default_factory=dict)


class BackupSettings(_Frozen):
    """``collections`` and ``segments`` limit what is processed at once. ``gc_pause_seconds`` is one lease.

    ``object_lock_mode`` None: new backups are not locked.
    """

    layout: Literal["classic", "shared"] = "classic"
    object_lock_mode: LockMode | None = None
    object_lock_days: int = Field(0, ge=0, le=36500)
    collections: int = Field(4, ge=1)
    segments: int = Field(32, ge=1)
    pause_gc: bool = True
    gc_pause_seconds: int = Field(3600, ge=1)


class RestoreSettings(_Frozen):
    """``max_group_size`` in bytes: the maximum size of merged segments in one import job."""

    collections: int = Field(2, ge=1)
    import_jobs: int = Field(768, ge=1)
    max_segments_per_import_job: int = Field(256, ge=1, le=1024)
    max_group_size: int = Field(2 * 1024**3, ge=1)
    keep_temp_files: bool = False


class TransferSettings(_Frozen):
    """``mode``: ``auto`` tries a server-side copy once and streams if it is refused. ``concurrency`` None: it adapts to
    the storages. ``time_zone`` empty: the machine's own. ``memory`` in bytes.

    ``workers`` 0: one process for each core; of a Dask cluster, any number. ``dask_patience`` in seconds.
    """

    mode: Literal["auto", "direct", "streaming"] = "auto"
    concurrency: int | None = Field(None, ge=1)
    max_rate: RequestRate = RequestRate(None)
    max_bandwidth: Bandwidth = Bandwidth()
    time_zone: str = ""
    memory: int = Field(512 * 1024**2, ge=16 * 1024**2)
    multipart_copy_threshold_mib: int = Field(500, ge=5)
    executor: Literal["threads", "processes", "dask"] = "threads"
    workers: int = Field(0, ge=0, le=1024)
    dask_scheduler: str = ""
    dask_scheduler_file: str = ""
    dask_tls_ca: str = ""
    dask_tls_cert: str = ""
    dask_tls_key: str = ""
    dask_credentials: Literal["send", "own"] = "send"
    dask_allow_plain: bool = False
    dask_patience: int = Field(60, ge=1)


class RetentionSettings(_Frozen):
    """The rules of a prune, as its options. ``time_zone`` empty: UTC."""

    keep_last: int = Field(0, ge=0)
    keep_within: str = ""
    keep_hourly: int = Field(0, ge=0)
    keep_daily: int = Field(0, ge=0)
    keep_weekly: int = Field(0, ge=0)
    keep_monthly: int = Field(0, ge=0)
    keep_yearly: int = Field(0, ge=0)
    keep_labels: tuple[str, ...] = ()
    time_zone: str = ""


class ServerSettings(_Frozen):
    """``jobs_file`` empty: in the user's state directory. ``on_success`` and ``on_failure``: a URL, or a command line."""

    debug: bool = False
    swagger_base_path: str = ""
    simple_response: bool = False
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    auth_file: str = ""
    allow_anonymous: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    max_body_size: int = Field(1024**2, ge=1024)
    jobs_file: str = ""
    jobs_concurrency: int = Field(2, ge=1)
    jobs_queue: int = Field(100, ge=0)
    jobs_keep_days: int = Field(30, ge=0)
    on_success: str = ""
    on_failure: str = ""


class CloudSettings(_Frozen):
    endpoint: str = "https://api.cloud.zilliz.com"
    api_key: SecretStr = SecretStr("")


class Settings(_Frozen):
    """Everything. ``storage`` is where Milvus keeps its data, ``backup_storage`` where backups go.

    ``profiles``: further storages by name, in lower case. ``schedules``: what a server does by itself, by name, as it was
    written: only a server looks into them. ``notifications``: whom it may tell of them, by name: URLs and command lines.
    """

    storage: StorageChoice
    backup_storage: StorageChoice
    profiles: Mapping[str, StorageChoice] = Field(default_factory=dict)
    log: LogSettings = LogSettings()
    milvus: MilvusSettings = MilvusSettings()
    backup: BackupSettings = BackupSettings()
    restore: RestoreSettings = RestoreSettings()
    transfer: TransferSettings = TransferSettings()
    retention: RetentionSettings = RetentionSettings()
    server: ServerSettings = ServerSettings()
    schedules: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    notifications: Mapping[str, str] = Field(default_factory=dict)
    cloud: CloudSettings = CloudSettings()
