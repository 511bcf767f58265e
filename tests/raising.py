"""Errors and notices as a test asks for them: by class, code and facts, never by their sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mbk.errors import MbkError


@contextmanager
def raised(kind: type[MbkError], code: str = "", **facts: object) -> Iterator[pytest.ExceptionInfo[MbkError]]:
    """The block raises an error of this class and code with at least these facts; an empty code: any."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert not code or error.code == code, f"{error.code}: {error}"
    told = {name: error.facts.get(name) for name in facts}
    assert told == facts, f"{error.code}: {dict(error.facts)}"
