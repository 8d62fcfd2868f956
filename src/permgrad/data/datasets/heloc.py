"""FICO's home equity credit data."""

from __future__ import annotations

from permgrad.data.datasets.card import DataCard, Download, cards

cards.register("heloc")(
    DataCard(
        name="heloc",
        title="FICO Explainable Machine Learning Challenge: home equity line of credit",
        home="https://community.fico.com/s/explainable-machine-learning-challenge",
        licence="FICO challenge terms; free on request",
        target="RiskPerformance",
        task="classification",
        positive="Bad",
        description=(
            "Credit records of applicants for a home equity line; the target says whether one was 90 days past due"
            " within two years."
        ),
        rows=10_459,
        columns=24,
        file_name="heloc.csv",
        sha256="f66d77f4e4e27c11205ba6258008f5e071f1f09724f4893e9ff2840a4e99f259",
        na_codes=(-9, -8, -7),
        notes=(
            (
                "-9 (no record), -8 (no valid value) and -7 (condition not met) are missing values in disguise, each"
                " its own kind."
            ),
            "587 rows are duplicates of others.",
            (
                "FICO gives the file on request only; the download is the copy in PermGrad's public repository. OpenML "
                "45023 and 45068 hold cleaned forms with other rows."
            ),
        ),
        download=Download("https://raw.githubusercontent.com/felescgon/PermGrad/main/datasets/HELOC/heloc.csv"),
    )
)
