"""The boolean expressions of queries and deletes: the part of ``internal/parser/planparserv2/Plan.g4`` that clients use.

Comparisons (chains too), ``in``, ``not in``, ``like``, ``is null``, ``and or not``, arithmetic, ``field["key"]`` into JSON and
arrays, ``exists``, ``json_contains``/``array_contains`` and their ``_any`` and ``_all``, ``array_length``, ``{template}`` values.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.milvus_double.refusal import Refused

Getter = Callable[[str], Any]
Term = Callable[[Getter], Any]

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<name>[A-Za-z_$][\w$]*)|(?P<sign>==|!=|<=|>=|&&|\|\||\*\*|[<>!()\[\],+\-*/%{}]))"""
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SUM: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub}
_PRODUCT: dict[str, Callable[[Any, Any], Any]] = {
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
_MISSING = object()


class Parser:
    """One expression. ``known`` says whether a name is a field or may be a dynamic key."""

    def __init__(self, text: str, known: Callable[[str], bool], values: Mapping[str, Any]) -> None:
        self._text, self._known, self._values = text, known, values
        self._tokens = self._split(text)
        self._at = 0

    def parse(self) -> Term:
        term = self._either()
        if self._at < len(self._tokens):
            raise self._wrong(f"mismatched input '{self._peek()[1]}' expecting <EOF>")
        return term

    def _split(self, text: str) -> list[tuple[str, str]]:
        found, at = [], 0
        while at < len(text.rstrip()):
            token = _TOKEN.match(text, at)
            if token is None:
                raise self._wrong(f"token recognition error at: '{text[at:].strip()[:10]}'")
            found.append((str(token.lastgroup), token[str(token.lastgroup)]))
            at = token.end()
        return found

    def _wrong(self, why: str) -> Refused:
        return Refused(f"cannot parse expression: {self._text}, error: {why}")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "<EOF>")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, *wanted: str) -> str:
        kind, text = self._peek()
        found = text.lower() if kind == "name" else text
        if kind != "text" and found in wanted:
            self._at += 1
            return found
        return ""

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._wrong(f"missing '{wanted}' at '{self._peek()[1]}'")

    # -- from the loosest to the tightest ------------------------------------------------------------------------------

    def _either(self) -> Term:
        terms = [self._both()]
        while self._take("or", "||"):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else lambda row: any(term(row) for term in terms)

    def _both(self) -> Term:
        terms = [self._negated()]
        while self._take("and", "&&"):
            terms.append(self._negated())
        return terms[0] if len(terms) == 1 else lambda row: all(term(row) for term in terms)

    def _negated(self) -> Term:
        if self._take("not", "!"):
            inner = self._negated()
            return lambda row: not inner(row)
        return self._compared()

    def _compared(self) -> Term:
        left = self._chain(self._product, _SUM)
        if self._take("is"):
            wanted = not self._take("not")
            self._need("null")
            return lambda row: (left(row) is None) is wanted
        negative = bool(self._take("not"))
        if self._take("in"):
            choices = self._primary()
            return lambda row: (_plain(left(row)) in choices(row)) is not negative
        if self._take("like"):
            pattern = self._primary()
            return lambda row: isinstance(left(row), str) and _like(left(row), pattern(row))
        steps: list[tuple[Callable[[Any, Any], bool], Term]] = []
        while sign := self._take(*_COMPARE):
            steps.append((_COMPARE[sign], self._chain(self._product, _SUM)))
        return _comparison(left, steps) if steps else left

    def _product(self) -> Term:
        return self._chain(self._primary, _PRODUCT)

    def _chain(self, inner: Callable[[], Term], signs: Mapping[str, Callable[[Any, Any], Any]]) -> Term:
        term = inner()
        while sign := self._take(*signs):
            term = _combined(signs[sign], term, inner())
        return term

    def _primary(self) -> Term:
        kind, text = self._next()
        if text == "(" and kind == "sign":
            inner = self._either()
            self._need(")")
            return inner
        if text == "[" and kind == "sign":
            return self._list()
        if text == "{" and kind == "sign":
            _, name = self._next()
            self._need("}")
            if name not in self._values:
                raise self._wrong(f"the value of expression template variable name {{{name}}} is not found")
            return _constant(self._values[name])
        if text in ("-", "+") and kind == "sign":
            inner = self._primary()
            return (lambda row: -inner(row)) if text == "-" else inner
        if kind == "number":
            return _constant(float(text) if re.search(r"[.eE]", text) else int(text))
        if kind == "text":
            return _constant(_unquoted(text))
        if kind == "name":
            return self._named(text)
        raise self._wrong(f"no viable alternative at input '{text}'")

    def _list(self) -> Term:
        items = []
        while not self._take("]"):
            items.append(self._either())
            if not self._take(","):
                self._need("]")
                break
        return lambda row: [item(row) for item in items]

    def _named(self, name: str) -> Term:
        low = name.lower()
        if low in ("true", "false"):
            return _constant(low == "true")
        if low == "exists":
            inner = self._primary()
            return lambda row: _plain(inner(row)) is not None
        if low in _CALLS and self._take("("):
            arguments = [self._either()]
            while self._take(","):
                arguments.append(self._either())
            self._need(")")
            call = _CALLS[low]
            return lambda row: call(*(argument(row) for argument in arguments))
        if not self._known(name):
            raise self._wrong(f"field {name} not exist")
        path: list[Term] = []
        while self._take("["):
            path.append(self._either())
            self._need("]")
        return lambda row: _inside(row(name), [key(row) for key in path])


def _constant(value: Any) -> Term:
    return lambda _: value


def _combined(run: Callable[[Any, Any], Any], left: Term, right: Term) -> Term:
    def term(row: Getter) -> Any:
        first, second = left(row), right(row)
        return None if first is None or second is None else run(first, second)

    return term


def _comparison(left: Term, steps: list[tuple[Callable[[Any, Any], bool], Term]]) -> Term:
    def term(row: Getter) -> bool:
        first = _plain(left(row))
        for compare, right in steps:
            second = _plain(right(row))
            if first is None or second is None:
                return False
            try:
                if not compare(first, second):
                    return False
            except TypeError:
                return False
            first = second
        return True

    return term


def _plain(value: Any) -> Any:
    return None if value is _MISSING else value


def _inside(value: Any, path: list[Any]) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _unquoted(text: str) -> str:
    inner = text[1:-1]
    if text[0] == "'":
        inner = inner.replace("\\'", "'").replace('"', '\\"')
    return str(json.loads(f'"{inner}"', strict=False))


def _like(value: str, pattern: str) -> bool:
    parts = [re.escape(part).replace("_", ".") for part in pattern.split("%")]
    return re.fullmatch(".*".join(parts), value, re.S) is not None


def _contains(values: Any, item: Any) -> bool:
    return isinstance(values, list) and item in values


_CALLS: dict[str, Callable[..., Any]] = {
    "json_contains": _contains,
    "array_contains": _contains,
    "json_contains_any": lambda values, items: any(_contains(values, item) for item in items),
    "array_contains_any": lambda values, items: any(_contains(values, item) for item in items),
    "json_contains_all": lambda values, items: all(_contains(values, item) for item in items),
    "array_contains_all": lambda values, items: all(_contains(values, item) for item in items),
    "array_length": lambda values: len(values) if isinstance(values, list) else None,
}
