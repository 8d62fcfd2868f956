"""Whether two results are the same: numbers up to a tolerance, everything else exactly.

``compare`` takes two folders or files of results and returns what differs, as text,
with the largest relative difference of numbers. Nothing of permgrad is imported: the
one who compares must not be among the compared.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: Numbers may differ by this share of the largest absolute value of what they belong
#: to.
TOLERANCE = 1e-6
#: Keys of JSON files and columns of tables that say when, how long or where, and seals
#: over them.
_PASSING = re.compile(
    r"(^|[_ .])(seconds|started|finished_at|finished|date|command|seal|checksums|versions|cached|commit|host|pid)"
    r"($|[_ .])"
)
#: What something cost: a note where it differs, no fault.
_COSTS = ("model_rows", "gradient_evaluations", "mean_steps")
#: Kept work, named after what it was computed from: no result.
_NO_RESULT = re.compile(r"(^|/)\.[^/]+|\.(lock|log|tmp)$")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_PROGRESS = re.compile(r"^\w+: \d+ % done after .*\n?", re.MULTILINE)
_TIME = re.compile(
    r"\b\d+(\.\d+)?(e-?\d+)? ?(ms|s|min|h|seconds?|minutes?|hours?)\b( \d+ (s|min)\b)?"
)
#: Names within a drawing, which are made of what it shows.
_FIGURE = re.compile(r"\bf[0-9a-f]{10}-(?:[A-Za-z]*[0-9a-f]{10})?")
_DRAWING = re.compile(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)")
#: What a page shows beside its text: drawings, and pictures.
_SHOWN = re.compile(r"<svg\b.*?</svg>|data:image/png;base64,[A-Za-z0-9+/=]+", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass
class Found:
    """What a comparison found.

    Attributes:
        largest: Largest difference of numbers, relative to the largest absolute value
            of what they belong to.
        faults: What differs by more than is allowed.
        notes: What differs and may.
        compared: Number of files.
        tolerance: Of numbers in texts.
    """

    largest: float = 0.0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: int = 0
    tolerance: float = TOLERANCE

    def add(self, other: Found) -> None:
        """Take in what another comparison found."""
        self.largest = max(self.largest, other.largest)
        self.faults += other.faults
        self.notes += other.notes
        self.compared += other.compared

    def arrays(
        self,
        where: str,
        old: Array,
        new: Array,
        scale: float,
        tolerance: float | Array = TOLERANCE,
    ) -> None:
        """Compare two arrays; ``scale`` is what a difference is measured against."""
        if old.shape != new.shape or old.dtype.kind != new.dtype.kind:
            self.faults.append(
                f"{where}: {old.dtype}{list(old.shape)} → {new.dtype}{list(new.shape)}"
            )
            return
        if old.dtype.kind not in "fiu":
            if not np.array_equal(old, new):
                self.faults.append(f"{where}: other contents")
            return
        first, second = old.astype(np.float64), new.astype(np.float64)
        finite = np.isfinite(first)
        if (
            not np.array_equal(first[~finite], second[~finite], equal_nan=True)
            or not np.isfinite(second[finite]).all()
        ):
            self.faults.append(f"{where}: other cells are undefined or infinite")
            return
        difference = np.where(
            finite, np.abs(np.where(finite, first - second, 0.0)), 0.0
        ) / (scale or 1.0)
        if difference.size:
            self.largest = max(self.largest, float(difference.max()))
        if (difference > tolerance).any():
            worst = np.unravel_index(
                np.argmax(difference - tolerance), difference.shape
            )
            self.faults.append(
                f"{where}{[int(i) for i in worst]}: {first[worst]:.9g} → "
                f"{second[worst]:.9g}"
            )

    def number(self, where: str, old: float, new: float) -> None:
        """Compare two numbers that stand alone."""
        if (math.isnan(old) and math.isnan(new)) or old == new:
            return
        difference = abs(old - new) / max(1.0, abs(old), abs(new))
        self.largest = max(self.largest, 0.0 if math.isnan(difference) else difference)
        if not difference <= self.tolerance:
            self.faults.append(f"{where}: {old:.9g} → {new:.9g}")


def largest(*arrays: Array | None) -> float:
    """Return the largest finite absolute value of arrays; 0 where there is none."""
    found = [
        np.abs(a[np.isfinite(a)])
        for a in arrays
        if a is not None and a.dtype.kind in "fiu"
    ]
    return float(max((a.max() for a in found if a.size), default=0.0))


def compare(old: Path, new: Path) -> Found:
    """Compare two folders or two files of results.

    Args:
        old: What the old code wrote.
        new: What the new code wrote.
    """
    found = Found()
    if old.is_dir():
        names = [
            {str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()}
            for top in (old, new)
        ]
        kept = [
            {name for name in side if not _NO_RESULT.search(name)} for side in names
        ]
        found.faults += [f"{name}: missing" for name in sorted(kept[0] - kept[1])]
        found.faults += [f"{name}: is new" for name in sorted(kept[1] - kept[0])]
        for name in sorted(kept[0] & kept[1]):
            found.add(_files(old / name, new / name, name))
        return found
    return _files(old, new, old.name)


def _files(old: Path, new: Path, name: str) -> Found:
    """Compare two files by the ending of their name; without a comparer byte for
    byte.
    """
    found = Found(compared=1)
    if not new.is_file():
        found.faults.append(f"{name}: missing")
    elif comparer := _COMPARERS.get(old.suffix):
        comparer(found, old, new, name)
    elif old.read_bytes() != new.read_bytes():
        found.faults.append(f"{name}: other bytes")
    return found


def _npz(found: Found, old: Path, new: Path, name: str) -> None:
    """Compare arrays by name; those of an explanation by the scale of its values."""
    with np.load(old) as first, np.load(new) as second:
        one, other = dict(first), dict(second)
    if set(one) != set(other):
        found.faults.append(
            f"{name}: arrays {sorted(set(one) ^ set(other))} on one side only"
        )
    scale = largest(one.get("values"))
    for key in sorted(set(one) & set(other)):
        where = f"{name}: {key}"
        if _PASSING.search(key):
            continue
        if key == "p_values":
            found.arrays(where, one[key], other[key], 1.0, _p_tolerance(one, scale))
        elif scale and key.split("/")[0] in (
            "values",
            "std_error",
            "low",
            "high",
            "parts",
            "part_std",
        ):
            found.arrays(where, one[key], other[key], scale)
        else:
            found.arrays(where, one[key], other[key], largest(one[key]))


def _safetensors(found: Found, old: Path, new: Path, name: str) -> None:
    """Compare weights by name."""
    one, other = (_weights(path.read_bytes()) for path in (old, new))
    if list(one) != list(other):
        found.faults.append(
            f"{name}: weights {sorted(set(one) ^ set(other))} on one side only, or in "
            "another order"
        )
    for key in set(one) & set(other):
        found.arrays(f"{name}: {key}", one[key], other[key], largest(one[key]))


def _weights(content: bytes) -> dict[str, Array]:
    start = 8 + int.from_bytes(content[:8], "little")
    types = {
        "F32": "<f4",
        "F64": "<f8",
        "I64": "<i8",
        "I32": "<i4",
        "U8": "u1",
        "BOOL": "u1",
    }
    found = {}
    for key, own in json.loads(content[8:start]).items():
        if key != "__metadata__":
            first, end = own["data_offsets"]
            cells = np.frombuffer(
                content[start + first : start + end], dtype=types[own["dtype"]]
            )
            found[key] = cells.reshape(own["shape"])
    return found


def _p_tolerance(arrays: dict[str, Array], scale: float) -> Array:
    """Return by how much p-values may differ: by what an allowed difference of value
    and error makes of them.

    p = P(|Z| > |v| / s), so that its slope in v is at most 0.8 / s and in s at most 0.5
    / s.
    """
    error = arrays["std_error"].astype(np.float64)
    slope = np.divide(
        1.3 * scale,
        error,
        out=np.zeros_like(error),
        where=np.isfinite(error) & (error > 0),
    )
    return np.asarray(TOLERANCE * (1.0 + slope))


def _json(found: Found, old: Path, new: Path, name: str) -> None:
    texts = (path.read_text(encoding="utf-8") for path in (old, new))
    _trees(found, name, *(json.loads(text) for text in texts))


def _trees(found: Found, where: str, old: Any, new: Any) -> None:
    """Compare what JSON files hold; another order of keys is a note."""
    if isinstance(old, dict) and isinstance(new, dict):
        _objects(found, where, old, new)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            _trees(found, f"{where}[{place}]", one, other)
    elif isinstance(old, str) and isinstance(new, str):
        _texts(found, where, old, new)
    elif isinstance(old, float) and isinstance(new, float):
        found.number(where, old, new)
    elif type(old) is not type(new) or old != new:
        found.faults.append(f"{where}: {str(old)[:120]!r} → {str(new)[:120]!r}")


def _objects(
    found: Found, where: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    found.faults += [
        f"{where}.{key} is missing: {str(old[key])[:120]!r}"
        for key in old
        if key not in new
    ]
    found.faults += [
        f"{where}.{key} is new: {str(new[key])[:120]!r}"
        for key in new
        if key not in old
    ]
    common = [key for key in old if key in new]
    if common != [key for key in new if key in old]:
        found.notes.append(f"{where}: another order of keys")
    for key in common:
        one = old[key]
        if key in _COSTS and one != new[key]:
            found.notes.append(f"{where}.{key}: {one} → {new[key]}")
        elif not _PASSING.search(key) and key not in _COSTS:
            _trees(found, f"{where}.{key}", one, new[key])


def _lasting(text: str) -> str:
    """Return a text without what passes: moments, lengths of time, lines on progress,
    names in drawings.
    """
    text = _PROGRESS.sub("", text)
    return _TIME.sub("<time>", _MOMENT.sub("<moment>", _FIGURE.sub("figure-", text)))


def _texts(found: Found, where: str, old: str, new: str) -> None:
    """Compare texts: numbers in them up to the tolerance, moments and lengths of time
    not at all.
    """
    one, other = (_lasting(text) for text in (old, new))
    if one == other:
        return
    rests = [_NUMBER.split(text) for text in (one, other)]
    if rests[0] != rests[1]:
        pieces = [(a, b) for a, b in zip(*rests, strict=False) if a != b] or [
            ("", "(longer or shorter)")
        ]
        first, second = pieces[0]
        place = next(
            (k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
            0,
        )
        start = max(0, place - 40)
        found.faults.append(
            f"{where}: …{first[start : place + 80]!r} → …{second[start : place + 80]!r}"
        )
        return
    for a, b in zip(*(_NUMBER.findall(text) for text in (one, other)), strict=True):
        if a != b:
            found.number(
                where, *(float(x.replace("−", "-").replace(",", "")) for x in (a, b))
            )


def _text_files(found: Found, old: Path, new: Path, name: str) -> None:
    _texts(found, name, *(path.read_text(encoding="utf-8") for path in (old, new)))


def _pages(found: Found, old: Path, new: Path, name: str) -> None:
    """Compare what a page says, then its pictures and drawings one by one, to a
    fraction of a point.
    """
    sides = [
        _DRAWING.sub(_unpacked, path.read_text(encoding="utf-8")) for path in (old, new)
    ]
    _texts(found, f"{name}: text", *(_SHOWN.sub("<shown>", side) for side in sides))
    shown = [_SHOWN.findall(side) for side in sides]
    if len(shown[0]) != len(shown[1]):
        found.faults.append(f"{name}: {len(shown[0])} → {len(shown[1])} drawings")
        return
    for number, (one, other) in enumerate(zip(*shown, strict=True), 1):
        own = Found(tolerance=1e-4)
        _texts(own, f"{name}: drawing {number}", one, other)
        if own.faults:
            found.faults.append(f"{own.faults[0]} ({len(own.faults)} places)")


def _unpacked(packed: re.Match[str]) -> str:
    return base64.b64decode(packed[1]).decode("utf-8")


def _csv(found: Found, old: Path, new: Path, name: str) -> None:
    """Compare tables cell by cell, numbers by the scale of their column."""
    tables = []
    for path in (old, new):
        with path.open(newline="", encoding="utf-8") as stream:
            tables.append(list(csv.reader(stream)))
    heads = [table[0] if table else [] for table in tables]
    if heads[0] != heads[1] or len(tables[0]) != len(tables[1]):
        found.faults.append(
            f"{name}: {len(tables[0])} lines of {heads[0]} → {len(tables[1])} lines of "
            f"{heads[1]}"
        )
        return
    sides = [
        {head: [line[k] for line in table[1:]] for k, head in enumerate(heads[0])}
        for table in tables
    ]
    numbers = [
        {
            head: column
            for head, cells in side.items()
            if (column := _floats(cells)) is not None
        }
        for side in sides
    ]
    scale = largest(numbers[0].get("importance"))
    for head in heads[0]:
        where = f"{name}: {head} "
        if _PASSING.search(head):
            continue
        if head not in numbers[0] or head not in numbers[1]:
            if sides[0][head] != sides[1][head]:
                found.faults.append(f"{where}: other texts")
        elif head in ("p_value", "p_adjusted") and "std_error" in numbers[0]:
            allowed = _p_tolerance({"std_error": numbers[0]["std_error"]}, scale)
            allowed = (
                allowed
                if head == "p_value"
                else np.full_like(allowed, len(allowed) * allowed.max(initial=0))
            )
            found.arrays(where, numbers[0][head], numbers[1][head], 1.0, allowed)
        else:
            found.arrays(
                where,
                numbers[0][head],
                numbers[1][head],
                max(scale, largest(numbers[0][head])),
            )


def _floats(cells: list[str]) -> Array | None:
    """Return a column as numbers, nothing as NaN; None where it holds texts."""
    try:
        return np.array([float(cell) if cell else math.nan for cell in cells])
    except ValueError:
        return None


_COMPARERS: dict[str, Callable[[Found, Path, Path, str], None]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".json": _json,
    ".csv": _csv,
    ".html": _pages,
    **dict.fromkeys((".txt", ".svg"), _text_files),
}


def trivial(folder: Path) -> Iterator[str]:
    """Yield why a result would show nothing if it were the same: an error, no numbers,
    or only zeros.
    """
    if (error := folder / "error.txt").is_file():
        yield f"old code failed: {error.read_text(encoding='utf-8').strip().splitlines()[-1]}"
        return
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as arrays:
            key = "values" if "values" in arrays else next(iter(arrays), "")
            values = arrays[key] if key else np.zeros(0)
        if values.dtype.kind in "fiu" and (
            not largest(values) or np.unique(values[np.isfinite(values)]).size < 2
        ):
            yield f"{path.name}: nothing but zeros, or one number"
    if not any(path.stat().st_size for path in folder.rglob("*") if path.is_file()):
        yield "no result"
