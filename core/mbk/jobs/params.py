"""The parameters of each kind of job, made from the options of its operation: the bodies of ``POST /api/v2/jobs``."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from mbk.errors import UsageError
from mbk.model.addresses import Address
from mbk.model.declared import Declared, Options
from mbk.model.operations import OPERATIONS, Operation
from mbk.model.options import CopyOptions, RestoreOptions

#: The longest name of an existing backup: more than mbk gives a new one, since other tools may allow more.
_LONGEST_NAME = 256


class Params(BaseModel):
    """``backup_name`` is empty if the job generates or finds the name, or concerns all backups. Subclasses have ``kind`` and the options' fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    operation: ClassVar[Operation]

    path: str = Field(
        "", max_length=1024, description="Root path of the backups, instead of the configured one."
    )
    bucket: str = Field(
        "", max_length=63, description="Bucket of the backups, instead of the configured one."
    )

    @property
    def backup_name(self) -> str:
        name: str = getattr(self, "name" if _names_new(self.operation) else "backup", "")
        return name

    def options(self, **changes: object) -> Options:
        """The options of the operation, with changes by keyword. Raises `UsageError` for invalid or contradictory ones."""
        declared = self.operation.options.declared()
        given = {item.name: getattr(self, name) for item in declared if (name := item.rest_name)}
        return self.operation.options.of(None, given | changes)

    def settled(self) -> Self:
        """With moments instead of times ago: a later attempt restores what was asked for."""
        options = self.options()
        if not isinstance(options, RestoreOptions) or options.at is None:
            return self
        return self.model_copy(update={"at": options.at.isoformat()})

    def check(self) -> None:
        """Raises `UsageError` if neither a backup nor what finds it is named, and for what only those may ask for who have the machine: its files, any bucket of its credentials.

        A request may name a profile, whose place is the configuration's.
        """
        options = self.options()
        if self.operation.name_of_backup == "or moment" and not (self.backup_name or options.finds_backup):
            raise UsageError(
                "backup: neither a backup nor a moment is named",
                code="job-backup-missing",
                hint="name a backup, or the moment to restore with at",
            )
        if not isinstance(options, CopyOptions):
            return
        options.names(self.backup_name)
        for text in (self.backup_name, options.to):
            address = Address.of_backup(text)
            if address.scheme or (address.profile and (options.path or options.bucket)):
                raise UsageError(
                    "a request may not choose where {address!r} is",
                    code="address-not-allowed",
                    address=text,
                    hint="use NAME or PROFILE@NAME; the place of a profile is that of the configuration",
                )

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every path and bucket in the request."""
        options = self.options()
        other = [(options.path, options.bucket)] if isinstance(options, CopyOptions) else []
        return [(self.path, self.bucket), *other]


def _params(operation: Operation) -> type[Params]:
    fields: dict[str, Any] = {"kind": (Literal[operation.job], ...)}
    if _names_new(operation):
        text = "The backup's name; empty: made from the time."
        fields["name"] = (str, Field("", max_length=128, description=text))
    elif operation.name_of_backup == "required":
        name = Field(..., min_length=1, max_length=_LONGEST_NAME, description="The backup's name.")
        fields["backup"] = (str, name)
    elif operation.name_of_backup == "or moment":
        text = "The backup's name; empty: the backup that comes nearest to the moment."
        fields["backup"] = (str, Field("", max_length=_LONGEST_NAME, description=text))
    declared = operation.options.declared()
    fields |= {name: _field(item) for item in declared if (name := item.rest_name)}
    made: type[Params] = create_model(
        f"{operation.job.capitalize()}Params", __base__=Params, __doc__=operation.summary, **fields
    )
    made.operation = operation
    return made


def _names_new(operation: Operation) -> bool:
    return operation.name_of_backup == "optional"


def _field(item: Declared) -> tuple[Any, Any]:
    limits: dict[str, Any] = {}
    if item.is_number:
        limits = {"ge": item.option.minimum, "le": item.option.maximum}
    elif item.type is str and not item.choices:
        limits = {"max_length": item.option.longest} | ({"min_length": 1} if item.is_required else {})
    default = ... if item.is_required else _default(item)
    return _type(item), Field(default, description=_description(item), **limits)


def _type(item: Declared) -> Any:
    kind_of_value = item.option.json or item.type
    if get_origin(kind_of_value) in (Union, UnionType):
        text = Annotated[str, Field(max_length=item.option.longest)]
        kinds = [text if kind is str else kind for kind in get_args(kind_of_value)]
        return Union[(*kinds, None)]
    if get_origin(kind_of_value) is list:
        return Union[kind_of_value, None]  # noqa: UP007 - made of a value
    return Literal[item.choices] if item.option.choices else kind_of_value


def _default(item: Declared) -> Any:
    """The JSON value of an omitted option: null for lists, of which an empty one is refused."""
    declared = item.option.json
    if declared is None:
        return item.default
    kind = get_origin(declared)
    return None if kind in (Union, UnionType, list) else kind()


def _description(item: Declared) -> str:
    kept = " Never shown, never stored." if item.option.secret else ""
    return item.option.sentence + kept


#: The parameters of each kind of job.
PARAMS: Mapping[str, type[Params]] = {
    operation.job: _params(operation) for operation in OPERATIONS.values() if operation.job
}


def made(kind: str, values: Mapping[str, Any]) -> Params:
    """The parameters of a job. Raises `UsageError`, which repeats no value: it may be a secret."""
    try:
        return PARAMS[kind].model_validate({"kind": kind, **values})
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        raise UsageError(
            "{parameter}: {reason}",
            code="job-parameter-invalid",
            parameter=".".join(map(str, first["loc"])) or "body",
            reason=first["msg"][:1].lower() + first["msg"][1:],
        ) from None
