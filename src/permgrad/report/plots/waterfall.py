"""One row: how its features move the output from the baseline to the prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots._base import (
    Floats,
    PlotFigure,
    check_row,
    clean,
    finish_title,
    labels_of,
    largest,
    need_local,
    need_one_unit,
    new_figure,
    number,
    numbers,
    padded,
    pick_output,
    plain_axis,
    quantity_of,
    styled,
    value_text,
)

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


def stacks(explanation: Explanation) -> bool:
    """Return whether values add up from a baseline's output to the row's: slopes can be added up, but to nothing."""
    return explanation.additive and explanation.method != "gradient"


@styled
def waterfall(
    explanation: Explanation,
    *,
    row: int = 0,
    top_n: int | None = 10,
    output: str | int | None = None,
    title: str | None = None,
    label: str | None = None,
) -> PlotFigure:
    """Draw one row's attributions as steps from the baseline's output (bottom) to the row's output (top).

    Features beyond ``top_n`` make one step together. If the attributions do not add up to the difference, the gap is a
    step of its own, called "not attributed", so that nothing is hidden.

    Args:
        explanation: A local explanation.
        row: Position of the row.
        top_n: How many features by absolute attribution; None: all.
        output: Which output; None: the first, or the second of two classes.
        title: Title; None: a default; empty: none.
        label: What the output is, written along the axis; None: "output" with its unit if known.

    Raises:
        InputError: If the explanation is global or does not add up, or there is no such row.
    """
    need_one_unit(explanation, "waterfall")
    need_local(explanation, "waterfall")
    if not stacks(explanation):
        raise InputError(
            "waterfall stacks values that add up from a baseline's output to the row's, however: those of "
            f"method={explanation.method!r} do not; choose method='shapley', 'integrated_gradients' or 'deeplift', or "
            "draw plot.beeswarm()"
        )
    place = check_row(explanation, row)
    column = pick_output(explanation, output)
    values = np.nan_to_num(np.asarray(explanation.values[place, :, column], dtype=np.float64))
    order = largest(np.abs(values), top_n)
    base, final = _ends(explanation, place, column, values)
    names, steps = _labels(explanation, order, place), list(values[order])
    hidden = len(values) - len(order)
    if hidden:
        names.append(f"{hidden} other {'feature' if hidden == 1 else 'features'}")
        steps.append(float(values.sum() - values[order].sum()))
    gap = final - base - float(values.sum())
    if abs(gap) > 0.005 * max(abs(final - base), float(np.abs(values).max(initial=0.0)), 1e-12):
        names.append("not attributed")
        steps.append(gap)
    figure = new_figure(style.WIDTH, 1.35 + 0.31 * max(len(steps), 1))
    axes = figure.add_subplot()
    _steps(axes, np.asarray(steps), base)
    _ends_marked(axes, len(steps), base, final)
    axes.set_yticks(np.arange(len(steps)), names)
    axes.tick_params(axis="y", length=0, labelcolor=style.INK, labelsize=style.SIZE_LABEL)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    plain_axis(axes)
    axes.set_xlabel(_output_of(explanation, column) if label is None else clean(label))
    finish_title(axes, f"{explanation.method}: row {place}", title)
    figure.description = (
        f"Steps from {number(base)} (baseline) to {number(final)} (this row). Largest: "
        + ", ".join(f"{clean(explanation.names[i])} {number(float(values[i]))}" for i in order[:5])
        + "."
    )
    return figure


def _output_of(explanation: Explanation, column: int) -> str:
    """Say what the axis shows: the output itself where its baseline is known, else steps from 0 in the steps' words."""
    quantity = "output" if explanation.base_values is not None else quantity_of(explanation)
    unit = explanation.meta.get("unit")
    if unit and clean(unit) not in quantity:
        quantity = f"{quantity} ({clean(unit)})"
    name = clean(explanation.outputs[column])
    return quantity if name == "all" else f"{quantity}, towards {name}"


def _ends(explanation: Explanation, row: int, column: int, values: Floats) -> tuple[float, float]:
    base = 0.0
    if explanation.base_values is not None:
        given = np.asarray(explanation.base_values, dtype=np.float64)
        base = float(given[row, column] if given.ndim == 2 else given[column])
    final = base + float(values.sum())
    if explanation.base_values is not None and explanation.predictions is not None:
        final = float(np.asarray(explanation.predictions)[row, column])
    return base, final


def _labels(explanation: Explanation, order: Any, row: int) -> list[str]:
    """Write ``name = value`` with both cut to a sensible length."""
    names = labels_of([explanation.names[i] for i in order], 24)
    frame = explanation.feature_values
    labels = []
    for label, i in zip(names, order, strict=True):
        name = explanation.names[i]
        if frame is None or name not in frame.columns:
            labels.append(label)
            continue
        labels.append(f"{label} = {value_text(frame[name].iloc[row])}")
    return labels


def _steps(axes: Any, steps: Floats, base: float) -> None:
    """Lay the steps from the last (bottom) to the first (top), each starting where the one below ended."""
    starts = base + np.concatenate([np.cumsum(steps[::-1])[:-1][::-1], [0.0]]) if len(steps) else np.zeros(0)
    ends = starts + steps
    colours = [style.POSITIVE if step >= 0 else style.NEGATIVE for step in steps]
    axes.barh(np.arange(len(steps)), steps, left=starts, height=0.58, color=colours, linewidth=0)
    for place in range(1, len(steps)):
        axes.vlines(ends[place], place - 1 + 0.29, place - 0.29, color=style.MUTED, linewidth=0.7)
    reach = np.concatenate([starts, ends, [base]])
    low, high = padded(float(reach.min()), float(reach.max()), 0.0)
    for place, (step, text) in enumerate(zip(steps, numbers(steps), strict=True)):
        side = 1 if step >= 0 else -1
        axes.annotate(
            f"+{text}" if step > 0 else text,
            (ends[place], place),
            xytext=(4 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=style.SIZE_SMALL,
            color=style.MUTED,
        )
    axes.set_xlim(low - 0.2 * (high - low), high + 0.2 * (high - low))


def _ends_marked(axes: Any, count: int, base: float, final: float) -> None:
    axes.set_ylim(count - 0.3, -0.95)
    axes.axvline(base, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0.5)
    axes.axvline(final, color=style.INK, linewidth=0.9, zorder=0.5)
    # The two words stand on opposite sides of their lines, so that they stay apart when the ends are close.
    right = final >= base
    for value, text, towards_right in ((final, "this row", right), (base, "baseline", not right)):
        axes.annotate(
            f"{text} {number(value)}",
            (value, -0.62),
            xytext=(4 if towards_right else -4, 0),
            textcoords="offset points",
            ha="left" if towards_right else "right",
            va="center",
            fontsize=style.SIZE_SMALL,
            color=style.INK if text == "this row" else style.MUTED,
            annotation_clip=False,
        )
