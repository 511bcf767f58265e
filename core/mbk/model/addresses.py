"""How people write where a backup is: ``nightly``, ``archive@nightly``, ``s3://bucket/backups/nightly``, ``./nightly``.

``[PROFILE@](NAME | URL | PATH)``. A name is that of a backup in the configured storage of the backups, or in that of the
profile. A URL says the bucket and the path itself; a path (it begins with ``/``, ``./`` or ``../``) is one of this machine.
Pure text: which storage answers to a scheme is the registry's to say.
"""

from __future__ import annotations

import re

from mbk.errors import UsageError
from mbk.frozen import frozen

#: The scheme of what is written as a path.
FILE = "file"
_PROFILE = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)@(.*)", re.DOTALL)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+|\[[0-9a-fA-F:]+\](?::\d+)?")


@frozen(kw_only=True)
class Address:
    """``scheme`` in lower case; empty: ``path`` is a name, or a name and a path below it, or empty.

    With a scheme ``path`` is all that follows it. ``profile`` in lower case, empty for none.
    """

    profile: str = ""
    scheme: str = ""
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """`UsageError` if it contains credentials, which it never repeats, or an address of a service."""
        profile, rest = _profile_and_rest(text)
        if url := _URL.fullmatch(rest):
            scheme, path = url[1].lower(), url[2]
            _require_bucket_first(scheme, path)
            return cls(profile=profile, scheme=scheme, path=path)
        if rest.startswith(("/", "./", "../")) or rest in (".", ".."):
            return cls(profile=profile, scheme=FILE, path=rest)
        if ":" in rest and "@" in rest:
            raise _credentials("SCHEME")
        return cls(profile=profile, path=rest)

    @classmethod
    def of_backup(cls, text: str) -> Address:
        """The address of one backup, or of where one shall be. `UsageError` if it is neither a name nor a URL."""
        address = cls.parse(text)
        if not address.scheme and "/" in address.path:
            raise UsageError(
                "{address!r} is not the name of a backup",
                code="address-not-a-name",
                address=text,
                hint="for a directory of this machine write ./{address}, for a bucket SCHEME://BUCKET/{address}",
            )
        return address

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def is_directory(self) -> bool:
        """Whether it names what backups are in, and no backup: there one has its own name."""
        last = self.path.rpartition("/")[2]
        return last in ("", ".", "..")

    @property
    def name(self) -> str:
        """The last element: the name of a backup. Empty if it names a directory."""
        return "" if self.is_directory else self.path.rpartition("/")[2]

    @property
    def without_slash(self) -> Address:
        """The same place as the address of a backup."""
        return Address(profile=self.profile, scheme=self.scheme, path=self.path.rstrip("/"))


def _profile_and_rest(text: str) -> tuple[str, str]:
    found = _PROFILE.fullmatch(text)
    return (found[1].lower(), found[2]) if found else ("", text)


def _require_bucket_first(scheme: str, path: str) -> None:
    """What stands before the first slash is no address and has no user: both are a profile's to say."""
    first = path.partition("/")[0]
    has_host = _HOST_AND_PORT.fullmatch(first) and "@" not in path
    if "@" in first or (":" in first and not has_host):
        raise _credentials(scheme)
    if ":" in first:
        raise UsageError(
            "{scheme}://{host}/ names the address of a service where the bucket must stand",
            code="address-with-host",
            scheme=scheme,
            host=first,
            hint="put the address into a profile (profiles.NAME in the configuration), and write NAME@{scheme}://BUCKET/...",
        )


def _credentials(scheme: str) -> UsageError:
    return UsageError(
        "an address with a user or a password is not accepted: others can read it in the list of processes and in the "
        "history of the shell",
        code="address-with-credentials",
        scheme=scheme,
        hint="put them into a profile (profiles.NAME in the configuration, or MBK_PROFILE_NAME_* in the environment), and "
        "write NAME@{scheme}://BUCKET/PATH",
    )
