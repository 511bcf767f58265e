"""For whoever finds no backups where the configuration says: the directories beside it in which there are some."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.run import Run
from mbk.ports.storage import Storage

#: A look at each costs a request or two, before a message: enough for a mistyped name, too few to keep anybody waiting.
_LOOKED_INTO, _CHILDREN = 8, 3


def holding_backups(storage: Storage, run: Run, like: str) -> Iterator[str]:
    """Names of directories at the root of ``storage`` that hold a backup, the most similar to ``like`` first.

    Raises what the storage raises.
    """
    storage = retried(storage, run)
    root = storage.location.root
    names = [prefix.removeprefix(root).rstrip("/") for prefix in storage.list_level(root).prefixes]
    others = [name for name in names if name != like]
    others.sort(key=lambda name: -SequenceMatcher(None, name, like).ratio())
    for name in others[:_LOOKED_INTO]:
        children = storage.list_level(f"{root}{name}/").prefixes[:_CHILDREN]
        if any(f"{child}meta/" in storage.list_level(child).prefixes for child in children):
            yield name
