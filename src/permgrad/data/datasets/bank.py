"""Telephone marketing of a Portuguese bank."""

from __future__ import annotations

import csv
import io
import zipfile

from permgrad.data.datasets.card import DataCard, Download, cards

_COLUMNS = (
    "poutcome", "job", "marital", "education", "default", "housing", "loan", "contact", "day", "month", "campaign",
    "duration", "pdays", "previous", "age", "balance", "y",
)  # fmt: skip


def convert_bank(archive: bytes) -> bytes:
    """Turn UCI's archive (a zip in a zip, semicolons, other column order) into the file of the card."""
    with zipfile.ZipFile(io.BytesIO(archive)) as outer, zipfile.ZipFile(io.BytesIO(outer.read("bank.zip"))) as inner:
        rows = csv.DictReader(io.TextIOWrapper(inner.open("bank-full.csv"), encoding="utf-8"), delimiter=";")
        out = io.StringIO()
        writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue().rstrip("\n").encode("utf-8")


cards.register("bank")(
    DataCard(
        name="bank",
        title="Bank Marketing",
        home="https://archive.ics.uci.edu/dataset/222/bank+marketing",
        licence="CC BY 4.0",
        target="y",
        task="classification",
        positive="yes",
        description=(
            "Calls of a Portuguese bank to sell a term deposit; the target says whether the client subscribed (11.7 %"
            " did)."
        ),
        rows=45_211,
        columns=17,
        file_name="bank-full.csv",
        sha256="c33dff63558d40e052d5c0622dbc872f4fe4fef99e6383c15a644f0e7ede1481",
        notes=(
            "duration is known only after the call: a model that uses it describes, it cannot choose whom to call.",
            "unknown is a level of its own; pdays is -1 for clients never contacted before.",
            "Columns stand in another order than UCI's; a download is converted and then checked.",
        ),
        download=Download("https://archive.ics.uci.edu/static/public/222/bank+marketing.zip", convert_bank),
    )
)
