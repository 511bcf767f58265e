"""The PyPI package `milvus`: finds it, checks the platform, and unpacks its server.

The package is never imported: its own Python API unpacks a quarter of a GiB into every data directory and
allows one instance only.
"""

from __future__ import annotations

import importlib.util
import lzma
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mbk.errors import MbkError, MilvusUnavailable, MissingDependency
from mbk.extras import to_install

ELSEWHERE = "use a server of your own: mbk demo --milvus-address HOST --milvus-port PORT"
_ABANDONED_AFTER = 3600.0


def platform_reason(system: str, machine: str, libc: str) -> str | None:
    """Why there is no embedded Milvus for such a machine, or None. Arguments as in the `platform` module."""
    if system != "Linux":
        name = {"Darwin": "macOS"}.get(system, system or "this system")
        return f"no embedded Milvus for {name} on {machine}: it is built for Linux on x86_64 only"
    if machine not in ("x86_64", "AMD64"):
        return f"no embedded Milvus for Linux on {machine}: it is built for x86_64 only"
    if libc != "glibc":
        return "no embedded Milvus for this Linux: it needs glibc (Alpine has musl)"
    return None


def this_platform_reason() -> str | None:
    return platform_reason(platform.system(), platform.machine(), platform.libc_ver()[0])


def embedded_supported() -> str | None:
    """None if an embedded Milvus can be started here, otherwise one line that says why not and what to do."""
    try:
        locate_wheel()
    except MbkError as error:
        return str(error)
    return None


def locate_wheel(wheel: Path | None = None) -> Path:
    """The directory of the package `milvus`: ``wheel`` if given, else the installed one.

    Raises `MilvusUnavailable` if there is no such package for the platform, `MissingDependency` if it is not installed.
    """
    if reason := this_platform_reason():
        raise _Unsupported("{reason}", code="embedded-milvus-unsupported", reason=reason, hint=ELSEWHERE)
    if wheel is None:
        spec = importlib.util.find_spec("milvus")
        places = list(spec.submodule_search_locations or ()) if spec else []
        wheel = next((Path(place) for place in places if _holds_server(Path(place))), None)
        if wheel is None:
            raise MissingDependency(
                "the embedded Milvus is not installed",
                code="embedded-milvus-missing",
                requirement=to_install("demo"),
                hint="pip install {requirement}",
            )
    elif not _holds_server(wheel):
        raise MissingDependency(
            "{path} does not contain the package 'milvus'",
            code="embedded-milvus-not-found",
            path=wheel,
            requirement=to_install("demo"),
            hint="pip install {requirement}",
        )
    return wheel.resolve()


class _Unsupported(MilvusUnavailable):
    """Unlike for an unreachable server, a retry does not help."""

    retryable = False


def _holds_server(wheel: Path) -> bool:
    return (wheel / "data" / "bin" / "milvus.lzma").is_file()


def wheel_version(wheel: Path) -> str:
    """The server's version, such as ``2.3.5``, read from the package's text."""
    found = re.search(
        r"^__version__ = ['\"]([^'\"]+)", (wheel / "__init__.py").read_text("utf-8"), re.MULTILINE
    )
    if found is None:
        raise MissingDependency(
            "cannot find the version of the package 'milvus' in {path}",
            code="embedded-milvus-unversioned",
            path=wheel,
            requirement=to_install("demo"),
            hint="pip install {requirement}",
        )
    return found[1]


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/mbk``, or ``~/.cache/mbk``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "mbk"


def unpack_server(wheel: Path, cache: Path, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The directory with the server's binaries, ``<cache>/milvus-<version>``; unpacked if it does not exist yet, which
    ``tell`` is told of, a line every few seconds.

    The complete directory is renamed into place, so a killed unpack leaves nothing that could be mistaken for it, and two
    processes at once both get a complete one.
    """
    target = cache / f"milvus-{wheel_version(wheel)}"
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache)
        partial = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=cache))
        try:
            _unpack_into(partial, wheel / "data" / "bin", tell)
            _publish(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except (lzma.LZMAError, EOFError) as exc:
        raise MbkError(
            "the package 'milvus' in {path} is damaged",
            code="embedded-milvus-damaged",
            path=wheel,
            requirement=to_install("demo"),
            hint="pip install {requirement} --force-reinstall",
        ) from exc
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise MbkError(
            "cannot unpack Milvus (250 MB) to {path}: {reason}",
            code="embedded-milvus-unpack-failed",
            path=cache,
            reason=reason,
            hint="set XDG_CACHE_HOME to another directory",
        ) from exc
    return target


def _unpack_into(directory: Path, packed: Path, tell: Callable[[str], None]) -> None:
    sources = sorted(packed.glob("*.lzma"))
    total, done, quarter = sum(source.stat().st_size for source in sources), 0, 0
    tell(f"unpacking Milvus ({total >> 20} MiB, only this time)")
    for source in sources:
        destination = directory / source.stem
        with source.open("rb") as raw, lzma.open(raw) as compressed, destination.open("wb") as plain:
            while chunk := compressed.read(1 << 20):
                plain.write(chunk)
                if (done + raw.tell()) * 4 // total > quarter:
                    quarter = (done + raw.tell()) * 4 // total
                    tell(f"unpacking Milvus: {25 * quarter}%")
        done += source.stat().st_size
    (directory / "milvus").chmod(0o755)
    directory.chmod(0o755)


def _publish(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        # Another process was first: rename does not replace a directory that contains files.
        if not target.is_dir():
            raise


def _remove_abandoned(cache: Path) -> None:
    for partial in cache.glob(".unpacking-*"):
        try:
            abandoned = time.time() - partial.stat().st_mtime > _ABANDONED_AFTER
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(partial, ignore_errors=True)
