"""The estimators: targets and tables of all kinds, wrong input, units, and
scikit-learn's tools around them.
"""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import permgrad as pg
from permgrad import HyNNClassifier, HyNNRegressor, InputError
from permgrad.models.estimators.fit_inputs import class_weights, held_out
from permgrad.models.estimators.settings import resolve_settings
from permgrad.models.network.network_summary import (
    count_numbers,
    layer_rows,
    measure_training_time,
)

SMALL = {"dense_units": [16], "conv_filters": [4], "pooling": [4], "fusion_units": [8]}


def small(kind=HyNNClassifier, **changes):
    return kind(**{"preset": "fast", "image": "always", "network": SMALL, "pixels": 8, "max_epochs": 3, "random_state": 0,
                   "progress": False, **changes})  # fmt: skip


def mixed_table(rows=120):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows).astype(float),
            "income": rng.lognormal(size=rows),
            "town": rng.choice(["Bonn", "Ulm", "Trier"], rows),
            "member": rng.random(rows) < 0.5,
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "town"] = None
    return frame, (frame["income"] > 1) | (frame["town"] == "Bonn")


# ---- fitting and predicting ----------------------------------------------------------


@pytest.mark.parametrize("branches", [("tabular", "image"), ("tabular",), ("image",)])
def test_mixed_tables(branches):
    X, y = mixed_table()
    before = X.copy(deep=True)
    model = small(branches=branches).fit(X, y)
    pd.testing.assert_frame_equal(X, before)
    probability = model.predict_proba(X)
    assert probability.shape == (120, 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    assert model.predict(X).dtype == bool
    assert list(model.feature_names_in_) == list(X.columns)
    assert model.n_features_in_ == 5
    assert (model.renderer_ is None) == ("image" not in branches)
    assert model.module_.paths == branches
    assert model.background_.shape == (
        len(model.background_target_),
        model.module_.encoded,
    )
    assert model.background_.dtype == np.float32
    unseen = X.head(3).assign(town=["Oslo", None, "Ulm"], income=[np.nan, 1.0, 2.0])
    assert np.isfinite(model.predict_proba(unseen)).all()


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]),
        np.array(["no", "yes"], dtype=object),
        np.array([False, True]),
        np.array([False, True], dtype=object),
        pd.Series([False, True], dtype="boolean"),
        np.array([-1, 1]),
        np.array([1.0, 2.0]),
        pd.Series(["no", "yes"], dtype="string"),
        pd.Series(["no", "yes"], dtype="category"),
    ],
    ids=[
        "text",
        "object",
        "boolean",
        "boolean objects",
        "nullable boolean",
        "integer",
        "float",
        "string",
        "category",
    ],
)
def test_labels_of_every_type(labels):
    X, y = load_breast_cancer(return_X_y=True)
    target = labels[y] if isinstance(labels, np.ndarray) else labels.iloc[y]
    model = small(max_epochs=8, image="never").fit(X, target)
    assert set(model.classes_.tolist()) == set(np.asarray(labels).tolist())
    assert model.score(X, np.asarray(target)) > 0.9
    assert model.score(X, target) == np.mean(model.predict(X) == np.asarray(target))


def test_every_layout_learns():
    X, y = load_breast_cancer(return_X_y=True)
    for changes in (
        {"layout": "random"},
        {"layout": "tinto"},
        {"layout": lambda rows: rows.reshape(-1, 5, 6)},
    ):
        assert small(max_epochs=8, **changes).fit(X, y).score(X, y) > 0.9


@pytest.mark.slow
def test_the_published_preset_learns():
    X, y = load_breast_cancer(return_X_y=True)
    model = HyNNClassifier(
        preset="paper", max_epochs=30, pixels=10, random_state=0
    ).fit(X, y)
    assert model.score(X, y) > 0.85
    assert model.renderer_.layout.name == "tinto"
    assert (model.renderer_.channels, model.renderer_.scale) == (3, 255.0)
    assert model.preprocessor_.numeric == "minmax"


def test_predict_does_not_depend_on_what_stands_beside():
    X, y = load_breast_cancer(return_X_y=True)
    model = small().fit(X, y)
    together = model.predict_encoded(model.encode_rows(X[:70]).encoded)
    assert together.dtype == np.float32
    alone = np.concatenate(
        [model.predict_encoded(model.encode_rows(row[None]).encoded) for row in X[:70]]
    )
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(
        model.predict_encoded(model.encode_rows(X[:70]).encoded, batch_size=7),
        together,
        rtol=1e-4,
        atol=1e-5,
    )
    assert model.predict_encoded(np.empty((0, 30), dtype=np.float32)).shape == (0, 2)


@pytest.mark.slow
def test_units_of_the_target_change_nothing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = X[:, 0] * X[:, 1] + rng.normal(size=300) + 7.0
    unit_model, thousand = (
        small(HyNNRegressor, max_epochs=10).fit(X, scale * y) for scale in (1.0, 1000.0)
    )
    predicted = unit_model.predict(X)
    assert predicted.std() > 0.1, "the network must have learnt something"
    np.testing.assert_allclose(thousand.predict(X) / 1000, predicted, rtol=1e-4)
    for first, second in zip(
        unit_model.module_.parameters(), thousand.module_.parameters(), strict=True
    ):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_single_precision_would_lose_a_far_target():
    # 10⁸ + small numbers: in float32 they would all be one number.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    model = small(HyNNRegressor, max_epochs=20, image="never").fit(X, 1e8 + X[:, 0])
    assert model.score(X, 1e8 + X[:, 0]) > 0.9


def test_what_stands_among_texts_is_no_text():
    X = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(
        InputError, match=r"^1 of 6 values of y is missing \(NaN\). Leave that row out"
    ):
        small().fit(X, ["a", "b", float("nan"), "a", "b", "a"])
    with pytest.raises(
        InputError, match=r"^Classes must be of one type, but y mixes int and str"
    ):
        small().fit(X, ["a", 1, "b", 1, "a", "b"])
    for labels in ([b"a", b"b"] * 3, np.array([b"a", b"b"] * 3)):
        with pytest.raises(
            InputError,
            match=r"^Classes must be text or numbers, but y holds bytes \(b'a'\)\. Turn",
        ):
            small().fit(X, labels)
    with pytest.raises(
        InputError,
        match=(
            r"^y must hold one value for each row, but some of its values are "
            r"sequences and others are not. "
            r"Pass a list of labels or of numbers"
        ),
    ):
        small().fit(X, ["a", "b", ("a", "b"), "a", "b", "a"])
    assert small().fit(X, ("a", "b") * 3).classes_.tolist() == ["a", "b"]


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_targets_whose_squares_are_no_numbers_are_refused(factor):
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(
        InputError,
        match=r"^y's squares do not fit into float64: its largest value is .* Give y "
        r"in another unit",
    ):
        small(HyNNRegressor).fit(X, X[:, 0] * factor)
    assert np.isfinite(
        small(HyNNRegressor).fit(X, X[:, 0] * factor**0.5).predict(X)
    ).all()


@pytest.mark.parametrize("names", [[0, False], [0, "a"], ["a", None]])
def test_names_that_are_one_or_of_several_kinds_are_refused(names):
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(20, 2)),
        columns=pd.Index(names, dtype=object),
    )
    with pytest.raises(InputError, match=r"^Column names must (differ|be all text)"):
        small().fit(X, [0, 1] * 10)


def test_a_constant_target_is_predicted():
    X = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.warns(
        pg.PermgradWarning,
        match=r"^All 54 training values of y are 5. There is nothing to",
    ):
        model = small(HyNNRegressor, max_epochs=10).fit(X, np.full(60, 5.0))
    np.testing.assert_allclose(model.predict(X), 5.0, atol=0.5)


def test_rows_of_weight_zero_are_left_out():
    X, y = load_breast_cancer(return_X_y=True)
    kept_mask = np.arange(len(y)) % 3 > 0
    weighted = small().fit(X, y, sample_weight=kept_mask.astype(float))
    dropped = small().fit(X[kept_mask], y[kept_mask])
    np.testing.assert_array_equal(weighted.predict_proba(X), dropped.predict_proba(X))
    assert not np.array_equal(
        weighted.predict_proba(X), small().fit(X, y).predict_proba(X)
    )


@pytest.mark.slow
def test_sample_weights_and_class_weights_pull():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    y = (np.arange(600) % 10 == 0).astype(int)
    plain = small(max_epochs=8).fit(X, y).predict_proba(X)[:, 1].mean()
    balanced = (
        small(max_epochs=8, class_weight="balanced")
        .fit(X, y)
        .predict_proba(X)[:, 1]
        .mean()
    )
    by_rows = (
        small(max_epochs=8)
        .fit(X, y, sample_weight=np.where(y == 1, 9.0, 1.0))
        .predict_proba(X)[:, 1]
        .mean()
    )
    assert plain == pytest.approx(0.1, abs=0.06)
    assert balanced == pytest.approx(0.5, abs=0.1)
    assert by_rows == pytest.approx(0.5, abs=0.1)


def test_class_weights_equal_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(
        class_weights("balanced", np.arange(3), np.bincount(y)), expected
    )
    assert class_weights({1: 4.0}, np.arange(3), np.bincount(y)).tolist() == [1, 4, 1]


def test_eval_set_takes_the_place_of_the_validation_fraction():
    X, y = load_breast_cancer(return_X_y=True)
    split = small(validation_fraction=0.4).fit(X[:300], y[:300])
    fraction_model = small(validation_fraction=0.4).fit(
        X[:300], y[:300], eval_set=(X[300:], y[300:])
    )
    assert len(split.background_) == 180
    assert len(fraction_model.background_) == 300
    assert fraction_model.history_["validation_loss"].notna().all()
    none = small(validation_fraction=0.0).fit(X, y)
    assert none.history_["validation_loss"].isna().all()
    assert none.best_epoch_ == 3


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_held_out_rows_are_stratified(fraction):
    y = np.random.default_rng(0).choice(4, 1000, p=[0.7, 0.2, 0.09, 0.01])
    y = np.append(y, 4)  # a class of one row
    train, validation = held_out(len(y), fraction, 0, y)
    assert sorted([*train, *validation]) == list(range(len(y)))
    counts = np.bincount(y)
    held_out_counts = np.bincount(y[validation], minlength=5)
    np.testing.assert_allclose(held_out_counts[:4], counts[:4] * fraction, atol=2)
    assert held_out_counts[4] == 0
    assert set(y[train]) == set(range(5))
    assert not np.array_equal(validation, held_out(len(y), fraction, 1, y)[1])


@pytest.mark.slow
def test_automatic_batch_size_grows_with_the_rows():
    settings = resolve_settings({"preset": "fast"}, "regression")
    sizes = [
        settings.training_for(rows).batch_size for rows in (1, 10, 1000, 10_000, 10**6)
    ]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (32, 256)
    X, y = load_breast_cancer(return_X_y=True)
    assert small(preset="default").fit(X, y).training_options_["batch_size"] == 32
    assert (
        small(preset="default", batch_size=100)
        .fit(X, y)
        .training_options_["batch_size"]
        == 100
    )


def test_arguments_win_over_the_preset():
    X, y = load_breast_cancer(return_X_y=True)
    preset = {
        "base": "paper",
        "learning_rate": 0.5,
        "patience": np.float64("inf"),
        "schedule": "constant",
    }
    model = small(preset=preset, learning_rate=0.02).fit(X, y)
    options = model.training_options_
    assert (options["learning_rate"], options["patience"], options["schedule"]) == (
        0.02,
        None,
        "constant",
    )
    assert options["weight_decay"] == 1e-5
    assert model.network_options_["dense_units"] == [16]
    assert model.network_options_["activation"] == "relu"


# ---- wrong input ---------------------------------------------------------------------

X4 = np.random.default_rng(0).normal(size=(40, 3))
Y4 = np.arange(40) % 2

WRONG = {
    "one class": (HyNNClassifier, {}, X4, np.zeros(40), (r"y must hold at least 2 "
                                                        r"classes, but it has one "
                                                        r"class \(0.0\). Add rows of "
                                                        r"another class")),
    "continuous": (HyNNClassifier, {}, X4, X4[:, 0], ("y must hold classes: Unknown "
                                                     "label type: continuous")),
    "several targets": (HyNNRegressor, {}, X4, X4[:, :2], (r"y must be one target of "
                                                          r"shape \(rows,\), got shape "
                                                          r"\(40, 2\) \(y should be a "
                                                          r"1d array\)")),
    "text": (HyNNRegressor, {}, X4, np.array(["a", "b"])[Y4], (r"y must be numbers for "
                                                              r"regression, but it "
                                                              r"holds 'a' \(type <U1\)")),
    "text among numbers": (HyNNRegressor, {}, X4, np.array(["1.5", "a"])[Y4], "but it holds 'a'"),
    "missing": (HyNNRegressor, {}, X4, np.where(Y4 == 0, np.nan, 1.0), r"20 of 40 values of y are missing \(NaN\). Leave those rows out"),
    "infinite": (HyNNRegressor, {}, X4, np.where(Y4 == 0, np.inf, 1.0), r"y must be finite, but 20 values are infinite \(inf\). Leave those rows out"),
    "no target": (HyNNRegressor, {}, X4, None, ("requires y to be passed, but the "
                                               "target y is None")),
    "rows": (HyNNRegressor, {}, X4, X4[:9, 0], ("X and y have inconsistent numbers of "
                                               "rows: X has 40 and y has 9. Pass those "
                                               "that belong together")),
    "one row": (HyNNRegressor, {}, pd.DataFrame(X4[:1]), X4[:1, 0], "X must have at least 2 rows, got n_samples=1. Add rows"),
    "no column": (HyNNRegressor, {}, pd.DataFrame(index=range(40)), X4[:, 0], r"X has 0 feature\(s\) \(shape=\(40, 0\)\) while a minimum of 1 is required. Add columns"),
    "twice": (HyNNRegressor, {}, pd.DataFrame(X4, columns=["a", "b", "a"]), X4[:, 0], "Column names must differ, but 'a' is repeated. Rename them"),
    "constant": (HyNNRegressor, {}, np.ones((40, 3)), X4[:, 0], (r"X must have a "
                                                                 r"column "
                                                                r"that varies and is "
                                                                r"not an identifier, "
                                                                r"but none of its 3 "
                                                                r"feature\(s\) does "
                                                                r"\('x0', 'x1', 'x2'\)")),
    "mixed labels": (HyNNClassifier, {}, X4, np.array(["a", 1] * 20, dtype=object), "Classes must be of one type, but y mixes int and str. Turn all labels into text"),
    "class weight": (HyNNClassifier, {"class_weight": {5: 1.0}}, X4, Y4, r"class_weight must name classes of y \(0, 1\), got 5. Correct the name"),
    "a negative class weight": (HyNNClassifier, {"class_weight": {0: -1.0}}, X4, Y4, "class_weight"),
    "times and events": (
        HyNNClassifier, {}, X4, np.array([(k % 2 == 0, k) for k in range(len(X4))], "?, f8"), "rows have the fields f0, f1"
    ),
    "complex target": (HyNNRegressor, {}, X4, X4[:, 0] * 1j, ("Complex data not "
                                                             "supported")),
    "preset": (HyNNClassifier, {"preset": "papr"}, X4, Y4, (r"No preset 'papr'. Did "
                                                            r"you "
                                                           r"mean 'paper'\?")),
    "device": (HyNNClassifier, {"device": "gpu7"}, X4, Y4, ("device must be one of "
                                                           "'auto', 'cpu'")),
    "a device of another kind": (HyNNClassifier, {"device": "meta"}, X4, Y4, "device must be one of 'auto', 'cpu' on this machine, got 'meta'"),
    "network": (HyNNClassifier, {"network": [16]}, X4, Y4, (r"network must be None or "
                                                            r"a "
                                                           r"mapping of options, got "
                                                           r"\[16\]")),
    "no size": (HyNNClassifier, {"network": {"dense_units": []}}, X4, Y4, "dense_units"),
    "layout": (HyNNClassifier, {"layout": "tnto"}, X4, Y4, r"Did you mean 'tinto'\?"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(name):
    kind, changes, X, y, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        small(kind, **changes).fit(X, y)


def test_wrong_arguments_are_listed_together():
    model = HyNNRegressor(
        branches=("tabular", "pictures"), max_epochs=0, learning_rate=-1, loss="mse", preset={"optimiser": "adam"},
        pixels=0, validation_fraction=1, batch_size=1, progress="loud", network={"droput": 1},
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        model.fit(X4, X4[:, 0])
    lines = caught.value.message.splitlines()
    assert lines[0] == "10 arguments are wrong:"
    assert len(lines) == 11
    assert (
        "  - max_epochs must be None or a whole number of at least 1, got 0. Pass for "
        "example max_epochs=50." in lines
    )
    assert (
        "  - The mapping is not a valid preset: 'optimiser' is unknown. Did you mean "
        "'optimizer'?" in lines
    )
    assert "  - No loss 'mse'. Did you mean 'squared_error'?" in lines


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (
            np.ones(9),
            (
                r"sample_weight must have one value for each of the 40 rows, got the "
                r"shape "
                r"\(9,\)"
            ),
        ),
        (-np.ones(40), "sample_weight must be finite and at least 0"),
        (np.zeros(40), "sample_weight must be above 0 for some row"),
        (["a"] * 40, "sample_weight must be numbers"),
        (
            (np.arange(40) == 3).astype(float),
            "at least 2 rows with a weight above 0, got n_samples=1",
        ),
    ],
)
def test_wrong_sample_weights(weight, message):
    with pytest.raises(InputError, match=message):
        small().fit(X4, Y4, sample_weight=weight)


def test_cells_that_are_no_values_are_refused():
    cells = np.array([[{"a": 1}, 2.0], [{"a": 3}, 4.0]] * 20, dtype=object)
    with pytest.raises(
        TypeError, match="but column 'x0' holds a dict; turn it into values"
    ):
        small().fit(cells, Y4)


class Foreign:
    """A table of another library, which can become a data frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.shape = frame.shape

    def to_pandas(self) -> pd.DataFrame:
        return self.frame


def test_tables_and_targets_of_other_libraries_are_their_pandas_forms():
    frame = pd.DataFrame(X4, columns=list("abc"))
    usual = (
        small(HyNNRegressor).fit(frame, Y4, sample_weight=np.ones(40)).predict(frame)
    )
    assert np.ptp(usual) > 0
    foreign_model = small(HyNNRegressor).fit(
        Foreign(frame), pd.Series(pd.array(Y4, dtype="Int64")), sample_weight=1
    )
    np.testing.assert_array_equal(foreign_model.predict(Foreign(frame)), usual)


def test_weights_of_an_eval_set_count_in_its_calibration():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = (X[:, 0] + rng.normal(size=400) > 0).astype(int)
    validation_weights = np.where(rng.random(100) < 0.2, 9, 1)
    again = np.arange(100)
    eval_sets = (
        (X[:100], y[:100]),
        (X[:100], y[:100], validation_weights),
        tuple(
            validation_array[:100][again.repeat(validation_weights)]
            for validation_array in (X, y)
        ),
    )
    plain, weighted, repeated = (
        small(max_epochs=3, calibration="temperature").fit(
            X[100:], y[100:], eval_set=validation_set
        )
        for validation_set in eval_sets
    )
    losses = [
        model.history_["validation_loss"].to_numpy()
        for model in (plain, weighted, repeated)
    ]
    np.testing.assert_allclose(losses[1], losses[2], rtol=1e-4)
    assert not np.allclose(losses[0], losses[1], rtol=1e-2), "the weights matter"
    temperatures = [
        model.calibration_.temperature for model in (plain, weighted, repeated)
    ]
    assert temperatures[1] == pytest.approx(temperatures[2], rel=1e-3)
    assert temperatures[0] != pytest.approx(temperatures[1], rel=1e-3)
    with pytest.raises(InputError, match="sample_weight"):
        small().fit(X4, Y4, eval_set=(X4, Y4, -np.ones(len(Y4))))


def test_wrong_eval_sets():
    with pytest.raises(
        InputError,
        match=r"eval_set must be a pair \(X, y\), got ndarray. Pass "
        r"eval_set=\(X_validation, y_validation\)",
    ):
        small().fit(X4, Y4, eval_set=X4)
    with pytest.raises(
        InputError,
        match=r"eval_set's y must hold classes of y \(0, 1\), but it holds 2",
    ):
        small().fit(X4, Y4, eval_set=(X4, Y4 + 1))
    with pytest.raises(ValueError, match="features"):
        small().fit(X4, Y4, eval_set=(X4[:, :2], Y4))


def test_columns_in_another_order_are_an_error():
    X, y = mixed_table()
    model = small().fit(X, y)
    with pytest.raises(
        ValueError, match="feature names should match those that were passed during fit"
    ):
        model.predict(X[X.columns[::-1]])
    for unfitted in (small(), pg.HyNNClassifier()):
        with pytest.raises(NotFittedError):
            unfitted.predict(X)


def test_arrays_and_frames_meet_by_place_as_in_scikit_learn():
    frame = pd.DataFrame(X4, columns=["a", "b", "c"])
    on_array = small().fit(X4, Y4)
    on_frame = small().fit(frame, Y4)
    assert not hasattr(on_array, "feature_names_in_")
    assert on_array.preprocessor_.feature_names_in_ == ["x0", "x1", "x2"]
    with pytest.warns(UserWarning, match="X has feature names"):
        np.testing.assert_array_equal(
            on_array.predict_proba(frame), on_array.predict_proba(X4)
        )
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        np.testing.assert_array_equal(
            on_frame.predict_proba(X4), on_frame.predict_proba(frame)
        )


# ---- scikit-learn's tools ------------------------------------------------------------


def test_network_options_are_parameters():
    model = small(network={"dropout": 0.1})
    model.set_params(network__dropout=0.2, network__dense_units=(5,), max_epochs=1)
    assert model.network == {"dropout": 0.2, "dense_units": (5,)}
    parameters = model.get_params()
    assert parameters["network__dropout"] == 0.2
    assert parameters["network__activation"] == "relu"
    assert "network__dropout" not in model.get_params(deep=False)
    with pytest.raises(InputError, match=r"Did you mean 'dropout'\?"):
        model.set_params(network__dropuot=0.2)
    again = clone(model)
    assert again.network == model.network
    assert again.network is not model.network
    assert (
        "network__dropout"
        in small(preset="unknown", network={"dropout": 0.1}).get_params()
    )


def test_pipeline_and_grid_search():
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:, :6]
    pipe = make_pipeline(StandardScaler(), small(max_epochs=2))
    grid = {
        "hynnclassifier__network__dropout": [0.0, 0.3],
        "hynnclassifier__branches": [("tabular",)],
    }
    search = GridSearchCV(pipe, grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.7
    assert (
        search.best_estimator_[-1].network_options_["dropout"]
        == search.best_params_["hynnclassifier__network__dropout"]
    )


@pytest.mark.slow
def test_folds_in_parallel():
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:, :6]
    serial = cross_val_score(small(max_epochs=2, branches=("tabular",)), X, y, cv=2)
    parallel = cross_val_score(
        small(max_epochs=2, branches=("tabular",)), X, y, cv=2, n_jobs=2
    )
    np.testing.assert_allclose(serial, parallel, atol=1e-6)


def test_pickle_and_deepcopy_predict_the_same():
    X, y = mixed_table()
    model = small().fit(X, y)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert not hasattr(clone(model), "module_")


def test_summary_drawing_and_time():
    X, y = load_breast_cancer(return_X_y=True)
    model = small()
    before = model.get_params()
    prepared = model.prepare(X, y)
    time = measure_training_time(prepared.job, prepared.device)
    assert model.get_params() == before
    assert 0 < time.seconds_per_epoch < 10
    assert time.seconds_at_most == pytest.approx(3 * time.seconds_per_epoch)
    assert str(time).endswith("for 3 epochs")
    model.fit(X, y)
    text = model.summary()
    assert f"{count_numbers(model.module_):,} parameters" in text
    assert all(
        title in text for title in ("table branch", "image branch", "head", "1 × 8 × 8")
    )
    state = {name: value.clone() for name, value in model.module_.state_dict().items()}
    assert {row.part for row in layer_rows(model.module_)} == {
        "tabular",
        "image",
        "head",
    }
    assert all(
        torch.equal(value, state[name])
        for name, value in model.module_.state_dict().items()
    )
    assert not model.module_.training


def test_public_names():
    assert pg.HyNNClassifier is HyNNClassifier
    assert callable(pg.load)
