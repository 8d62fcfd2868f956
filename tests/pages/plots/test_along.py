"""The plot of columns that have an order: each value stands at its column, of a row its
own curve.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

import permgrad as pg
from permgrad.attribution.explanation import Explanation
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.pages import plots
from permgrad.pages.charts.explained import along

NAMES = ("c", "a", "d", "b", "age")
VALUES = np.array([3.0, 1.0, 4.0, 2.0, 9.0])
ORDER = [["a", "b", "c", "d"]]
LAYOUTS: tuple[Any, ...] = ("path", "assignment", (4, 4))


def whole(order, **fields):
    values = fields.pop("values", VALUES)[:, None]
    explanation_fields = {
        "values": values,
        "low": values - 0.5,
        "high": values + 1,
        "outputs": ("all",),
        "method": "permgrad",
    }
    explanation_fields |= {
        "names": NAMES,
        "modality": ("table",) * len(values),
        "scope": "global",
        "meta": {"order": order},
    }
    return Explanation(**(explanation_fields | fields))


def rows():
    values = np.stack([VALUES, -VALUES])[..., None]
    frame = pd.DataFrame(
        {
            name: [10.0 * feature_index, 100.0 + feature_index]
            for feature_index, name in enumerate(NAMES)
        }
    )
    meta = {"order": ORDER, "quantity": "output", "unit": "y"}
    return Explanation(
        values=values, outputs=("all",), method="integrated_gradients", scope="local", names=NAMES,
        modality=("table",) * 5, meta=meta, feature_values=frame,
    )  # fmt: skip


def test_importance_stands_in_the_order_with_its_interval():
    figure = plots.along_order(whole(ORDER))
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata()[:4], [1, 2, 3, 4])
    assert [label.get_text() for label in axes.get_xticklabels()] == ORDER[0]
    corners = axes.collections[0].get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (0.5, 5)
    assert (
        figure.description
        == "Importance along 4 columns. Largest: d 4.00, c 3.00, b 2.00."
    )


def test_a_column_far_above_all_others_is_named_and_not_drawn():
    chart = along(whole(ORDER, values=np.array([3.0, 1.0, 90.0, 2.0, 9.0])))
    (panel,) = chart.data["panels"]
    np.testing.assert_array_equal(panel["marks"][-1]["y"], [1, 2, 3, np.nan])
    assert panel["title"] == "Not drawn: d 90.0"
    assert chart.words == "Importance along 4 columns. Largest: d 90.0, c 3.00, b 2.00."


def test_columns_of_a_group_share_its_value_and_unknown_ones_have_none():
    groups = {"a … b": ["a", "b"]}
    grouped_explanation = whole(
        [["a", "b", "c", "e"]],
        values=np.array([7.0, 3.0]),
        names=("a … b", "c"),
        groups=groups,
    )
    steps = plots.along_order(grouped_explanation).axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(steps[:4], [7, 7, 3, np.nan])


def test_a_row_is_its_own_curve_on_the_colours_of_its_attributions():
    axes = plots.along_order(rows(), row=1).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [101, 103, 100, 102])
    shades = axes.images[0].get_array()[0, :4]
    blue = [shade[2] > shade[0] for shade in shades]
    assert not any(blue)  # all lower the output: orange, the strongest most
    assert shades[3, 2] < shades[0, 2] < to_rgba("white")[2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ORDER[0]


def test_columns_on_a_grid_are_a_picture():
    grid = [["a", "b"], ["c", "d"], ["age", ""]]
    figure = plots.along_order(whole(grid))
    assert "Signed map of 3 by 2 cells" in figure.description
    assert "strongest 9" in figure.description


@pytest.mark.parametrize("meta", [{}, {"order": []}])
def test_columns_without_an_order_are_refused(meta):
    with pytest.raises(
        InputError, match="along_order needs a network whose columns have an order"
    ):
        whole(ORDER, meta=meta).plot.along_order()


def test_a_network_of_ordered_columns_says_their_order_any_other_none():
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(12)
    curves = np.cumsum(rng.normal(size=(80, 12)), axis=1)[:, shuffled]
    X = pd.DataFrame(
        curves, columns=[f"t{column_number}" for column_number in shuffled]
    )
    few = {"max_epochs": 1, "random_state": 0}
    X["kind"] = rng.choice(["p", "q"], 80)
    fitted = {
        layout: pg.HyNNRegressor(layout=layout, preset="fast", **few).fit(
            X, curves[:, 0]
        )
        for layout in LAYOUTS
    }
    orders = {
        layout: pg.explain(model, X[:5], method="gradient").meta.get("order", [])
        for layout, model in fitted.items()
    }
    assert orders["assignment"] == []
    (line,) = orders["path"]
    assert sorted(set(line)) == sorted(X)
    column_numbers = [int(name[1:]) for name in line if name != "kind"]
    assert (np.abs(np.diff(column_numbers)) == 1).sum() >= 9
    curve = (
        pg.explain(fitted["path"], X[:5], method="gradient")
        .plot.along_order(row=2)
        .axes[0]
        .lines[0]
        .get_ydata()
    )
    expected_curve = [np.nan if name == "kind" else X[name].iloc[2] for name in line]
    np.testing.assert_array_equal(
        curve, expected_curve, "levels of a category have no place on the curve"
    )
    grid = orders[4, 4]
    assert [name for row in grid for name in row][:12] == list(X)[:12]
    assert "" in grid[3]
