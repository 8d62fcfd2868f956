"""Conditional Shapley values: closed forms, a slow twin, and cells of any kind."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from permgrad.base.errors import InputError

NAMES = list("abcd")
WEIGHTS = np.array([1.0, -2.0, 0.5, 3.0])


def table(rows=50, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    b = 0.7 * a + rng.normal(size=rows)
    c = 0.5 * b - 0.3 * a + rng.normal(size=rows)
    return pd.DataFrame({"a": a, "b": b, "c": c, "d": 0.8 * c + rng.normal(size=rows)})


def linear(rows):
    return np.asarray(rows) @ WEIGHTS + 1


def regressed(cells, column, known_columns, background):
    """Return the least-squares prediction of a column from known ones, by the normal
    equations with an intercept.
    """
    design = np.column_stack([np.ones(len(background)), background[:, known_columns]])
    weights = np.linalg.lstsq(design, background[:, column], rcond=None)[0]
    return weights[0] + cells[..., known_columns] @ weights[1:], design @ weights


def worth(model, coalition, row, background):
    """Return the mean output over donors, whose columns outside of a coalition are
    drawn one by one.
    """
    cells = np.tile(row, (len(background), 1))
    known_columns = list(coalition)
    for column in range(len(row)):
        if column not in coalition:
            predicted, fitted = regressed(cells, column, known_columns, background)
            cells[:, column] = predicted + background[:, column] - fitted
            known_columns = [*known_columns, column]
    return model(cells).mean()


def shapley(model, row, background):
    """Return Shapley's values by their definition: means over all orders."""
    players = range(len(row))
    worths = {
        coalition: worth(model, coalition, row, background)
        for size in range(len(row) + 1)
        for coalition in combinations(players, size)
    }
    orders = list(permutations(players))
    values = np.zeros(len(row))
    for joined in orders:
        for position, player in enumerate(joined):
            before, after = (
                tuple(sorted(joined[:end])) for end in (position, position + 1)
            )
            values[player] += worths[after] - worths[before]
    return values / len(orders)


def explained(model, rows, background, **options):
    defaults = {
        "method": "shapley",
        "scope": "local",
        "sampling": "conditional",
        "progress": False,
        "random_state": 0,
    }
    return explain_with(model, rows, background=background, **{**defaults, **options})


def test_linear_models_have_their_closed_form():
    background = table()
    rows = background[:4]
    mean = background.mean().to_numpy()
    covariance = np.cov(background.T.to_numpy(), ddof=0)
    explanation = explained(linear, rows, background)

    def expected(kept, row):
        """Return the expectation of the Gaussian model with these moments."""
        point = mean.copy()
        other_columns = [column for column in range(len(row)) if column not in kept]
        gain = np.linalg.solve(
            covariance[np.ix_(kept, kept)], covariance[np.ix_(kept, other_columns)]
        )
        point[kept] = row[kept]
        point[other_columns] = mean[other_columns] + (row[kept] - mean[kept]) @ gain
        return linear(point)

    for row, values in zip(rows.to_numpy(), explanation.values[:, :, 0], strict=True):
        np.testing.assert_allclose(
            values, shapley(linear, row, background.to_numpy()), atol=1e-8
        )
        assert values.sum() == pytest.approx(
            linear(row) - linear(background).mean(), abs=1e-8
        )
        for subset in ([0], [1, 3]):
            assert worth(linear, subset, row, background.to_numpy()) == pytest.approx(
                expected(subset, row)
            )
    assert explanation.std_error.max() == 0
    marginal = explained(linear, rows, background, sampling="marginal")
    assert np.abs(explanation.values - marginal.values).max() > 0.05  # the games differ


def test_other_models_have_the_values_of_the_slow_twin():
    background = table()

    def model(rows):
        cells = np.asarray(rows)
        return np.tanh(cells[:, 0] * cells[:, 1]) + np.abs(cells[:, 2]) * (
            cells[:, 3] > 0.2
        )

    rows = background[:3]
    slow = [shapley(model, row, background.to_numpy()) for row in rows.to_numpy()]
    np.testing.assert_allclose(
        explained(model, rows, background).values[:, :, 0], slow, atol=1e-8
    )


def test_samples_are_within_their_errors_of_all_coalitions():
    first = table(60).to_numpy()
    second = table(60, seed=3).to_numpy()
    background = pd.DataFrame(
        np.concatenate([first, 0.6 * first + second], axis=1), columns=list("abcdefgh")
    )

    def model(rows):
        cells = np.asarray(rows)
        return (
            np.tanh(cells[:, 0] * cells[:, 5])
            + np.abs(cells[:, 2]) * (cells[:, 7] > 0.2)
            + cells[:, 4]
        )

    exact = explained(model, background[:6], background)
    sampled = explained(
        model, background[:6], background, exact=0, max_permutations=240
    )
    assert exact.std_error.max() == 0
    moved = np.abs(exact.values) > 1e-6
    assert np.median(sampled.std_error[moved]) > 1e-3
    away = (sampled.values - exact.values)[moved] / sampled.std_error[moved]
    assert np.abs(away).max() < 5
    assert 0.3 < np.sqrt((away**2).mean()) < 1.7


def test_units_and_columns_that_say_the_same_change_nothing():
    background = table()
    scale = pd.Series({"a": 1e7, "b": 1e-5, "c": 1.0, "d": 1.0})
    plain_values = explained(linear, background[:4], background).values
    scaled = explained(
        lambda rows: linear(rows / scale), background[:4] * scale, background * scale
    ).values
    np.testing.assert_allclose(scaled, plain_values, atol=1e-8)
    twice = background.assign(e=2 * background["a"] + background["b"], f=1.0)
    redundant_explanation = explained(
        lambda rows: linear(rows[NAMES]), twice[:4], twice
    )
    assert np.isfinite(redundant_explanation.values).all()
    np.testing.assert_allclose(
        redundant_explanation.values.sum(axis=1), plain_values.sum(axis=1), atol=1e-8
    )
    names = list(redundant_explanation.names)
    assert np.abs(redundant_explanation.values[:, names.index("e")]).max() > 0.1
    assert np.abs(redundant_explanation.values[:, names.index("f")]).max() < 1e-8


def test_networks_and_estimators_of_tables_are_explained_alike():
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 1).double()
    background = table()
    cells = torch.tensor(background.to_numpy())
    explanation = explained(network, cells[:3], cells, task="regression")

    def model(rows):
        return network(torch.as_tensor(rows)).detach().numpy()[:, 0]

    names = list(explanation.names)
    for row, values in zip(cells[:3].numpy(), explanation.values[:, :, 0], strict=True):
        slow = shapley(model, row, cells.numpy())
        np.testing.assert_allclose(
            values[
                [names.index(f"input[{column_index}]") for column_index in range(4)]
            ],
            slow,
            atol=1e-8,
        )


def mixed(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    town = rng.choice(["Bonn", "Kiel", "Ulm"], rows, p=[0.5, 0.3, 0.2])
    income = np.round(30 + 12.0 * (town == "Ulm") + rng.normal(0, 4, rows), 2)
    owner = np.where(income + rng.normal(0, 3, rows) > 34, "yes", "no")
    rooms = (income / 12 + rng.normal(0, 0.5, rows)).round().astype(int)
    return pd.DataFrame(
        {"town": town, "income": income, "owner": owner, "rooms": rooms}
    )


def test_drawn_cells_are_of_the_columns_and_fit_what_is_known():
    frame = mixed()
    model_rows = []
    frame.loc[::11, "income"] = np.nan

    def model(rows):
        model_rows.append(rows.copy())
        return (
            (rows["owner"] == "yes")
            + rows["rooms"] / 10
            + rows["income"].fillna(20) / 100
        )

    rich = frame[frame["town"] == "Ulm"][:1]
    explained(
        model, rich, frame, groups={"all but the town": ["income", "owner", "rooms"]}
    )
    drawn = pd.concat(model_rows)
    assert set(drawn["owner"]) == {"yes", "no"}
    assert set(drawn["town"]) == set(frame["town"])
    assert set(drawn["rooms"]) <= set(frame["rooms"])
    assert drawn["rooms"].dtype == frame["rooms"].dtype
    assert drawn["income"].isna().any()
    # With only the town kept, incomes and owners are those of the town, not of all.
    only = drawn[(drawn["town"] == "Ulm") & (drawn["income"] != rich["income"].iloc[0])]
    there = frame[frame["town"] == "Ulm"]
    everywhere = frame
    assert there["income"].mean() > everywhere["income"].mean() + 5
    assert abs(only["income"].mean() - there["income"].mean()) < 2
    shares = [
        (drawn_rows["owner"] == "yes").mean()
        for drawn_rows in (only, there, everywhere)
    ]
    assert shares[1] > shares[2] + 0.2
    assert abs(shares[0] - shares[1]) < 0.12


def test_a_column_that_the_model_does_not_read_gets_what_it_tells_of_others():
    frame = mixed()
    forest = make_pipeline(
        OneHotEncoder(handle_unknown="ignore"),
        RandomForestClassifier(20, random_state=0),
    )
    forest.fit(frame[["owner"]], frame["rooms"] > 2)

    def model(rows):
        return forest.predict_proba(rows[["owner"]])[:, 1]

    rows = frame[frame["town"] == "Ulm"][:8]
    marginal = explained(
        model, rows, frame, task="classification", sampling="marginal"
    ).values
    conditional = explained(model, rows, frame, task="classification")
    feature_index = list(conditional.names).index("town")
    assert np.abs(marginal[:, feature_index]).max() == 0
    assert conditional.values[:, feature_index, 1].mean() > 0.02
    total = np.abs(conditional.values.sum(axis=1) - marginal.sum(axis=1))
    assert total.max() < 1e-8  # both add up to the same


def test_losses_are_divided_in_the_same_game():
    background = table(600)
    y = background["d"] + np.random.default_rng(1).normal(size=600)
    options = {
        "method": "shapley",
        "scope": "global",
        "progress": False,
        "random_state": 0,
        "task": "regression",
    }
    conditional_explanation = explain_with(
        lambda rows: rows["d"], background, y, sampling="conditional", **options
    )
    plain = explain_with(lambda rows: rows["d"], background, y, **options)
    assert conditional_explanation.meta["sampling"] == "conditional"
    assert conditional_explanation.values.sum() == pytest.approx(
        plain.values.sum(), rel=0.05
    )
    names = list(conditional_explanation.names)
    # The model reads d alone, of which c tells.
    assert plain.values[names.index("c"), 0] == 0
    for feature, sign in (("c", 1), ("d", -1)):
        gap = (conditional_explanation.values - plain.values)[names.index(feature), 0]
        errors = (conditional_explanation.std_error, plain.std_error)
        assert sign * gap > 2 * np.hypot(
            *(error[names.index(feature), 0] for error in errors)
        ), feature


def test_columns_without_a_player_cannot_be_drawn():
    cells = torch.tensor(table().to_numpy())
    options = {"task": "regression", "segments": torch.tensor([0, 0, 1, -1])}
    with pytest.raises(InputError, match="a table whose every column has a player"):
        explained(torch.nn.Linear(4, 1).double(), cells[:2], cells, **options)
