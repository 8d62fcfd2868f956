"""Makes the picture of README: a page of a report, and the explanation of a row with an
image: ``make pictures``.

Both are pages that permgrad writes, and Chromium takes them. ``--quick`` trains less.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import permgrad as pg

PICTURES = Path(__file__).resolve().parent / "pictures"
HEIGHT, GAP = 1000, 24
#: Where what the first page says ends: what follows is not shown, since it would be cut.
LEAD = 830
SCALE = 1.5


def scans(rng: np.random.Generator, spots: np.ndarray) -> np.ndarray:
    """Return made scans ``(rows, 48, 48)``: dark lungs, and a bright spot in one where
    ``spots`` is 1.
    """
    down, right = np.mgrid[0:48, 0:48]
    lungs = sum(
        np.exp(-((((down - 25) / 13) ** 2 + ((right - column) / 7.5) ** 2) ** 2))
        for column in (14, 34)
    )
    body = np.exp(-(((down - 26) / 26) ** 4 + ((right - 24) / 23) ** 4))
    images = np.repeat((0.62 * body - 0.42 * lungs)[None], len(spots), axis=0)
    for row in np.flatnonzero(spots):
        place = rng.uniform(18, 32), rng.choice([14, 34]) + rng.uniform(-2, 2)
        images[row] += 0.45 * np.exp(
            -((down - place[0]) ** 2 + (right - place[1]) ** 2) / 12
        )
    images += 0.03 * rng.normal(size=images.shape)
    return (255 * images.clip(0, 1)).astype(np.uint8)


def records(folder: Path, count: int) -> np.ndarray:
    """Write scans and ``records.csv``; return where a scan has a spot.

    The age does not matter.
    """
    rng = np.random.default_rng(0)
    spots = rng.integers(0, 2, count)
    for row, image in enumerate(scans(rng, spots)):
        Image.fromarray(image).save(folder / f"{row}.png")
    table = pd.DataFrame(
        {
            "scan": [f"{row}.png" for row in range(count)],
            "crp": rng.gamma(2.0, 12.0, count).round(1),
        }
    )
    table["age"], table["cough"] = (
        rng.integers(20, 85, count),
        rng.choice(["no", "yes"], count),
    )
    risk = (
        2.4 * spots
        + 0.05 * table["crp"]
        + 0.8 * (table["cough"] == "yes")
        + 0.4 * rng.normal(size=count)
    )
    table["outcome"] = np.where(risk > np.median(risk), "pneumonia", "healthy")
    table.to_csv(folder / "records.csv", index=False)
    return spots


def patient(folder: Path, spots: np.ndarray) -> str:
    """Return HTML of the explanation of one patient with a spot."""
    table = pg.read_table(folder / "records.csv")
    outcome, held_out = table.pop("outcome").to_numpy(), len(table) - 60
    model = pg.HyNNClassifier(random_state=0, progress=False).fit(
        table[:held_out], outcome[:held_out]
    )
    ill = (spots == 1) & (outcome == "pneumonia") & (np.arange(len(table)) >= held_out)
    one = int(np.flatnonzero(ill)[0])
    explanation = pg.explain_parts(
        model, table[one : one + 1], target="pneumonia", progress=False
    )
    return explanation.to_html(row=0)


def shot(page: Path, width: int, picture: Path) -> Image.Image:
    """Return a page as Chromium shows it."""
    browser = (
        shutil.which("chromium")
        or shutil.which("google-chrome")
        or shutil.which("chrome")
    )
    if browser is None:
        sys.exit("Pictures need Chromium: no 'chromium' or 'google-chrome' was found.")
    options = [
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        f"--force-device-scale-factor={SCALE}",
    ]
    options += [
        f"--window-size={width},{HEIGHT}",
        f"--screenshot={picture}",
        page.resolve().as_uri(),
    ]
    subprocess.run([browser, *options], check=True, capture_output=True)  # noqa: S603 — our own pages
    return Image.open(picture).convert("RGB")


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="train less")
    parser.add_argument(
        "--out",
        type=Path,
        default=PICTURES / "what-you-get.png",
        help="the file to write",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spots = records(folder, 200 if arguments.quick else 800)
        run = folder / "run"
        command = [
            sys.executable,
            "-m",
            "permgrad",
            "run",
            str(folder / "records.csv"),
            "--target",
            "outcome",
        ]
        subprocess.run(  # noqa: S603 — fixed words
            [*command, "--kind", "scan=image", "--out", str(run)], check=True
        )
        ranking = (
            pg.Explanation.load(run / "explanations" / "permgrad")
            .plot.bar(top_n=8, title="")
            .to_svg()
        )
        style = (
            "body{margin:28px;font:15px sans-serif;background:#fff;color:#222} "
            ".card{zoom:1.25} h2{font-size:22px}"
        )
        parts = [
            f"<meta charset=utf-8><style>{style}</style>",
            "<h2>Why does the network see pneumonia in this patient?</h2>",
            f"<div class=card>{patient(folder, spots)}</div>",
            "<h2>What does the network rely on?</h2>",
            ranking,
        ]
        page = folder / "patient.html"
        page.write_text("".join(parts), encoding="utf-8")
        left = shot(run / "report.html", 1000, folder / "left.png")
        paper = left.getpixel((0, 0))
        left.paste(paper, (0, int(SCALE * LEAD), left.width, left.height))
        right = shot(page, 780, folder / "right.png")
    whole = Image.new(
        "RGB", (left.width + right.width + GAP, max(left.height, right.height)), "white"
    )
    whole.paste(left, (0, 0))
    whole.paste(right, (left.width + GAP, 0))
    # Of many greys, the few coloured points would be lost. Each of the 256 is the mean of
    # those that it stands for, so that paper and cells keep their colours.
    few = whole.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2)
    few.save(arguments.out, optimize=True)
    print(f"written: {arguments.out}")  # noqa: T201 — a script


if __name__ == "__main__":
    main()
