"""A table of records and a folder of images, end to end: PneumoniaMNIST as PNG files beside made clinical columns.

    python benchmarks/image_table_example.py [--rows 1200] [--out FOLDER] [--preset default]

writes the files, runs ``permgrad run`` on them, and prints what was found beside what is known: two clinical columns
carry the label, two are noise, and the image carries it as well. The label is balanced, so that guessing is right half
of the time. ``write_records`` is what the tests use.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd

#: What the made columns are worth: these two depend on the label, the others do not.
INFORMATIVE, NOISE = ("crp", "cough"), ("age", "ward")


def write_records(folder: Path, source: Path, rows: int, seed: int = 0) -> Path:
    """Write PNG files and ``records.csv`` with a path, four clinical columns and the label; return the table's path.

    Args:
        folder: where to write; images go into ``scans`` in it.
        source: ``pneumoniamnist.npz``.
        rows: how many records, half of them with pneumonia.
        seed: of the choice of images and of the made columns.
    """
    from PIL import Image

    with np.load(source) as stored:
        images = np.concatenate([stored[f"{part}_images"] for part in ("train", "val", "test")])
        labels = np.concatenate([stored[f"{part}_labels"].ravel() for part in ("train", "val", "test")])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    chosen = np.concatenate([order[labels[order] == label][: rows // 2] for label in (0, 1)])
    chosen = chosen[rng.permutation(len(chosen))]
    ill = labels[chosen].astype(bool)
    (folder / "scans").mkdir(parents=True, exist_ok=True)
    paths = [f"scans/{number:05d}.png" for number in range(len(chosen))]
    for path, place in zip(paths, chosen, strict=True):
        Image.fromarray(images[place]).save(folder / path)
    count = len(chosen)
    table = pd.DataFrame({"scan": paths})
    table["crp"] = np.round(np.exp(1.5 + 1.5 * ill + 0.8 * rng.normal(size=count)), 1)
    table.loc[rng.random(count) < 0.05, "crp"] = np.nan
    table["age"] = rng.integers(1, 6, count)
    table["cough"] = np.where(rng.random(count) < 0.3 + 0.4 * ill, "yes", "no")
    table["ward"] = rng.choice(["north", "south", "east"], count)
    table["label"] = np.where(ill, "pneumonia", "healthy")
    table.to_csv(folder / "records.csv", index=False)
    return folder / "records.csv"


def main() -> None:
    """Write, run, and print."""
    from permgrad.runs.request import RunRequest
    from permgrad.runs.run import run_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--out", type=Path, default=Path("permgrad-runs/image-table-example"))
    parser.add_argument("--preset", default="default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PERMGRAD_DATA", ".")))
    given = parser.parse_args()
    table = write_records(given.out / "records", given.data / "pneumoniamnist.npz", given.rows)
    request = RunRequest(
        table=str(table),
        target=("label",),
        images=("scan",),
        preset=given.preset,
        baselines=True,
        out=given.out / "run",
    )
    print(run_table(request).text)
    print(f"Known: {', '.join(INFORMATIVE)} and the image carry the label; {', '.join(NOISE)} do not.")


if __name__ == "__main__":
    main()
