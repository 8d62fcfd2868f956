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


def regressed(cells, one, known, background):
    """Return the least-squares prediction of a column from known ones, by the normal equations with an intercept."""
    design = np.column_stack([np.ones(len(background)), background[:, known]])
    weights = np.linalg.lstsq(design, background[:, one], rcond=None)[0]
    return weights[0] + cells[..., known] @ weights[1:], design @ weights


def worth(model, kept, row, background):
    """Return the mean output over donors, whose columns outside of a coalition are drawn one by one."""
    cells, known = np.tile(row, (len(background), 1)), list(kept)
    for one in range(len(row)):
        if one not in kept:
            predicted, fitted = regressed(cells, one, known, background)
            cells[:, one] = predicted + background[:, one] - fitted
            known = [*known, one]
    return model(cells).mean()


def shapley(model, row, background):
    """Return Shapley's values by their definition: means over all orders."""
    players = range(len(row))
    worths = {
        kept: worth(model, kept, row, background)
        for size in range(len(row) + 1)
        for kept in combinations(players, size)
    }
    orders = list(permutations(players))
    values = np.zeros(len(row))
    for joined in orders:
        for place, one in enumerate(joined):
            before, after = (tuple(sorted(joined[:end])) for end in (place, place + 1))
            values[one] += worths[after] - worths[before]
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
    rows, mean, covariance = (
        background[:4],
        background.mean().to_numpy(),
        np.cov(background.T.to_numpy(), ddof=0),
    )
    found = explained(linear, rows, background)

    def expected(kept, row):
        """Return the expectation of the Gaussian model with these moments."""
        point, others = mean.copy(), [one for one in range(len(row)) if one not in kept]
        gain = np.linalg.solve(
            covariance[np.ix_(kept, kept)], covariance[np.ix_(kept, others)]
        )
        point[kept], point[others] = (
            row[kept],
            mean[others] + (row[kept] - mean[kept]) @ gain,
        )
        return linear(point)

    for row, values in zip(rows.to_numpy(), found.values[:, :, 0], strict=True):
        np.testing.assert_allclose(
            values, shapley(linear, row, background.to_numpy()), atol=1e-8
        )
        assert values.sum() == pytest.approx(
            linear(row) - linear(background).mean(), abs=1e-8
        )
        for kept in ([0], [1, 3]):
            assert worth(linear, kept, row, background.to_numpy()) == pytest.approx(
                expected(kept, row)
            )
    assert found.std_error.max() == 0
    marginal = explained(linear, rows, background, sampling="marginal")
    assert np.abs(found.values - marginal.values).max() > 0.05  # the games differ


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
    first, second = table(60).to_numpy(), table(60, seed=3).to_numpy()
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
    background, scale = table(), pd.Series({"a": 1e7, "b": 1e-5, "c": 1.0, "d": 1.0})
    one = explained(linear, background[:4], background).values
    scaled = explained(
        lambda rows: linear(rows / scale), background[:4] * scale, background * scale
    ).values
    np.testing.assert_allclose(scaled, one, atol=1e-8)
    twice = background.assign(e=2 * background["a"] + background["b"], f=1.0)
    told = explained(lambda rows: linear(rows[NAMES]), twice[:4], twice)
    assert np.isfinite(told.values).all()
    np.testing.assert_allclose(told.values.sum(axis=1), one.sum(axis=1), atol=1e-8)
    names = list(told.names)
    assert np.abs(told.values[:, names.index("e")]).max() > 0.1
    assert np.abs(told.values[:, names.index("f")]).max() < 1e-8


def test_networks_and_estimators_of_tables_are_explained_alike():
    torch.manual_seed(0)
    network, background = torch.nn.Linear(4, 1).double(), table()
    cells = torch.tensor(background.to_numpy())
    found = explained(network, cells[:3], cells, task="regression")

    def model(rows):
        return network(torch.as_tensor(rows)).detach().numpy()[:, 0]

    names = list(found.names)
    for row, values in zip(cells[:3].numpy(), found.values[:, :, 0], strict=True):
        slow = shapley(model, row, cells.numpy())
        np.testing.assert_allclose(
            values[[names.index(f"input[{place}]") for place in range(4)]],
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
    frame, seen = mixed(), []
    frame.loc[::11, "income"] = np.nan

    def model(rows):
        seen.append(rows.copy())
        return (
            (rows["owner"] == "yes")
            + rows["rooms"] / 10
            + rows["income"].fillna(20) / 100
        )

    rich = frame[frame["town"] == "Ulm"][:1]
    explained(
        model, rich, frame, groups={"all but the town": ["income", "owner", "rooms"]}
    )
    drawn = pd.concat(seen)
    assert set(drawn["owner"]) == {"yes", "no"}
    assert set(drawn["town"]) == set(frame["town"])
    assert set(drawn["rooms"]) <= set(frame["rooms"])
    assert drawn["rooms"].dtype == frame["rooms"].dtype
    assert drawn["income"].isna().any()
    # With only the town kept, incomes and owners are those of the town, not of all.
    only = drawn[(drawn["town"] == "Ulm") & (drawn["income"] != rich["income"].iloc[0])]
    there, everywhere = frame[frame["town"] == "Ulm"], frame
    assert there["income"].mean() > everywhere["income"].mean() + 5
    assert abs(only["income"].mean() - there["income"].mean()) < 2
    shares = [(part["owner"] == "yes").mean() for part in (only, there, everywhere)]
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
    place = list(conditional.names).index("town")
    assert np.abs(marginal[:, place]).max() == 0
    assert conditional.values[:, place, 1].mean() > 0.02
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
    told = explain_with(
        lambda rows: rows["d"], background, y, sampling="conditional", **options
    )
    plain = explain_with(lambda rows: rows["d"], background, y, **options)
    assert told.meta["sampling"] == "conditional"
    assert told.values.sum() == pytest.approx(plain.values.sum(), rel=0.05)
    names = list(told.names)
    # The model reads d alone, of which c tells.
    assert plain.values[names.index("c"), 0] == 0
    for one, sign in (("c", 1), ("d", -1)):
        gap, errors = (
            (told.values - plain.values)[names.index(one), 0],
            (told.std_error, plain.std_error),
        )
        assert sign * gap > 2 * np.hypot(
            *(error[names.index(one), 0] for error in errors)
        ), one


def test_columns_without_a_player_cannot_be_drawn():
    cells = torch.tensor(table().to_numpy())
    options = {"task": "regression", "segments": torch.tensor([0, 0, 1, -1])}
    with pytest.raises(InputError, match="a table whose every column has a player"):
        explained(torch.nn.Linear(4, 1).double(), cells[:2], cells, **options)
