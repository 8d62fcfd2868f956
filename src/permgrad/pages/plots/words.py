"""What words do over all rows: bars with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from permgrad.attribution.explanation.by_word import FEWEST_ROWS
from permgrad.base import style
from permgrad.base.errors import InputError, counted
from permgrad.base.figures import PlotFigure
from permgrad.base.significance import LEVEL
from permgrad.pages import choices
from permgrad.pages.charts.chart import padded
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import labels_of, quantity_of, towards, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


@styled
def words(
    explanation: Explanation,
    *,
    top_n: int | None = 15,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw what each word does on average over the rows that hold it.

    The numbers are those of ``explanation.by_word()``: words by falling size of their
    effect, with intervals. Bars are grey unless the effect is clear. On the right is
    the number of rows.

    Args:
        explanation: A local one, of words.
        top_n: How many words to draw, the largest effects first. None: all.
        target: Name or position of the output. None: the first (for rows of two
            classes: the positive one).
        title: Title of the figure. None: what is drawn.
        ax: Axes of matplotlib to draw into. None: a new figure.

    Raises:
        InputError: The explanation is global, or its features are no words, or no word
            stands in 10 rows.

    Examples:
        >>> import torch, permgrad as pg
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Embedding(9, 1), torch.nn.Flatten(), torch.nn.Linear(3, 1)
        ... )
        >>> ids = torch.randint(0, 9, (200, 3))
        >>> model = pg.Model(net, task="regression", vocabulary=list("abcdefghi"))
        >>> local = pg.explain(model, ids, method="shapley", progress=False)
        >>> len(local.plot.words(top_n=4).axes)
        1
    """
    output = explanation.outputs[choices.pick_output(explanation, target)]
    frame = explanation.by_word()
    frame = frame[frame["output"] == output]
    if not len(frame):
        problem = f"plot.words() needs a word that stands in {FEWEST_ROWS} rows"
        raise InputError(problem, hint="Explain more rows.", code="PG004")
    count = choices.check_top_n(top_n, len(frame))
    shown = frame.head(count)
    height = 0.95 + style.ROW * count
    rows = counted(len(explanation.values), "row")
    default = f"{explanation.method}: words over {rows}"
    figure, axes = base.one_panel(style.WIDTH, height, title, default)
    effects = shown["effect"].to_numpy()
    low = shown["ci_low"].to_numpy()
    high = shown["ci_high"].to_numpy()
    is_clear = shown["p_adjusted"].to_numpy() < LEVEL
    base.signed_bars(axes, effects, quiet=(~is_clear).tolist())
    base.intervals(axes, low, high)
    names = shown["word"].tolist()
    base.name_rows(axes, labels_of(names, 30))
    axes.set_xlim(*padded(np.concatenate([[0.0], effects, low, high]), 0.03))
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    row_counts = [counted(row_count, "row") for row_count in shown["rows"].tolist()]
    room = 6 + 4.6 * max(map(len, row_counts), default=0)
    base.beside_rows(axes, row_counts, room, ha="right")
    base.note_hidden(axes, len(frame) - count)
    column = explanation.output_index(output)
    unit = [quantity_of(explanation), towards(explanation, column)]
    axes.set_xlabel(", ".join(filter(None, unit)))
    figure.description = f"Effects of words. Largest: {valued(names[:5], effects[:5])}."
    return figure
