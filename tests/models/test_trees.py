"""Trees as arrays say what their libraries say, for rows on thresholds as well, and
damaged ones are refused.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad.models.reading_trees import read_trees
from permgrad.models.tree_masks import TreeMasks
from permgrad.models.trees import LARGEST, Trees, rounded_down

COLUMNS = 6


def rows_and_targets(task, count=400, seed=0):
    """Return rows, some of them of few values, and numbers or classes."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, COLUMNS)).astype(np.float32)
    x[:, 0] = np.round(x[:, 0], 1)
    x[:, 1] = x[:, 1] > 0.4
    row_signal = (
        x[:, 0] * x[:, 2]
        + np.sin(3 * x[:, 3])
        + x[:, 1]
        + 0.3 * random.normal(size=count)
    )
    if task == "counts":
        return x, random.poisson(np.exp(0.4 * row_signal)).astype(np.float64)
    if task == "regression":
        return x, 5 + row_signal
    return x, np.digitize(row_signal, [0.4] if task == "two classes" else [-0.3, 0.8])


def fit_histogram_boosting(task, x, y, **options):
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    if task in {"regression", "counts"}:
        loss = "poisson" if task == "counts" else "squared_error"
        model = HistGradientBoostingRegressor(
            max_iter=25, loss=loss, early_stopping=False, **options
        ).fit(x, y)
        return model, model._raw_predict
    model = HistGradientBoostingClassifier(
        max_iter=25, early_stopping=False, **options
    ).fit(x, y)
    return model, model.decision_function


def fit_lightgbm(task, x, y, **options):
    lightgbm = pytest.importorskip("lightgbm")
    objective = {
        "regression": "regression",
        "counts": "poisson",
        "two classes": "binary",
    }.get(task, "multiclass")
    kind = (
        lightgbm.LGBMRegressor
        if task in {"regression", "counts"}
        else lightgbm.LGBMClassifier
    )
    model = kind(
        n_estimators=25, objective=objective, verbosity=-1, n_jobs=1, **options
    ).fit(x, y)
    return model, lambda rows: model.booster_.predict(rows, raw_score=True)


def fit_xgboost(task, x, y, **options):
    xgboost = pytest.importorskip("xgboost")
    kind = (
        xgboost.XGBRegressor
        if task in {"regression", "counts"}
        else xgboost.XGBClassifier
    )
    counts = {"objective": "count:poisson"} if task == "counts" else {}
    model = kind(n_estimators=25, n_jobs=1, **counts, **options).fit(x, y)
    return model, lambda rows: model.predict(rows, output_margin=True)


def fit_catboost(task, x, y, **options):
    catboost = pytest.importorskip("catboost")
    kind = (
        catboost.CatBoostRegressor
        if task in {"regression", "counts"}
        else catboost.CatBoostClassifier
    )
    counts = {"loss_function": "Poisson"} if task == "counts" else {}
    choices = {
        "iterations": 25,
        "verbose": False,
        "allow_writing_files": False,
        "thread_count": 1,
    }
    model = kind(**choices, **counts, **options).fit(x, y)
    return model, lambda rows: model.predict(rows, prediction_type="RawFormulaVal")


FITS = {
    "histogram_boosting": fit_histogram_boosting,
    "lightgbm": fit_lightgbm,
    "xgboost": fit_xgboost,
    "catboost": fit_catboost,
}


def on_thresholds(trees, x, seed=1):
    """Return rows of which each value stands on a threshold of its column, or next to
    one.
    """
    random = np.random.default_rng(seed)
    rows = x[random.integers(0, len(x), 2000)].copy()
    inner = trees.left != np.arange(len(trees.left))
    for column in range(x.shape[1]):
        limits = trees.threshold[inner & (trees.feature == column)]
        if len(limits):
            near = random.choice(limits, len(rows))
            above = np.nextafter(near, np.float32(np.inf))
            below = np.nextafter(near, np.float32(-np.inf))
            rows[:, column] = np.choose(
                random.integers(0, 4, len(rows)), [near, above, below, rows[:, column]]
            )
    return rows


@pytest.mark.parametrize(
    "task", ["regression", "counts", "two classes", "three classes"]
)
@pytest.mark.parametrize("library", FITS)
def test_trees_say_what_their_library_says(library, task):
    x, y = rows_and_targets(task)
    model, library_outputs = FITS[library](task, x, y)
    trees = read_trees(model)
    trees.check(COLUMNS)
    assert len(trees.base) == (3 if task == "three classes" else 1)
    rows = on_thresholds(trees, x)
    expected = np.asarray(library_outputs(rows), dtype=np.float64).reshape(
        len(rows), -1
    )
    assert np.ptp(expected, axis=0).min() > 0.5, "they say something"
    tree_outputs = trees(rows)
    # XGBoost adds up in float32.
    np.testing.assert_allclose(
        tree_outputs, expected, atol=1e-5 if library == "xgboost" else 1e-9, rtol=0
    )
    np.testing.assert_array_equal(
        tree_outputs[:7], trees(rows[:7]), err_msg="rows depend on each other"
    )
    again = Trees.from_arrays(trees.arrays(), COLUMNS)
    np.testing.assert_array_equal(again(rows), tree_outputs)
    np.testing.assert_allclose(trees.scaled(0.5)(rows), tree_outputs / 2, rtol=1e-12)


@pytest.mark.parametrize("task", ["regression", "three classes"])
@pytest.mark.parametrize("library", FITS)
def test_changes_are_those_of_whole_rows_with_other_cells(library, task):
    x, y = rows_and_targets(task)
    options = (
        {"max_leaf_nodes": 4} if library == "histogram_boosting" else {"max_depth": 2}
    )
    trees = read_trees(FITS[library](task, x, y, **options)[0])
    pairs = np.sort(np.random.default_rng(0).integers(0, len(x), 3000))
    for columns in ([0], [1, 3], [5], [], list(range(COLUMNS))):
        values = np.roll(x, 1, axis=0)[pairs][:, columns]
        changed_rows = x[pairs]
        changed_rows[:, columns] = values
        changes = trees.changes(x, columns, values, pairs)
        np.testing.assert_allclose(
            changes, trees(changed_rows) - trees(x)[pairs], atol=1e-12
        )
        assert changes.any() == bool(columns)


@pytest.mark.parametrize("leaves", [2, 32, 33, 64, 65])
@pytest.mark.parametrize("outputs", [1, 3])
def test_masks_say_what_walking_says(leaves, outputs, monkeypatch):
    """Also of cells that are missing, infinite or a threshold, of the last bit of a
    word, of trees that are a leaf, and where a word has too few bits.
    """
    x, y = rows_and_targets("regression", count=1500)
    options = {"max_leaf_nodes": leaves, "min_samples_leaf": 2, "max_depth": None}
    trees = read_trees(fit_histogram_boosting("regression", x, y, **options)[0])
    leaf = ([], [], [], [], [[5.0]])
    stumps = [leaf] * 45 + [([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])]
    more = Trees.of(stumps, base=np.zeros(outputs))
    limit = len(trees.left)
    trees = Trees(
        np.append(trees.feature, more.feature),
        np.append(trees.threshold, more.threshold),
        np.append(trees.left, more.left + np.int32(limit)),
        np.append(trees.values, more.values, axis=0),
        np.append(trees.roots, more.roots + np.int32(limit))[-69:],
        more.base,
    )
    rows = x.copy()
    rows[::7, 0] = np.nan
    rows[1::7, 1] = np.inf
    rows[2::7, 2] = -np.inf
    rows[3::7, 3] = trees.threshold[trees.feature == 3][0]
    says = trees(rows)
    every_row = np.arange(len(rows))
    changes = trees.changes(rows, [0, 1], rows[::-1][:, :2], every_row)
    assert (changes is None) == (TreeMasks.of(trees) is None) == (leaves == 65)
    monkeypatch.setattr(Trees, "_masks", None)
    again = dataclasses.replace(trees)
    np.testing.assert_allclose(says, again(rows), atol=1e-11, rtol=0)


@pytest.mark.parametrize("task", ["regression", "three classes"])
@pytest.mark.parametrize("library", FITS)
def test_the_first_rounds_are_the_model_of_fewer_rounds(library, task):
    x, y = rows_and_targets(task)
    trees = read_trees(FITS[library](task, x, y)[0])
    few = trees.first(4)
    few.check(COLUMNS)
    together = len(trees.roots) // 25
    remaining_trees = Trees(
        trees.feature,
        trees.threshold,
        trees.left,
        trees.values,
        trees.roots[4 * together :],
        trees.base * 0,
    )
    np.testing.assert_allclose(few(x) + remaining_trees(x), trees(x), atol=1e-12)
    assert len(few.feature) < len(trees.feature)
    assert trees.first(25) is trees


def test_models_that_stopped_early_have_the_trees_they_predict_by():
    x, y = rows_and_targets("two classes")
    lightgbm = pytest.importorskip("lightgbm")
    xgboost = pytest.importorskip("xgboost")
    validation_rows = rows_and_targets("two classes", seed=5)
    stop = lightgbm.early_stopping(3, verbose=False)
    model = lightgbm.LGBMClassifier(n_estimators=300, verbosity=-1).fit(
        x, y, eval_set=[validation_rows], callbacks=[stop]
    )
    trees = read_trees(model.booster_)
    assert len(trees.roots) == model.best_iteration_ < 300
    np.testing.assert_allclose(
        trees(validation_rows[0])[:, 0],
        model.predict(validation_rows[0], raw_score=True),
        atol=1e-9,
    )
    model = xgboost.XGBClassifier(n_estimators=300, early_stopping_rounds=3).fit(
        x, y, eval_set=[validation_rows], verbose=False
    )
    trees = read_trees(model)
    assert len(trees.roots) == model.best_iteration + 1 < 300
    np.testing.assert_allclose(
        trees(validation_rows[0])[:, 0],
        model.predict(validation_rows[0], output_margin=True),
        atol=1e-5,
    )


def test_catboosts_trees_of_other_shapes_are_read():
    for task in ("regression", "three classes"):
        x, y = rows_and_targets(task)
        model, library_outputs = fit_catboost(task, x, y, grow_policy="Lossguide")
        np.testing.assert_allclose(
            read_trees(model)(x), library_outputs(x).reshape(len(x), -1), atol=1e-9
        )


def test_a_constant_target_leaves_trees_of_one_leaf():
    x, _ = rows_and_targets("regression")
    for library in ("histogram_boosting", "lightgbm", "xgboost"):
        model, library_outputs = FITS[library]("regression", x, np.full(len(x), 3.0))
        trees = read_trees(model)
        np.testing.assert_allclose(
            trees(x)[:, 0], np.ravel(library_outputs(x)), atol=1e-6
        )


@pytest.mark.parametrize(
    ("library", "options", "words"),
    [
        ("histogram_boosting", {"categorical_features": [1]}, "categories"),
        ("lightgbm", {"categorical_feature": [1]}, "categories"),
        ("lightgbm", {"linear_tree": True}, "linear"),
        (
            "lightgbm",
            {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
            "averaged",
        ),
        ("lightgbm", {"zero_as_missing": True}, "zeros"),
        ("xgboost", {"booster": "dart"}, "dart"),
        ("xgboost", {"booster": "gblinear"}, "gblinear"),
        ("xgboost", {"num_parallel_tree": 2}, "forests"),
        ("xgboost", {"objective": "reg:gamma"}, "objective"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_trees_of_other_kinds_are_refused(library, options, words):
    x, y = rows_and_targets("regression")
    y = y - y.min() + 1
    x[:, 0] = np.maximum(x[:, 0], 0)
    model, _ = FITS[library]("regression", x, y, **options)
    with pytest.raises(NotImplementedError, match=words):
        read_trees(model)


def test_models_of_other_kinds_are_refused():
    from sklearn.linear_model import Ridge

    for model in (Ridge(), np.zeros(3)):
        with pytest.raises(NotImplementedError, match="no "):
            read_trees(model)


@given(
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
@settings(max_examples=300)
def test_a_threshold_is_rounded_so_that_no_row_goes_another_way(threshold, value):
    [limit] = rounded_down(np.array([threshold]))
    assert np.isfinite(limit)
    if threshold >= -LARGEST:
        assert (np.float32(value) <= limit) == (value <= threshold)


def test_values_that_are_not_finite_stay_in_their_tree():
    trees = Trees.of([([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])] * 2, base=[0.0])
    rows = np.array([[np.nan], [np.inf], [-np.inf]], dtype=np.float32)
    assert trees(rows).ravel().tolist() == [-2.0, 2.0, -2.0]


# ---- damaged files -------------------------------------------------------------------
def small():
    """Return two trees of two columns, of two nodes' depth and of one leaf."""
    tree = [0, 1], [0.5, 2.0], [2, 3], [1, 4], [[0.0], [0.0], [1.0], [2.0], [3.0]]
    return Trees.of([tree, ([], [], [], [], [[4.0]])], base=[0.5])


def test_small_trees_are_read_back():
    trees = Trees.from_arrays(small().arrays(), 2)
    rows = np.array([[0, 0], [1, 2], [1, 3]], dtype=np.float32)
    assert trees(rows).ravel().tolist() == [5.5, 6.5, 7.5]
    assert trees.depths.tolist() == [2, 0]


DAMAGES = {
    "feature": [np.array([0, 0, 2, 0, 0, 0]), np.array([0, 0, -1, 0, 0, 0])],
    "left": [
        np.array([1, 1, 3, 1, 4, 5]),  # back
        np.array([1, 1, 5, 3, 4, 5]),  # the right child does not exist
        np.array([1, 1, 9, 3, 4, 5]),
        np.array([1, 1, -3, 3, 4, 5]),
        np.array([1, 1, 4, 3, 4, 5]),  # the other tree's root
        np.array([3, 1, 3, 3, 4, 5]),  # two parents
    ],
    "roots": [
        np.array([0, 6]),
        np.array([0, -1]),
        np.array([0, 0]),
        np.array([[0, 5]]),
    ],
    "threshold": [np.full(6, np.nan), np.full(6, np.inf), np.full(6, 1.0), np.zeros(5)],
    "values": [
        np.full((6, 1), np.nan),
        np.zeros((6, 2)),
        np.zeros((6, 0)),
        np.zeros(6),
        np.zeros((5, 1)),
    ],
    "base": [np.array([np.inf]), np.zeros(0), np.array(0.0)],
}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (name, damage_number)
        for name, all_ in DAMAGES.items()
        for damage_number in range(len(all_))
    ],
)
def test_trees_that_do_not_fit_are_refused(name, place):
    arrays = small().arrays()
    arrays[f"trees.{name}"] = DAMAGES[name][place].astype(arrays[f"trees.{name}"].dtype)
    with pytest.raises(ValueError, match="trees"):
        Trees.from_arrays(arrays, 2)


def test_trees_of_another_kind_of_number_or_without_a_part_are_refused():
    arrays = small().arrays()
    for name, tree_array in arrays.items():
        with pytest.raises(ValueError, match="trees"):
            Trees.from_arrays(arrays | {name: tree_array.astype(np.float16)}, 2)
        with pytest.raises((KeyError, ValueError)):
            Trees.from_arrays(
                {
                    other_name: arrays[other_name]
                    for other_name in arrays
                    if other_name != name
                },
                2,
            )
    with pytest.raises(ValueError, match="column"):
        Trees.from_arrays(arrays, 1)
    assert {field.name for field in dataclasses.fields(Trees)} == {
        name.removeprefix("trees.") for name in arrays
    }
