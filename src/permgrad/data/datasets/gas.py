"""Gas sensor array drift."""

from __future__ import annotations

from permgrad.data.datasets.card import DataCard, cards

cards.register("gas")(
    DataCard(
        name="gas",
        title="Gas sensor array drift (batches 1 to 6, 8 and 9)",
        home="https://archive.ics.uci.edu/dataset/270/gas+sensor+array+drift+dataset+at+different+concentrations",
        licence="CC BY 4.0",
        target="gas",
        task="classification",
        description=(
            "Measurements of 16 chemical sensors, 8 quantities each, over three years; the target is one of six gases."
        ),
        rows=6_697,
        columns=131,
        file_name="gas.csv.gz",
        sha256="586ec7eb75ce4f5cb02d0dec2e560f58e61fd3bdbe83893a9d3a9104eadd809c",
        not_features=("batch", "concentration"),
        notes=(
            "batch and concentration belong to the experiment, not to the measurement: they are not features.",
            "The home holds ten batches in another format (UCI 224 and 270), so the file used here is not downloaded.",
        ),
    )
)
