"""Well-known text and well-known binary of points, lines and polygons: what a proxy converts between.

Clients speak WKT, segments hold WKB (milvus ``internal/proxy/util.go`` and ``pkg/common/geometry.go``).
"""

from __future__ import annotations

import re
import struct

_KINDS = {"POINT": 1, "LINESTRING": 2, "POLYGON": 3}
_NAMES = {number: name for name, number in _KINDS.items()}
_FORM = re.compile(r"\s*(POINT|LINESTRING|POLYGON)\s*\((.*)\)\s*", re.I | re.S)
_RING = re.compile(r"\(([^()]*)\)")

Points = list[tuple[float, float]]


def to_wkb(text: str) -> bytes:
    """`ValueError` for what is none of the three."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"invalid geometry wkt: {text!r}")
    kind = _KINDS[found[1].upper()]
    head = struct.pack("<BI", 1, kind)
    if kind == 1:
        return head + struct.pack("<dd", *_points(found[2])[0])
    if kind == 2:
        return head + _packed(_points(found[2]))
    rings = [_points(ring) for ring in _RING.findall(found[2])]
    return head + struct.pack("<I", len(rings)) + b"".join(_packed(ring) for ring in rings)


def to_wkt(data: bytes) -> str:
    (kind,) = struct.unpack_from("<I", data, 1)
    if kind == 1:
        return f"POINT ({_text(list(struct.iter_unpack('<dd', data[5:])))})"
    if kind == 2:
        return f"LINESTRING ({_text(_unpacked(data, 5)[0])})"
    (count,) = struct.unpack_from("<I", data, 5)
    rings, at = [], 9
    for _ in range(count):
        points, at = _unpacked(data, at)
        rings.append(f"({_text(points)})")
    return f"{_NAMES[kind]} ({', '.join(rings)})"


def _points(text: str) -> Points:
    pairs = [pair.split() for pair in text.split(",")]
    return [(float(x), float(y)) for x, y in pairs]


def _packed(points: Points) -> bytes:
    return struct.pack("<I", len(points)) + b"".join(struct.pack("<dd", *point) for point in points)


def _unpacked(data: bytes, at: int) -> tuple[Points, int]:
    (count,) = struct.unpack_from("<I", data, at)
    end = at + 4 + 16 * count
    return list(struct.iter_unpack("<dd", data[at + 4 : end])), end


def _text(points: Points) -> str:
    return ", ".join(f"{x:.15g} {y:.15g}" for x, y in points)
