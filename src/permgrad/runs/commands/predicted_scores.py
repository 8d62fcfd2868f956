"""How good predictions are, of rows that have the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import number
from permgrad.data.read.cells import Distinct, canonical
from permgrad.data.read.table import blank_codes
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.evaluation.class_order import metrics_in
from permgrad.evaluation.metrics import scores_of
from permgrad.models.losses import named_loss
from permgrad.pages.words import clean
from permgrad.runs.run import predicting


def scores_of_rows(
    table: pd.DataFrame,
    data: Mapping[str, Any],
    predicted: predicting.Predicted,
    model: Any,
) -> dict[str, Any] | None:
    """Return the scores of predictions on the rows that have a target, as
    ``metrics.json`` has them. None: none has.
    """
    table, about = predicting.as_rates(table, data)
    target = about.get("target")
    if target is None or target not in table.columns:
        return None
    values = blank_codes(table[[target]], list(about.get("na", ())))[target]
    options: dict[str, Any] = {}
    if hasattr(model, "classes_"):
        y: Any = _texts_of(values, target)
        there = pd.notna(y)
        guess = predicted["probabilities"]
        options["classes"] = [canonical(label) for label in model.classes_.tolist()]
        called = _texts_of(pd.Series(predicted["prediction"]), "prediction")
        if about.get("positive") is not None:
            options["positive"] = canonical(about["positive"])
    else:
        y = pd.to_numeric(values, errors="coerce").to_numpy(
            dtype=np.float64, na_value=np.nan
        )
        there = np.isfinite(y)
        guess = predicted["prediction"]
        called = None
        loss = named_loss(getattr(model, "loss", None))
        of_counts = loss is not None and loss.counts
        options["counts"] = bool(getattr(model, "counts", False) or of_counts)
    if about.get("weight") in table.columns:
        weights = pd.to_numeric(table[about["weight"]], errors="coerce").to_numpy(
            dtype=np.float64, na_value=np.nan
        )
        there = there & (weights > 0)
        options["weights"] = weights[there]
    if not there.any():
        return None
    if called is not None:
        options["called"] = called[there]
    if called is None:
        task = REGRESSION
    else:
        task = CLASSIFICATION
    return {
        "rows": int(there.sum()),
        "target": str(target),
        **scores_of(task, y[there], guess[there], **options),
    }


def _texts_of(cells: pd.Series[Any], name: str) -> Array:
    """Return the text form of each cell ``(rows,)``, None where it is missing."""
    distinct = Distinct.of(cells, name)
    return distinct.spread(np.array(distinct.texts, dtype=object), None)


def scores_said(scores: Mapping[str, Any]) -> str:
    """Write scores as a sentence."""
    score_words = ", ".join(
        f"{metric.label} {number(scores[metric.name])}" for metric in metrics_in(scores)
    )
    words = (
        f"Scores on {counted(scores['rows'], 'row')} with "
        f"{clean(scores['target'])}: {score_words}."
    )
    unknown = sum(scores.get("unseen", {}).values())
    have_verb = by_count(unknown, "has", "have")
    count = by_count(unknown, "counts", "count")
    strange = (
        f" {unknown:,} of them {have_verb} a class that the model does not know, and "
        f"{count} as wrong."
    )
    return words + strange * bool(unknown)
