"""Requests to one container of an account: where they go, how they are let in, and which answers are errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from mbk.plugin.batches import Call, Said, answers_of, batch_of
from mbk.plugin.conditions import answer_foreign
from mbk.plugin.http import Answer, Origin, sender_to
from mbk.plugin.refusals import Refused, refused
from mbk.plugin.wire import Data
from mbk_azure.authorization import Query, Request, authorization_of, encoded
from mbk_azure.errors import masked

if TYPE_CHECKING:
    from mbk_azure.settings import AzureSettings

#: One that the SDK knows and not its newest, for private clouds are slower; cold tiers need 2021-12-02.
VERSION = "2026-02-06"
_OWN = {"User-Agent": "mbk", "x-ms-version": VERSION}
#: Of every answer of the service.
_MARK = "x-ms-request-id"
_NONE: Mapping[str, str] = {}


class Service:
    """Thread-safe. Sends nothing when it is made."""

    def __init__(self, settings: AzureSettings) -> None:
        url = urlsplit(settings.connection.url)
        origin = Origin(host=url.hostname or "", port=url.port, tls=url.scheme == "https")
        self._authorization = authorization_of(settings)
        self._sender = sender_to(origin, settings.ca_cert)
        self._container = f"{url.path.rstrip('/')}/{quote(settings.bucket)}"
        self._url = f"{url.scheme}://{url.netloc}"

    def send(
        self,
        method: str,
        key: str | None,
        status: int,
        *,
        query: Query = (),
        headers: Mapping[str, str] = _NONE,
        body: Data = b"",
        **how: Any,
    ) -> Answer:
        """An answer of this status, or 206; `Refused` for any other. ``key`` None: the container's. ``how`` as a sender has it.

        One request, or two where the service refuses a token before its time: it did nothing then.
        """
        request = Request(method, self._path(key), query, {**_OWN, **headers}, len(body))
        answer = self._sent(request, body, how)
        if answer.status == 401 and self._authorization.renew(answer.headers.get("WWW-Authenticate", "")):
            answer = self._sent(request, body, how)
        is_success = answer.status in (status, 206)
        if is_success and _MARK in answer.headers:
            return answer
        if answer.stream:
            answer.stream.close()
        raise answer_foreign(_MARK) if is_success else _refused(answer)

    def delete(self, keys: Sequence[str]) -> list[Said]:
        """Statuses and bodies of the answers for each key, in their order; fewer where the service could not read the batch.

        https://learn.microsoft.com/rest/api/storageservices/blob-batch
        """
        boundary = f"batch_{uuid4()}"
        body = batch_of([self._deletion(key) for key in keys], boundary)
        headers = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
        query = (("restype", "container"), ("comp", "batch"))
        return answers_of(
            self.send("POST", None, 202, query=query, headers=headers, body=body, repeatable=True)
        )

    def url(self, key: str) -> str:
        return f"{self._url}{self._path(key)}"

    def close(self) -> None:
        self._sender.close()

    def _deletion(self, key: str) -> Call:
        request = Request("DELETE", self._path(key), (), {})
        query = f"?{self._authorization.query}" if self._authorization.query else ""
        headers = {**self._authorization.headers(request), "Content-Length": "0"}
        return Call("DELETE", f"{request.path}{query}", headers)

    def _sent(self, request: Request, body: Data, how: Mapping[str, Any]) -> Answer:
        query = "&".join(part for part in (encoded(request.query), self._authorization.query) if part)
        target = f"{request.path}?{query}" if query else request.path
        headers = {**request.headers, **self._authorization.headers(request)}
        return self._sender.send(request.method, target, headers, body, **how)

    def _path(self, key: str | None) -> str:
        return self._container if key is None else f"{self._container}/{quote(key)}"


def _refused(answer: Answer) -> Refused:
    """A HEAD has no body: its code stands in a header. Of the message the first line, the others are ids."""
    said = refused(answer)
    code = said.code or answer.headers.get("x-ms-error-code", "")
    return Refused(answer.status, code, masked(said.message.strip().partition("\n")[0]))
