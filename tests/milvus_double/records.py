"""What a server keeps besides data: jobs, snapshots, users and their rights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ImportJob:
    """One import of either API. ``state`` is one of Pending, Importing, Uncommitted, Committing, Completed, Failed."""

    id: int
    database: str
    collection_id: int
    collection: str
    partition: str
    files: list[list[str]]
    options: dict[str, str]
    state: str = "Pending"
    progress: int = 0
    reason: str = ""
    rows: int = 0
    segments: list[int] = field(default_factory=list)
    started: float = 0.0


@dataclass(slots=True)
class Snapshot:
    id: int
    name: str
    database: str
    collection_id: int
    created: int
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class User:
    password: str
    roles: set[str] = field(default_factory=set)
    encoded: str = ""


@dataclass(slots=True)
class Rbac:
    """``grants``: (role, object, object name, database, privilege) -> grantor."""

    users: dict[str, User] = field(default_factory=lambda: {"root": User("Milvus")})
    roles: set[str] = field(default_factory=lambda: {"admin", "public"})
    grants: dict[tuple[str, str, str, str, str], str] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
