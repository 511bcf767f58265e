"""The one exception tree. Each leaf is a condition; each condition has an exit code.

::

    MbkError                        1  base of all errors
    ├── UsageError                  2  the request makes no sense
    │   ├── ConfigError             2  the settings are wrong; carries every problem at once
    │   ├── InvalidName             2  an invalid name of a backup, a collection or a suffix
    │   ├── UnknownStorage          2  no installed plugin provides this storage type
    │   ├── BrokenPlugin            2  the selected plugin cannot be loaded
    │   ├── WrongStorage            2  the bucket or root path is not Milvus' own
    │   └── MissingDependency       2  an SDK is not installed; the hint is the command that installs it
    ├── PartialFailure              3  some collections are done, others failed; carries the report
    ├── NotFound                    4
    │   ├── BackupNotFound
    │   ├── CollectionNotFound
    │   ├── BucketNotFound
    │   └── ObjectNotFound             also a FileNotFoundError
    ├── AlreadyExists               5
    │   ├── BackupExists
    │   ├── CollectionExists
    │   └── ObjectExists               a conditional write found an object
    ├── AccessError                 6
    │   ├── AuthenticationFailed       the credentials are wrong, unknown or expired
    │   └── PermissionDenied           the credentials are valid but lack the permission
    ├── Unreachable                 7
    │   ├── StorageUnavailable         retryable
    │   └── MilvusUnavailable          retryable
    ├── VerificationFailed          8  a size or a number of rows differs from the expected one
    │   ├── DamageFound                `verify` found something wrong; carries the report
    │   └── RowsWrong                  no collection was restored with the rows that it must have; carries the report
    ├── StorageError                1
    │   ├── Throttled                  retryable
    │   ├── TransferInterrupted        retryable; a stream broke in the middle
    │   ├── StorageFull                no space or quota left
    │   ├── Unsupported                this storage cannot do this; there may be another way
    │   ├── InvalidKey                 the key is not valid in this storage
    │   ├── ObjectArchived             the object must be restored from its archive before it can be read
    │   └── DeleteFailed               some keys are still there; `failures` names them
    ├── MilvusError                 1  the server reported an error
    │   ├── RateLimited                retryable
    │   └── ImportFailed               an import job failed; carries the server's reason
    ├── InvalidBackup               1  the backup's files are incomplete, cannot be decoded, or have an unknown format
    │   └── DamagedBackup           8  a file of the backup is lost, or differs from what was recorded
    ├── Busy                        1  another run is writing this backup, or restoring into this collection
    │   └── LeaseLost                  another run took over while this one stood still
    └── Interrupted               130  Ctrl-C, SIGTERM or hang-up

No message, argument or attribute of an error ever contains a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

from mbk.frozen import frozen

_PLAIN = (str, int, float, type(None))


class MbkError(Exception):
    """Base of every error that mbk raises on purpose.

    ``message`` says in one line what is wrong and where; ``hint`` how to fix it. Both are templates with the names of
    ``facts`` in braces: people read the text, programs use ``code``, a stable name of the condition, and the facts.
    Foreign text, such as a server's answer, is a fact, or a sentence without facts, which is taken literally.
    ``retryable``: whether the same call may succeed later; the default is that of the class. Errors are never modified.
    """

    exit_code: ClassVar[int] = 1
    retryable: bool = False

    def __init__(
        self,
        sentence: str,
        *,
        code: str = "",
        hint: str | None = None,
        retryable: bool | None = None,
        **facts: object,
    ) -> None:
        self._templates = (sentence, hint)
        self.message = filled(sentence, facts)
        super().__init__(self.message)
        self.code = code or _words(type(self).__name__)
        self.hint = None if hint is None else filled(hint, facts)
        self.facts: Mapping[str, object] = plain(facts)
        if retryable is not None:
            self.retryable = retryable

    def final(self) -> Self:
        """The same error, not retryable, for a caller that has given up: outer loops do not retry it.

        Raise it ``from error.__cause__``, so that its cause is shown and not the error a second time.
        """
        return self._with(retryable=False)

    def passing(self) -> Self:
        """The same error, retryable, for a caller that knows that the call may be repeated. Raise it as `final`."""
        return self._with(retryable=True)

    def on(self, side: str, words: str) -> Self:
        """The same error, which says whose it is: ``words`` before its message, ``side`` as a fact. Raise it as `final`."""
        message, facts = f"{words}: {self.message}", {**self.facts, "side": side}
        changed = {**self.__dict__, "message": message, "facts": facts}
        return cast("Self", _rebuild(type(self), (message,), changed)).with_traceback(self.__traceback__)

    def saying(self, **facts: object) -> Self:
        """The same error with other words for some of its facts. Raise it as `final`."""
        known = {**self.facts, **facts}
        sentence, hint = self._templates
        message = filled(sentence, known)
        told = {
            "message": message,
            "hint": None if hint is None else filled(hint, known),
            "facts": plain(known),
        }
        changed = _rebuild(type(self), (message,), {**self.__dict__, **told})
        return cast("Self", changed).with_traceback(self.__traceback__)

    def _with(self, *, retryable: bool) -> Self:
        changed = _rebuild(type(self), self.args, {**self.__dict__, "retryable": retryable})
        return cast("Self", changed).with_traceback(self.__traceback__)

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def no_threads() -> MbkError:
    return MbkError(
        "the system gives this process no further thread",
        code="threads-exhausted",
        hint="raise the limit of its user (ulimit -u) or of its container (pids)",
    )


def known(error: BaseException) -> MbkError | None:
    """The error as one of ours, if it is one, or what the interpreter says where there is no further thread; None for a bug."""
    if isinstance(error, MbkError):
        return error
    return no_threads() if "can't start new thread" in str(error) else None


def filled(sentence: str, facts: Mapping[str, object]) -> str:
    """The sentence with its facts. Text that is not a template for them stays literal, including braces."""
    try:
        return sentence.format(**facts) if facts else sentence
    except (LookupError, ValueError, AttributeError):
        return sentence


def plain(facts: Mapping[str, object]) -> Mapping[str, object]:
    """Facts as JSON values: anything but strings and numbers is converted with ``str``."""
    return {name: fact if isinstance(fact, _PLAIN) else str(fact) for name, fact in facts.items()}


def _words(name: str) -> str:
    """``BackupNotFound`` becomes ``backup-not-found``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def _rebuild(kind: type[MbkError], args: tuple[Any, ...], state: dict[str, Any]) -> MbkError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(MbkError):
    exit_code = 2


@frozen
class Problem:
    """One thing wrong with the settings: ``key`` as the user wrote it, what is wrong, what to write instead."""

    key: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        text = f"{self.key}: {self.message}" if self.key else self.message
        return f"{text} ({self.suggestion})" if self.suggestion else text


class ConfigError(UsageError):
    """The settings are wrong. ``problems`` lists all of them, never only the first."""

    def __init__(self, source: str, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("; ".join([f"{source}: {problem}" for problem in self.problems]), hint=hint)


class InvalidName(UsageError):
    pass


class UnknownStorage(UsageError):
    pass


class BrokenPlugin(UsageError):
    pass


class WrongStorage(UsageError):
    pass


class MissingDependency(UsageError):
    pass


class PartialFailure(MbkError):
    """Some collections are done and others failed. ``report`` is the command's report, failures included."""

    exit_code = 3

    def __init__(
        self, sentence: str, *, report: object, code: str = "", hint: str | None = None, **facts: object
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, retryable=None, **facts)
        self.report = report


class NotFound(MbkError):
    exit_code = 4


class BackupNotFound(NotFound):
    pass


class CollectionNotFound(NotFound):
    pass


class BucketNotFound(NotFound):
    pass


class ObjectNotFound(NotFound, FileNotFoundError):
    pass


class AlreadyExists(MbkError):
    exit_code = 5


class BackupExists(AlreadyExists):
    pass


class CollectionExists(AlreadyExists):
    pass


class ObjectExists(AlreadyExists):
    pass


class AccessError(MbkError):
    exit_code = 6


class AuthenticationFailed(AccessError):
    pass


class PermissionDenied(AccessError):
    pass


class Unreachable(MbkError):
    exit_code = 7


class StorageUnavailable(Unreachable):
    retryable = True


class MilvusUnavailable(Unreachable):
    retryable = True


class VerificationFailed(MbkError):
    exit_code = 8


class DamageFound(VerificationFailed):
    """`verify` found something wrong. ``report`` is its `VerifyReport`, with the findings."""

    def __init__(
        self, sentence: str, *, report: object, code: str = "", hint: str | None = None, **facts: object
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, retryable=None, **facts)
        self.report = report


class RowsWrong(VerificationFailed):
    """No collection of a restore has the rows that it must have. ``report`` is the command's report."""

    def __init__(
        self, sentence: str, *, report: object, code: str = "", hint: str | None = None, **facts: object
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, retryable=None, **facts)
        self.report = report


class StorageError(MbkError):
    pass


class Throttled(StorageError):
    retryable = True


class TransferInterrupted(StorageError):
    retryable = True


class StorageFull(StorageError):
    pass


class Unsupported(StorageError):
    pass


class InvalidKey(StorageError):
    pass


class ObjectArchived(StorageError):
    pass


class DeleteFailed(StorageError):
    """Some keys could not be deleted. ``failures`` maps each such key to the storage's reason."""

    def __init__(
        self,
        sentence: str,
        *,
        failures: dict[str, str],
        code: str = "",
        hint: str | None = None,
        retryable: bool | None = None,
        **facts: object,
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, retryable=retryable, **facts)
        self.failures = failures

    def naming(self, failures: dict[str, str]) -> Self:
        """The same error, for the keys of several batches. Raise it as `final`."""
        return cast("Self", _rebuild(type(self), self.args, {**self.__dict__, "failures": failures}))


class MilvusError(MbkError):
    """The server returned an error. ``server_code`` is the server's own, 0 if it sent none."""

    def __init__(
        self,
        sentence: str,
        *,
        server_code: int = 0,
        code: str = "",
        hint: str | None = None,
        retryable: bool | None = None,
        **facts: object,
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, retryable=retryable, **facts)
        self.server_code = server_code


class RateLimited(MilvusError):
    retryable = True


class ImportFailed(MilvusError):
    pass


class InvalidBackup(MbkError):
    pass


class DamagedBackup(InvalidBackup):
    exit_code = 8


class BackupPinned(MbkError):
    """Somebody wants the backup to stay."""


class BackupLocked(MbkError):
    """The storage keeps the objects of the backup until a moment."""


class Busy(MbkError):
    pass


class LeaseLost(Busy):
    pass


class Interrupted(MbkError):
    exit_code = 130
