"""Dengue and chikungunya cases of Brazil's notification system."""

from __future__ import annotations

from permgrad.data.datasets.card import DataCard, Download, cards

cards.register("dengue")(
    DataCard(
        name="dengue",
        title="Clinical and laboratory-confirmed cases of dengue and chikungunya (SINAN)",
        home="https://data.mendeley.com/datasets/bv26kznkjs",
        licence="CC BY 4.0",
        target="CLASSI_FIN",
        task="classification",
        positive="DENGUE",
        description=(
            "Notified patients in Brazil with symptoms and demographics as whole-number codes; the target is the"
            " disease."
        ),
        rows=11_448,
        columns=27,
        file_name="dengue.csv",
        sha256="ec4e1e8d699d96d57dce2e1a12de8290f013f60ebfcce540e03a6b24b6df8ea9",
        notes=(
            (
                "Symptoms are coded 1 (yes) and 2 (no); NU_IDADE_N is SINAN's coded age (4022 is 22 years; 3xxx are"
                " months)."
            ),
            (
                "The home holds larger extracts; the file is the cleaned two-class part of them in PermGrad's public "
                "repository, and the download comes from there."
            ),
        ),
        download=Download(
            "https://raw.githubusercontent.com/felescgon/PermGrad/main/datasets/Dengue/dengue_chikunguya_bin.csv"
        ),
    )
)
