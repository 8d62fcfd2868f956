"""Write tinto_reference.npz: what TINTOlib 1.3.1 draws for small tables.

Its output is data; none of its code is here.

Run it in the environment that benchmarks/speed/imaging_speed.py describes::

    .venv-tinto/bin/python tests/imaging/reference/make_reference.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.preprocessing import MinMaxScaler

CASES = {
    "plain": {},
    "mean": {"blur": True},
    "maximum": {"blur": True, "option": "maximum"},
    "narrow": {"blur": True, "distance": 1, "steps": 3, "amplification": 1.5},
}


def main() -> None:
    from TINTOlib.tinto import TINTO

    rng = np.random.default_rng(7)
    train = rng.normal(size=(40, 9))
    train[:, 3] = train[:, 2] + 0.001 * rng.normal(
        size=40
    )  # falls on the same pixel as the column before
    train[:, 4] = train[:, 2] + 0.001 * rng.normal(size=40)
    train[:, 5] = 2.5  # constant
    test = rng.normal(size=(5, 9)) * 1.5  # also outside the training range
    test[0] = train.min(axis=0)  # a row of zeros
    stored = {"train": train, "test": test}
    names = [f"x{index}" for index in range(train.shape[1])]
    for case, options in CASES.items():
        method = TINTO(
            problem="unsupervised",
            pixels=12,
            format="npy",
            cmap=None,
            transformer=MinMaxScaler(),
            **options,
        )
        method.fit(pd.DataFrame(train, columns=names))
        with tempfile.TemporaryDirectory() as folder:
            method.transform(pd.DataFrame(test, columns=names), folder)
            files = sorted(Path(folder).glob("images/*.npy"))
            stored[f"images_{case}"] = np.stack([np.load(file) for file in files])
        stored[f"positions_{case}"] = method.pos_pixel_caract.astype(np.int64)
    np.savez_compressed(Path(__file__).with_name("tinto_reference.npz"), **stored)


if __name__ == "__main__":
    main()
