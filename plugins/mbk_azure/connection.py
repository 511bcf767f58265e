"""Where an account is and what opens it, and the connection string that says so in one text."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

#: The public credentials of every emulator.
# https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
EMULATOR_ACCOUNT = "devstoreaccount1"
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
EMULATOR_URL = f"http://127.0.0.1:10000/{EMULATOR_ACCOUNT}"


@dataclass(frozen=True, slots=True)
class Connection:
    """``url`` is the account's, ``endpoint`` the ``host:port`` without the account. Neither key nor SAS: the chain."""

    url: str
    account: str
    endpoint: str
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)


def parse(text: str) -> Connection:
    """A connection string. `ValueError` says what is wrong with it, and never what is in it."""
    parts = _parts(text)
    if parts.get("usedevelopmentstorage") == "true":
        parts = {
            "blobendpoint": EMULATOR_URL,
            "accountname": EMULATOR_ACCOUNT,
            "accountkey": EMULATOR_KEY,
        }
    key, sas = parts.get("accountkey", ""), parts.get("sharedaccesssignature", "").removeprefix("?")
    if bool(key) == bool(sas):
        raise ValueError("a connection string has either AccountKey or SharedAccessSignature")
    url = parts.get("blobendpoint", "").rstrip("/") or _usual_url(parts)
    account = parts.get("accountname", "") or _account_in(url)
    return Connection(url=url, account=account, endpoint=_endpoint(url, account), key=key, sas=sas)


def _parts(text: str) -> dict[str, str]:
    parts = {}
    for part in text.split(";"):
        name, equals, value = part.strip().partition("=")
        if not name:
            continue
        if not equals:
            raise ValueError("that is no connection string: it is made of Name=Value pairs and semicolons")
        parts[name.lower()] = value
    return parts


def _usual_url(parts: dict[str, str]) -> str:
    if not parts.get("accountname"):
        raise ValueError("the connection string names neither AccountName nor BlobEndpoint")
    scheme = parts.get("defaultendpointsprotocol", "https")
    return f"{scheme}://{parts['accountname']}.blob.{parts.get('endpointsuffix', 'core.windows.net')}"


def _account_in(url: str) -> str:
    split = urlsplit(url)
    return split.path.strip("/").partition("/")[0] or (split.hostname or "").partition(".")[0]


def _endpoint(url: str, account: str) -> str:
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        split, port = urlsplit(""), None
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ValueError("the BlobEndpoint of the connection string is no URL")
    host = split.hostname.removeprefix(f"{account}.blob.")
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port or (443 if split.scheme == 'https' else 80)}"
