"""Plots of pairs of features: how strongly they work together, and the prediction by
the values of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Polygon

from permgrad.attribution.explanation.pairs import pairs_of
from permgrad.attribution.model import as_model
from permgrad.attribution.subject.calls import find_call
from permgrad.base import style
from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import (
    Fault,
    InputError,
    error_in_words,
    refusing,
    shown,
    text_of,
    turned,
)
from permgrad.base.figures import PlotFigure
from permgrad.base.numerals import number
from permgrad.evaluation.cards import Predict, Sample, beyond_each, pair_effects
from permgrad.pages import choices
from permgrad.pages.charts import explained as charts
from permgrad.pages.charts.chart import padded, thinned
from permgrad.pages.plots import _base as base
from permgrad.pages.plots._base import styled
from permgrad.pages.words import clean, labels_of, quantity_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


Kind = Literal["matrix", "effect"]
#: Names with more players than this have no numbers in their cells.
_MOST_NUMBERS = 10


@styled
def interactions(
    explanation: Explanation,
    kind: Literal["matrix", "effect"] = "matrix",
    *,
    pair: tuple[str, str] | None = None,
    model: Any = None,
    X: Any = None,
    top_n: int | None = 12,
    target: str | int | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> PlotFigure:
    """Draw how pairs of features work together.

    Needs an explanation with them (``order=2`` of the method).

    Pairs of a local explanation are means of absolute values.

    Args:
        kind: ``"matrix"``: one cell per pair, clear ones framed (adjusted p below
            0.05). ``"effect"``: the mean prediction by the values of two features, with
            the rows' own values, and next to it what the pair adds to both single
            effects.
        pair: the two features of an effect. Default: the strongest pair.
        model: the model, for an effect: a fitted estimator, a function of a table that
            returns ``(rows,)`` or ``(rows, outputs)``, or a ``pg.Model`` of one.
        X: rows of the table, for an effect, as the model takes them.
        top_n: number of features, those of the strongest pairs. None: all.
        target: output of the model. None: the first, of an effect of two classes the
            positive one.
        title: the title. None: a default. ``""``: none.
        ax: axes of matplotlib to draw into.

    Raises:
        InputError: If the explanation has no pairs, or an argument of an effect is
            missing.
    """
    check_choice("kind", kind, ("matrix", "effect"))
    if int(explanation.order.max()) < 2:
        raise _no_pairs()
    _check_kind(kind, is_passed=[argument is not None for argument in (model, X, pair)])
    if kind == "effect":
        return _effect_of(explanation, pair, model, X, target, title)
    choices.check_one_unit(explanation, "interactions")
    chart = charts.interactions(explanation, top_n=top_n, target=target)
    table = chart.data["values"]
    largest_value = chart.data["most"]
    frames = chart.data["framed"]
    count = len(table) + 1
    matrix_size = float(np.clip(0.55 * count, 2.0, 6.2))
    default = "Pairs that work together"
    if chart.data["hidden"]:
        default += f", {count} of {count + chart.data['hidden']} features"
    figure, panel_axes = base.one_panel(
        matrix_size + 2.6, matrix_size + 1.3, title, default
    )
    players = labels_of([chart.data["columns"][0], *chart.data["rows"]], 22)
    names = players[1:], players[:-1]
    if count <= _MOST_NUMBERS:
        texts = chart.data["texts"]
    else:
        texts = None
    if count > 7:
        size_of = style.SIZE_SMALL
    else:
        size_of = style.SIZE_LABEL
    base.heat_table(
        panel_axes, table, texts, names, most=largest_value, signed=True, size=size_of
    )
    _frame_cells(panel_axes, frames)
    _cover_no_pairs(panel_axes, count)
    base.name_columns(panel_axes, names[1], slanted=True, degrees=32)
    label = f"interaction: {quantity_of(explanation)}"
    base.colour_bar(
        panel_axes,
        Normalize(-largest_value, largest_value),
        style.colour_map("diverging"),
        label,
        shrink=0.8,
    )
    figure.description = chart.words
    return figure


def _no_pairs() -> InputError:
    """Return the error of an explanation without pairs."""
    problem = "This explanation has no interactions"
    return InputError(
        problem,
        hint="Explain with method=pg.methods.PermGrad(order=2).",
        code="PG004",
    )


def _cover_no_pairs(axes: Any, count: int) -> None:
    """Cover the cells above the diagonal, which are no pairs."""
    # Grey cells below the diagonal were not measured.
    stairs = []
    for row in range(count - 1):
        for side in (-0.52, 0.5):
            stairs.append((row + 0.51, row + side))
    axes.add_patch(
        Polygon(
            [*stairs, (count, count - 1.5), (count, -0.6)],
            color=style.PAPER,
            linewidth=0,
            zorder=2,
        )
    )


def _frame_cells(axes: Any, cells: Any) -> None:
    """Frame the cells of clear pairs."""
    for row, column in cells:
        corners = np.array([(-0.46, -0.46), (0.46, -0.46), (0.46, 0.46), (-0.46, 0.46)])
        axes.add_patch(
            Polygon(
                np.add(corners, (column, row)),
                fill=False,
                edgecolor=style.INK,
                linewidth=1.3,
            )
        )


@refusing
def _check_kind(kind: str, is_passed: Sequence[bool]) -> Iterator[Fault]:
    """Refuse what belongs to the other kind.

    ``is_passed``: whether a model, rows and a pair are.
    """
    if kind == "effect" and not all(is_passed[:2]):
        problem = "kind='effect' needs model= and X=: the predictions are computed now"
        yield (
            problem,
            "Pass the model that was explained, and rows of its table.",
            "PG005",
        )
    if kind != "effect" and any(is_passed):
        yield (
            f"pair, model and X belong to kind='effect', got kind={kind!r}",
            "Leave them out.",
            "PG006",
        )


# ---- the effect of a pair ------------------------------------------------------------
def _effect_of(
    explanation: Explanation,
    pair: Any,
    model: Any,
    X: Any,
    target: str | int | None,
    title: str | None,
) -> PlotFigure:
    """Compute the effect of a pair and draw it."""
    if isinstance(pair, (tuple, list)):
        names = tuple(pair)
    else:
        names = pairs_of(explanation, None).names[0]
    table = _table(X)
    wrong = pair is not None and not isinstance(pair, (tuple, list))
    if wrong or len(names) != 2 or text_of(names[0]) == text_of(names[1]):
        problem = f"pair must be two different features, got {shown(pair)}"
        raise InputError(problem, hint="Pass ('age', 'sex').", code="PG001")
    for feature_name in names:
        check_choice("pair", feature_name, list(map(str, table.columns)))
    model_call = find_call(as_model(model).model)

    predict = _prediction_by(model_call, X)

    table = table.reset_index(drop=True)
    sample = Sample(
        raw=table,
        table=table,
        outcome=np.zeros((0, 0)),
        predicted=np.zeros((0, 0)),
        numbers={},
    )
    row_indices = thinned(len(table), 40).astype(np.int64)
    effects = pair_effects(
        sample, [(str(names[0]), str(names[1]))], row_indices, predict
    )
    if not effects:
        problem = f"{names[0]!r} and {names[1]!r} need at least two values each"
        raise InputError(problem, hint="Choose another pair.", code="PG055")
    count = np.shape(effects[0]["mean"])[2]
    output_position, what = _output_shown(explanation, count, target)
    return pair_effect(
        effects[0], output_position, what=f"mean {clean(what)}", title=title
    )


def _output_shown(
    explanation: Explanation, count: int, target: str | int | None
) -> tuple[int, str]:
    """Return which of the model's outputs is drawn, and its name."""
    outputs = [name for name in explanation.outputs if name != "all"]
    positive = explanation.meta.get("positive")
    target_output = positive
    if target is not None:
        target_output = explanation.outputs[explanation.output_index(target)]
    output_position = int(count == 2)
    if len(outputs) == count and target_output in outputs:
        output_position = outputs.index(target_output)
    if len(outputs) == count > 1:
        return output_position, outputs[output_position]
    return output_position, "prediction"


def _prediction_by(call: Any, X: Any) -> Predict:
    """Return the model's predictions of changed rows, as a function."""

    def predict(_: Any, changed: pd.DataFrame) -> Floats:
        rows = (
            changed
            if isinstance(X, pd.DataFrame)
            else changed.to_numpy(dtype=np.asarray(X).dtype)
        )
        which = "The model cannot predict rows of X"
        hint = "Pass the model that was explained, and its table."
        with turned(
            lambda error: InputError(f"{which}: {error_in_words(error)}", hint, "PG032")
        ):
            return np.asarray(call.function(rows), dtype=np.float64).reshape(
                len(changed), -1
            )

    return predict


def _table(X: Any) -> pd.DataFrame:
    """Return rows as a table. Columns of an array are called as in an explanation."""
    if isinstance(X, pd.DataFrame):
        return X
    if isinstance(X, Mapping):
        array = None
    else:
        array = np.asarray(X)
    if array is None or array.ndim != 2:
        problem = f"kind='effect' needs X as one table, got {type(X).__name__}" + (
            "" if array is None else f" of shape {array.shape}"
        )
        problem_hint = (
            "Pass a data frame or an array (rows, columns), and a model of it."
        )
        raise InputError(problem, hint=problem_hint, code="PG001")
    return pd.DataFrame(array).add_prefix("x")


@styled
def pair_effect(
    effect: Mapping[str, Any],
    output: int = 0,
    *,
    what: str = "mean prediction",
    title: str | None = None,
) -> PlotFigure:
    """Draw an effect of ``evaluation.pair_effects``: the mean prediction by two
    features, and what is beyond each.
    """
    mean_effects = np.asarray(effect["mean"], dtype=np.float64)
    beyond = beyond_each(mean_effects, float(effect.get("rounding", 0.0)))[:, :, output]
    first, second = map(clean, effect["pair"])
    default = " and ".join(labels_of((first, second), 30))
    labels = labels_of((first, second), 40)
    figure = base.new_figure(style.WIDTH + 0.6, 3.3, title, default)
    panels = figure.subplots(1, 2, sharey=True)
    largest_effect = float(np.abs(beyond).max()) or 1.0
    looks = (
        (
            mean_effects[:, :, output],
            Normalize(*padded(mean_effects[:, :, output], 0.0)),
            "sequential",
            what,
        ),
        (
            beyond,
            Normalize(-largest_effect, largest_effect),
            "diverging",
            "beyond both single effects",
        ),
    )
    _draw_dots(panels[0], effect["dots"])
    for panel_axes, (table, scale, colours, label) in zip(panels, looks, strict=True):
        edges = list(map(_edges, effect["axes"]))
        shades = style.colour_map(colours)
        # As one image: cells of their own would have gaps in a browser, and make a page
        # heavy.
        panel_axes.pcolormesh(
            edges[0], edges[1], table.T, cmap=shades, norm=scale, rasterized=True
        )
        for axis_label, axis_side, axis in zip(
            labels, "xy", effect["axes"], strict=True
        ):
            _axis(
                panel_axes,
                axis_side,
                axis,
                axis_label if axis_side == "x" or panel_axes is panels[0] else "",
            )
        _add_bar_above(panel_axes, scale, shades, label)
    figure.description = effect_words(effect, output)
    return figure


def _draw_dots(axes: Any, row_values: Any) -> None:
    """Draw the rows' own values of both features."""
    dots = np.asarray(row_values, dtype=np.float64)
    look: dict[str, Any] = {
        "color": style.FIXED_DARK,
        "markersize": 1.8,
        "alpha": 0.35,
        "rasterized": True,
    }
    axes.plot(*dots, "o", label="rows", linestyle="none", zorder=3, **look)


def _add_bar_above(axes: Any, scale: Normalize, shades: Any, label: str) -> None:
    """Add the bar of a panel's colours above it."""
    bar = base.colour_bar(
        axes,
        scale,
        shades,
        label,
        orientation="horizontal",
        location="top",
        fraction=0.06,
        pad=0.03,
    )
    bar.solids.set_rasterized(True)
    base.lying(bar, float(scale.vmin or 0.0), float(scale.vmax or 0.0))


def _edges(axis: Mapping[str, Any]) -> Floats:
    """Return the edges of cells around the points of an axis."""
    positions = np.asarray(axis["at"], dtype=np.float64)
    middles = (positions[1:] + positions[:-1]) / 2
    if axis["numeric"]:
        end_points = (positions[0], positions[-1])
    else:
        end_points = (positions[0] - 0.5, positions[-1] + 0.5)
    return np.concatenate([[end_points[0]], middles, [end_points[1]]])


def _axis(axes: Any, side: str, axis: Mapping[str, Any], label: str) -> None:
    getattr(axes, f"set_{side}label")(label)
    if axis["numeric"] and not axis["dates"]:
        base.plain_axis(axes, side)
        return
    tick_indices = (
        range(len(axis["at"])) if not axis["numeric"] else (0, len(axis["at"]) - 1)
    )
    ticks, words = (
        [axis[axis_key][tick_index] for tick_index in tick_indices]
        for axis_key in ("at", "label")
    )
    tick_look: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        if side == "x"
        else {}
    )
    getattr(axes, f"set_{side}ticks")(ticks, labels_of(words, 12), **tick_look)


def effect_words(
    effect: Mapping[str, Any], output: int = 0, say: Callable[[float], str] = number
) -> str:
    """Return what an effect says: what the first feature changes, where the second has
    one value or another.

    Of numbers these are the first and last value, of levels the two where the changes
    differ most.
    """
    mean_effects = np.asarray(effect["mean"], dtype=np.float64)[:, :, output]
    sides = [
        [(0, len(axis["at"]) - 1)]
        if axis["numeric"] and not axis.get("circle")
        else list(combinations(range(len(axis["at"])), 2))
        for axis in effect["axes"]
    ]

    def apart(four: Any) -> float:
        (top_row, bottom), (left_column, right) = four
        return abs(
            float(
                mean_effects[bottom, right]
                - mean_effects[top_row, right]
                - mean_effects[bottom, left_column]
                + mean_effects[top_row, left_column]
            )
        )

    row_ends, columns = max(product(*sides), key=apart)
    (first, second), (first_name, second_name) = (
        effect["axes"],
        map(clean, effect["pair"]),
    )

    def value(axis: Mapping[str, Any], position: int) -> str:
        label = clean(axis["label"][position])
        if axis["numeric"] and not axis["dates"]:
            return label.replace("-", "−")
        return label

    start, end_value = (value(first, row_index) for row_index in row_ends)
    moved = []
    for column_index in columns:
        moved.append(
            float(
                mean_effects[row_ends[1], column_index]
                - mean_effects[row_ends[0], column_index]
            )
        )
    changes = []
    for effect_change in moved:
        changes.append(
            say(
                0.0
                if abs(effect_change) <= effect.get("rounding", 0.0)
                else effect_change
            )
        )
    change_words = []
    for change, column_index in zip(changes, columns, strict=True):
        change_words.append(
            f"{change} where {second_name} is {value(second, column_index)}"
        )
    return (
        f"From {start} to {end_value}, {first_name} changes the mean prediction by "
        f"{change_words[0]}, and by {change_words[1]}."
    )
