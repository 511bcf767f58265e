"""What an error tells: a sentence for people, a code and facts for programs."""

from __future__ import annotations

import pickle
from inspect import signature

import pytest

from mbk import errors
from mbk.errors import BackupNotFound, ConfigError, MbkError, MilvusError, Problem
from mbk.model.jobs import Failure
from mbk.model.selection import CollectionName


def test_a_sentence_and_its_hint_are_filled_with_the_facts() -> None:
    error = MbkError("{key!r} has {size} bytes", code="size-wrong", hint="look at {key}", key="a", size=3)
    assert str(error) == "'a' has 3 bytes: look at a"
    assert (error.code, error.facts) == ("size-wrong", {"key": "a", "size": 3})


def test_an_error_without_a_code_has_that_of_its_class() -> None:
    assert BackupNotFound("there is none").code == "backup-not-found"


def test_facts_are_plain_for_programs_in_other_processes() -> None:
    error = MbkError("{collection} is gone", collection=CollectionName("db", "docs"))
    assert pickle.loads(pickle.dumps(error)).facts == {"collection": "db.docs"}


#: Those that plugins and the copier raise.
CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MbkError)]


def made(kind: type[MbkError]) -> MbkError:
    """An error of this class, with all that its class adds, as a worker meets it."""
    if kind is ConfigError:
        return ConfigError("there", [Problem("a.key", "is wrong", "mend it")], hint="look")
    more = {"report": {"done": 1}, "failures": {"a": "b"}, "server_code": 7, "retryable": True}
    taken = {name: value for name, value in more.items() if name in signature(kind.__init__).parameters}
    return kind("{key} is wrong", code="wrong", hint="mend {key}", **taken, key="a")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_of_any_class_comes_whole_from_another_process(kind: type[MbkError]) -> None:
    error = made(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("text", ["{", "{0}", "{other}", "{key.nothing}", "{'json': [1]}"])
def test_text_of_somebody_else_stays_as_it_is(text: str) -> None:
    assert MilvusError(text).message == text
    assert MilvusError("{key} is wrong", hint=text, key="a").hint == text


def test_an_error_that_was_given_up_on_keeps_what_it_tells() -> None:
    error = MilvusError("{job} failed", code="job-failed", server_code=7, retryable=True, job="j1")
    final = error.final()
    assert (final.retryable, final.code, final.server_code, final.facts) == (
        False,
        "job-failed",
        7,
        {"job": "j1"},
    )
    assert error.retryable


def test_what_the_interpreter_says_of_threads_is_an_error_of_ours() -> None:
    assert Failure.of(RuntimeError("can't start new thread")).code == "threads-exhausted"
    assert Failure.of(RuntimeError("secret")).message == "internal error (RuntimeError)"
