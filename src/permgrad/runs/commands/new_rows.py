"""What is said of rows that are predicted: what training did not have of them, and how good their predictions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Booleans
from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import number
from permgrad.data.encode.unlike import Unlike
from permgrad.data.read.cells import canonical
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.class_order import metrics_in
from permgrad.evaluation.metrics import scores_of
from permgrad.pages.words import clean, shorten
from permgrad.runs.run import predicting

#: Columns that are named.
_NAMED = 5
#: What is said of each kind, behind "3 of 5 rows have".
_WORDS = {
    "level": "a level of {column} that training did not have, such as {example}",
    "rare": "a level of {column} that training had rarely or never, such as {example}",
    "word": "a word in {column} beside the two of training, such as {example}, which counts as missing",
    "range": "{column} outside the training range of {low} to {high}, such as {example}",
    "missing": "no {column}, which every training row had",
}


@dataclass
class UnlikeRows:
    """Rows with cells that no training row had, counted over parts of a table.

    ``rows``: all of them. ``unlike``: those with such a cell, of which ``first`` is the first one's number.
    """

    rows: int = 0
    unlike: int = 0
    first: int | None = None
    columns: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, found: Sequence[Unlike], rows: int) -> None:
        """Add the next rows of the table."""
        member: Booleans = np.zeros(rows, dtype=bool)
        for one in found:
            member |= one.rows
            facts: dict[str, Any] = {"column": one.column, "kind": one.kind, "rows": int(one.rows.sum())}
            facts |= {"example": one.example} if one.example else {}
            facts |= {} if one.ends is None else dict(zip(("low", "high"), one.ends, strict=True))
            self._count(facts)
        if self.first is None and member.any():
            self.first = self.rows + int(np.argmax(member))
        self.rows, self.unlike = self.rows + rows, self.unlike + int(member.sum())

    def _count(self, facts: Mapping[str, Any]) -> None:
        known = self.columns.setdefault((facts["column"], facts["kind"]), {**facts, "rows": 0})
        known["rows"] += facts["rows"]

    @classmethod
    def of_parts(cls, parts: Sequence[UnlikeRows]) -> UnlikeRows:
        """Return the counts of parts of a table together."""
        whole = cls()
        for part in parts:
            for facts in part.columns.values():
                whole._count(facts)
            if whole.first is None and part.first is not None:
                whole.first = whole.rows + part.first
            whole.rows, whole.unlike = whole.rows + part.rows, whole.unlike + part.unlike
        return whole

    @property
    def facts(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {"rows": self.unlike, "first": self.first, "columns": list(self.columns.values())}

    @property
    def lines(self) -> list[str]:
        """The counts as sentences. None where all rows are like those of training."""
        whole, lines = counted(self.rows, "row"), list[str]()
        for facts in list(self.columns.values())[:_NAMED]:
            told = {name: shorten(value, 40) for name, value in facts.items() if isinstance(value, str)}
            have = by_count(facts["rows"], "has", "have")
            lines.append(f"{facts['rows']:,} of {whole} {have} {_WORDS[facts['kind']].format_map(told)}.")
        if len(self.columns) > _NAMED:
            lines.append(f"Likewise in {counted(len(self.columns) - _NAMED, 'more column')}.")
        if len(self.columns) > 1:
            have = by_count(self.unlike, "has", "have")
            lines.append(f"{self.unlike:,} of {whole} {have} such a cell. The first is row {self.first}.")
        return lines


# ---- with the target in the table ------------------------------------------------------------------------------------
def scores_of_rows(
    table: pd.DataFrame, data: Mapping[str, Any], predicted: predicting.Predicted, model: Any
) -> dict[str, Any] | None:
    """Return the scores of predictions on the rows that have a target, as ``metrics.json`` has them. None: none has."""
    table, about = predicting.as_rates(table, data)
    target = about.get("target")
    if target not in table.columns:
        return None
    values = blank_codes(table[[target]], list(about.get("na", ())))[target]
    options: dict[str, Any] = {}
    if hasattr(model, "classes_"):
        y: Any = np.array([canonical(value) for value in values], dtype=object)
        there, guess = values.notna().to_numpy(dtype=bool), predicted["probabilities"]
        options["classes"] = [canonical(label) for label in model.classes_.tolist()]
        called = np.array([canonical(label) for label in predicted["prediction"].tolist()], dtype=object)
        if about.get("positive") is not None:
            options["positive"] = canonical(about["positive"])
    else:
        y = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        there, guess, called = np.isfinite(y), predicted["prediction"], None
        options["counts"] = bool(getattr(model, "counts", False) or getattr(model, "loss", None) == "poisson")
    if about.get("weight") in table.columns:
        weights = pd.to_numeric(table[about["weight"]], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        there = there & (weights > 0)
        options["weights"] = weights[there]
    if not there.any():
        return None
    if called is not None:
        options["called"] = called[there]
    task: Any = "regression" if called is None else "classification"
    return {"rows": int(there.sum()), "target": str(target), **scores_of(task, y[there], guess[there], **options)}


def scores_said(scores: Mapping[str, Any]) -> str:
    """Write scores as a sentence."""
    said = ", ".join(f"{one.label} {number(scores[one.name])}" for one in metrics_in(scores))
    words = f"Scores on {counted(scores['rows'], 'row')} with {clean(scores['target'])}: {said}."
    unknown = sum(scores.get("unseen", {}).values())
    have, count = by_count(unknown, "has", "have"), by_count(unknown, "counts", "count")
    strange = f" {unknown:,} of them {have} a class that the model does not know, and {count} as wrong."
    return words + strange * bool(unknown)
