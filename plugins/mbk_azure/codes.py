"""The service's error codes, as data.

https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and the common codes beside it.
"""

from __future__ import annotations

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    InvalidKey,
    MbkError,
    ObjectArchived,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageFull,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unsupported,
)

_CODES: dict[type[MbkError], str] = {
    BucketNotFound: "ContainerNotFound FilesystemNotFound",
    ObjectNotFound: "404 BlobNotFound ResourceNotFound PathNotFound SourcePathNotFound ParentNotFound",
    ObjectExists: "412 BlobAlreadyExists ConditionNotMet TargetConditionNotMet ResourceAlreadyExists BlobOverwritten",
    AuthenticationFailed: "401 AuthenticationFailed InvalidAuthenticationInfo NoAuthenticationInformation",
    PermissionDenied: (
        "403 AccountIsDisabled AuthorizationFailure AuthorizationPermissionMismatch "
        "AuthorizationProtocolMismatch AuthorizationResourceTypeMismatch AuthorizationServiceMismatch "
        "AuthorizationSourceIPMismatch InsufficientAccountPermissions KeyBasedAuthenticationNotPermitted "
        "PublicAccessNotPermitted UnauthorizedBlobOverwrite ContainerDisabled BlobImmutableDueToPolicy "
        "LeaseIdMissing LeaseIdMismatchWithBlobOperation "
        "LeaseIdMismatchWithContainerOperation SnapshotsPresent"
    ),
    ObjectArchived: "BlobArchived BlobBeingRehydrated",
    Throttled: (
        "429 ServerBusy ContainerBeingDeleted FilesystemBeingDeleted PendingCopyOperation SystemInUse "
        "AccountBeingCreated DestinationPathIsBeingDeleted SourcePathIsBeingDeleted"
    ),
    StorageUnavailable: "InternalError OperationTimedOut",
    # InvalidBlockList: another upload of the key was completed, which drops the blocks of this one.
    TransferInterrupted: "408 Md5Mismatch InvalidMd5 Crc64Mismatch InvalidBlockList IncompleteBody",
    InvalidKey: (
        "InvalidUri InvalidResourceName RequestUrlFailedToParse InvalidFileOrDirectoryPathName OutOfRangeInput "
        "PathConflict PathAlreadyExists ResourceTypeMismatch"
    ),
    Unsupported: (
        "405 501 CopyAcrossAccountsNotSupported FeatureVersionMismatch InvalidHttpVerb InvalidSourceBlobType "
        "InvalidSourceBlobUrl InvalidSourceUri UnsupportedHeader UnsupportedHttpVerb UnsupportedQueryParameter "
        "UnsupportedRestVersion UnsupportedXmlNode ConditionHeadersNotSupported NotImplemented APINotImplemented "
        "FeatureNotYetSupportedForHierarchicalNamespaceAccounts"
    ),
    StorageFull: "507",
}

#: By the service's code, or by the HTTP status where it says none.
BY_CODE: dict[str, type[MbkError]] = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

HINTS: dict[str, str] = {
    "AuthenticationFailed": "check the account's name and key, or that the SAS token is whole and not expired; set this machine's clock",
    "NoAuthenticationInformation": "set accountKey, a SAS token or a connection string, or useIAM",
    "AuthorizationFailure": "check what the credential may do, and the account's firewall",
    "AuthorizationPermissionMismatch": "give it the role Storage Blob Data Contributor, or a SAS token with the rights rwdlc",
    "KeyBasedAuthenticationNotPermitted": "the account takes no keys: set useIAM",
    "AccountRequiresHttps": "set useSSL",
    "BlobArchived": "rehydrate it to the hot or cool tier, and wait until that is done",
    "BlobBeingRehydrated": "wait until it is rehydrated",
    "InvalidBlobOrBlock": "another tool left an upload of this key unfinished: delete the backup and begin anew",
    "SnapshotsPresent": "delete its snapshots first",
    "chain": "log in, or set the environment's AZURE_ variables; check that the identity may reach the account",
}
