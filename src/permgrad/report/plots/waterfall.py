"""One row: how its features move the output from the baseline to the prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.errors import InputError
from permgrad.report import style
from permgrad.report.plots import _base as base
from permgrad.report.plots._base import Floats, PlotFigure, styled
from permgrad.report.words import clean, labels_of, number, numbers, quantity_of, value_text

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
    base.check_one_unit(explanation, "waterfall")
    base.check_local(explanation, "waterfall")
    if not stacks(explanation):
        raise InputError(
            "waterfall stacks values that add up from a baseline's output to the row's, however: those of "
            f"method={explanation.method!r} do not; choose method='shapley', 'integrated_gradients' or 'deeplift', or "
            "draw plot.beeswarm()"
        )
    place = base.check_row(explanation, row)
    column = base.pick_output(explanation, output)
    values = np.nan_to_num(np.asarray(explanation.values[place, :, column], dtype=np.float64))
    order = base.largest(np.abs(values), top_n)
    start, final = _ends(explanation, place, column, values)
    names, steps = _labels(explanation, order, place), list(values[order])
    if hidden := len(values) - len(order):
        names.append(f"{hidden} other {'feature' if hidden == 1 else 'features'}")
        steps.append(float(values.sum() - values[order].sum()))
    gap = final - start - float(values.sum())
    if abs(gap) > 0.005 * max(abs(final - start), float(np.abs(values).max(initial=0.0)), 1e-12):
        names.append("not attributed")
        steps.append(gap)
    title = base.heading(f"{explanation.method}: row {place}", title)
    figure, axes = base.one_panel(style.WIDTH, 1.35 + 0.31 * max(len(steps), 1), title)
    _steps(axes, np.asarray(steps), start)
    base.name_rows(axes, names)
    _mark_ends(axes, len(steps), start, final)
    axes.set_xlabel(_output_of(explanation, column) if label is None else clean(label))
    leading = ", ".join(f"{clean(explanation.names[i])} {number(float(values[i]))}" for i in order[:5])
    figure.description = f"Steps from {number(start)} (baseline) to {number(final)} (this row). Largest: {leading}."
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
    """Return the baseline's output and the row's; steps from 0 where the baseline's is not known."""
    if explanation.base_values is None:
        return 0.0, float(values.sum())
    outputs = np.asarray(explanation.base_values, dtype=np.float64)
    start = float(outputs[row, column] if outputs.ndim == 2 else outputs[column])
    if explanation.predictions is None:
        return start, start + float(values.sum())
    return start, float(np.asarray(explanation.predictions)[row, column])


def _labels(explanation: Explanation, order: Any, row: int) -> list[str]:
    """Write ``name = value`` with both cut to a sensible length."""
    names, frame = [explanation.names[i] for i in order], explanation.feature_values
    return [
        label if frame is None or name not in frame.columns else f"{label} = {value_text(frame[name].iloc[row])}"
        for label, name in zip(labels_of(names, 24), names, strict=True)
    ]


def _steps(axes: Any, steps: Floats, start: float) -> None:
    """Lay the steps from the last (bottom) to the first (top), each starting where the one below ended."""
    ends = start + np.cumsum(steps[::-1])[::-1]
    starts = np.append(ends[1:], start)[: len(steps)]
    base.signed_bars(axes, steps, 0.58, left=starts)
    above = np.arange(1, len(steps))
    axes.vlines(ends[1:], above - 0.71, above - 0.29, color=style.MUTED, linewidth=0.7)
    reach = np.concatenate([starts, ends, [start]])
    low, high = base.padded(float(reach.min()), float(reach.max()), 0.0)
    for place, (step, text) in enumerate(zip(steps, numbers(steps), strict=True)):
        words, side = (f"+{text}", 1) if step > 0 else (text, 1 if step == 0 else -1)
        base.note(axes, words, (ends[place], place), (4 * side, 0), ha="left" if side > 0 else "right")
    axes.set_xlim(low - 0.2 * (high - low), high + 0.2 * (high - low))


def _mark_ends(axes: Any, count: int, start: float, final: float) -> None:
    axes.set_ylim(count - 0.3, -0.95)
    axes.axvline(start, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0.5)
    axes.axvline(final, color=style.INK, linewidth=0.9, zorder=0.5)
    # The two words stand on opposite sides of their lines, so that they stay apart when the ends are close.
    side = 1 if final >= start else -1
    for value, text, towards, colour in ((final, "this row", side, style.INK), (start, "baseline", -side, style.MUTED)):
        look = {"ha": "left" if towards > 0 else "right", "color": colour, "annotation_clip": False}
        base.note(axes, f"{text} {number(value)}", (value, -0.62), (4 * towards, 0), **look)
