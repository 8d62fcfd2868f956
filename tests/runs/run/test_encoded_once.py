"""A run encodes the rows of each part of the split once, and reads each of their images
once.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from invoking import call
from PIL import Image

from permgrad.data.encode.encoding import TableEncoder
from permgrad.models.images import ImageFeatures


@pytest.mark.slow
@pytest.mark.parametrize("images", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_each_part_is_encoded_once(tmp_path, monkeypatch, images):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"dose": rng.normal(size=200), "town": rng.choice(["Bonn", "Ulm"], 200)}
    )
    frame["target"] = np.where(frame["dose"] + rng.normal(size=200) > 0, "ill", "well")
    if images:
        frame["scan"] = [f"{row}.png" for row in range(200)]
        for row, target_level in enumerate(frame["target"]):
            top = 250 if target_level == "ill" else 150
            Image.fromarray(rng.integers(0, top, (8, 8), dtype=np.uint8)).save(
                tmp_path / f"{row}.png"
            )
    frame.to_csv(tmp_path / "table.csv", index=False)
    encoded = Counter()
    read = Counter()
    transform = TableEncoder.transform
    pixels = ImageFeatures.pixels
    written = set(zip(frame["dose"].tolist(), frame["town"], strict=True))

    def counted(self, X):
        rows = list(zip(X["dose"].astype(float).tolist(), X["town"], strict=True))
        # The other encoder is that of baselines, and rows that are not in the table
        # were changed for a curve.
        if (
            self.numeric != "standard"
            and set(rows) <= written
            and len(set(rows)) == len(rows)
        ):
            encoded.update([tuple(rows)])
        return transform(self, X)

    learn = TableEncoder.learn

    def learned(self, X, target, **options):
        if self.numeric != "standard":
            encoded.update(
                [tuple(zip(X["dose"].astype(float).tolist(), X["town"], strict=True))]
            )
        return learn(self, X, target, **options)

    monkeypatch.setattr(TableEncoder, "transform", counted)
    monkeypatch.setattr(TableEncoder, "learn", learned)

    def counted_pixels(self, name, cells, every=None):
        # Without ``every`` an image is shown, or its patches are covered.
        read.update(cells if every is not None else ())
        return pixels(self, name, cells, every)

    monkeypatch.setattr(ImageFeatures, "pixels", counted_pixels)
    words = [
        "--baselines",
        "linear",
        "--baselines",
        "extra_trees",
        *["--kind", "scan=image"] * images,
    ]
    out = tmp_path / "run"
    call(
        "run",
        tmp_path / "table.csv",
        "--target",
        "target",
        "--preset",
        "fast",
        *words,
        "--out",
        out,
    )
    assert sorted(map(len, encoded)) == [40, 40, 120], (
        "no slice of a part is encoded again"
    )
    assert set(encoded.values()) == {1}
    assert set(read.values()) <= {1}
    assert len(read) == (200 if images else 0)
