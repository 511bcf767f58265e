"""Dialect v1: the flat file of the Go tool 0.1 to 0.5 (``minio.*``), its variables, its names of storage types.

Vendors are named here because this dialect has words for them; the rest of the configuration names none.
"""

from __future__ import annotations

from mbk.config import parse as p
from mbk.config.keys import BACKUP, EXECUTOR, OBJECT_LOCK, PRIMARY, RETENTION, SERVER, STEERING, Dialect, Name

DEFAULT_TYPE = "minio"

#: Spellings of storage types, by canonical spelling.
SPELLINGS = {
    **dict.fromkeys(("ali", "aliyun", "alibaba", "alicloud"), "aliyun"),
    **dict.fromkeys(("tc", "tencent"), "tencent"),
}

#: The Azure account and its key are written as the access key pair in this dialect.
#: How v2 calls the credentials of a service: keys, and the machine's role. Of all others they are `AUTH_WORDS[""]`.
AUTH_WORDS = {
    "": ("static", "iam"),
    "azure": ("sharedKey", "default"),
    "gcpnative": ("serviceAccount", "default"),
    "local": ("", ""),
}
RENAMED = {"azure": {"access_key_id": "account_name", "secret_access_key": "account_key"}}

_SETTINGS = (
    Name("log.level", "log.level"),
    Name("log.console", "log.console"),
    Name("log.format", "log.format"),
    Name("log.file", "log.file.filename", aliases=("log.file.rootPath",)),
    Name("log.max_size_mib", "log.file.maxSize"),
    Name("log.max_days", "log.file.maxDays"),
    Name("log.max_backups", "log.file.maxBackups"),
    Name("server.enabled", "http.enabled"),
    Name("server.debug", "http.debugMode"),
    Name("server.swagger_base_path", "http.swaggerBasePath"),
    Name("server.simple_response", "http.simpleResponse"),
    *SERVER,
    Name("milvus.address", "milvus.address", "MILVUS_ADDRESS"),
    Name("milvus.port", "milvus.port", "MILVUS_PORT"),
    Name("milvus.user", "milvus.user", "MILVUS_USER"),
    Name("milvus.password", "milvus.password", "MILVUS_PASSWORD"),
    Name("milvus.authorization", "milvus.authorizationEnabled"),
    Name(
        "milvus.tls_mode",
        "milvus.tlsMode",
        "MILVUS_TLS_MODE",
        parse=p.Choice({"0": "disabled", "1": "server", "2": "mutual"}),
    ),
    Name("milvus.ca_cert_path", "milvus.caCertPath", "MILVUS_CA_CERT_PATH", ("milvus.tlsCertPath",)),
    Name("milvus.server_name", "milvus.serverName", "MILVUS_SERVER_NAME"),
    Name("milvus.mtls_cert_path", "milvus.mtlsCertPath", "MILVUS_MTLS_CERT_PATH"),
    Name("milvus.mtls_key_path", "milvus.mtlsKeyPath", "MILVUS_MTLS_KEY_PATH"),
    Name("milvus.rest_endpoint", "milvus.restEndpoint"),
    Name("milvus.management_endpoint", "backup.gcPause.address", "BACKUP_GC_PAUSE_ADDRESS"),
    Name("milvus.rpc_channel_name", "milvus.rpcChannelName", "MILVUS_RPC_CHANNEL_NAME"),
    Name("milvus.etcd_endpoints", "milvus.etcd.endpoints"),
    Name("milvus.etcd_root_path", "milvus.etcd.rootPath"),
    Name("backup.collections", "backup.parallelism.backupCollection", "BACKUP_PARALLELISM_BACKUP_COLLECTION"),
    Name("backup.segments", "backup.parallelism.backupSegment"),
    Name("backup.layout", "backup.layout"),
    Name("backup.pause_gc", "backup.gcPause.enable", "BACKUP_GC_PAUSE_ENABLE"),
    Name("backup.gc_pause_seconds", "backup.gcPause.seconds"),
    Name(
        "restore.collections", "backup.parallelism.restoreCollection", "BACKUP_PARALLELISM_RESTORE_COLLECTION"
    ),
    Name("restore.import_jobs", "backup.parallelism.importJob"),
    Name("restore.max_segments_per_import_job", "backup.maxSegmentsPerImportJob"),
    Name("restore.max_group_size", "backup.maxSegmentGroupSize"),
    Name("restore.keep_temp_files", "backup.keepTempFiles", "BACKUP_KEEP_TEMP_FILES"),
    Name(
        "transfer.mode",
        "minio.crossStorage",
        parse=p.Choice(
            {
                "false": "auto",
                "true": "streaming",
                "no": "auto",
                "yes": "streaming",
                "0": "auto",
                "1": "streaming",
            }
        ),
    ),
    Name("transfer.concurrency", "backup.parallelism.copydata", "BACKUP_PARALLELISM_COPYDATA"),
    *STEERING,
    *OBJECT_LOCK,
    *RETENTION,
    Name("transfer.multipart_copy_threshold_mib", "minio.multipartCopyThresholdMiB"),
    *EXECUTOR,
    Name("cloud.endpoint", "cloud.address"),
    Name("cloud.api_key", "cloud.apikey"),
)

#: Value name, key below ``minio``, variable after ``MINIO_``.
_STORAGE = (
    ("address", "address", "ADDRESS"),
    ("port", "port", "PORT"),
    ("region", "region", "REGION"),
    ("use_ssl", "useSSL", "USE_SSL"),
    ("ca_cert", "caCert", ""),
    ("path_style", "pathStyle", ""),
    ("bucket", "bucketName", "BUCKET_NAME"),
    ("root_path", "rootPath", "ROOT_PATH"),
    ("access_key_id", "accessKeyID", "ACCESS_KEY"),
    ("secret_access_key", "secretAccessKey", "SECRET_KEY"),
    ("session_token", "token", "TOKEN"),
    ("use_iam", "useIAM", "USE_IAM"),
    ("iam_endpoint", "iamEndpoint", "IAM_ENDPOINT"),
    ("profile", "profile", ""),
    ("connection_string", "connectionString", ""),
    ("sas_token", "sasToken", ""),
    ("local_path", "localPath", ""),
)


def _side(side: str, key_prefix: str, env_prefix: str) -> tuple[Name, ...]:
    def named(key: str) -> str:
        return f"minio.{key_prefix}{key[0].upper()}{key[1:]}" if key_prefix else f"minio.{key}"

    return tuple(
        Name(f"{side}.{value}", named(key), f"MINIO_{env_prefix}{env}" if env else "")
        for value, key, env in _STORAGE
    )


V1 = Dialect(
    version="v1",
    names=(
        *_SETTINGS,
        Name("storage.type", "minio.storageType", aliases=("storage.storageType", "minio.cloudProvider")),
        *_side(PRIMARY, "", ""),
        Name("storage.credentials_file", "minio.gcpCredentialJSON", "GCP_KEY_JSON"),
        Name("backup_storage.type", "minio.backupStorageType", aliases=("storage.backupStorageType",)),
        *_side(BACKUP, "backup", "BACKUP_"),
        Name("backup_storage.credentials_file", "minio.backupGcpCredentialJSON", "BACKUP_GCP_KEY_JSON"),
    ),
    defaults={"storage.type": DEFAULT_TYPE, "storage.bucket": "a-bucket", "storage.root_path": "files"},
    not_inherited=frozenset({"credentials_file", "local_path"}),
    spellings=SPELLINGS,
    renamed=RENAMED,
)
