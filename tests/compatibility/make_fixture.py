"""Save small models and an explanation with the permgrad that is installed, for the test beside this file.

At each release, with the released version installed and not the working tree:

    python tests/compatibility/make_fixture.py

writes ``tests/compatibility/<version>/``: a classifier on both paths, a regression of several members, a classifier
of images and a table, an explanation, a run without its page, the rows they are asked about and what they answered.
Commit the folder (about 100 kB); never write it again: that is what the version wrote.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import permgrad as pg

SMALL = {"dense_units": [4], "conv_filters": [2], "fusion_units": [4]}
HERE = Path(__file__).parent


def table(rows: int, seed: int) -> pd.DataFrame:
    """Return rows with numbers, missing cells, a code for missing, levels, dates and yes and no."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": draw.normal(50, 10, rows).round(1), "town": draw.choice(["Bonn", "Ulm", "Köln"], rows)}
    )
    frame["dose"] = draw.choice([0.5, 1.0, 2.0, -9.0, np.nan], rows)
    frame["day"] = pd.date_range("2020-01-01", periods=rows, freq="11D").astype(str)
    frame["smokes"] = draw.choice(["yes", "no"], rows)
    return frame


def write_images(folder: Path, rows: int) -> list[str]:
    """Write small grey images and return their names."""
    from PIL import Image

    folder.mkdir(parents=True)
    draw = np.random.default_rng(1)
    for number in range(rows):
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    return [f"images/{number}.png" for number in range(rows)]


def main() -> None:
    place = HERE / pg.__version__
    train, rows = table(60, 0), table(4, 1)
    ill = np.where(train["age"] + 5 * (train["town"] == "Ulm") > 52, "ill", "well")
    shared = {"max_epochs": 5, "background_size": 12, "random_state": 0, "progress": False}
    classifier = pg.HyNNClassifier(
        preset="fast", network=SMALL, pixels=5, na_codes=[-9], groups={"who": ["age", "smokes"]}, **shared
    ).fit(train, ill)
    network = {"dense_units": [4], "fusion_units": [4], "members": 2, "embedding_frequencies": 4}
    regressor = pg.HyNNRegressor(preset="default", branches=("tabular",), network=network, **shared)
    regressor.fit(train[["age", "town"]], train["age"] * 2)
    classifier.save(place / "classifier")
    regressor.save(place / "regressor")
    explanation = pg.explain(classifier, train, ill, method="permgrad", n_repeats=2, random_state=0, progress=False)
    explanation.save(place / "explanation")

    names = write_images(place / "images", 4)
    seen = train[["age", "town"]].assign(scan=[place / names[int(one == "ill")] for one in ill])
    pictured = pg.HyNNClassifier(preset="fast", network=SMALL, branches=("tabular",), **shared).fit(seen, ill)
    pictured.save(place / "photos")

    rows.assign(scan=names).to_csv(place / "rows.csv", index=False)
    found = {
        "classifier": classifier.predict_proba(rows).tolist(),
        "regressor": regressor.predict(rows[["age", "town"]]).tolist(),
        "photos": pictured.predict_proba(rows[["age", "town"]].assign(scan=[place / name for name in names])).tolist(),
        "explanation": explanation.to_frame()["importance"].tolist(),
    }
    (place / "expected.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_run(place, table(70, 2))


def write_run(place: Path, frame: pd.DataFrame) -> None:
    """Write the folder of a small run, and the headings of its page in place of the page."""
    own = frame[["age", "town", "dose"]].assign(state=np.where(frame["age"] > 50, "ill", "well"))
    own.to_csv(place / "table.csv", index=False)
    (place / "preset.json").write_text(json.dumps({"base": "fast", "network": SMALL, "training": {"max_epochs": 4}}))
    words = ["run", "table.csv", "--target", "state", "--preset", "preset.json", "--out", "run", "-q"]
    subprocess.run([sys.executable, "-m", "permgrad", *words], cwd=place, check=True)
    page = (place / "run" / "report.html").read_text(encoding="utf-8")
    headings = re.findall(r"<h[23][^>]*>([^<]*)", page)
    (place / "run-headings.txt").write_text("\n".join(headings) + "\n", encoding="utf-8")
    for path in (place / "run" / "report.html", place / "table.csv", place / "preset.json"):
        path.unlink()
    shutil.rmtree(place / "run" / ".explanations")


if __name__ == "__main__":
    main()
