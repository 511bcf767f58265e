"""How users, roles and grants are refused: 2.2.16 and 2.3.5 were asked, later versions are taken to speak as 2.3."""

from __future__ import annotations

import base64
import binascii

from pymilvus.grpc_gen import common_pb2 as common

from tests.milvus_double.refusal import Refused, invalid
from tests.milvus_double.versions import ServerVersion

PASSWORD_BYTES = range(6, 257)


class RbacWords:
    def __init__(self, version: ServerVersion) -> None:
        self._old = version.number < (2, 3, 0)

    def user_name(self, name: str) -> None:
        """Refuses a bad one, as the next two do."""
        if not name:
            raise self._bad("username should not be empty", "username must be not empty: invalid parameter")
        if not name[0].isalpha():
            raise self._bad(
                f"Invalid username: {name}. The first character of username must be a letter.",
                f"invalid user name {name}, the first character must be a letter, "
                f"but got %!s(uint8={ord(name[0])}): invalid parameter",
            )

    def role_name(self, name: str) -> None:
        """Also names of objects are checked so."""
        if not name:
            raise self._bad(
                "role name should not be empty",
                "role name should be not empty: invalid parameter[expected=not empty][actual=]",
            )
        if not (name[0].isalpha() or name[0] in "_*"):
            what = "the first character of role name must be an underscore or letter"
            raise self._bad(
                f"invalid role name: {name}. {what}.",
                f"{what}: invalid parameter[expected=95][actual={ord(name[0])}]",
            )

    def password(self, user: str, sent: str) -> str:
        """Out of the base64 that it comes in."""
        try:
            plain = base64.b64decode(sent, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            if self._old:
                reason = f"decode password fail key:{user}"
                raise Refused(reason, error_code=common.CreateCredentialFailure) from None
            raise Refused("decode password fail: illegal base64 data at input byte 0") from None
        if len(plain.encode()) not in PASSWORD_BYTES:
            raise self._bad(
                "The length of password must be great than 6 and less than 256 characters.",
                f"invalid password length: invalid parameter[{len(plain)} out of range 6 <= value <= 256]",
            )
        return plain

    def user_exists(self, name: str) -> Refused:
        prefix = "CreateCredential failed: " if self._old else ""
        return Refused(f"{prefix}user already exists: {name}", error_code=common.CreateCredentialFailure)

    def wrong_password(self, name: str) -> Refused:
        if self._old:
            reason = f"old password is not correct:{name}"
            return Refused(reason, error_code=common.UpdateCredentialFailure)
        return Refused(f"old password not correct for {name}: not authenticated", code=1400)

    def root_stays(self) -> Refused:
        if self._old:
            return Refused("user root cannot be deleted", error_code=common.DeleteCredentialFailure)
        return Refused("root user cannot be deleted: privilege not permitted", code=1401)

    def role_exists(self, name: str) -> Refused:
        reason = f'role [name:"{name}"] already exists'
        if self._old:
            reason = f"fail to create role, error: the key[root-coord/credential/roles/{name}] has existed"
        return Refused(reason, error_code=common.CreateRoleFailure)

    def role_stays(self, name: str) -> Refused:
        what = f"the role[{name}] is a default role, which can't be"
        if self._old:
            return Refused(f"{what} droped", error_code=common.IllegalArgument)
        return Refused(f"{what} dropped: privilege not permitted", code=1401)

    def _bad(self, old: str, new: str) -> Refused:
        return Refused(old, error_code=common.IllegalArgument) if self._old else invalid(new)
