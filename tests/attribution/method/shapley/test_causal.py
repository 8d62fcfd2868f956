"""Conditional, causal and asymmetric Shapley values: closed forms, a slow twin, and cells of any kind."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import permgrad as pg
from permgrad.attribution.method.shapley.causal import CausalOrder
from permgrad.base.errors import InputError

NAMES = list("abcd")
WEIGHTS = np.array([1.0, -2.0, 0.5, 3.0])
#: Arguments, and what they mean: blocks of places, whether each is confounded, and whether causes join first.
GAMES = {
    "conditional": ({"sampling": "conditional"}, [[0, 1, 2, 3]], [False], False),
    "causal": ({"causal_order": [["a"], ["c", "b"], ["d"]], "confounding": [False, True, False]},
               [[0], [2, 1], [3]], [False, True, False], False),
    "chain": ({"causal_order": [["a", "b"], ["c"], ["d"]], "confounding": [True, False, False]},
              [[0, 1], [2], [3]], [True, False, False], False),
    "backwards": ({"causal_order": [["d"], ["b", "c"], ["a"]]}, [[3], [1, 2], [0]], [False] * 3, False),
    "asymmetric": ({"causal_order": [["b"], ["a", "d"], ["c"]], "asymmetric": True},
                   [[1], [0, 3], [2]], [False] * 3, True),
    "marginal": ({"causal_order": [NAMES], "confounding": True}, [[0, 1, 2, 3]], [True], False),
}  # fmt: skip


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


def worth(model, kept, row, order, confounded, background):
    """Return the mean output over donors, whose columns outside of a coalition are drawn one by one."""
    cells, known = np.tile(row, (len(background), 1)), []
    for block, hidden in zip(order, confounded, strict=True):
        inside = [one for one in block if one in kept]
        given = known + ([] if hidden else inside)
        for one in block:
            if one not in kept:
                predicted, fitted = regressed(cells, one, given, background)
                cells[:, one] = predicted + background[:, one] - fitted
                given = [*given, one]
        known = [*known, *block]
    return model(cells).mean()


def shapley(model, row, order, confounded, asymmetric, background):
    """Return Shapley's values by their definition: means over all orders, or over those that follow the causes."""
    players = range(len(row))
    worths = {
        kept: worth(model, kept, row, order, confounded, background)
        for size in range(len(row) + 1)
        for kept in combinations(players, size)
    }
    block_of = {one: number for number, block in enumerate(order) for one in block}
    values, count = np.zeros(len(row)), 0
    for joined in permutations(players):
        numbers = [block_of[one] for one in joined]
        if asymmetric and numbers != sorted(numbers):
            continue
        count += 1
        for place, one in enumerate(joined):
            before, after = (tuple(sorted(joined[:end])) for end in (place, place + 1))
            values[one] += worths[after] - worths[before]
    return values / count


def explained(model, rows, background, **options):
    defaults = {"method": "shapley", "scope": "local", "progress": False, "random_state": 0}
    return pg.explain(model, rows, background=background, **{**defaults, **options})


@pytest.mark.parametrize("name", GAMES)
def test_linear_models_have_their_closed_form(name):
    options, order, confounded, asymmetric = GAMES[name]
    background = table()
    rows, mean, covariance = background[:4], background.mean().to_numpy(), np.cov(background.T.to_numpy(), ddof=0)
    found = explained(linear, rows, background, **options)

    def expected(kept, row):
        """Return the expectation of the Gaussian model with these moments, block by block."""
        point, known = mean.copy(), []
        for block, hidden in zip(order, confounded, strict=True):
            inside = [one for one in block if one in kept]
            given = known + ([] if hidden else inside)
            point[inside] = row[inside]
            for one in set(block) - set(inside):
                gain = np.linalg.solve(covariance[np.ix_(given, given)], covariance[given, one]) if given else []
                point[one] = mean[one] + (point[given] - mean[given]) @ gain if given else mean[one]
            known += block
        return linear(point)

    for row, values in zip(rows.to_numpy(), found.values[:, :, 0], strict=True):
        slow = shapley(linear, row, order, confounded, asymmetric, background.to_numpy())
        np.testing.assert_allclose(values, slow, atol=1e-8)
        assert values.sum() == pytest.approx(linear(row) - linear(background).mean(), abs=1e-8)
        first = expected({order[0][0]}, row)
        assert worth(linear, {order[0][0]}, row, order, confounded, background.to_numpy()) == pytest.approx(first)
    assert found.std.max() == 0
    games = [shapley(linear, rows.to_numpy()[0], *GAMES[one][1:], background.to_numpy()) for one in GAMES]
    assert min(np.abs(first - other).max() for first, other in combinations(games, 2)) > 0.05  # all games differ


@pytest.mark.parametrize("name", ["conditional", "causal", "asymmetric"])
def test_other_models_have_the_values_of_the_slow_twin(name):
    options, order, confounded, asymmetric = GAMES[name]
    background = table()

    def model(rows):
        cells = np.asarray(rows)
        return np.tanh(cells[:, 0] * cells[:, 1]) + np.abs(cells[:, 2]) * (cells[:, 3] > 0.2)

    rows = background[:3]
    slow = [shapley(model, row, order, confounded, asymmetric, background.to_numpy()) for row in rows.to_numpy()]
    exact = explained(model, rows, background, **options)
    np.testing.assert_allclose(exact.values[:, :, 0], slow, atol=1e-8)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_samples_are_within_their_errors_of_all_coalitions(asymmetric):
    first, second = table(60).to_numpy(), table(60, seed=3).to_numpy()
    background = pd.DataFrame(np.concatenate([first, 0.6 * first + second], axis=1), columns=list("abcdefgh"))

    def model(rows):
        cells = np.asarray(rows)
        return np.tanh(cells[:, 0] * cells[:, 5]) + np.abs(cells[:, 2]) * (cells[:, 7] > 0.2) + cells[:, 4]

    order = [["a", "e"], ["b", "c", "d"], ["f", "g", "h"]]
    options = {"causal_order": order, "confounding": [True, False, False], "asymmetric": asymmetric}
    exact = explained(model, background[:6], background, **options)
    sampled = explained(model, background[:6], background, exact=0, max_permutations=240, **options)
    assert exact.std.max() == 0
    moved = np.abs(exact.values) > 1e-6
    assert np.median(sampled.std[moved]) > 1e-3
    away = (sampled.values - exact.values)[moved] / sampled.std[moved]
    assert np.abs(away).max() < 5
    assert 0.3 < np.sqrt((away**2).mean()) < 1.7


def test_units_and_columns_that_say_the_same_change_nothing():
    background, scale = table(), pd.Series({"a": 1e7, "b": 1e-5, "c": 1.0, "d": 1.0})
    one = explained(linear, background[:4], background, sampling="conditional").values
    scaled = explained(lambda rows: linear(rows / scale), background[:4] * scale, background * scale,
                       sampling="conditional").values  # fmt: skip
    np.testing.assert_allclose(scaled, one, atol=1e-8)
    twice = background.assign(e=2 * background["a"] + background["b"], f=1.0)
    told = explained(lambda rows: linear(rows[NAMES]), twice[:4], twice, sampling="conditional")
    assert np.isfinite(told.values).all()
    np.testing.assert_allclose(told.values.sum(axis=1), one.sum(axis=1), atol=1e-8)
    names = list(told.names)
    assert np.abs(told.values[:, names.index("e")]).max() > 0.1
    assert np.abs(told.values[:, names.index("f")]).max() < 1e-8


def test_the_marginal_game_is_the_usual_one():
    background = table()
    one, other = (explained(linear, background[:5], background, **more) for more in (GAMES["marginal"][0], {}))
    np.testing.assert_allclose(one.values, other.values, atol=1e-12)


def test_networks_and_estimators_of_tables_are_explained_alike():
    torch.manual_seed(0)
    network, background = torch.nn.Linear(4, 1).double(), table()
    cells = torch.tensor(background.to_numpy())
    options, order, confounded, asymmetric = GAMES["causal"]
    options = {
        "causal_order": [["input[0]"], ["input[2]", "input[1]"], ["input[3]"]],
        "confounding": options["confounding"],
    }
    found = explained(network, cells[:3], cells, task="regression", **options)

    def model(rows):
        return network(torch.as_tensor(rows)).detach().numpy()[:, 0]

    names = list(found.names)
    for row, values in zip(cells[:3].numpy(), found.values[:, :, 0], strict=True):
        slow = shapley(model, row, order, confounded, asymmetric, cells.numpy())
        np.testing.assert_allclose(values[[names.index(f"input[{place}]") for place in range(4)]], slow, atol=1e-8)


def mixed(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    town = rng.choice(["Bonn", "Kiel", "Ulm"], rows, p=[0.5, 0.3, 0.2])
    income = np.round(30 + 12.0 * (town == "Ulm") + rng.normal(0, 4, rows), 2)
    owner = np.where(income + rng.normal(0, 3, rows) > 34, "yes", "no")
    rooms = (income / 12 + rng.normal(0, 0.5, rows)).round().astype(int)
    return pd.DataFrame({"town": town, "income": income, "owner": owner, "rooms": rooms})


def test_drawn_cells_are_of_the_columns_and_follow_their_causes():
    frame, seen = mixed(), []
    frame.loc[::11, "income"] = np.nan

    def model(rows):
        seen.append(rows.copy())
        return (rows["owner"] == "yes") + rows["rooms"] / 10 + rows["income"].fillna(20) / 100

    rich = frame[frame["town"] == "Ulm"][:1]
    order = [["town"], ["income"], ["owner", "rooms"]]
    explained(model, rich, frame, causal_order=order)
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


def test_a_cause_that_the_model_does_not_read_gets_what_it_causes():
    frame = mixed()
    forest = make_pipeline(OneHotEncoder(handle_unknown="ignore"), RandomForestClassifier(20, random_state=0))
    forest.fit(frame[["owner"]], frame["rooms"] > 2)

    def model(rows):
        return forest.predict_proba(rows[["owner"]])[:, 1]

    order = [["town"], ["income"], ["owner", "rooms"]]
    rows = frame[frame["town"] == "Ulm"][:8]
    marginal = explained(model, rows, frame, task="classification").values
    causal = explained(model, rows, frame, task="classification", causal_order=order)
    place = list(causal.names).index("town")
    assert np.abs(marginal[:, place]).max() == 0
    assert causal.values[:, place].mean() > 0.02
    total = np.abs(causal.values.sum(axis=1) - marginal.sum(axis=1))
    assert total.max() < 1e-8  # both add up to the same


def test_losses_are_divided_in_the_same_games():
    background = table(300)
    y = linear(background) + np.random.default_rng(1).normal(size=300)
    options = {"method": "shapley", "scope": "global", "progress": False, "random_state": 0, "task": "regression"}
    told = pg.explain(linear, background, y, causal_order=[["a"], ["b"], ["c"], ["d"]], **options)
    plain = pg.explain(linear, background, y, **options)
    assert told.meta["causal_order"] == [["a"], ["b"], ["c"], ["d"]]
    assert told.values.sum() == pytest.approx(plain.values.sum(), rel=0.05)
    names = list(told.names)
    # What c causes reaches the output through d.
    for one, sign in (("c", 1), ("d", -1)):
        gap, errors = (told.values - plain.values)[names.index(one), 0], (told.std, plain.std)
        assert sign * gap > 2 * np.hypot(*(error[names.index(one), 0] for error in errors)), one


def test_orders_of_causes_come_first_and_reverse_within_their_block():
    tree = CausalOrder(((2, 0), (1, 3, 4)), (False, False), ()).tree()
    ranks = tree.ranks(0, "test", np.arange(200, dtype=np.uint64))
    assert (ranks[:, [0, 2]] < 2).all()
    assert len(np.unique(ranks, axis=0)) == 2 * 6
    back = tree.reverse(ranks)
    assert (back[:, [0, 2]] < 2).all()
    assert (tree.reverse(back) == ranks).all()
    assert ((ranks + back)[:, [0, 2]] == 1).all()
    assert ((ranks + back)[:, [1, 3, 4]] == 2 + 4).all()
    coalitions = tree.coalitions()
    assert np.allclose(coalitions.weights.sum(axis=1), 0)
    assert not (coalitions.kept[:, 1] & ~coalitions.kept[:, 0]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"causal_order": [["a"], ["b", "c"]]}, "'d' is in no block"),
        ({"causal_order": [["a", "a"], ["b", "c", "d"]]}, "'a' is named twice"),
        ({"causal_order": [["a", "bb"], ["b", "c", "d"]]}, "'bb' is not one of them. Did you mean 'b'"),
        ({"causal_order": [[], NAMES]}, "A block is empty"),
        ({"causal_order": "abcd"}, "must be a list of lists of names"),
        ({"causal_order": ["a", "b", "c", "d"]}, "must be a list of lists of names"),
        ({"causal_order": [NAMES], "confounding": [True, False]}, "true or false for each of 1 blocks"),
        ({"causal_order": [NAMES], "confounding": ["yes"]}, "true or false for each"),
        ({"confounding": True}, "is about the blocks of causal_order"),
        ({"asymmetric": True}, "is about the blocks of causal_order"),
        ({"causal_order": [NAMES], "asymmetric": True, "structure": "owen"}, "both say in which orders"),
        ({"causal_order": [NAMES], "asymmetric": True, "interactions": 2}, "cannot be used with asymmetric=True"),
    ],
)
def test_what_is_no_causal_order_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        explained(linear, table()[:3], table(), **options)


def test_images_have_no_causal_order():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))
    images = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    names = list(explained(network, images[:2], images, task="regression", segments=("grid", 2)).names)
    with pytest.raises(InputError, match="one table whose every column has a player"):
        explained(network, images[:2], images, task="regression", segments=("grid", 2), causal_order=[names])
