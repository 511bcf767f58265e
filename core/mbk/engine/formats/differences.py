"""How the objects of a backup differ from what the backup says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mbk.engine.runtime.run import Run
from mbk.errors import DamagedBackup

#: Objects named in a message: enough to recognise the pattern in one line.
NAMED = 3


@dataclass(slots=True)
class Named:
    """How many there are, and the first few by name."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < NAMED:
            self.names.append(name)

    def join(self, other: Named) -> None:
        self.count += other.count
        self.names = [*self.names, *other.names][:NAMED]

    def __str__(self) -> str:
        more = self.count - len(self.names)
        return ", ".join(self.names) + (f" and {more} more" if more else "")


@dataclass(slots=True)
class Differences:
    """``missing``, ``resized`` and ``rewritten`` objects of the backup; ``unlisted``: recorded ones of segments that the
    metadata does not list; ``extra``: objects that are not the backup's."""

    missing: Named = field(default_factory=Named)
    resized: Named = field(default_factory=Named)
    rewritten: Named = field(default_factory=Named)
    unlisted: Named = field(default_factory=Named)
    extra: Named = field(default_factory=Named)

    @property
    def is_damaged(self) -> bool:
        return any(found.count for found in self._damages())

    def join(self, other: Differences) -> None:
        for name in self.__slots__:
            getattr(self, name).join(getattr(other, name))

    def __str__(self) -> str:
        """The damage: ``2 missing (a, b), 1 of another size (c)``."""
        words = ("missing", "of another size", "with other contents", "of segments that the metadata lacks")
        told = zip(self._damages(), words, strict=True)
        return ", ".join(f"{found.count} {word} ({found})" for found, word in told if found.count)

    def _damages(self) -> tuple[Named, ...]:
        return self.missing, self.resized, self.rewritten, self.unlisted


def joined(differences: Iterable[Differences]) -> Differences:
    result = Differences()
    for item in differences:
        result.join(item)
    return result


def refuse(found: Differences, *, backup: str, location: object) -> None:
    """`DamagedBackup` if anything of the backup is missing or differs."""
    if found.is_damaged:
        raise DamagedBackup(
            "backup {backup!r} in {location} is damaged; objects: {damage}",
            code="backup-objects-differ",
            backup=backup,
            location=location,
            damage=found,
            missing=found.missing.count,
            changed=found.resized.count + found.rewritten.count,
            unlisted=found.unlisted.count,
            hint="restore another backup or an intact copy of this one, or what is whole of it with --salvage",
        )


def tell_extra(run: Run, found: Differences, *, backup: str) -> None:
    if found.extra.count:
        run.notice(
            "extra-objects",
            "{count} objects below backup {backup!r} do not belong to it and are not used: {keys}",
            count=found.extra.count,
            backup=backup,
            keys=found.extra,
        )
