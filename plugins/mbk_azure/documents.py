"""The XML of the Blob service: a page of a listing that is read, a list of blocks that is sent.

https://learn.microsoft.com/rest/api/storageservices/list-blobs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote
from xml.etree import ElementTree

from mbk.plugin.conditions import answer_unreadable


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a listing: its name, and its properties and marks by their names."""

    name: str
    properties: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    items: list[Item]
    prefixes: list[str]
    next: str


def parsed(content: bytes) -> ElementTree.Element:
    try:
        # The service begins with a mark of the byte order.
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as exc:
        raise answer_unreadable("XML") from exc


def listed(content: bytes) -> Listed:
    """`WireError` where it is cut off, or no listing."""
    root = parsed(content)
    blobs = root.find("Blobs")
    if blobs is None:
        raise answer_unreadable("a listing")
    return Listed(
        items=[_item(entry) for entry in blobs.iterfind("Blob")],
        prefixes=[_name(entry) for entry in blobs.iterfind("BlobPrefix")],
        next=root.findtext("NextMarker") or "",
    )


def blocks(content: bytes) -> tuple[list[str], list[str]]:
    """The encoded ids of an object's blocks: those that it is made of, and those that wait."""
    root = parsed(content)
    if root.tag != "BlockList":
        raise answer_unreadable("a list of blocks")
    return _ids(root, "CommittedBlocks"), _ids(root, "UncommittedBlocks")


def _ids(root: ElementTree.Element, kind: str) -> list[str]:
    return [entry.findtext("Name") or "" for entry in root.iterfind(f"{kind}/Block")]


def block_list(ids: Iterable[str]) -> bytes:
    """Of blocks by their encoded ids."""
    blocks = "".join(f"<Latest>{block}</Latest>" for block in ids)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()


def _item(entry: ElementTree.Element) -> Item:
    return Item(_name(entry), _texts(entry.find("Properties")), _texts(entry.find("Metadata")))


def _texts(element: ElementTree.Element | None) -> dict[str, str]:
    return {} if element is None else {child.tag: child.text or "" for child in element}


def _name(entry: ElementTree.Element) -> str:
    """What XML cannot contain is encoded as in a URL."""
    name = entry.find("Name")
    if name is None or not name.text:
        raise answer_unreadable("a listing")
    return unquote(name.text) if name.get("Encoded") == "true" else name.text
