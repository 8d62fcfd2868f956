"""A table of records and a folder of images, end to end: PneumoniaMNIST as PNG files
beside made clinical columns.

    python -m benchmarks.quality.image_table_example [--rows 1200] [--out FOLDER]
    [--preset default]

writes the files, runs ``permgrad run`` on them, with the images and without, and
records what was found beside what is known: two clinical columns carry the label, two
are noise, and the image carries it as well. The label is balanced, so that guessing is
right half of the time. ``write_records`` is what the tests use.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._results import markdown_table, parser, record

#: What the made columns are worth: these two depend on the label, the others do not.
INFORMATIVE, NOISE = ("crp", "cough"), ("age", "ward")


def write_records(folder: Path, source: Path, rows: int, seed: int = 0) -> Path:
    """Write PNG files and ``records.csv`` with a path, four clinical columns and the
    label; return the table's path.

    Args:
        folder: where to write; images go into ``scans`` in it.
        source: ``pneumoniamnist.npz``.
        rows: how many records, half of them with pneumonia.
        seed: of the choice of images and of the made columns.
    """
    from PIL import Image

    with np.load(source) as stored:
        images = np.concatenate(
            [stored[f"{part}_images"] for part in ("train", "val", "test")]
        )
        labels = np.concatenate(
            [stored[f"{part}_labels"].ravel() for part in ("train", "val", "test")]
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    chosen = np.concatenate(
        [order[labels[order] == label][: rows // 2] for label in (0, 1)]
    )
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


def read_run(run: Path) -> dict[str, Any]:
    """Return scores, shares of the kinds of columns, and each column's importance with
    its interval.
    """
    metrics = json.loads((run / "metrics.json").read_text())
    inputs = json.loads((run / "branches.json").read_text())
    importance = (
        pd.read_csv(run / "importance.csv")
        .query("`class` == 'all'")
        .set_index("feature")
    )
    return {
        "rows": metrics["rows"],
        "accuracy": metrics["test"]["accuracy"],
        "log loss": metrics["test"]["log_loss"],
        "best baseline": max(own["accuracy"] for own in metrics["baselines"].values()),
        "shares": {
            name: inputs[name]["share"] for name in ("photo", "table") if name in inputs
        },
        "columns": [
            {
                "column": name,
                "known": name not in NOISE,
                **importance.loc[name, ["importance", "ci_low", "ci_high"]],
            }
            for name in (*INFORMATIVE, "scan", *NOISE)
            if name in importance.index
        ],
    }


def main() -> int:
    """Write, run, and record."""
    from permgrad.runs.requests import RunRequest
    from permgrad.runs.run.run import run_table

    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=1200)
    options.add_argument(
        "--out", type=Path, default=Path("permgrad-runs/image-table-example")
    )
    options.add_argument("--preset", default="default")
    options.add_argument(
        "--data", type=Path, default=Path(os.environ.get("PERMGRAD_DATA", "."))
    )
    given = options.parse_args()
    rows, preset = (300, "fast") if given.quick else (given.rows, given.preset)
    table = write_records(
        given.out / "records", given.data / "pneumoniamnist.npz", rows
    )
    runs = {"run": {"images": ("scan",)}, "run-table": {"drop": ("scan",)}}
    for name, columns in runs.items():
        out = given.out / name
        request = RunRequest(
            table=str(table),
            target=("label",),
            preset=preset,
            baselines=("usual",),
            out=out,
            **columns,
        )
        print(run_table(request).text)
    found, alone = (read_run(given.out / name) for name in runs)
    found["table alone"] = {
        name: alone[name] for name in ("accuracy", "log loss", "best baseline")
    }
    text = (
        f"Known: {', '.join(INFORMATIVE)} and the image carry the label; "
        f"{', '.join(NOISE)} do not.\n\nTest rows {found['rows']['test']}: accuracy "
        f"{found['accuracy']:.3f}, log loss {found['log loss']:.3f}; without the "
        f"images {alone['accuracy']:.3f} and {alone['log loss']:.3f}. Accuracy of the "
        f"best baseline {found['best baseline']:.3f}, without the images "
        f"{alone['best baseline']:.3f}. Shares "
        + ", ".join(f"{name} {share:.0%}" for name, share in found["shares"].items())
        + ".\n\n"
        + markdown_table(found["columns"])
    )
    clear = {own["column"] for own in found["columns"] if own["ci_low"] > 0}
    # Where the image and crp are known, cough says little.
    right = {"scan", "crp"} <= clear <= {"scan", *INFORMATIVE} and found[
        "accuracy"
    ] > alone["accuracy"] + 0.03
    return record(
        given, "A table and a folder of images", text, found, passed=right, seeds=[0]
    )


if __name__ == "__main__":
    sys.exit(main())
