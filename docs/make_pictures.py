"""Draws the pictures of the documentation from the run that ``make demo`` does: ``make pictures``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PICTURES = Path(__file__).resolve().parent / "pictures"


def main() -> None:
    """Run the demonstration in a new folder and draw its ranking."""
    from permgrad import Explanation

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "demo")
        command = [sys.executable, "-m", "permgrad", "run", "breast_cancer", "--out", str(run)]
        subprocess.run(command, check=True)  # noqa: S603 — our own program with fixed words
        explanation = Explanation.load(run / "explanations" / "permgrad")
    title = "What the network relies on: breast cancer, test rows"
    explanation.plot.bar(top_n=10, title=title).save(PICTURES / "ranking.png")
    print(f"written: {PICTURES / 'ranking.png'}")  # noqa: T201 — a script


if __name__ == "__main__":
    main()
