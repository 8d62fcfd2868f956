"""A table with 10,000 columns goes through `permgrad run`; prints the time of each
stage.

python -m verification.verify_wide
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS, ROWS = 10_000, 40


def main() -> None:
    rng = np.random.default_rng(0)
    names = [f"gene {place}" for place in range(COLUMNS)]
    wide = pd.DataFrame(rng.normal(size=(ROWS, COLUMNS)).round(3), columns=names)
    with tempfile.TemporaryDirectory() as folder:
        table, run = Path(folder, "wide.csv"), Path(folder, "run")
        wide.assign(y=np.where(wide["gene 3"] > 0, "a", "b")).to_csv(table, index=False)
        words = [
            sys.executable,
            "-m",
            "permgrad",
            "run",
            str(table),
            "--target",
            "y",
            "--preset",
            "fast",
        ]
        ended = subprocess.run(
            [*words, "--out", str(run)],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if ended.returncode:
            sys.exit(
                f"permgrad run must end well, however: exit code {ended.returncode}"
            )
        stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
        lines = len(pd.read_csv(run / "importance.csv"))
    print(
        f"{COLUMNS} columns, {ROWS} rows: "
        + ", ".join(f"{name} {facts['seconds']} s" for name, facts in stages.items())
    )
    if lines != 3 * COLUMNS:
        sys.exit(
            f"importance.csv must have a line per feature and class, however: {lines} "
            "lines"
        )


if __name__ == "__main__":
    main()
