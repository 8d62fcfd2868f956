"""Forest cover types."""

from __future__ import annotations

from permgrad.data.datasets.card import DataCard, cards

cards.register("covertype")(
    DataCard(
        name="covertype",
        title="Covertype (a sample)",
        home="https://archive.ics.uci.edu/dataset/31/covertype",
        licence="CC BY 4.0",
        target="Cover_Type",
        task="classification",
        description=(
            "Patches of 30 × 30 m in a Colorado forest with terrain, soil and wilderness area; the target is the kind"
            " of trees (1 to 7)."
        ),
        rows=15_000,
        columns=55,
        file_name="covertype_sample.csv",
        sha256="f8e8661a50096cbdd70f5706953777efceda260dbf92bfc358ce041c233728dd",
        variables={
            "Wilderness_Area": tuple(f"Wilderness_Area{i}" for i in range(1, 5)),
            "Soil_Type": tuple(f"Soil_Type{i}" for i in range(1, 41)),
        },
        notes=(
            "44 of the 54 columns are one-hot columns of two variables: 12 features, 54 columns on request.",
            (
                "A sample of 15,000 of the 581,012 rows with their natural class shares (class 4: 67 rows); the home"
                " holds all rows, so the sample is not downloaded."
            ),
        ),
    )
)
