"""``permgrad demo``: a run on a small table that comes with permgrad, or on one whose images are drawn here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from permgrad.base.arrays import Floats
from permgrad.base.files import writing
from permgrad.base.random import generator
from permgrad.runs.requests import DemoRequest, Outcome, RunRequest
from permgrad.runs.run.run import run_table

#: Rows of the table with images, and pixels of a side of an image.
_ROWS, _PIXELS = 300, 16


def run_demo(request: DemoRequest, *, say: Callable[[str], None] = print) -> Outcome:
    """Run the demonstration; the same command shows a finished one again."""
    settings: dict[str, Any] = {"out": request.folder, "threads": request.threads, "overwrite": request.overwrite}
    if request.images:
        table = draw_table(request.folder.with_name(f"{request.folder.name}-table"))
        say(f"Table with images: {table}")
        run = RunRequest(table=os.fspath(table), target=("finding",), images=("scan",), preset="fast", **settings)
    else:
        run = RunRequest(table="diabetes", **settings)
    say(f"This is the same as: {run.command}")
    outcome = run_table(run, say=say)
    return Outcome({**outcome.facts, "command": run.command}, outcome.text)


def draw_table(folder: Path) -> Path:
    """Write a table of invented patients with an image each, whose finding depends on both, and return the table."""
    rng = generator(0, "demo")
    size, marker, age = rng.normal(size=_ROWS), rng.normal(size=_ROWS), rng.integers(30, 80, _ROWS)
    ill = 1.5 * size + marker + 0.5 * rng.normal(size=_ROWS) > 0.5
    scans = [f"scans/{row:03}.png" for row in range(_ROWS)]
    with writing(folder, "name another folder with --out"):
        (folder / "scans").mkdir(parents=True, exist_ok=True)
        for name, image in zip(scans, _discs(size, rng), strict=True):
            Image.fromarray(image).save(folder / name)
        frame = pd.DataFrame({"scan": scans, "age": age, "marker": marker.round(3)})
        frame["side"] = rng.choice(["left", "right"], _ROWS)
        frame["finding"] = np.where(ill, "ill", "well")
        frame.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def _discs(size: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return grey images ``(rows, pixels, pixels)`` of a disc at a random place, whose radius grows with ``size``."""
    x, y = np.mgrid[:_PIXELS, :_PIXELS]
    centres = rng.uniform(5, _PIXELS - 6, (2, len(size), 1, 1))
    radius = np.clip(3 + size, 0.5, 6)[:, None, None]
    inside = (x - centres[0]) ** 2 + (y - centres[1]) ** 2 < radius**2
    grey: Floats = 60 + 120 * inside + rng.normal(0, 15, inside.shape)
    return grey.clip(0, 255).astype(np.uint8)
