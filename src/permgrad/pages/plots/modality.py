"""Plots of the importance of complete branches or modalities, and of what happens when
features are removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from permgrad.assess.assessment import entries_of
from permgrad.base import style
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.base.sequences import values_at
from permgrad.models.branches import path_names
from permgrad.pages import choices
from permgrad.pages.charts import explained as charts
from permgrad.pages.charts.chart import padded
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import in_unit, labels_of, quantity_of, unit_name, valued

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.missing import Missing
    from permgrad.evaluation.explanations import Evaluation

_OPEN: dict[str, Any] = {
    "markerfacecolor": style.PAPER,
    "markeredgecolor": style.INK,
    "linestyle": "none",
}


@styled
def modality(
    explanation: Explanation,
    *,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw the importance of complete branches or modalities.

    Uses ``explanation.branches`` if there are any. Otherwise, for additive methods,
    uses the signed sum over the features of each path or modality.

    Args:
        explanation: What is drawn.
        target: Name or position of the output. None: the first (for rows of two
            classes: the positive one).
        title: Title of the figure. None: what is drawn.
        ax: Axes of matplotlib to draw into. None: a new figure.

    Raises:
        InputError: If the values cannot be summed (the message names the call to make),
            or if the modalities were explained by different methods.
    """
    choices.check_one_unit(explanation, "modality")
    if title is None:
        title_text = f"{explanation.method}: importance of each part of the network"
    else:
        title_text = title
    explanation.output_index(target)
    content = explanation.branches or _content(explanation, target)
    return branches(content, title=title_text, label=quantity_of(explanation))


def _content(
    explanation: Explanation, target: str | int | None
) -> dict[str, dict[str, float]]:
    """Return the modalities' values in the form of ``branches.json``: sums over
    features, by path if there are any.
    """
    summed = explanation
    paths = tuple(
        path_name for path_name in explanation.parts if path_name in path_names()
    )
    if not explanation.level.of_modalities:
        summed = explanation.by_modality()
        if len(paths) > 1:
            values = np.stack(
                [explanation.parts[path_name].sum(axis=-2) for path_name in paths],
                axis=-2,
            )
            summed = replace(
                summed,
                values=values,
                names=paths,
                modality=paths,
                parts={},
                part_std={},
            )
    summed = choices.as_global(summed)
    column = summed.output_index(target)
    numbers = np.stack([summed.values, *summed.ci()])[:, :, column]
    value_keys = ("importance", "ci_low", "ci_high")
    return {
        modality_name: dict(zip(value_keys, values.tolist(), strict=True))
        for modality_name, values in zip(summed.names, numbers.T, strict=True)
    }


@styled
def branches(
    content: Mapping[str, Any], *, title: str = "", label: str = "importance"
) -> PlotFigure:
    """Draw the content of ``branches.json``, without entries that are missing or null.

    The bar is the importance with its interval, the open circle the effect if replaced
    alone, the open square that if replaced last. Shares are written next to them unless
    one is outside 0 … 1.
    """
    if not entries_of(content):
        problem_hint = (
            "Pass explanation.branches of a model with several inputs or branches."
        )
        raise InputError(
            "branches needs at least one branch with an importance, got none",
            hint=problem_hint,
            code="PG055",
        )
    chart = charts.branches(content, label=label)
    names = chart.data["names"]
    value = chart.data["values"]
    lower_ends = chart.data["low"]
    upper_ends = chart.data["high"]
    figure, panel_axes = base.one_panel(style.WIDTH, 1.15 + 0.5 * len(names), title)
    bar_positions = np.arange(len(names))
    base.intervals(panel_axes, lower_ends, upper_ends, linewidth=1.2)
    for effect_mark in chart.data["marks"]:
        shape = {"circle": "o", "square": "s"}[effect_mark["shape"]]
        panel_axes.plot(
            effect_mark["values"],
            bar_positions,
            shape,
            markersize=5,
            markeredgewidth=1.0,
            label=effect_mark["name"],
            **_OPEN,
        )
    colours = [style.TOKENS[colour][0] for colour in chart.data["colours"]]
    panel_axes.barh(
        bar_positions, np.nan_to_num(value), height=0.52, color=colours, linewidth=0
    )
    base.name_rows(panel_axes, labels_of(names))
    base.beside_rows(
        panel_axes, chart.data["texts"], 8, color=style.INK, fontsize=style.SIZE_LABEL
    )
    reach = np.concatenate(
        [
            value,
            lower_ends,
            upper_ends,
            *(shown_mark["values"] for shown_mark in chart.data["marks"]),
        ]
    )
    panel_axes.set_xlim(*padded([0.0, *reach[np.isfinite(reach)]], 0.04))
    panel_axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    panel_axes.set_xlabel(label)
    if chart.data["marks"]:
        panel_axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=2,
            handletextpad=0.1,
            borderpad=0.1,
        )
    figure.description = chart.words
    return figure


@styled
def missing(
    result: Missing,
    measure: str = "loss",
    *,
    top_n: int | None = 32,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw the loss, or a score, of subsets of modalities with its interval, the best
    on top.

    Lines: the model with every modality, and with none.
    """
    values, _, lower_ends, upper_ends = result.measures[measure]
    order = choices.largest(values if measure != "loss" else -values, top_n)
    default = f"{measure.replace('_', ' ')} by the modalities that are present"
    figure, panel_axes = base.one_panel(
        style.WIDTH, 1.15 + style.ROW * len(order), title, default
    )
    if result.meta.get("always"):
        least = "only those that always stay"
    else:
        least = "none"
    for subset_index, label, line_style in (
        (0, "all present", "-"),
        (len(values) - 1, f"{least} present", "--"),
    ):
        panel_axes.axvline(
            values[subset_index],
            color=style.MUTED,
            linewidth=0.9,
            linestyle=line_style,
            label=label,
            zorder=0.5,
        )
    base.intervals(panel_axes, lower_ends[order], upper_ends[order], linewidth=1.2)
    panel_axes.plot(
        values[order], np.arange(len(order)), "o", markersize=5, color=style.SERIES[0]
    )
    names = values_at(result.names, order)
    base.name_rows(panel_axes, labels_of(names))
    base.note_hidden(panel_axes, len(values) - len(order))
    panel_axes.set_xlim(
        *padded(np.concatenate([values, lower_ends[order], upper_ends[order]]), 0.04)
    )
    label = measure
    if measure == "loss":
        label = in_unit(measure, unit_name(result.meta))
    panel_axes.set_xlabel(label)
    panel_axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderpad=0.1)
    figure.description = (
        f"{measure} with these modalities present: {valued(names, values[order])}"
    )
    return figure


# ---- pieces --------------------------------------------------------------------------


@styled
def removal(
    evaluation: Evaluation, *, title: str | None = None, ax: Axes | None = None
) -> PlotFigure:
    """Draw the curves: the explanation's order as a line, random orders as a line with
    a band.
    """
    curves = {}
    for metric_name, estimate in evaluation.estimates.items():
        if estimate.curve is not None:
            curves[metric_name] = estimate.curve
    if not curves:
        problem = "There is no curve to draw"
        raise InputError(
            problem,
            hint="Evaluate with metrics=['deletion', 'insertion'].",
            code="PG055",
        )
    default = f"{evaluation.meta.get('method', 'explanation')}: removal curves"
    figure, panel_grid = base.small_panels(
        len(curves), (style.WIDTH / 2, 2.6), default if title is None else title
    )
    verbs = {"deletion": "replaced", "insertion": "left"}
    for panel_axes, (
        curve_name,
        (shares, ranked, middle, lower_band, upper_band),
    ) in zip(panel_grid, curves.items(), strict=True):
        panel_axes.fill_between(
            shares, lower_band, upper_band, color=style.NEUTRAL, alpha=0.25, linewidth=0
        )
        panel_axes.plot(
            shares, middle, color=style.NEUTRAL, linestyle="--", label="random order"
        )
        panel_axes.plot(shares, ranked, color=style.SERIES[0], label="this explanation")
        panel_axes.set_title(
            f"{curve_name}: {evaluation.directions[curve_name]} is better",
            fontsize=style.SIZE_LABEL,
            loc="left",
        )
        panel_axes.set_xlabel(f"share of features {verbs.get(curve_name, '')}")
        panel_axes.grid(axis="y")
        base.plain_axis(panel_axes, "xy")
    panel_grid[0].set_ylabel(evaluation.meta.get("measured", "output"))
    panel_grid[0].legend(borderpad=0.1)
    figure.description = " · ".join(
        f"{metric}: area {number(evaluation.estimates[metric].value)}, random "
        f"{number(evaluation.estimates[metric].random)}"
        for metric in curves
    )
    return figure
