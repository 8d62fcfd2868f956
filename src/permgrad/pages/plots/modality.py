"""Plots of the importance of complete branches or modalities, and of what happens when features are removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from permgrad.assess.assessment import PATHS, entries_of
from permgrad.base import style
from permgrad.base.errors import InputError
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.pages import choices
from permgrad.pages.charts import explained as charts
from permgrad.pages.charts.chart import padded
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import labels_of, quantity_of, unit_name, valued

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

    Uses ``explanation.branches`` if there are any. Otherwise, for additive methods, uses the signed sum over the
    features of each path or modality.

    Raises:
        InputError: If the values cannot be summed (the message names the call to make), or if the modalities were
            explained by different methods.
    """
    choices.check_one_unit(explanation, "modality")
    text = (
        f"{explanation.method}: importance of each part of the network"
        if title is None
        else title
    )
    explanation.output_index(target)
    content = explanation.branches or _content(explanation, target)
    return branches(content, title=text, label=quantity_of(explanation))


def _content(
    explanation: Explanation, target: str | int | None
) -> dict[str, dict[str, float]]:
    """Return the modalities' values in the form of ``branches.json``: sums over features, by path if there are any."""
    summed, paths = (
        explanation,
        tuple(name for name in explanation.parts if name in PATHS),
    )
    if explanation.level != "modality":
        summed = explanation.by_modality()
        if len(paths) > 1:
            values = np.stack(
                [explanation.parts[name].sum(axis=-2) for name in paths], axis=-2
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
    keys = ("importance", "ci_low", "ci_high")
    return {
        name: dict(zip(keys, values.tolist(), strict=True))
        for name, values in zip(summed.names, numbers.T, strict=True)
    }


@styled
def branches(
    content: Mapping[str, Any], *, title: str = "", label: str = "importance"
) -> PlotFigure:
    """Draw the content of ``branches.json``, without entries that are missing or null.

    The bar is the importance with its interval, the open circle the effect if replaced alone, the open square that if
    replaced last. Shares are written next to them unless one is outside 0 … 1.
    """
    if not entries_of(content):
        hint = "Pass explanation.branches of a model with several inputs or paths."
        raise InputError(
            "branches needs at least one branch with an importance, got none",
            hint=hint,
            code="PG055",
        )
    chart = charts.branches(content, label=label)
    names, value, low, high = (
        chart.data[key] for key in ("names", "values", "low", "high")
    )
    figure, axes = base.one_panel(style.WIDTH, 1.15 + 0.5 * len(names), title)
    places = np.arange(len(names))
    base.intervals(axes, low, high, linewidth=1.2)
    for mark in chart.data["marks"]:
        shape = {"circle": "o", "square": "s"}[mark["shape"]]
        axes.plot(
            mark["values"],
            places,
            shape,
            markersize=5,
            markeredgewidth=1.0,
            label=mark["name"],
            **_OPEN,
        )
    colours = [style.TOKENS[colour][0] for colour in chart.data["colours"]]
    axes.barh(places, np.nan_to_num(value), height=0.52, color=colours, linewidth=0)
    base.name_rows(axes, labels_of(names))
    base.beside_rows(
        axes, chart.data["texts"], 8, color=style.INK, fontsize=style.SIZE_LABEL
    )
    reach = np.concatenate(
        [value, low, high, *(mark["values"] for mark in chart.data["marks"])]
    )
    axes.set_xlim(*padded([0.0, *reach[np.isfinite(reach)]], 0.04))
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0.5)
    axes.set_xlabel(label)
    if chart.data["marks"]:
        axes.legend(
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
    """Draw the loss, or a score, of subsets of modalities with its interval, the best on top.

    Lines: the model with every modality, and with none.
    """
    values, _, low, high = result.measures[measure]
    order = choices.largest(values if measure != "loss" else -values, top_n)
    default = f"{measure.replace('_', ' ')} by the modalities that are present"
    figure, axes = base.one_panel(
        style.WIDTH, 1.15 + style.ROW * len(order), title, default
    )
    least = "only held ones" if result.meta.get("always") else "none"
    for place, label, dash in (
        (0, "all present", "-"),
        (len(values) - 1, f"{least} present", "--"),
    ):
        axes.axvline(
            values[place],
            color=style.MUTED,
            linewidth=0.9,
            linestyle=dash,
            label=label,
            zorder=0.5,
        )
    base.intervals(axes, low[order], high[order], linewidth=1.2)
    axes.plot(
        values[order], np.arange(len(order)), "o", markersize=5, color=style.SERIES[0]
    )
    names = [result.names[place] for place in order]
    base.name_rows(axes, labels_of(names))
    base.note_hidden(axes, len(values) - len(order))
    axes.set_xlim(*padded(np.concatenate([values, low[order], high[order]]), 0.04))
    axes.set_xlabel(
        f"loss, in {unit_name(result.meta)}"
        if measure == "loss" and "unit" in result.meta
        else measure
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderpad=0.1)
    figure.description = (
        f"{measure} with these modalities present: {valued(names, values[order])}"
    )
    return figure


# ---- pieces ----------------------------------------------------------------------------------------------------------


@styled
def removal(
    evaluation: Evaluation, *, title: str | None = None, ax: Axes | None = None
) -> PlotFigure:
    """Draw the curves: the explanation's order as a line, random orders as a line with a band."""
    curves = {
        name: one.curve
        for name, one in evaluation.estimates.items()
        if one.curve is not None
    }
    if not curves:
        problem = "There is no curve to draw"
        raise InputError(
            problem,
            hint="Evaluate with metrics=['deletion', 'insertion'].",
            code="PG055",
        )
    default = f"{evaluation.meta.get('method', 'explanation')}: removal curves"
    figure, grid = base.small_panels(
        len(curves), (style.WIDTH / 2, 2.6), default if title is None else title
    )
    verbs = {"deletion": "replaced", "insertion": "left"}
    for axes, (name, (shares, ranked, middle, low, high)) in zip(
        grid, curves.items(), strict=True
    ):
        axes.fill_between(
            shares, low, high, color=style.NEUTRAL, alpha=0.25, linewidth=0
        )
        axes.plot(
            shares, middle, color=style.NEUTRAL, linestyle="--", label="random order"
        )
        axes.plot(shares, ranked, color=style.SERIES[0], label="this explanation")
        axes.set_title(
            f"{name}: {evaluation.directions[name]} is better",
            fontsize=style.SIZE_LABEL,
            loc="left",
        )
        axes.set_xlabel(f"share of features {verbs.get(name, '')}")
        axes.grid(axis="y")
        base.plain_axis(axes, "xy")
    grid[0].set_ylabel(evaluation.meta.get("measured", "output"))
    grid[0].legend(borderpad=0.1)
    figure.description = " · ".join(
        f"{name}: area {number(evaluation.estimates[name].value)}, random {number(evaluation.estimates[name].random)}"
        for name in curves
    )
    return figure
