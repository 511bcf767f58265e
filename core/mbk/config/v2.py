"""Dialect v2: the nested file that starts with ``configVersion: v2``. Its variables are for credentials only."""

from __future__ import annotations

from mbk.config import parse as p
from mbk.config.keys import BACKUP, EXECUTOR, OBJECT_LOCK, PRIMARY, RETENTION, SERVER, STEERING, Dialect, Name
from mbk.config.v1 import DEFAULT_TYPE, SPELLINGS

_SETTINGS = (
    Name("log.level", "log.level"),
    Name("log.console", "log.console"),
    Name("log.format", "log.format"),
    Name("log.file", "log.file.path"),
    Name("log.max_size_mib", "log.file.maxSizeMiB"),
    Name("log.max_days", "log.file.maxDays"),
    Name("log.max_backups", "log.file.maxBackups"),
    Name("server.debug", "server.debugMode"),
    Name("server.swagger_base_path", "server.swaggerBasePath"),
    Name("server.simple_response", "server.simpleResponse"),
    *SERVER,
    Name("milvus.address", "milvus.grpc.address"),
    Name("milvus.port", "milvus.grpc.port"),
    Name("milvus.user", "milvus.user", "MILVUS_USER"),
    Name("milvus.password", "milvus.password", "MILVUS_PASSWORD"),
    Name(
        "milvus.tls_mode",
        "milvus.grpc.tlsMode",
        parse=p.Choice({"disabled": "disabled", "server": "server", "mutual": "mutual"}),
    ),
    Name("milvus.ca_cert_path", "milvus.grpc.caCertPath"),
    Name("milvus.server_name", "milvus.grpc.serverName"),
    Name("milvus.mtls_cert_path", "milvus.grpc.mtlsCertPath"),
    Name("milvus.mtls_key_path", "milvus.grpc.mtlsKeyPath"),
    Name("milvus.rest_endpoint", "milvus.rest.endpoint"),
    Name("milvus.management_endpoint", "milvus.management.endpoint"),
    Name("milvus.rpc_channel_name", "milvus.replicate.rpcChannelName"),
    Name("milvus.etcd_endpoints", "milvus.etcd.endpoints"),
    Name("milvus.etcd_root_path", "milvus.etcd.rootPath"),
    Name("backup.collections", "backup.concurrency.collections"),
    Name("backup.segments", "backup.concurrency.segments"),
    Name("backup.layout", "backup.layout"),
    Name("backup.pause_gc", "backup.pauseGC"),
    Name("backup.gc_pause_seconds", "backup.gcPauseSeconds"),
    Name("restore.collections", "restore.concurrency.collections"),
    Name("restore.import_jobs", "restore.concurrency.importJobs"),
    Name("restore.max_segments_per_import_job", "restore.maxSegmentsPerImportJob"),
    Name("restore.max_group_size", "restore.maxGroupSize"),
    Name("restore.keep_temp_files", "restore.keepTempFiles"),
    Name("transfer.mode", "transfer.mode"),
    Name("transfer.concurrency", "transfer.concurrency"),
    *STEERING,
    *OBJECT_LOCK,
    *RETENTION,
    Name("transfer.multipart_copy_threshold_mib", "transfer.multipartCopyThresholdMiB"),
    *EXECUTOR,
    Name("cloud.endpoint", "zillizCloud.endpoint"),
    Name("cloud.api_key", "zillizCloud.apiKey", "ZILLIZ_CLOUD_API_KEY"),
)

_AUTH_TYPE = p.Choice(
    {"static": False, "sharedKey": False, "serviceAccount": False, "iam": True, "default": True}
)

#: Value name, key below ``milvus.storage`` and ``backup.storage``, variable after ``MILVUS_STORAGE_`` and so on.
_STORAGE: tuple[tuple[str, str, str, p.Parser | None], ...] = (
    ("type", "provider", "", None),
    ("address", "address", "", None),
    ("port", "port", "", None),
    ("region", "region", "", None),
    ("use_ssl", "useSSL", "", None),
    ("ca_cert", "caCert", "", None),
    ("path_style", "pathStyle", "", None),
    ("bucket", "bucketName", "", None),
    ("root_path", "rootPath", "", None),
    ("local_path", "localPath", "", None),
    ("milvus_address", "milvusAddress", "", None),
    ("milvus_port", "milvusPort", "", None),
    ("account_name", "accountName", "ACCOUNT_NAME", None),
    ("use_iam", "auth.type", "", _AUTH_TYPE),
    ("access_key_id", "auth.accessKeyID", "AUTH_ACCESS_KEY_ID", None),
    ("secret_access_key", "auth.secretAccessKey", "AUTH_SECRET_ACCESS_KEY", None),
    ("session_token", "auth.sessionToken", "AUTH_SESSION_TOKEN", None),
    ("account_key", "auth.accountKey", "AUTH_ACCOUNT_KEY", None),
    ("credentials_file", "auth.credentialsFile", "AUTH_CREDENTIALS_FILE", None),
    ("iam_endpoint", "auth.endpoint", "", None),
    ("profile", "auth.profile", "", None),
    ("connection_string", "auth.connectionString", "AUTH_CONNECTION_STRING", None),
    ("sas_token", "auth.sasToken", "AUTH_SAS_TOKEN", None),
)


def _side(side: str, key_prefix: str, env_prefix: str) -> tuple[Name, ...]:
    return tuple(
        Name(f"{side}.{value}", f"{key_prefix}.{key}", f"{env_prefix}_{env}" if env else "", parse=parse)
        for value, key, env, parse in _STORAGE
    )


V2 = Dialect(
    version="v2",
    names=(
        *_SETTINGS,
        *_side(PRIMARY, "milvus.storage", "MILVUS_STORAGE"),
        *_side(BACKUP, "backup.storage", "BACKUP_STORAGE"),
    ),
    defaults={
        "storage.type": DEFAULT_TYPE,
        "storage.bucket": "a-bucket",
        "storage.root_path": "files",
        "backup_storage.root_path": "backup",
    },
    not_inherited=frozenset({"root_path", "local_path", "milvus_address", "milvus_port"}),
    spellings=SPELLINGS,
    renamed={},
)
