"""Attributions of outputs that are a curve: survival over time, quantiles, horizons of a forecast."""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from scipy import special

from permgrad.attribution.explanation.statistics import independent, mean_over_rows
from permgrad.attribution.subject.outputs import along_points
from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.checks import check_flag
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.base.random import generator
from permgrad.base.significance import t_quantile
from permgrad.pages import choices
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import labels_of, quantity_of, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

Ends = tuple[Floats, ...]
#: Draws of the largest deviation along the curve.
_DRAWS = 4000


@styled
def curve(
    explanation: Explanation,
    *,
    row: int | None = None,
    top_n: int | None = 4,
    simultaneous: bool = True,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw values along outputs that are numbers: times of a survival function, quantiles, horizons.

    Of all rows the mean absolute value of each feature, of one row its values. The dark band is the pointwise
    interval. The light one holds the complete curve at once: of all rows by the largest deviation along the curve
    of a normal law with the rows' correlations, of one row by Bonferroni's correction.

    Needs a local explanation whose outputs are numbers, in rising order.

    Args:
        row: the row's position (None: all rows).
        top_n: the number of features, those of the largest values (None: all).
        simultaneous: whether the band of the complete curve is drawn.
        title: the title (None: a default, empty: none).
        ax: axes of matplotlib to draw into.

    Raises:
        InputError: If outputs are not numbers in rising order, or there is no such row.

    Examples:
        >>> import numpy as np, pandas as pd, permgrad as pg
        >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["age", "dose"])
        >>> def survival(rows):
        ...     return pd.DataFrame({t: np.exp(-t * np.exp(rows["age"])) for t in (0.5, 1.0, 2.0)})
        >>> explanation = pg.explain(survival, X, method="shapley", random_state=0)
        >>> explanation.outputs, explanation.plot.curve().description[:33]
        (('0.5', '1', '2'), 'Values along 3 outputs. Largest: ')
    """
    choices.check_local(explanation, "curve")
    check_flag("simultaneous", simultaneous)
    along = along_points(explanation.outputs)
    if along is None:
        problem = f"curve needs outputs that are numbers in rising order, got {', '.join(explanation.outputs[:4])}"
        hint = "Let the predictor return a frame whose columns are the times, quantiles or horizons."
        raise InputError(problem, hint=hint, code="PG004")
    if row is None:
        values, pointwise, whole = bands(explanation, simultaneous)
    else:
        place = choices.check_row(explanation, row)
        values = np.asarray(explanation.values[place], dtype=np.float64)
        pointwise = tuple(np.asarray(end[place], dtype=np.float64) for end in explanation.ci())
        tail = (1 - float(explanation.meta.get("confidence", 0.95))) / 2
        wider = float(special.ndtri(tail / len(along)) / special.ndtri(tail))
        whole = tuple(values + (end - values) * wider for end in pointwise)
    shown = choices.largest(np.abs(values).max(axis=1), top_n)
    default = f"{explanation.method}: along the outputs" + ("" if row is None else f", row {row}")
    figure, axes = base.one_panel(style.WIDTH, 3.2, title, default)
    labels = labels_of([explanation.names[feature] for feature in shown])
    for feature, label, colour, line in zip(shown, labels, cycle(style.SERIES), cycle(style.LINE_STYLES), strict=False):
        for band, alpha in ((whole, 0.12), (pointwise, 0.28))[0 if simultaneous else 1 :]:
            axes.fill_between(along, band[0][feature], band[1][feature], color=colour, alpha=alpha, linewidth=0)
        axes.plot(along, values[feature], color=colour, linestyle=line, label=label)
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    axes.set_xlim(along[0], along[-1])
    axes.set_xlabel("output")
    words = f"{'mean size of ' if row is None else ''}{quantity_of(explanation)}"
    axes.set_ylabel(textwrap.fill(words, 38))
    axes.grid(axis="y")
    for which in ("x", "y"):
        base.plain_axis(axes, which)
    axes.legend(loc="best")
    names = [explanation.names[feature] for feature in shown]
    strongest = valued(names, np.abs(values).max(axis=1)[shown])
    figure.description = f"Values along {len(along)} outputs. Largest: {strongest}."
    return figure


def bands(explanation: Explanation, simultaneous: bool = True) -> tuple[Floats, Ends, Ends]:
    """Return means of absolute values ``(names, outputs)``, and the ends of pointwise and of whole intervals."""
    sizes = np.abs(np.asarray(explanation.values, dtype=np.float64))
    units, rows = Dependence.of_rows(explanation.meta), len(sizes)
    mean, error, count = mean_over_rows(sizes, None, units)
    confidence = float(explanation.meta.get("confidence", 0.95))

    def ends(level: npt.ArrayLike) -> Ends:
        low, high = (error * t_quantile((1 + np.asarray(level)) / 2, each - 1) for each in count)
        return mean - low, mean + high

    if not simultaneous or not np.isfinite(error).all():
        return mean, ends(confidence), ends(confidence)
    parts = independent((sizes - mean).reshape(rows, -1).T, units)
    parts = (parts / np.maximum(np.linalg.norm(parts, axis=1, keepdims=True), 1e-300)).reshape(*mean.shape, -1)
    draws = generator(0, "bands of curves").normal(size=(_DRAWS, parts.shape[2]))
    widest = np.abs(np.einsum("dr,nor->dno", draws, parts, optimize=True)).max(axis=2)
    level = 1 - 2 * special.ndtr(-np.quantile(widest, confidence, axis=0))[:, None]  # of a single output
    return mean, ends(confidence), ends(level)
