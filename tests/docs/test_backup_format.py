"""The page on the files of a backup names what the code writes."""

from __future__ import annotations

import re

import msgspec

from mbk.model import layout, records
from mbk.model.layout import BackupLayout
from mbk.model.manifest import Manifest
from tests.docs.pages import Page

PAGE = Page("docs/reference/backup-format.md")
FILES = [
    layout.BACKUP_META,
    layout.COLLECTION_META,
    layout.PARTITION_META,
    layout.SEGMENT_META,
    layout.FULL_META,
    layout.MANIFEST,
]


def test_the_tree_shows_every_metadata_file() -> None:
    assert [name for name in FILES if f"        {name} " not in PAGE.blocks[0].text] == []


def test_the_tree_shows_where_logs_lie() -> None:
    shown = PAGE.blocks[0].text
    for part, number in {"collection": 1, "partition": 2, "segment": 3, "field": 4, "log": 5}.items():
        shown = shown.replace(f"{{{part}}}", str(number))
    place = BackupLayout("", "")
    for key in (place.insert(1, 2, 3, 4, 5), place.delta(1, 2, 3, 5), place.delta(1, -1, 3, 5)):
        assert f" {key.removeprefix(place.data_prefix)}\n" in shown


def test_every_key_of_the_metadata_is_explained() -> None:
    # In tables each key stands alone; where an object is small, its keys stand in one code span.
    shown = {word for span in re.findall(r"`([^`]+)`", PAGE.prose) for word in re.findall(r"\w+", span)}
    kinds = [
        kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, records.Record)
    ]
    keys = {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)}
    assert sorted(keys - shown) == []


def test_every_field_of_our_own_file_is_explained() -> None:
    assert [name for name in Manifest.__struct_fields__ if f"`{name}`" not in PAGE.text] == []


def test_the_directory_of_a_restore_is_named_as_it_is() -> None:
    assert f"/{layout.RESTORE_TEMP}{{name}}-{{database}}-{{collection}}/" in PAGE.text
