"""Accumulated local effects: closed forms, the paper's definition written again slowly,
and what users pass.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from replicates import replicates
from verification import verify_ale

import permgrad as pg
from permgrad.attribution.explanation.comparisons import comparisons

ROWS = 600


def explain(model, X, **options):
    return explain_with(
        model, X, method="ale", **{"progress": False, "random_state": 0, **options}
    )


def correlated(rows: int = ROWS, seed: int = 0, relation: float = 0.9) -> np.ndarray:
    X = np.random.default_rng(seed).normal(size=(rows, 3))
    X[:, 1] = relation * X[:, 0] + math.sqrt(1 - relation**2) * X[:, 1]
    return X


def curve(explanation, name: str, label: str | None = None) -> pd.DataFrame:
    frame = explanation.effects(curves=True)
    return frame[
        (frame["feature"] == name)
        & (frame["class"] == (label or explanation.outputs[0]))
    ]


# ---- closed forms --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "frame", "network"])
def test_a_linear_model_has_straight_curves(kind):
    X = correlated()
    weights = np.array([2.0, -1.0, 0.0])
    X[:, 2] = np.exp(X[:, 2])  # a long tail moves no curve
    rows = X

    def model(table):
        return np.asarray(table) @ weights

    if kind == "frame":
        rows = pd.DataFrame(X, columns=["x0", "x1", "x2"])
    if kind == "network":
        model = torch.nn.Linear(3, 1, bias=False).double()
        rows = torch.from_numpy(X)
        model.weight.data = torch.from_numpy(weights)[None]
    explanation = explain(model, rows)
    np.testing.assert_allclose(
        explanation.values[:, 0], np.abs(weights) * X.std(axis=0), atol=1e-6
    )
    for column_index, name in enumerate(explanation.names):
        curve_frame = curve(explanation, name)
        value = curve_frame["value"].to_numpy(dtype=float)
        assert len(curve_frame) == 41
        np.testing.assert_allclose(
            curve_frame["effect"],
            weights[column_index] * (value - X[:, column_index].mean()),
            atol=1e-6,
        )
        # The only error is that of the mean, which the curve is centred at.
        error = (
            abs(weights[column_index])
            * X[:, column_index].std(ddof=1)
            / math.sqrt(ROWS)
        )
        np.testing.assert_allclose(
            curve_frame["std_error"], error, rtol=1e-6, atol=1e-9
        )
    unused = explanation.to_frame().iloc[2]
    assert (unused["importance"], unused["std_error"], unused["p_value"]) == (
        0.0,
        0.0,
        1.0,
    )


def test_small_effects_of_a_network_add_up():
    """Over a bin the output changes by less than float32 rounds it, over all bins by a
    hundred times as much.
    """
    X = torch.from_numpy(correlated()).float()
    net = torch.nn.Linear(3, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2e-5, 0.0, 0.0]]))
        net.bias.fill_(1.0)
    explanation = explain(net, X)
    np.testing.assert_allclose(
        explanation.values[0, 0], 2e-5 * X[:, 0].std().item(), rtol=0.05
    )
    assert explanation.values[1:].tolist() == [[0.0], [0.0]]


def test_a_step_is_where_it_is():
    X = correlated()
    curve_frame = curve(explain(lambda table: 3.0 * (table[:, 0] > 0.2), X), "x0")
    changes = curve_frame["effect"].diff().to_numpy()[1:]
    value = curve_frame["value"].to_numpy(dtype=float)
    over = (value[:-1] <= 0.2) & (value[1:] > 0.2)
    assert over.sum() == 1
    np.testing.assert_allclose(changes, 3.0 * over, atol=1e-9)


@pytest.mark.slow
def test_curves_of_a_product_follow_the_other_column():
    """E[x1 | x0] is 0.9 x0: the curve is 0.45 (x0² − 1).

    What both do only together is x0 x1 less both curves.
    """
    X = correlated(20_000)
    explanation = explain(
        lambda table: table[:, 0] * table[:, 1], X, pairs=[("x1", "x0")]
    )
    assert explanation.names == ("x0", "x1", "x2", "x0 × x1")
    for name in ("x0", "x1"):
        curve_frame = curve(explanation, name)
        value = curve_frame["value"].to_numpy(dtype=float)
        inside = np.abs(value) < 2
        assert inside.sum() > 30
        np.testing.assert_allclose(
            curve_frame["effect"][inside], 0.45 * (value[inside] ** 2 - 1), atol=0.06
        )
    pair = curve(explanation, "x0 × x1")
    grid = pair["effect"].to_numpy().reshape(11, 11)
    first_edges, two = (
        np.unique(pair[key].to_numpy(dtype=float)) for key in ("value", "value_2")
    )
    changes = np.diff(np.diff(grid, axis=0), axis=1)
    size = np.diff(first_edges)[:, None] * np.diff(two)
    filled_cells = (
        np.histogram2d(X[:, 0], X[:, 1], [first_edges, two])[0] > 4
    )  # other cells are as the nearest one
    assert 50 < filled_cells.sum() < 100
    np.testing.assert_allclose(changes[filled_cells], size[filled_cells], atol=1e-6)


def test_predictions_stay_in_the_data_where_shuffled_ones_leave_it():
    X = correlated()
    outside_shares = []

    def model(table):
        outside = np.abs(table[:, 0] - table[:, 1]) > 3
        outside_shares.append(outside.mean())
        return table[:, 0] + 50.0 * outside

    assert not (np.abs(X[:, 0] - X[:, 1]) > 3).any()  # no row is outside
    curve_frame = curve(explain(model, X), "x0")
    value = curve_frame["value"].to_numpy(dtype=float)
    assert max(outside_shares) == 0
    np.testing.assert_allclose(curve_frame["effect"], value - X[:, 0].mean(), atol=1e-6)
    shuffled = pg.explain(
        model, X, method="permutation", random_state=0, progress=False
    )
    assert max(outside_shares) > 0.02
    assert shuffled.values[0, 0] > 10  # of a variance of 1


def test_effects_that_cancel_show_in_pairs():
    X = correlated(relation=0.0)
    explanation = explain(
        lambda table: table[:, 0] * np.sign(table[:, 1]), X, pairs="all"
    )
    frame = explanation.to_frame().set_index("feature")
    assert frame.loc["x0", "p_value"] > 0.05
    assert frame.loc["x0 × x1", "p_value"] < 1e-6
    assert frame["order"].tolist() == [1, 1, 1, 2, 2, 2]
    assert frame.loc[["x0 × x2", "x1 × x2"], "importance"].tolist() == [0.0, 0.0]
    X[:, 1] = np.abs(X[:, 1])  # one of both sides
    curve_frame = curve(
        explain(lambda table: table[:, 0] * np.sign(table[:, 1]), X), "x0"
    )
    np.testing.assert_allclose(
        curve_frame["effect"],
        curve_frame["value"].astype(float) - X[:, 0].mean(),
        atol=1e-9,
    )


# ---- the paper's definition, slowly --------------------------------------------------


def slow_edges(values, bins):
    ordered = sorted(values)
    picked = [
        ordered[max(math.ceil(k * len(ordered) / bins - 1e-9) - 1, 0)]
        for k in range(bins + 1)
    ]
    return sorted(set(picked))


def slow_bin(value, edges):
    return next(k for k in range(1, len(edges)) if value <= edges[k])


def slow_at(effects, value, edges):
    k = slow_bin(value, edges)
    share = (value - edges[k - 1]) / (edges[k] - edges[k - 1])
    return effects[k - 1] + share * (effects[k] - effects[k - 1])


@replicates("ale")
def slow_ale(model, X, column, bins):
    """Return equation 15 of Apley & Zhu (2020), centred over the rows at their own
    values.

    On these rows, PyALE 1.2.0 gives the same edges, and the same effects up to a
    constant within 6e-15 (it centres over the middles of the bins).
    """
    edges = slow_edges(X[:, column], bins)
    local = [[] for _ in edges]
    for row in X:
        k = slow_bin(row[column], edges)
        low = row.copy()
        high = row.copy()
        low[column] = edges[k - 1]
        high[column] = edges[k]
        local[k].append(model(high[None])[0] - model(low[None])[0])
    effects = [0.0]
    for bin_differences in local[1:]:
        effects.append(effects[-1] + sum(bin_differences) / len(bin_differences))
    centre = sum(slow_at(effects, row[column], edges) for row in X) / len(X)
    return np.array(edges), np.array(effects) - centre


def slow_pair(model, X, columns, bins):
    """Return equations 17 to 20 of Apley & Zhu (2020), with empty cells as the nearest
    one.

    PyALE 1.2.0 gives the same second differences in every cell of two rows or more,
    within 4e-15.
    """
    edges = [slow_edges(X[:, column], bins) for column in columns]
    local = {}
    for row in X:
        cell = tuple(
            slow_bin(row[column], edge)
            for column, edge in zip(columns, edges, strict=True)
        )
        corner = {}
        for ends in itertools.product((0, 1), repeat=2):
            moved = row.copy()
            for column, edge, k, end in zip(columns, edges, cell, ends, strict=True):
                moved[column] = edge[k - 1 + end]
            corner[ends] = model(moved[None])[0]
        local.setdefault(cell, []).append(
            corner[1, 1] - corner[0, 1] - (corner[1, 0] - corner[0, 0])
        )

    def middle(cell):
        return [
            (edge[k] + edge[k - 1]) / 2 / (edge[-1] - edge[0])
            for k, edge in zip(cell, edges, strict=True)
        ]

    filled_cells = [cell for cell in sorted(local) if len(local[cell]) >= 2]
    size = [len(edge) for edge in edges]
    accumulated = np.zeros(size)
    for k, m in itertools.product(range(1, size[0]), range(1, size[1])):
        nearest = (
            (k, m)
            if (k, m) in filled_cells
            else min(
                filled_cells, key=lambda cell: math.dist(middle(cell), middle((k, m)))
            )
        )
        step = sum(local[nearest]) / len(local[nearest])
        accumulated[k, m] = (
            accumulated[k - 1, m]
            + accumulated[k, m - 1]
            - accumulated[k - 1, m - 1]
            + step
        )
    interaction_surface = accumulated.copy()
    for way in (0, 1):
        surface = accumulated if way == 0 else accumulated.T
        steps = [[] for _ in edges[way]]
        for row in X:
            k = slow_bin(row[columns[way]], edges[way])
            other_value = row[columns[1 - way]]
            steps[k].append(
                slow_at(surface[k] - surface[k - 1], other_value, edges[1 - way])
            )
        along = np.cumsum(
            [0.0, *(sum(bin_steps) / len(bin_steps) for bin_steps in steps[1:])]
        )
        interaction_surface -= along[:, None] if way == 0 else along
    centre = np.mean(
        [
            slow_at(
                np.array(
                    [
                        slow_at(line, row[columns[1]], edges[1])
                        for line in interaction_surface
                    ]
                ),
                row[columns[0]],
                edges[0],
            )
            for row in X
        ]
    )
    return interaction_surface - centre


def bent(table):
    return np.sin(table[:, 0]) * table[:, 1] + np.exp(table[:, 2] / 2) * table[:, 0]


def test_curves_are_those_of_the_paper():
    X = correlated(310)
    explanation = explain(bent, X, bins=10)
    for column, name in enumerate(explanation.names):
        edges, effects = slow_ale(bent, X, column, 10)
        curve_frame = curve(explanation, name)
        np.testing.assert_allclose(
            curve_frame["value"].to_numpy(dtype=float), edges, rtol=0, atol=0
        )
        np.testing.assert_allclose(curve_frame["effect"], effects, atol=1e-12)


def test_pairs_are_those_of_the_paper():
    X = correlated(310, relation=0.6)
    explanation = explain(bent, X, bins=5, pairs="all")
    for pair in itertools.combinations(range(3), 2):
        expected = slow_pair(bent, X, pair, 5)
        curve_frame = curve(explanation, " × ".join(f"x{column}" for column in pair))
        assert np.abs(expected).max() > 0.01 or pair == (1, 2)
        np.testing.assert_allclose(
            curve_frame["effect"].to_numpy(), expected.ravel(), atol=1e-12
        )


def test_curves_are_those_of_effector():
    """effector 0.6 has bins of equal width, and counts a row at an inner edge in both
    bins: here that changes no mean.

    Bins are closed on the left there, so that it gets the column with the other sign.
    """
    effector = pytest.importorskip("effector")
    bins = 8
    rows_per_bin = 30
    rng = np.random.default_rng(3)
    inside = np.arange(bins)[:, None] + np.sort(
        rng.uniform(0.01, 0.99, (bins, rows_per_bin)), axis=1
    )
    inside[:, -1] = np.arange(1, bins + 1)
    inside[0, 0] = 0
    X = np.column_stack(
        [
            inside.ravel(),
            rng.gamma(2.0, size=bins * rows_per_bin),
            rng.normal(size=bins * rows_per_bin),
        ]
    )

    def model(table):
        return np.exp(table[:, 0] / 4) * table[:, 1] + np.sin(table[:, 2])

    steps = np.diff(np.exp(np.arange(bins + 1) / 4))
    other_column = X[:, 1].reshape(bins, rows_per_bin)
    for k in range(bins - 2, -1, -1):
        other_column[k, -1] = other_column[k + 1].mean() * steps[k + 1] / steps[k]
    curve_frame = curve(explain(model, X, bins=bins), "x0")
    assert curve_frame["value"].tolist() == list(range(bins + 1))
    theirs = effector.ALE(
        X * [-1, 1, 1], lambda table: model(table * [-1, 1, 1]), nof_instances="all"
    )
    theirs.fit(
        features=0,
        centering=False,
        binning_method=effector.axis_partitioning.Fixed(nof_bins=bins),
    )
    expected = theirs.eval(0, -np.arange(bins + 1.0), centering=False)
    effect = curve_frame["effect"].to_numpy(dtype=float)
    assert np.ptp(expected) > 5
    np.testing.assert_allclose(effect - effect[0], expected - expected[0], atol=1e-6)


def shops(rows: int = 400, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {"shop": rng.choice(["a", "b", "c", "d"], rows, p=[0.4, 0.3, 0.2, 0.1])}
    )
    # Their order by size is c, a, d, b.
    X["size"] = X["shop"].map(
        {"c": 0.0, "a": 1.0, "d": 2.0, "b": 3.0}
    ) + 0.5 * rng.normal(size=rows)
    return X


def of_shops(table):
    return table["shop"].map({"c": 1.0, "a": 0.0, "d": 5.0, "b": 2.0}).astype(float) * (
        1 + 0.1 * table["size"]
    )


def test_levels_are_ordered_by_how_alike_their_rows_are():
    X = shops()
    X["region"] = np.where(np.isin(X["shop"], ["a", "c"]), "west", "east")
    curve_frame = curve(explain(of_shops, X), "shop")
    assert curve_frame["value"].tolist() == ["c", "a", "d", "b"]
    assert (
        curve_frame["rows"].tolist()
        == X["shop"].value_counts()[["c", "a", "d", "b"]].tolist()
    )


def test_levels_move_to_both_neighbours():
    """The factor of the R package: changes upwards from one level and downwards from
    the next are averaged together.

    PyALE's categories give the same, in the order that it finds (the same one, from
    either end).
    """
    X = shops()
    order = ["c", "a", "d", "b"]
    effects = [0.0]
    for low, high in itertools.pairwise(order):
        neighbour_rows = X[X["shop"].isin([low, high])]
        effects.append(
            effects[-1]
            + float(
                (
                    of_shops(neighbour_rows.assign(shop=high))
                    - of_shops(neighbour_rows.assign(shop=low))
                ).mean()
            )
        )
    centred = np.array(effects) - np.mean(
        [effects[order.index(shop)] for shop in X["shop"]]
    )
    explanation = explain(of_shops, X)
    np.testing.assert_allclose(
        curve(explanation, "shop")["effect"], centred, atol=1e-12
    )
    ordered = X.assign(
        shop=pd.Categorical(X["shop"], ["d", "c", "b", "a"], ordered=True)
    )
    assert curve(explain(lambda table: of_shops(table.astype({"shop": str})), ordered), "shop")["value"].tolist() == [
        "d", "c", "b", "a",
    ]  # fmt: skip


# ---- columns of all kinds ------------------------------------------------------------


def test_booleans_dates_counts_and_missing_cells():
    rng = np.random.default_rng(0)
    rows = 400
    X = pd.DataFrame(
        {
            "yes": rng.random(rows) < 0.3,
            "count": rng.integers(0, 4, rows),
            "number": rng.normal(size=rows),
        }
    )
    X["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(
        rng.integers(0, 700, rows), unit="D"
    )
    X["shop"] = rng.choice(["a", "b"], rows)
    X.loc[:29, "number"] = np.nan
    X.loc[:4, "shop"] = None
    X.loc[5:7, "shop"] = "rare"
    base = pd.Timestamp("2020-01-01")

    def model(table):
        days = (table["day"] - base).dt.days
        return (
            2.0 * table["yes"]
            + 3.0 * table["count"]
            + table["number"].fillna(100)
            + days / 100
        )

    explanation = explain(model, X)
    assert curve(explanation, "yes")["value"].tolist() == ["False", "True"]
    np.testing.assert_allclose(curve(explanation, "yes")["effect"].diff().iloc[1], 2.0)
    assert curve(explanation, "count")["value"].tolist() == ["0", "1", "2", "3"]
    np.testing.assert_allclose(curve(explanation, "count")["effect"].diff()[1:], 3.0)
    days = curve(explanation, "day")
    assert len(days) == 8
    day_numbers = (pd.to_datetime(days["value"]) - base).dt.days
    np.testing.assert_allclose(days["effect"].diff()[1:], day_numbers.diff()[1:] / 100)
    # Rows without the number stay as they are: 100 never enters the curve.
    number = curve(explanation, "number")
    np.testing.assert_allclose(
        number["effect"], number["value"].astype(float) - X["number"].mean(), atol=1e-9
    )
    assert explanation.meta["left_out"] == {
        "number": {"missing": 30, "rare": 0}, "shop": {"missing": 5, "rare": 3},
    }  # fmt: skip
    assert curve(explanation, "shop")["value"].tolist() == ["a", "b"]


def test_each_class_has_its_curve():
    X = correlated()

    def model(table):
        scores = np.exp(np.stack([table[:, 0], -table[:, 0], table[:, 1]], axis=1))
        return scores / scores.sum(axis=1, keepdims=True)

    explanation = explain(
        model,
        X,
        scale="probability",
        returns="probabilities",
        class_names=["a", "b", "c"],
    )
    assert explanation.outputs == ("a", "b", "c")
    effects = [
        curve(explanation, "x0", label)["effect"].to_numpy()
        for label in explanation.outputs
    ]
    assert np.abs(effects).max() > 0.1
    np.testing.assert_allclose(np.sum(effects, axis=0), 0, atol=1e-12)
    assert explanation.meta["unit"] == "probability"


def test_constant_and_empty_columns():
    X = pd.DataFrame(correlated(), columns=["a", "b", "c"]).assign(b=1.0, c=np.nan)
    with pytest.warns(
        pg.PermgradWarning, match=r"no value that enough rows have.*: c\."
    ):
        explanation = explain(lambda table: table["a"] + table["b"], X, pairs="all")
    frame = explanation.to_frame().set_index("feature")
    assert frame.loc["b", ["importance", "std_error", "p_value"]].tolist() == [
        0.0,
        0.0,
        1.0,
    ]
    assert frame.loc["a × b", ["importance", "std_error", "p_value"]].tolist() == [
        0.0,
        0.0,
        1.0,
    ]
    assert (
        frame.loc[["c", "a × c"], ["importance", "std_error", "p_value"]]
        .isna()
        .all(axis=None)
    )


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_few_rows_have_no_errors_or_wide_ones(rows):
    X = correlated(rows)
    X[:, 1] = 1.0
    explanation = explain(lambda table: table[:, 0] + table[:, 1], X, pairs="all")
    frame = explanation.to_frame().set_index("feature")
    assert frame.loc["x0", "importance"] == pytest.approx(X[:, 0].std())
    assert frame.loc["x1", ["importance", "std_error", "p_value"]].tolist() == [
        0.0,
        0.0,
        1.0,
    ]
    assert np.isnan(frame.loc["x0", "std_error"]) == (rows in (2, 3))


def test_one_row_is_refused():
    with pytest.raises(pg.InputError, match="one row does not have"):
        explain(lambda table: table[:, 0], correlated(1))


def test_other_inputs_of_a_network_have_none():
    class Both(torch.nn.Module):
        def forward(self, picture, table):
            return table[:, :1] * 2 + picture.mean(dim=(1, 2, 3))[:, None]

    inputs = {"picture": torch.randn(80, 1, 4, 4), "table": torch.randn(80, 2)}
    with pytest.warns(pg.PermgradWarning, match="have no accumulated local effects"):
        explanation = explain(Both(), inputs)
    values = explanation.values[:, 0]
    tabular = np.array(explanation.modality) == "table"
    assert np.isnan(values[~tabular]).all()
    np.testing.assert_allclose(
        values[tabular],
        [2 * inputs["table"][:, 0].std(correction=0).item(), 0.0],
        rtol=1e-5,
    )


def test_a_column_of_values_that_no_rows_share_says_so():
    X = pd.DataFrame(correlated(80), columns=["dose", "age", "weight"])
    X["surname"] = [f"name {row}" for row in range(80)]
    X["town"] = np.tile(["north", "south"], 40)
    with pytest.warns(pg.PermgradWarning) as warned:
        explanation = explain(lambda rows: rows["dose"].to_numpy(), X)
    assert [str(warning.message) for warning in warned] == [
        (
            "These have no value that enough rows have, and no accumulated local "
            "effects: surname. Their importance is NaN. Choose method='permutation' "
            "for them."
        )
    ]
    is_undefined = np.isnan(explanation.values[:, 0]).tolist()
    assert dict(zip(explanation.names, is_undefined, strict=True)) == {
        "dose": False, "age": False, "weight": False, "surname": True, "town": False,
    }  # fmt: skip


# ---- errors --------------------------------------------------------------------------


def test_weights_count_rows():
    """A row of weight 2 is as two rows in a column of levels, whose points do not
    move.
    """
    X = shops()
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    repeated = X.loc[np.repeat(X.index, weights)].reset_index(drop=True)
    weighed = explain(of_shops, X, sample_weight=weights)
    twice = explain(of_shops, repeated)
    np.testing.assert_allclose(
        curve(weighed, "shop")["effect"], curve(twice, "shop")["effect"], atol=1e-12
    )
    assert (
        curve(weighed, "shop")["std_error"].to_numpy()
        > curve(twice, "shop")["std_error"].to_numpy()
    ).all()


def test_groups_of_equal_rows_say_as_much_as_their_first_rows():
    X = correlated(200)
    copies = np.repeat(X, 4, axis=0)
    groups = np.repeat(np.arange(200), 4)
    once, alone, related = (
        explain(bent, rows, bins=10, **options)
        for rows, options in ((X, {}), (copies, {}), (copies, {"row_groups": groups}))
    )
    for name in once.names:
        errors = [
            curve(explanation, name)["std_error"].mean()
            for explanation in (once, alone, related)
        ]
        assert errors[1] < 0.6 * errors[0]
        assert errors[2] == pytest.approx(errors[0], rel=0.05)
    np.testing.assert_allclose(related.std_error, once.std_error, rtol=0.1)
    assert related.meta["independent"] == {"by": "row_groups", "count": 200}


def test_a_column_that_is_constant_in_groups_has_bins_of_several_groups():
    groups = np.repeat(np.arange(40), 10)
    X = np.random.default_rng(0).normal(size=(400, 2))
    X[:, 0] = X[groups, 0]
    curve_frame = curve(
        explain(lambda table: table[:, 0] * table[:, 1], X, row_groups=groups), "x0"
    )
    assert len(curve_frame) <= 40 // 5 + 1
    assert curve_frame["std_error"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", verify_ale.KINDS)
def test_intervals_cover(kind):
    """``verification/verify_ale.py`` over 400 repeats: curves .944, .960, .947,
    importances .950, .960, .965.
    """
    curves, importances = verify_ale.covered(kind, 50)
    assert 0.91 <= curves <= 0.98
    assert importances >= 0.88


@pytest.mark.slow
def test_effects_that_cancel_are_no_importance():
    """A flat curve is found at most at its level, although its local effects are
    large.
    """
    is_significant = []
    for seed in range(100):
        X = correlated(200, seed, relation=0.0)
        explanation = explain(lambda table: table[:, 0] * table[:, 1], X)
        assert np.abs(explanation.effects(curves=True)["effect"]).max() > 0.01
        is_significant.append(explanation.p_values[0, 0] < 0.05)
    assert np.mean(is_significant) <= 0.09  # 0.05 and two standard errors


# ---- what users get and pass ---------------------------------------------------------


def test_the_frame_of_curves_is_kept_and_drawn(tmp_path):
    explanation = explain(bent, correlated(), pairs="all")
    frame = explanation.effects(curves=True)
    assert list(frame) == [
        "feature", "class", "value", "value_2", "effect", "std_error", "ci_low", "ci_high", "rows",
    ]  # fmt: skip
    loaded = pg.Explanation.load(explanation.save(tmp_path / "ale"))
    pd.testing.assert_frame_equal(loaded.effects(curves=True), frame, check_dtype=False)
    assert explanation.effects("pyarrow", curves=True).num_rows == len(frame)
    for plot in (
        explanation.plot.direction,
        explanation.plot.bar,
        explanation.plot.interactions,
    ):
        assert "<svg" in plot().to_svg()
    assert explanation.plot.direction().description.startswith(
        "Local effect by feature value"
    )
    assert (
        explanation.ranking(certain=0.95)["feature"].tolist() == explanation.ranking()
    )


def test_changes_are_ends_of_the_curves_with_their_own_intervals():
    """The interval of a change is that of a difference, not of both ends."""
    X = correlated(400)
    patients = np.repeat(np.arange(80), 5)
    explanation = explain(bent, X, row_groups=patients)
    changes = explanation.effects().set_index("feature")
    assert list(changes) == [
        *("class", "from", "to", "change", "std_error", "ci_low", "ci_high"),
        *("unit", "rows", "groups"),
    ]
    for name, line in changes.iterrows():
        points = curve(explanation, name)
        at = points["value"].astype(float)
        ends = np.interp([line["from"], line["to"]], at, points["effect"])
        assert line["change"] == pytest.approx(ends[1] - ends[0])
        values = X[:, int(name[1])]
        quartiles = np.quantile(values, [0.25, 0.75], method="inverted_cdf")
        assert [line["from"], line["to"]] == pytest.approx(quartiles)
        inside = (values > line["from"] - 1e-9) & (values < line["to"] + 1e-9)
        assert line["rows"] == inside.sum()
        assert line["groups"] == len(np.unique(patients[inside]))
    assert (changes["ci_low"] <= changes["change"]).all()
    assert (changes["change"] <= changes["ci_high"]).all()
    assert explanation.effects("pyarrow").num_rows == len(changes)


def test_changes_of_levels_begin_at_the_most_frequent_one():
    rng = np.random.default_rng(4)
    table = pd.DataFrame(
        {
            "town": rng.choice(["Ulm", "Bonn", "Trier"], 300, p=[0.2, 0.6, 0.2]),
            "x": rng.normal(size=300),
        }
    )
    values = {"Ulm": 1.0, "Bonn": 0.0, "Trier": 4.0}

    def model(rows):
        return rows["town"].map(values).to_numpy(float)

    changes = explain(pg.Model(model, task="regression"), table).effects()
    town = changes[changes["feature"] == "town"].set_index("to")
    assert town["from"].unique().tolist() == ["Bonn"]
    assert town["change"].to_dict() == pytest.approx({"Ulm": 1.0, "Trier": 4.0})
    assert changes["unit"].unique().tolist() == ["y"]
    both = explain(pg.Model(model, task="regression"), table).effects("pyarrow")
    assert both.column("from").to_pylist()[0] in {"Bonn", changes["from"][0]}


@pytest.mark.slow
def test_intervals_of_changes_cover():
    """Of a product with a related column, the change between the quartiles is known."""
    covered = []
    for seed in range(120):
        X = correlated(400, seed)
        explanation = explain(lambda table: table[:, 0] * (1 + table[:, 1]), X)
        line = explanation.effects().set_index("feature").loc["x0"]
        ends = np.array([line["from"], line["to"]])
        truth = np.diff(ends + 0.9 * ends**2 / 2)[0]
        covered.append(line["ci_low"] <= truth <= line["ci_high"])
    assert 0.89 <= np.mean(covered) <= 0.99


def test_changes_of_mean_predictions_have_errors_of_a_mean():
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"x": rng.normal(size=90), "z": rng.normal(size=90)})
    table["town"] = rng.choice(["Ulm", "Bonn"], 90, p=[0.7, 0.3])
    table["visits"] = rng.choice([1, 2, 5], 90, p=[0.2, 0.6, 0.2])
    y = 2 * table["x"] * (table["z"] > 0) + (table["town"] == "Ulm")
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=3, random_state=0, progress=False
    ).fit(table, y)
    options = {"random_state": 0, "progress": False}
    explanation = pg.explain(model, table, y, **options)
    changes = explanation.effects().set_index("feature")
    for name in ("x", "town"):
        line = changes.loc[name]
        both = [
            model.predict(table.assign(**{name: line[end]})) for end in ("from", "to")
        ]
        assert line["change"] == pytest.approx((both[1] - both[0]).mean(), abs=0.05)
        error = (both[1] - both[0]).std(ddof=1) / len(table) ** 0.5
        assert line["std_error"] == pytest.approx(error, rel=0.3, abs=1e-6)
        assert line["ci_low"] <= line["change"] <= line["ci_high"]
    assert changes.loc["town", "from"] == "Ulm"
    assert changes.loc["town", "rows"] == len(table)
    visits = changes.loc["visits"]
    assert visits["from"].tolist() == [2, 2], "numbers stay numbers"
    assert visits["to"].tolist() == [1, 5]


@pytest.mark.parametrize(("unit", "low"), [("probability", -1.0), ("y", -1.4)])
def test_intervals_of_changed_probabilities_end_within_one(unit, low):
    places = np.array([0.0, 1.0, 1.0])
    compared = comparisons(places, ["a", "b"], np.ones(3), levels=True)
    numbers = np.array([-0.4, 0.5, -1.4, 0.6]).reshape(4, 1, 1)
    stored = compared.entry(numbers, unit, None)
    assert (stored["from"], stored["to"], stored["rows"]) == (["b"], ["a"], [3])
    assert stored["change"] == [[-0.4]]
    assert stored["low"] == [[low]]
    assert stored["high"] == [[0.6]]
    assert "groups" not in stored


def test_curves_of_mean_predictions_have_the_same_frame():
    X = correlated(60)
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, X[:, 0])
    explanation = pg.explain(model, X, X[:, 0], random_state=0, progress=False)
    frame = explanation.effects(curves=True)
    assert list(frame) == [
        "feature",
        "class",
        "value",
        "effect",
        "std_error",
        "ci_low",
        "ci_high",
        "rows",
    ]
    assert frame["effect"].notna().all()
    assert frame["std_error"].isna().all()
    with pytest.raises(pg.InputError, match="method='lime' has no curves"):
        pg.explain(model, X[:3], method="lime", progress=False).effects()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bins": 0}, "bins must be"),
        ({"least_rows": 1.5}, "least_rows must be"),
        ({"pairs": "x0"}, "pairs must be a list of two names each"),
        ({"pairs": [("x0", "nothing")]}, "nothing"),
        ({"pairs": [("x0", "x0")]}, "pairs must be a list of two names each"),
        ({"scope": "local"}, "scope"),
        ({"groups": "modality"}, "does not take groups='modality'"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(pg.InputError, match=words):
        explain(bent, correlated(50), **options)


def test_many_pairs_are_refused_unless_they_are_named():
    X = np.random.default_rng(0).normal(size=(60, 30))
    with pytest.raises(
        pg.InputError, match="ale computes at most 300 pairs, and 30 features have 435"
    ):
        explain(lambda table: table[:, 0] * table[:, 29], X, pairs="all")
    explanation = explain(
        lambda table: table[:, 0] * table[:, 29], X, pairs=[("x29", "x0")]
    )
    assert explanation.names[-1] == "x0 × x29"
    assert len(explanation.names) == 31
