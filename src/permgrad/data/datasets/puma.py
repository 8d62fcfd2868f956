"""A simulated robot arm."""

from __future__ import annotations

from permgrad.data.datasets.card import DataCard, Download, cards

cards.register("puma")(
    DataCard(
        name="puma",
        title="Puma 8NH: a simulated robot arm",
        home="https://www.openml.org/d/225",
        licence="public (DELVE, University of Toronto)",
        target="values",
        task="regression",
        description=(
            "States of a simulated Puma 560 robot arm with high noise; the target is the angular acceleration of one"
            " link."
        ),
        rows=8_192,
        columns=9,
        file_name="puma8NH.csv",
        sha256="13186ba9756be075b2832fde69827ec54fe92855254498614c9878b07264a007",
        notes=(
            "A test error (RMSE) near 3.0 is close to the noise floor.",
            "OpenML serves the set as ARFF; the download is the CSV in PermGrad's public repository.",
        ),
        download=Download("https://raw.githubusercontent.com/felescgon/PermGrad/main/datasets/Puma/puma8NH.csv"),
    )
)
