"""Conditions that storages of every kind meet, told by each of them alike. ``place`` is a `Place`, a location, a directory."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from mbk.errors import (
    BucketNotFound,
    DeleteFailed,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
    Unsupported,
)
from mbk.plugin.failures import BUCKET_MISSING, OBJECT_EXISTS, OBJECT_MISSING, WireError, facts_of
from mbk.ports.storage import PLAIN, Capabilities, WriteOptions

if TYPE_CHECKING:
    from mbk.plugin.http import Answer


#: Of an answer of success that the service itself cannot have given.
NOT_THE_SERVICE = (
    "check the address and the port, and whether a proxy or a login page answers instead of the service"
)


def require_installed(module: str) -> None:
    """Of an SDK that is loaded only where it is needed, but must be there: whether a storage works depends not on its keys,
    nor on what a run asks of it. Raises `ModuleNotFoundError`, as an import would."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def bucket_missing(place: object) -> BucketNotFound:
    return BucketNotFound(BUCKET_MISSING, code="bucket-missing", **facts_of(place))


def object_missing(key: str, place: object) -> ObjectNotFound:
    return ObjectNotFound(OBJECT_MISSING, code="object-missing", key=key, **facts_of(place))


def object_exists(key: str, place: object) -> ObjectExists:
    return ObjectExists(OBJECT_EXISTS, code="object-exists", key=key, **facts_of(place))


def wrong_size(key: str, place: object, reason: str) -> StorageError:
    """Of a write whose chunks hold another number of bytes than was announced, or than the service takes."""
    return StorageError(
        "cannot write {key!r} in {place}: {reason}",
        code="size-wrong",
        key=key,
        reason=reason,
        **facts_of(place),
    )


def range_past_end(key: str, place: object, end: int) -> StorageError:
    return StorageError(
        "object {key!r} in {place} ends before byte {end}",
        code="range-past-end",
        key=key,
        end=end,
        **facts_of(place),
    )


def upload_empty(key: str, place: object) -> StorageError:
    return StorageError(
        "the upload of {key!r} to {place} has no parts", code="upload-empty", key=key, **facts_of(place)
    )


def delete_failed(failures: dict[str, str], place: object) -> DeleteFailed:
    """``failures`` as `DeleteFailed` has them; at least one."""
    key, reason = next(iter(failures.items()))
    return DeleteFailed(
        "could not delete {count} objects from {place}, the first of them {key!r}: {reason}",
        code="delete-failed",
        failures=failures,
        count=len(failures),
        key=key,
        reason=reason,
        **facts_of(place),
    )


def require_options(options: WriteOptions, capabilities: Capabilities, storage: object) -> None:
    """`Unsupported` for options that are set and not declared."""
    if options is PLAIN:
        return
    if refused := options.chosen - capabilities.write_options:
        raise Unsupported(
            "{storage} does not support these write options: {options}",
            code="options-unsupported",
            storage=storage,
            options=", ".join(sorted(refused)),
        )


def answer_unreadable(form: str) -> WireError:
    """An answer of success whose body is not what the service documents: a proxy's page, half a document."""
    return WireError(
        StorageUnavailable,
        "the answer is not {form}",
        code="answer-unreadable",
        hint=NOT_THE_SERVICE,
        form=form,
    )


def answer_foreign(mark: str) -> WireError:
    """An answer of success without what the service marks all of its answers with."""
    return WireError(
        StorageUnavailable,
        "the answer does not come from the service: it has no {mark}",
        code="answer-foreign",
        hint=NOT_THE_SERVICE,
        mark=mark,
    )


def require_empty(answer: Answer) -> None:
    """Of a deletion that succeeded: services say nothing more of it, and whoever sends a page is none."""
    if answer.content.strip():
        raise answer_unreadable("that of a deletion")


def listing_repeats() -> WireError:
    """A listing that does not come to an end: the service ignores the marker that it gave."""
    return WireError(StorageError, "the service gives the same page again", code="listing-repeats")


def error_in_success(error: str) -> WireError:
    """Of an answer that began before the work was done."""
    return WireError(
        StorageUnavailable,
        "the service reported success, but its answer contains an error: {error}",
        code="error-in-success",
        error=error,
    )


def no_multipart(storage: object) -> Unsupported:
    return Unsupported(
        "{storage} does not support multipart uploads", code="multipart-unsupported", storage=storage
    )


def no_locks(storage: object) -> Unsupported:
    return Unsupported(
        "{storage} cannot lock objects",
        code="locks-unsupported",
        storage=storage,
        hint="remove backup.objectLock, or back up to a storage with object lock",
    )


def bucket_without_locks() -> WireError:
    """What a wire raises where the service has locks, and the bucket none."""
    return WireError(
        Unsupported,
        "it was made without object lock",
        code="bucket-without-locks",
        hint="switch object lock on where the service can, or make a bucket with it",
    )


def no_versions(storage: object) -> Unsupported:
    return Unsupported(
        "{storage} does not tell old versions of objects", code="versions-unsupported", storage=storage
    )


def no_conditional_write(storage: object) -> Unsupported:
    return Unsupported(
        "{storage} does not support conditional writes", code="conditional-write-unsupported", storage=storage
    )


def no_part_copy(storage: object) -> Unsupported:
    return Unsupported(
        "{storage} does not support copying parts server side", code="part-copy-unsupported", storage=storage
    )


def no_copy_from(source: object, storage: object) -> Unsupported:
    return Unsupported(
        "{storage} cannot copy server side from {source}",
        code="copy-source-unsupported",
        storage=storage,
        source=source,
    )
