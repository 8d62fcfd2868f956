"""``permgrad demo``: a run on a small table that comes with permgrad, or on one whose images are drawn here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.files import writing
from permgrad.base.random import generator
from permgrad.runs.requests import DemoRequest, Outcome, RunRequest
from permgrad.runs.run.run import run_table

#: Rows of the table with images, and pixels of a side of an image.
_ROWS, _PIXELS = 300, 16
#: The same of the table of flats, whose rent is a sum of parts with these standard deviations.
_FLATS, _SIDE = 900, 32
_PARTS = {"photo": 120.0, "description": 140.0, "size": 200.0, "district": 100.0, "listed": 90.0, "floor": 0.0}
_PHRASES = {
    "quiet street": 1, "new kitchen": 1, "needs work": -1, "no lift": -1, "near the station": 0, "two rooms": 0,
    "call in the evening": 0, "pets welcome": 0, "free from spring": 0, "bicycle cellar": 0,
}  # fmt: skip


def run_demo(request: DemoRequest, *, say: Callable[[str], None] = print) -> Outcome:
    """Run the demonstration; the same command shows a finished one again."""
    named = [f"--{name}" for name in ("images", "rows") if getattr(request, name)]
    if len(named) > 1:
        problem = f"{' and '.join(named)} cannot be combined"
        raise InputError(problem, hint="Name one of them.", code="PG006")
    settings: dict[str, Any] = {"out": request.folder, "threads": request.threads, "overwrite": request.overwrite}
    if named:
        draw = {"--images": draw_table, "--rows": draw_flats}[named[0]]
        table = draw(request.folder.with_name(f"{request.folder.name}-table"))
        settings |= {"table": os.fspath(table), "preset": "fast"}
    if request.images:
        say(f"Table with images: {table}")
        settings |= {"target": ("finding",), "images": ("scan",)}
    elif request.rows:
        total = sum(size**2 for size in _PARTS.values())
        truth = ", ".join(f"{name} {size**2 / total:.0%}" for name, size in _PARTS.items())
        say(f"Table with a text, a photo and a date in each row: {table}")
        say(f"Known truth: shares of what drives rent: {truth}")
        settings |= {"target": ("rent",)}
    run = RunRequest(**({"table": "diabetes"} | settings))
    say(f"This is the same as: {run.command}")
    outcome = run_table(run, say=say)
    return Outcome({**outcome.facts, "command": run.command}, outcome.text)


def draw_table(folder: Path) -> Path:
    """Write a table of invented patients with an image each, whose finding depends on both, and return the table."""
    rng = generator(0, "demo")
    size, marker, age = rng.normal(size=_ROWS), rng.normal(size=_ROWS), rng.integers(30, 80, _ROWS)
    ill = 1.5 * size + marker + 0.5 * rng.normal(size=_ROWS) > 0.5
    scans = {f"scans/{row:03}.png": image for row, image in enumerate(_discs(size, rng))}
    frame = pd.DataFrame({"scan": list(scans), "age": age, "marker": marker.round(3)})
    frame["side"] = rng.choice(["left", "right"], _ROWS)
    frame["finding"] = np.where(ill, "ill", "well")
    return _written(folder, frame, scans)


def draw_flats(folder: Path) -> Path:
    """Write a table of invented flats, each with a text, a photo and a date, and return it. The truth is ``_PARTS``.

    Only four phrases of the text matter, of the photo the garden at the right of its lower edge, and of the date the
    time of the year.
    """
    rng = generator(0, "flats")
    phrases, weights = np.array(list(_PHRASES)), np.array(list(_PHRASES.values()))
    chosen = rng.permuted(np.tile(np.arange(len(phrases)), (_FLATS, 1)), axis=1)[:, :5]
    size, garden, floor = rng.uniform(30, 120, _FLATS), rng.uniform(size=_FLATS), rng.integers(0, 6, _FLATS)
    district = rng.choice(4, _FLATS)
    listed = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 730, _FLATS), unit="D")
    season = np.cos(2 * np.pi * (listed.day_of_year - 200) / 366)
    parts = {"size": size, "photo": garden, "description": weights[chosen].sum(axis=1), "listed": season}
    parts["district"] = np.array([1.5, 0.5, -0.5, -1.5])[district]
    rent = 900 + 60 * rng.normal(size=_FLATS)
    for name, part in parts.items():
        rent += _PARTS[name] * (part - np.mean(part)) / np.std(part)
    photos = {f"photos/{row:03}.png": image for row, image in enumerate(_houses(garden, rng))}
    frame = pd.DataFrame({"photo": list(photos), "description": [", ".join(phrases[one]) for one in chosen]})
    frame["size"], frame["floor"] = size.round(1), floor
    frame["district"], frame["listed"] = np.array(["harbour", "centre", "hill", "park"])[district], listed.date
    frame["rent"] = np.asarray(rent).round()
    return _written(folder, frame, photos)


def _written(folder: Path, frame: pd.DataFrame, images: Mapping[str, npt.NDArray[np.uint8]]) -> Path:
    """Write a table, and images by their names in it, and return the table."""
    with writing(folder, "name another folder with --out"):
        for place in {folder, *((folder / name).parent for name in images)}:
            place.mkdir(parents=True, exist_ok=True)
        for name, image in images.items():
            Image.fromarray(image).save(folder / name)
        frame.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def _houses(garden: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return photos ``(rows, side, side, 3)`` of a house under the sun, with a garden to its right of some height."""
    down, across = np.mgrid[:_SIDE, :_SIDE]
    photos = np.full((len(garden), _SIDE, _SIDE, 3), (150, 190, 230), dtype=np.float64)
    photos[:, 26:] = (150, 140, 120)
    photos[:, 10:26, 4:18] = rng.uniform(120, 220, (len(garden), 1, 1, 3))
    photos[:, 15:20, 8:13] = (60, 70, 90)
    sun = rng.integers(3, 29, (len(garden), 1, 1))
    photos[(down - 5) ** 2 + (across - sun) ** 2 < 10] = (250, 220, 90)
    green = (across >= 20) & (down < 28) & (down >= 27 - 12 * garden[:, None, None])
    photos[green] = (50, 140, 60)
    return (photos + rng.normal(0, 8, photos.shape)).clip(0, 255).astype(np.uint8)


def _discs(size: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return grey images ``(rows, pixels, pixels)`` of a disc at a random place, whose radius grows with ``size``."""
    x, y = np.mgrid[:_PIXELS, :_PIXELS]
    centres = rng.uniform(5, _PIXELS - 6, (2, len(size), 1, 1))
    radius = np.clip(3 + size, 0.5, 6)[:, None, None]
    inside = (x - centres[0]) ** 2 + (y - centres[1]) ** 2 < radius**2
    grey: Floats = 60 + 120 * inside + rng.normal(0, 15, inside.shape)
    return grey.clip(0, 255).astype(np.uint8)
