"""The strongest reasons of single predictions: ``model.reasons(X)`` and ``permgrad
predict --reasons``.

They are Shapley values against the training rows that a model keeps to compare single
rows with, as in *What if* on a page. Those of sums of trees are exact. Else twelve of
these rows are played, and a regression on their cells says what the others do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.shapley.method import Shapley
from permgrad.attribution.model import Model
from permgrad.attribution.request import changed, tuned
from permgrad.attribution.subject.scales import is_probability
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.models.estimators.kept_rows import rows_in
from permgrad.models.row_background import MOST_ROWS

#: Shapley values of predictors: an order and its reverse with each background row. The
#: standard errors of a single round are several times as large as these orders leave,
#: so that only very large ones are told. All coalitions, each with every background
#: row, would take 5 times as many predictions as these orders with 7 features.
OF_ROWS = tuned(Shapley(tolerance=0.1, max_permutations=2 * MOST_ROWS), exact=5)
#: Background rows that are played for a reason, and the method with them: a hundred
#: rows take eight times as long.
_PLAYED = 12
_OF_REASONS = tuned(
    Shapley(tolerance=0.1, max_permutations=2 * _PLAYED), exact=5, played=_PLAYED
)
#: Orders of features for which there is always time, and columns from which on there
#: are fewer orders than usual: each order takes a prediction of every row for each
#: column.
FEWEST_ORDERS = 8
_WIDE = 400


def orders_of_features(features: int) -> int:
    """Return in how many orders features are replaced for the Shapley values of a
    predictor's row.
    """
    return max(
        FEWEST_ORDERS, int(OF_ROWS.max_permutations) * _WIDE // max(features, _WIDE)
    )


def reasons(model: Any, X: Any, n: int = 3) -> pd.DataFrame:
    """Return the strongest reasons of the predictions for rows of a fitted model.

    Args:
        model: a fitted model of a table, with the rows that it keeps.
        X: the rows.
        n: how many reasons, at most one for each feature.

    Returns:
        Columns ``reason_1``, a feature, ``reason_1_value``, the row's value of it, and
        ``reason_1_points``, how far it moves the probability in percentage points, and
        so on, largest first. Of numbers it is ``reason_1_change``, in their unit.
    """
    count = check_whole("n", n, "Pass for example 3.")
    _check_rows_of(model)
    explanation = explain_reasons(model, X)
    rows = np.arange(len(explanation.values))
    values = explanation.values[rows, :, _outputs(model, explanation)]
    order = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :count]
    return _frame(explanation, values, order)


def _check_rows_of(model: Any) -> None:
    """Refuse a model without rows to compare others with."""
    compared = getattr(model, "compared_", None)
    if compared is not None or rows_in(model)[0]:
        return
    raise InputError(
        "This model keeps no training rows, which reasons compare a row with",
        hint="Save a model of a run or of fit with its rows.",
        code="PG038",
    )


def explain_reasons(model: Any, X: Any) -> Explanation:
    """Return the Shapley values of rows in points, where outputs are probabilities:
    those by trees with all rows that the model keeps, others with a few of them.
    """
    method = _OF_REASONS
    orders = orders_of_features(len(model.preprocessor_.features()))
    if orders < int(method.max_permutations):
        method = changed(method, max_permutations=orders)
    seed = getattr(model, "seed_", model.random_state)
    return explain(
        Model(model),
        X,
        method=method,
        scope="local",
        random_state=int(seed),
        progress=False,
    )


def _outputs(model: Any, explanation: Explanation) -> Integers:
    """Return the output whose reasons are told of each row ``(rows,)``: the positive
    one of two classes, else the predicted class.
    """
    rows = len(explanation.values)
    if len(explanation.outputs) == 1:
        return np.zeros(rows, dtype=np.int64)
    decision = getattr(model, "decision_", None)
    if decision is not None:
        return np.full(rows, decision.positive)
    assert explanation.predictions is not None, "local explanations have them"
    return np.asarray(explanation.predictions).argmax(axis=1)


def _frame(explanation: Explanation, values: Floats, order: Integers) -> pd.DataFrame:
    """Return the features in their ``order`` ``(rows, reasons)`` with cells, and points
    of probabilities or changes of numbers.
    """
    names = np.array(explanation.names, dtype=object)
    cells: Array = np.full(values.shape, None, dtype=object)
    if explanation.feature_values is not None:
        table = explanation.feature_values.reindex(columns=list(explanation.names))
        cells = table.astype(object).to_numpy()
    moved = "change"
    moves = values
    if is_probability(explanation.meta):
        moved = "points"
        moves = 100 * values
    rows = np.arange(len(values))
    columns: dict[str, Any] = {}
    for reason_index, features in enumerate(order.T, start=1):
        values_of_rows = pd.Series(cells[rows, features], dtype=object)
        columns[f"reason_{reason_index}"] = names[features]
        columns[f"reason_{reason_index}_value"] = values_of_rows.where(
            values_of_rows.notna(), None
        )
        columns[f"reason_{reason_index}_{moved}"] = moves[rows, features]
    return pd.DataFrame(columns, index=rows)
