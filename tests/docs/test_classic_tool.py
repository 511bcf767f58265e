"""The page for those who come from the Go tool names what mbk accepts of it."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from mbk.api.v1.bodies import CreateRequest, RestoreRequest, SecondaryRequest, SkipParams
from mbk.cli.app import App
from mbk.cli.main import cli
from tests.docs.pages import Page

PAGE = Page("docs/reference/classic-tool.md")
SWITCH = Page("docs/how-to/switch-from-milvus-backup.md")


@pytest.mark.parametrize("body", [CreateRequest, RestoreRequest, SecondaryRequest])
def test_every_field_of_a_classic_body_is_named(body: type[BaseModel]) -> None:
    keys = [field.alias or name for name, field in body.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in PAGE.prose] == []


def test_every_kind_of_skipped_parameter_is_in_the_command_line_reference() -> None:
    keys = [field.alias or name for name, field in SkipParams.model_fields.items()]
    assert [key for key in keys if key not in Page("docs/reference/cli.md").text] == []


def test_every_flag_of_0_5_is_named() -> None:
    context = cli.make_context("mbk", ["--help"], resilient_parsing=True, obj=App())
    commands = [cli.get_command(context, name) for name in ("create", "restore")]
    options = [param for command in commands if command is not None for param in command.params]
    old = {param.opts[0] for param in options if "0.5" in (getattr(param, "help", "") or "")}
    assert old
    flags = {f"--{flag.removeprefix('--').replace('-', '_')}" for flag in old}
    assert [flag for flag in sorted(flags) if f"`{flag}`" not in SWITCH.prose] == []
