"""Backups on disk whose metadata a test edits, as other tools and older versions could have written it."""

from __future__ import annotations

import json
from pathlib import Path


def without_record(backup: Path) -> None:
    """Takes away what binds the metadata files together: the mark, the record, and the digests in ``mbk.json``."""
    meta = backup / "meta"
    for record in meta.glob("objects-*"):
        record.unlink()
    full = json.loads((meta / "full_meta.json").read_bytes())
    full.pop("mbk", None)
    (meta / "full_meta.json").write_text(json.dumps(full), encoding="utf-8")
    if (meta / "mbk.json").exists():
        manifest = json.loads((meta / "mbk.json").read_bytes())
        kept = {key: manifest[key] for key in manifest.keys() - {"commit", "files", "earlier", "sha256"}}
        (meta / "mbk.json").write_text(json.dumps(kept), encoding="utf-8")
