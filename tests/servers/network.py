"""The faults of the kit (`mbk.testing.FaultConformance`) by the HTTP proxy before a server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from mbk.testing.faults import Action, Call
from tests.servers.faults import Fault, FaultProxy


@dataclass(frozen=True, slots=True)
class Requests:
    """Which requests a call sends: their method and what their target ``/path?query`` matches.

    ``{key}`` stands for the key as the target has it.
    """

    method: str
    target: str = "{key}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service says in a case of trouble."""

    status: int
    body: bytes


@dataclass(slots=True)
class ProxyNetwork:
    """A :class:`mbk.testing.faults.Network`. ``requests_of`` and ``answers`` are the vendor's; what is missing does not exist."""

    proxy: FaultProxy
    requests_of: Mapping[Call, Requests]
    answers: Mapping[Action, Answer]
    safe: str = "/"
    faults: list[Fault] = field(default_factory=list)

    def fail(
        self, action: Action, call: Call, key: str = "", *, times: int = 1, skip: int = 0, after: int = 0
    ) -> bool:
        requests = self.requests_of.get(call)
        if requests is None or (action not in ("reset", "lose", "cut") and action not in self.answers):
            return False
        named = re.escape(quote(key, safe=self.safe))
        fault = Fault("answer", requests.method, requests.target.replace("{key}", named), skip, times)
        if action == "reset" or action == "lose" or action == "cut":
            fault.action, fault.after = action, after
        else:
            fault.status, fault.body = self.answers[action].status, self.answers[action].body
        self.proxy.faults.append(fault)
        return True

    def mend(self) -> None:
        self.proxy.faults = []

    def requests(self) -> int:
        return len(self.proxy.requests)


_ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
#: What S3 and the services like it send, key in the path, and what they say in trouble.
S3_REQUESTS: dict[Call, Requests] = {
    "list": Requests("GET", "list-type=2"),
    "stat": Requests("HEAD"),
    "read": Requests("GET"),
    "write": Requests("PUT", r"{key}(\?(?!.*partNumber).*)?$"),
    "copy": Requests("PUT", r"{key}(\?(?!.*partNumber).*)?$"),
    "part": Requests("PUT", r"{key}\?.*partNumber"),
    "complete": Requests("POST", r"{key}\?.*uploadId"),
    "abort": Requests("DELETE", r"{key}\?.*uploadId"),
    "delete_batch": Requests("POST", r"\?delete"),
}
S3_ANSWERS: dict[Action, Answer] = {
    "throttle": Answer(503, _ERROR.format("SlowDown", "Reduce your request rate").encode()),
    "fail": Answer(500, _ERROR.format("InternalError", "We encountered an internal error").encode()),
    "fail_inside": Answer(200, _ERROR.format("InternalError", "We encountered an internal error").encode()),
    "refuse": Answer(501, _ERROR.format("NotImplemented", "Not implemented").encode()),
}
