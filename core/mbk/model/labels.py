"""Labels of backups: ``KEY=VALUE``, chosen by people to tell their backups apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.declared import empty_list, wrong_type

#: As the keys of Kubernetes' labels, which people know: they need no quotes in a shell, a file name or a URL.
_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?")
#: Characters of a value: enough for a sentence, little beside the rest of the manifest.
LONGEST = 256
#: Labels of one backup: every listing reads them all.
MOST = 32

Labels = Mapping[str, str]


def labels_of(value: object, name: str) -> Labels:
    """``{"team": "search"}``, ``["team=search"]`` or ``"team=search"``; None for none. `UsageError` says what is wrong."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        value = _distinct(_texts(value, name), name)
    for key, text in value.items():
        _check(key, text, name)
    if len(value) > MOST:
        raise UsageError(
            "{option}: a backup has at most {most} labels, not {count}",
            code="labels-too-many",
            option=name,
            most=MOST,
            count=len(value),
        )
    return dict(value)


@frozen
class LabelTest:
    """Whether a backup has a label: of this key, and with this value if one is given."""

    key: str
    value: str | None = None

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"

    def of(self, labels: Labels) -> bool:
        return self.key in labels and self.value in (None, labels[self.key])


def tests_of(value: object, name: str) -> tuple[LabelTest, ...]:
    """``["team=search", "keep"]``, or one of these texts; None for none."""
    if value is None:
        return ()
    if isinstance(value, tuple) and all(isinstance(item, LabelTest) for item in value):
        return value
    return tuple(_test(text, name) for text in _texts(value, name))


def _test(text: str, name: str) -> LabelTest:
    key, equals, wanted = text.partition("=")
    _check(key, wanted, name)
    return LabelTest(key, wanted if equals else None)


def _texts(value: object, name: str) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, Iterable) or isinstance(texts, Mapping):
        raise wrong_type(name, value, "labels such as KEY=VALUE")
    given = tuple(texts)
    if not all(isinstance(text, str) for text in given):
        raise wrong_type(name, value, "labels such as KEY=VALUE")
    if not given or not all(text.strip() for text in given):
        raise empty_list(name)
    return given


def _distinct(texts: Iterable[str], name: str) -> Labels:
    found: dict[str, str] = {}
    for key, value in (_split(text, name) for text in texts):
        if found.setdefault(key, value) != value:
            raise UsageError(
                "{option}: {key!r} has two values, {one!r} and {other!r}",
                code="label-twice",
                option=name,
                key=key,
                one=found[key],
                other=value,
                hint="give each key once",
            )
    return found


def _split(text: str, name: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            "{option} {text!r} has no value",
            code="label-without-value",
            option=name,
            text=text,
            hint="write {text}=VALUE",
        )
    return key, value


def _check(key: object, value: object, name: str) -> None:
    if not isinstance(key, str) or not isinstance(value, str):
        raise wrong_type(name, value, "a mapping of strings")
    if not _KEY.fullmatch(key):
        raise UsageError(
            "{option}: {key!r} cannot be the key of a label",
            code="label-key-invalid",
            option=name,
            key=key,
            hint="use 1 to 63 letters, digits, '_', '.', '/' and '-', with a letter or a digit first and last",
        )
    if len(value) > LONGEST or not value.isprintable():
        raise UsageError(
            "{option}: the value of label {key!r} is too long or has characters that cannot be printed",
            code="label-value-invalid",
            option=name,
            key=key,
            longest=LONGEST,
            hint="use at most {longest} printable characters",
        )
