"""Pages of the same model on the same rows by five packages: seconds, size, and what
each loads from the network.

    python -m benchmarks.speed.report_peers --python interpret=/venv/bin/python --python
    shapash=/other/bin/python

A LightGBM model of 100 trees on the bank table (44,211 training rows, 16 columns,
categories as numbers). Pages are of 1,000 held-out rows. skrub's page is of the
training table, as it has no model. InterpretML has no page of its own: its figures for
a black box are written into one file (local ones of five rows). Each package runs in a
process of its own, on one thread; ``--python`` names the Python of an environment that
has it. Fitting the model is not counted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

import permgrad as pg
from benchmarks._results import markdown_table, parser, record

PACKAGES = ("permgrad", "interpret", "skrub", "explainerdashboard", "shapash")
WORKER = Path(__file__).with_name("_report_peers.py")
ROWS = 1000


def write_rows(folder: Path) -> None:
    """Write the rows that every package gets."""
    frame = pg.load_dataset("bank").frame
    table, y = frame.drop(columns="y"), (frame["y"] == "yes").to_numpy(np.int64)
    numbers = {
        name: column
        if pd.api.types.is_numeric_dtype(column)
        else pd.factorize(column, sort=True)[0]
        for name, column in table.items()
    }
    X = pd.DataFrame(numbers)
    train, test, y_train, y_test = train_test_split(
        X, y, test_size=ROWS, random_state=0, stratify=y
    )
    np.savez(
        folder / "rows.npz",
        X_train=train.to_numpy(np.float64),
        X_test=test.to_numpy(np.float64),
        y_train=y_train,
        y_test=y_test,
        columns=np.array(list(X.columns)),
    )


def loaded(page: Path) -> list[str]:
    """Return the hosts whose scripts and styles a page loads."""
    text = page.read_text(encoding="utf-8", errors="replace")
    tags = re.findall(
        r"<(?:script|link)\b[^>]*?(?:src|href)=[\"']https?://([^/\"']+)", text
    )
    return sorted(set(tags))


def built(name: str, python: str, folder: Path) -> dict[str, Any]:
    """Build a page, and return what it took, or why it could not be built."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if name != "permgrad":
        environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, os.fspath(WORKER.resolve()), name, os.fspath(folder)],
        capture_output=True, text=True, check=False, env=environment, cwd=folder,
    )  # fmt: skip
    if done.returncode:
        return {"package": name, "problem": done.stderr.strip().splitlines()[-1][:200]}
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "package": f"{name} {facts['version']}",
        "seconds": facts["seconds"],
        "processor seconds": facts["processor"],
        "MB": facts["bytes"] / 1e6,
        "loads from": ", ".join(loaded(folder / f"{name}.html")) or "nowhere",
    }


def main() -> int:
    """Build every page, and record what it took."""
    options = parser(__doc__)
    options.add_argument(
        "--python", action="append", default=[], metavar="PACKAGE=PATH"
    )
    arguments = options.parse_args()
    pythons = dict(one.split("=", 1) for one in arguments.python)
    names = PACKAGES[:1] if arguments.quick else PACKAGES
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_rows(folder)
        lines = [
            built(name, pythons.get(name, sys.executable), folder) for name in names
        ]
    text = f"{markdown_table(lines)}\n"
    return record(
        arguments,
        "Pages of one model by five packages",
        text,
        lines,
        passed=None,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
