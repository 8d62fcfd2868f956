"""Charts of several models: scores on the same folds, importances, agreement, and error
against cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Floats
from permgrad.base.numerals import number, numbers, percent
from permgrad.evaluation.ranking import importance_shares
from permgrad.pages import choices
from permgrad.pages.charts.chart import HALF, WIDTH, Chart, mark, panel, plot
from permgrad.pages.words import clean, valued


def scores(
    values: Mapping[str, npt.ArrayLike],
    *,
    label: str = "score",
    level: tuple[str, ...] = (),
) -> Chart:
    """Return each model's score on every fold as a dot, the best on top, and the mean
    as a diamond.

    Models of ``level`` are drawn in full colour. Empty: all. Models far from all others
    have only their number.
    """
    table = np.stack(
        [np.asarray(folds, dtype=np.float64).ravel() for folds in values.values()]
    )
    means = np.array(
        [
            folds[np.isfinite(folds)].mean() if np.isfinite(folds).any() else np.nan
            for folds in table
        ]
    )
    # Models on a common scale: none is four times as far from the first as the next
    # nearer one. Three remain.
    distances = np.abs(means - means[0])
    order = np.argsort(np.nan_to_num(distances, nan=-1.0), kind="stable")
    steps = distances[order]
    far_positions = np.flatnonzero((steps[2:-1] > 0) & (steps[3:] > 4 * steps[2:-1]))
    is_near = np.ones(len(means), dtype=np.bool_)
    is_near[order[far_positions[0] + 3 :] if len(far_positions) else order[:0]] = False
    texts = numbers(means, 4)
    chart_data = {
        "names": list(map(clean, values)),
        "values": np.where(is_near, means, np.nan),
        "spread": np.where(is_near[:, None], table, np.nan),
        "quiet": [bool(level) and model_name not in level for model_name in values],
        "form": "dots",
        "zero": False,
        "step": 32,
        "texts": [
            mean_text if shown else f"off the scale: {mean_text}"
            for mean_text, shown in zip(texts, is_near, strict=True)
        ],
        "label": clean(label),
    }
    described = valued(values, means, partial(number, digits=4))
    return Chart(
        "bars",
        f"{clean(label)} of {len(table)} models on {table.shape[1]} folds, means: "
        f"{described}",
        chart_data,
    )


def reliance(
    importances: Mapping[str, npt.ArrayLike], names: Sequence[str], *, top_n: int = 12
) -> Chart:
    """Return each model's shares of importance ``(folds, features)``, means over folds.

    Shares are of the importances above 0 of a model on a fold, because the losses of
    different models differ in size. NaN: the model does not have the feature, and
    nothing is drawn.
    """
    means = np.stack(
        [
            np.stack(list(map(known_shares, np.asarray(fold_importances)))).mean(axis=0)
            for fold_importances in importances.values()
        ]
    )
    order = choices.largest(np.nan_to_num(means).mean(axis=0), top_n)
    table = means.T[order]
    cell_data = {
        "rows": [clean(names[feature_index]) for feature_index in order],
        "columns": list(map(clean, importances)),
        "values": table,
        "texts": [
            [
                "<\u00a01\u00a0%" if feature_share < 0.005 else percent(feature_share)
                for feature_share in feature_shares
            ]
            for feature_shares in np.nan_to_num(table)
        ],
        "most": float(np.nanmax(table, initial=0.0)) or 1.0,
    }
    leading_of_models = []
    for model_name, model_shares in zip(importances, means, strict=True):
        falling = np.argsort(-np.nan_to_num(model_shares), kind="stable")
        first_names = ", ".join(clean(names[i]) for i in falling[:3])
        leading_of_models.append(f"{clean(model_name)}: {first_names}")
    leading = "; ".join(leading_of_models)
    words = (
        f"Shares of importance of {len(order)} of {len(names)} features by "
        f"{len(importances)} models."
    )
    return Chart(
        "cells",
        f"{words} Strongest: {leading}.",
        cell_data,
        WIDTH if len(means) < 6 else 900,
    )


def known_shares(importance: npt.ArrayLike) -> Floats:
    """Return the shares of importances ``(features,)``, NaN where a model does not have
    the feature.
    """
    values = np.asarray(importance, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, importance_shares(np.nan_to_num(values)))


def agreement_matrix(matrix: npt.ArrayLike, labels: Sequence[str]) -> Chart:
    """Return the agreement of models ``(models, models)``.

    Framed: each with itself on other rows, the ceiling.
    """
    table = np.asarray(matrix, dtype=np.float64)
    names = list(map(clean, labels))
    cell_data = {"rows": names, "columns": names, "values": table, "most": 1}
    cell_data |= {
        "texts": [numbers(agreements, 2) for agreements in table],
        "framed": [[model_index, model_index] for model_index in range(len(names))],
    }
    words = "Agreement of models, each with itself first: " + ", ".join(
        f"{names[row_index]} and {names[column]} "
        f"{number(float(table[row_index, column]), 2)}"
        for row_index, column in np.argwhere(np.triu(np.ones(table.shape))).tolist()
    )
    return Chart("cells", words, cell_data, HALF if len(names) < 5 else WIDTH)


Points = tuple[npt.ArrayLike, npt.ArrayLike]


def tradeoff(
    points: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    quiet: tuple[str, ...] = (),
    name_quiet: bool = True,
) -> Chart:
    """Return each method's mean error against its mean cost.

    Small dots are single runs.

    ``quiet`` methods are grey, for comparison, with names only if ``name_quiet``.
    """
    pairs = {}
    for method_name, method_points in points.items():
        pairs[method_name] = np.asarray(method_points, dtype=np.float64)
    method_runs = {
        method_name: method_points[
            :, np.isfinite(method_points).all(axis=0) & (method_points[0] > 0)
        ]
        for method_name, method_points in pairs.items()
    }
    method_runs = {
        method_name: method_points
        for method_name, method_points in method_runs.items()
        if method_points.size
    }
    means = {
        method_name: (float(np.exp(np.log(x).mean())), float(y.mean()))
        for method_name, (x, y) in method_runs.items()
    }
    marks = []
    for method_index, (plotted_name, (x, y)) in enumerate(method_runs.items()):
        colour = "neutral" if plotted_name in quiet else f"series-{method_index % 8}"
        marks.append(mark("dots", x=x, y=y, colour=colour, size=1.4, opacity=0.4))
        named = (
            [clean(plotted_name)] if name_quiet or plotted_name not in quiet else None
        )
        mean_point = {"x": [means[plotted_name][0]], "y": [means[plotted_name][1]]}
        marks.append(mark("dots", **mean_point, colour=colour, size=4.5, texts=named))
    is_logarithmic = min(float(y.min()) for _, y in method_runs.values()) > 0
    best_method = min(means, key=lambda name: means[name][1])
    words = (
        f"{len(means)} methods by {clean(y_label)} and {clean(x_label)}. Smallest "
        f"error: {clean(best_method)}, "
        f"{number(means[best_method][1])} at {number(means[best_method][0])}."
    )
    return plot(
        words,
        [
            panel(
                {"label": x_label, "log": True},
                {"label": y_label, "log": is_logarithmic},
                marks,
            )
        ],
        height=420,
    )
