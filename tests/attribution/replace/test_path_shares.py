"""Effects and path shares are true, not only additive: the short form of
``verification/verify_paths.py``, and more.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from explaining import donor_rows, explain_with
from verification import verify_paths as verify

import permgrad as pg
from permgrad.base.random import uniform

TOLERANCE = 1e-5


ROWS = 210
TABLE, NUMBERS = verify.mixed_table(2 * ROWS, seed=0)
TRAIN = TABLE[:ROWS]
TEST = TABLE[ROWS:].reset_index(drop=True)


@pytest.fixture(scope="module")
def classifier():
    return fitted("fast", "classification")


@pytest.fixture(scope="module")
def regressor():
    return fitted("fast", "regression")


def target(task: str) -> np.ndarray:
    return NUMBERS if task == "regression" else verify.three_classes(NUMBERS)


def fitted(name: str, task: str):
    estimator = pg.HyNNRegressor if task == "regression" else pg.HyNNClassifier
    parameters = verify._parameters(name, verify.configurations()[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator(**parameters).fit(TRAIN, target(task)[:ROWS])


def check(result: dict) -> None:
    assert result["largest effect"] > 1e-3  # there is something to be wrong about
    assert result["difference of means"] <= TOLERANCE
    assert (result["difference of single pairs"] or 0) <= verify.PAIR_TOLERANCE


KINDS = [name for name in verify.configurations() if name != "fast"]
# Layouts do not know the task: with numbers one preset is enough.
CASES = [(name, "classification") for name in KINDS] + [("paper", "regression")]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_every_kind_of_network(name, task):
    model = fitted(name, task)
    row_slice = slice(20)
    y = target(task)[ROWS:][row_slice]
    check(
        verify.largest_difference(
            model, TEST[row_slice], y, repeats=1, background=TRAIN[:30], single_rows=1
        )
    )


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("classifier", "classification"),
        pytest.param("regressor", "regression", marks=pytest.mark.slow),
    ],
)
def test_rows_as_their_own_background(name, task, request):
    check(
        verify.largest_difference(
            request.getfixturevalue(name), TEST, target(task)[ROWS:], repeats=2
        )
    )


def test_groups_act_and_are_drawn_as_one(classifier):
    groups = {"pair": ["a", "colour"], "calendar": ["day"]}
    y = target("classification")[ROWS:]
    check(verify.largest_difference(classifier, TEST, y, groups=groups, repeats=1))
    check(
        verify.largest_difference(
            classifier,
            TEST,
            y,
            groups=groups,
            background=TRAIN,
            repeats=1,
            single_rows=2,
        )
    )


@pytest.mark.slow
def test_a_table_of_raw_columns(classifier):
    check(
        verify.largest_difference(
            classifier, TEST, target("classification")[ROWS:], repeats=1, groups={}
        )
    )


def test_the_dense_way_is_the_same(classifier):
    y = target("classification")[ROWS:]
    common = {"random_state": 0, "n_repeats": 2, "progress": False}
    short, dense = (
        explain_with(classifier, TEST, y, incremental=how, **common)
        for how in (True, False)
    )
    scale = short.meta["loss_scale"]
    np.testing.assert_allclose(
        short.values, dense.values, rtol=0, atol=TOLERANCE * scale
    )
    for path, values in short.parts.items():
        np.testing.assert_allclose(
            values, dense.parts[path], rtol=0, atol=TOLERANCE * scale
        )


def by_weight(chances, weights):
    """Return each row's donor: another row, in proportion to its weight."""
    donors = []
    for row, chance in enumerate(chances):
        other_rows = np.delete(np.arange(len(weights)), row)
        along = np.cumsum(weights[other_rows])
        donors.append(
            other_rows[np.searchsorted(along, chance * along[-1], side="right")]
        )
    return np.array(donors)


@pytest.mark.parametrize(
    "task", ["classification", pytest.param("regression", marks=pytest.mark.slow)]
)
def test_rows_weigh_what_they_are_given(task, classifier, regressor):
    """The importance is the weighted mean of the rows' effects."""
    model = classifier if task == "classification" else regressor
    y = target(task)[ROWS:]
    weights = np.random.default_rng(0).exponential(size=ROWS)
    explained = pg.explain(
        model,
        TEST,
        y,
        sample_weight=weights,
        n_repeats=1,
        random_state=3,
        progress=False,
    )
    scale = explained.meta["loss_scale"]
    for position, name in enumerate(explained.names):
        donors = by_weight(uniform(3, ("donor", name, 0), np.arange(ROWS)), weights)
        effects = verify.slow_effects(
            model, TEST, y, verify.players_of(model, name), TEST, donors
        )
        expected = np.average(effects, axis=0, weights=weights)
        computed = [
            explained.values[position, 0],
            *(path_values[position, 0] for path_values in explained.parts.values()),
        ]
        np.testing.assert_allclose(computed, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_local_effects_are_differences_of_public_predictions(
    task, classifier, regressor
):
    """Row i, feature j: the output minus its mean over donors, as ``predict`` and
    ``predict_proba`` give it.
    """
    model = classifier if task == "classification" else regressor
    selected_rows = TEST[:7]
    background = TRAIN[:50]
    repeats = 3
    explained = pg.explain(
        model,
        selected_rows,
        scope="local",
        background=background,
        n_repeats=repeats,
        random_state=9,
        scale="probability",
        progress=False,
    )
    before = verify.public_outputs(model, selected_rows).reshape(len(selected_rows), -1)
    spread = np.ptp(verify.public_outputs(model, TEST))
    for position, name in enumerate(explained.names):
        after = []
        for repeat in range(repeats):
            donors = donor_rows(
                9,
                name,
                repeat,
                np.arange(len(selected_rows)),
                len(background),
                shared=False,
            )
            edited = verify.edited_rows(
                model, selected_rows, verify.players_of(model, name), background, donors
            )
            after.append(
                verify.public_outputs(model, edited).reshape(len(selected_rows), -1)
            )
        expected = before - np.mean(after, axis=0)
        np.testing.assert_allclose(
            explained.values[:, position], expected, rtol=0, atol=TOLERANCE * spread
        )
    assert np.abs(explained.values).max() > 0.01 * spread


def test_shares_add_up_to_the_total(classifier):
    explained = pg.explain(
        classifier,
        TEST,
        target("classification")[ROWS:],
        random_state=0,
        n_repeats=2,
        progress=False,
    )
    path_values = explained.parts
    np.testing.assert_allclose(
        path_values["tabular"] + path_values["image"],
        explained.values,
        rtol=1e-12,
        atol=1e-12,
    )
    assert np.abs(path_values["interaction"]).max() > 1e-3


@pytest.mark.parametrize(("a", "b"), verify.CLOSED)
def test_closed_forms_of_weights_set_by_hand(a, b):
    result = verify.closed_forms(a, b, rows=600, repeats=5, seed=1)
    assert result["difference on the pairs drawn"] <= TOLERANCE
    assert result["largest distance from the closed form in standard errors"] < 4
    assert result["ignored paths exactly 0"]


def test_a_hand_set_network_is_what_it_says():
    """Precondition: the network computes a·x + b·x, half of it through the picture."""
    model = verify.hand_set([1.0, -2.0], [0.5, 3.0])
    X = np.random.default_rng(4).normal(size=(50, 2))
    np.testing.assert_allclose(
        model.predict(X), model.encode_rows(X).encoded @ [1.5, 1.0], atol=1e-5
    )


def test_branch_weights_of_a_hand_set_network():
    """One feature, f = a·x(table) + b·x(image): branches share as it does; alone and
    last stand beside them.
    """
    a = 1.0
    b = 2.0
    model = verify.hand_set([a], [b])
    X = np.random.default_rng(4).normal(size=(2000, 1))
    y = model.encode_rows(X).encoded[:, 0].astype(float) * (a + b)
    branches = pg.explain(
        model, X, y, random_state=0, n_repeats=10, progress=False
    ).branches
    variance = 2 * np.var(y) / (a + b) ** 2
    assert branches["tabular"]["share"] == pytest.approx(a / (a + b), abs=1e-6)
    assert branches["image"]["share"] == pytest.approx(b / (a + b), abs=1e-6)
    for path, path_weight, other_weight in (("tabular", a, b), ("image", b, a)):
        unit = branches["total"]["importance"] / (a + b) ** 2
        assert branches[path]["alone"] == pytest.approx(path_weight**2 * unit, rel=1e-5)
        assert branches[path]["last"] == pytest.approx(
            (path_weight**2 + 2 * path_weight * other_weight) * unit, rel=1e-5
        )
        assert (
            branches[path]["ci_low"]
            < path_weight * (a + b) * variance
            < branches[path]["ci_high"]
        )
    assert branches["interaction"] == pytest.approx(2 * a * b * unit, rel=1e-5)


def test_a_branch_that_is_ignored_weighs_nothing():
    model = verify.hand_set([1.0, 2.0], [0.0, 0.0])
    X = np.random.default_rng(4).normal(size=(400, 2))
    branches = pg.explain(
        model, X, model.predict(X), random_state=0, n_repeats=2, progress=False
    ).branches
    assert branches["image"]["importance"] == 0
    assert branches["image"]["share"] == 0
    assert branches["tabular"]["share"] == 1
    assert branches["interaction"] == 0


def test_shares_of_branches_are_undefined_where_nothing_is_carried():
    """A network that predicts a constant: the total's interval includes 0, so there is
    nothing to share.
    """
    model = verify.hand_set([0.0], [0.0])
    X = np.random.default_rng(4).normal(size=(300, 1))
    explained = pg.explain(model, X, X[:, 0], random_state=0, progress=False)
    assert explained.branches["tabular"]["share"] is None
    assert explained.branches["image"]["share"] is None
    frame = explained.to_frame()
    assert frame["importance"].tolist() == [0.0]
    assert frame["std_error"].tolist() == [0.0]
    assert frame["p_value"].tolist() == [1.0]


def test_constants_get_exactly_nothing(classifier):
    explained = pg.explain(
        classifier,
        TEST,
        target("classification")[ROWS:],
        random_state=0,
        progress=False,
        n_repeats=2,
    )
    frame = explained.to_frame().set_index(["feature", "class"]).loc["always"]
    assert (
        frame[
            [
                "importance",
                "std_error",
                "ci_low",
                "ci_high",
                "tabular",
                "image",
                "interaction",
            ]
        ]
        == 0
    ).all(axis=None)
    assert (frame["p_value"] == 1).all()


def test_a_network_that_is_better_off_without_its_paths_has_no_shares():
    """It says s·x of y = −c·x: exchanging both paths makes the loss smaller by
    2·s·c·var x, and that is no whole.
    """
    a = 1.0
    b = 2.0
    c = 3.0
    model = verify.hand_set([a], [b])
    X = np.random.default_rng(4).normal(size=(2000, 1))
    x = model.encode_rows(X).encoded[:, 0].astype(float)
    branches = pg.explain(
        model, X, -c * x, random_state=0, n_repeats=10, progress=False
    ).branches
    for path, path_weight in (("tabular", a), ("image", b)):
        assert (
            branches[path]["ci_low"]
            < -2 * path_weight * c * np.var(x)
            < branches[path]["ci_high"]
            < 0
        )
        assert branches[path]["share"] is None
    assert branches["total"]["ci_high"] < 0
