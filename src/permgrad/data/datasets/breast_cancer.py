"""Breast cancer, from scikit-learn: needs no network."""

from __future__ import annotations

import pandas as pd

from permgrad.data.datasets.card import DataCard, cards


def _build() -> pd.DataFrame:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = bunch.frame.drop(columns="target")
    return frame.assign(diagnosis=bunch.target_names[bunch.target.to_numpy()].astype(str))


cards.register("breast_cancer")(
    DataCard(
        name="breast_cancer",
        title="Breast cancer Wisconsin (diagnostic)",
        home="https://archive.ics.uci.edu/dataset/17/breast+cancer+wisconsin+diagnostic",
        licence="CC BY 4.0",
        target="diagnosis",
        task="classification",
        positive="malignant",
        description=(
            "Cell nuclei in images of fine needle aspirates, 30 measurements per patient; the target is the diagnosis."
        ),
        rows=569,
        columns=31,
        notes=("Ships inside scikit-learn, so it needs no download.",),
        build=_build,
    )
)
