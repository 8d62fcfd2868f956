"""Predictors on tables: what a slow loop over the frame gives, and what cannot be
explained is refused.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import donor_rows, explain_with
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

import permgrad as pg
from permgrad.attribution.subject.frame_tensors import FrameForm
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.base.errors import InputError

QUIET = {"progress": False, "random_state": 3}


def table(rows=60, seed=0):
    """Return a table with numbers, levels, words, dates and missing cells of each."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(40, 9, rows)),
            "region": pd.Categorical(
                rng.choice(["north", "south", "west"], rows),
                categories=["west", "north", "south"],
            ),
            "job": np.where(
                rng.random(rows) < 0.2, None, rng.choice(["cook", "smith"], rows)
            ),
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "visits": pd.array(
                np.where(rng.random(rows) < 0.2, None, rng.integers(0, 9, rows)),
                dtype="Int64",
            ),
            "member": rng.random(rows) < 0.5,
        }
    )
    score = (
        frame["age"] / 20
        + 2 * (frame["region"] == "north")
        + frame["visits"].fillna(3).astype(float) / 3
    )
    return frame, np.where(score + rng.normal(0, 0.3, rows) > 4.4, "late", "early")


def test_floats_are_written_as_they_were_read():
    names = pd.Index(["a", 7, "c"], name="column")
    floats = pd.DataFrame(
        np.random.default_rng(0).normal(size=(9, 3)), columns=names
    ).set_index(pd.Index(range(5, 14)))
    floats.iloc[2, 1] = np.nan
    form = FrameForm(floats)
    rows = form.read(floats)
    pd.testing.assert_frame_equal(form.write(rows), floats.reset_index(drop=True))
    written = form.write(rows)
    written.iloc[:, :] = 0.0
    assert rows.nan_to_num().abs().max() > 0, "a copy"
    mixed = floats.assign(c=range(9))
    assert (
        FrameForm(mixed).write(FrameForm(mixed).read(mixed)).dtypes.tolist()
        == mixed.dtypes.tolist()
    )


def scores(frame):
    """Return a probability for each class that reads every column, in the columns' own
    types.
    """
    assert isinstance(frame["region"].dtype, pd.CategoricalDtype)
    assert list(frame["region"].cat.categories) == ["west", "north", "south"]
    assert frame["visits"].dtype == "Int64"
    assert frame["age"].dtype == "int64"
    assert frame["member"].dtype == bool
    assert frame["since"].dtype.kind == "M"
    z = frame["age"].to_numpy() / 20 + 2.0 * (frame["region"] == "north").to_numpy() - 4
    z = (
        z
        + frame["visits"].fillna(3).to_numpy(dtype=float) / 3
        + frame["income"].isna().to_numpy()
    )
    z = (
        z
        + frame["job"].isna().to_numpy() * frame["member"].to_numpy()
        + frame["since"].dt.month.to_numpy() / 12
    )
    late = 1 / (1 + np.exp(-z))
    return np.stack([1 - late, late], axis=1)


def test_loss_effects_are_those_of_a_loop_over_the_frame():
    frame, y = table()
    explanation = pg.explain(
        pg.Model(scores, class_names=["early", "late"]), frame, y, n_repeats=3, **QUIET
    )
    code = (y == "late").astype(int)
    rows = np.arange(len(frame))
    before = -np.log(scores(frame)[rows, code])
    by_name = explanation.to_frame().set_index(["feature", "class"])["importance"]
    for name in frame.columns:
        effects = []
        for repeat in range(3):
            donors = donor_rows(3, name, repeat, rows, len(frame), shared=True)
            edited = frame.copy()
            edited[name] = frame[name].take(donors).reset_index(drop=True)
            effects.append(-np.log(scores(edited)[rows, code]) - before)
        assert by_name[name, "all"] == pytest.approx(np.mean(effects), abs=1e-9)
        assert by_name[name, "all"] != 0  # every column is read


def test_shapley_is_enumerated():
    frame, _ = table()
    call_options = {
        "method": "shapley",
        "scale": "probability",
        "class_names": ["early", "late"],
    }
    explanation = explain_with(
        scores, frame[:3], background=frame[10:16], **QUIET, **call_options
    )
    names = list(frame.columns)
    players = len(frame.columns)
    background = frame[10:16].reset_index(drop=True)
    for row in range(3):
        value = {}
        for size in range(players + 1):
            for members in itertools.combinations(names, size):
                edited = background.copy()
                for name in members:
                    edited[name] = frame[name].take([row] * 6).reset_index(drop=True)
                value[members] = scores(edited)[:, 1].mean()
        for feature_index, name in enumerate(names):
            expected = 0.0
            for members, worth in value.items():
                if name not in members:
                    joined = tuple(
                        member for member in names if member in (*members, name)
                    )
                    weight = math.factorial(len(members)) * math.factorial(
                        players - len(members) - 1
                    )
                    expected += (
                        weight / math.factorial(players) * (value[joined] - worth)
                    )
            assert explanation.values[row, feature_index, 1] == pytest.approx(
                expected, abs=1e-9
            )


@pytest.mark.parametrize(
    "method", ["permgrad", "permutation", "ablation", "shapley", "lime", "aggregate"]
)
def test_a_pipeline_is_explained_as_it_is(method):
    frame, y = table(120)
    frame = frame.drop(columns=["since", "visits"]).assign(
        income=frame["income"].fillna(0)
    )
    encode = make_column_transformer(
        (OneHotEncoder(), ["region", "job"]), remainder="passthrough"
    )
    model = make_pipeline(encode, RandomForestClassifier(10, random_state=0)).fit(
        frame, y
    )
    before = frame.copy(deep=True)
    explanation = pg.explain(
        model, frame[:30], y[:30], method=method, background=frame[30:60], **QUIET
    )
    assert set(explanation.names) == set(frame.columns)
    assert np.isfinite(explanation.values).all()
    pd.testing.assert_frame_equal(frame, before)
    groups = {"who": ["age", "job"], "where": ["region"]}
    if method in ("permgrad", "shapley"):
        grouped = pg.explain(
            model, frame[:30], y[:30], method=method, groups=groups, **QUIET
        )
        assert "who" in grouped.names


@pytest.mark.parametrize(
    "method",
    ["gradient", "integrated_gradients", "deeplift", "gradcam", "permgrad_paper"],
)
def test_methods_that_need_a_network_say_so(method):
    frame, y = table()
    with pytest.raises(
        InputError, match="does not take a function, which is no network"
    ):
        pg.explain(
            pg.Model(scores, class_names=["early", "late"]),
            frame,
            y,
            method=method,
            **QUIET,
        )


def test_labels_without_probabilities_count_as_errors():
    frame, y = table(200)
    X = frame[["age"]].assign(north=frame["region"] == "north").astype(float)
    explanation = pg.explain(RidgeClassifier().fit(X, y), X, y, **QUIET)
    assert explanation.meta["loss"] == "zero_one"
    assert 0 < explanation.to_frame()["importance"].iloc[0] < 1


@pytest.mark.parametrize("kind", ["numpy", "polars", "arrow", "float32"])
def test_tables_of_other_libraries_stay_what_they_are(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    seen_tables = []
    model = DecisionTreeRegressor(max_depth=3, random_state=0).fit(X, X[:, 0] * 3)
    if kind in ("numpy", "float32"):
        rows = X if kind == "numpy" else X.astype(np.float32)
    elif kind == "polars":
        rows = pytest.importorskip("polars").DataFrame(X, schema=["x0", "x1", "x2"])
    else:
        import pyarrow as pa

        rows = pa.table({f"x{k}": X[:, k] for k in range(3)})

    def predict(table):
        seen_tables.append(table)
        values = (
            table
            if isinstance(table, np.ndarray)
            else np.stack([np.asarray(table[f"x{k}"]) for k in range(3)], 1)
        )
        return model.predict(values)

    explanation = pg.explain(predict, rows, X[:, 0] * 3, **QUIET)
    assert all(type(seen_table) is type(rows) for seen_table in seen_tables)
    assert explanation.ranking()[0] == "x0"
    if kind == "float32":
        assert all(seen_table.dtype == np.float32 for seen_table in seen_tables)


class _Counting:
    """A predictor that answers differently each time."""

    def __init__(self):
        self.calls = 0

    def __call__(self, frame):
        self.calls += 1
        return np.full(len(frame), float(self.calls))


def _at_row_100(frame):
    if len(frame) > 100:
        raise RuntimeError("row 100 is broken")
    return frame["age"].to_numpy(dtype=float)


def _writes(frame):
    frame["age"] = 0
    return frame["income"].fillna(0).to_numpy()


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda frame: frame["job"].fillna("none").to_numpy(), "numbers"),
        (lambda frame: np.zeros(len(frame) - 1), "one row of numbers for each"),
        (lambda frame: np.full(len(frame), np.nan), "finite|not a number|NaN"),
        (_at_row_100, "row 100 is broken"),
        (object(), "must be a torch network, a fitted estimator or a function"),
        (LogisticRegression(), "not fitted"),
    ],
)
def test_predictors_that_do_not_fit_are_refused(predict, words):
    frame, _ = table(150)
    with pytest.raises(InputError, match=words):
        pg.explain(
            pg.Model(predict, task="regression" if callable(predict) else None),
            frame,
            frame["age"],
            **QUIET,
        )


def test_a_predictor_that_writes_into_its_rows_changes_nothing():
    frame, _ = table(150)
    before = frame.copy(deep=True)
    explanation = pg.explain(_writes, frame, frame["income"].fillna(0), **QUIET)
    pd.testing.assert_frame_equal(frame, before)
    assert explanation.ranking()[0] == "income"


def test_a_predictor_with_a_memory_is_told():
    frame, _ = table(150)
    with pytest.warns(UserWarning, match="different outputs each time|same rows"):
        pg.explain(_Counting(), frame, frame["age"], **QUIET)


def test_a_linear_model_is_twice_the_squared_slope_times_the_variance():
    """E (b x' − b x)² − 0 = 2 b² σ² for independent donors, and 0 for a feature that
    the model does not use.
    """
    rows = np.random.default_rng(0).normal(size=(4000, 3))
    slopes = np.array([1.0, -2.0, 0.0])
    explanation = pg.explain(
        lambda table: table @ slopes, rows, rows @ slopes, method="permutation", **QUIET
    )
    expected = 2 * slopes**2 * rows.var(axis=0)
    assert expected[1] > 7
    np.testing.assert_allclose(explanation.values[:2, 0], expected[:2], rtol=0.08)
    assert (
        explanation.values[2, 0],
        explanation.std_error[2, 0],
        explanation.p_values[2, 0],
    ) == (0.0, 0.0, 1.0)
    assert (explanation.low[:2, 0] < expected[:2]).all()
    assert (explanation.high[:2, 0] > expected[:2]).all()


@pytest.mark.parametrize("rows", [260, 90], ids=["the rows' donors", "training donors"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_network_as_a_function_has_the_numbers_of_its_explanation(task, rows):
    rng = np.random.default_rng(1)
    X = pd.DataFrame(
        {
            "a": rng.normal(size=500),
            "b": rng.choice(["x", "y", "z"], 500),
            "c": rng.normal(size=500),
        }
    )
    signal = X["a"] + (X["b"] == "x") * 1.5
    y = (
        (signal > 0.5).to_numpy().astype(int)
        if task == "classification"
        else signal.to_numpy()
    )
    kind = pg.HyNNClassifier if task == "classification" else pg.HyNNRegressor
    model = kind(preset="fast", max_epochs=3, random_state=0, progress=False).fit(X, y)
    call = {
        "method": "permutation",
        "n_repeats": 3,
        "loss": "brier" if task == "classification" else "squared_error",
    }
    call |= {"background": X[:rows] if rows >= 200 else X[rows:], **QUIET}
    network = explain_with(model, X[:rows], y[:rows], **call)
    predict = partial(
        model.predict_proba if task == "classification" else model.predict
    )
    function = explain_with(predict, X[:rows], y[:rows], task=task, **call)
    assert function.names == network.names
    assert network.values[:2, 0].min() > 0.01, "the network must rely on something"
    for name in ("values", "std_error", "low", "high"):
        ours, theirs = (
            getattr(explanation, name)[:, 0] for explanation in (function, network)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_probability_of_zero_has_a_finite_loss():
    y = np.array([0, 1])
    expected = {"brier": [0, 2], "zero_one": [0, 1]}
    subject = PredictorSubject(
        lambda table: np.eye(2)[np.zeros(len(table), dtype=int)],
        np.eye(2),
        y,
        task="classification",
    )
    outputs = subject.forward([torch.eye(2)])
    for loss, losses in expected.items():
        np.testing.assert_allclose(
            subject.outputs.loss_rows(outputs, y, loss), losses, atol=1e-9
        )
    assert np.isfinite(subject.outputs.loss_rows(outputs, y, "cross_entropy")).all()


def test_class_numbers_are_no_classes_of_a_model_that_knows_its_own():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.array(["red", "white"] * 30)
    model = LogisticRegression().fit(X, y)
    with pytest.raises(
        InputError, match=r"y must hold classes of the model \(red, white\), got 0"
    ):
        pg.explain(model, X, np.array([0, 1] * 30), **QUIET)
    pg.explain(
        pg.Model(model, class_names=["a", "b"]), X, np.array([0, 1] * 30), **QUIET
    )


@pytest.mark.parametrize("nothing", [np.nan, None, pd.NA])
def test_missing_classes_are_counted(nothing):
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.array(["red", "white"] * 30, dtype=object)
    model = LogisticRegression().fit(X, y.astype(str))
    with pytest.raises(
        InputError, match=r"y has 2 missing values\. Leave those rows out"
    ):
        pg.explain(model, X, [nothing, nothing, *y[2:]], **QUIET)


def test_a_bound_predict_is_its_owner():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.where(X[:, 0] > 0, "red", "white")
    model = LogisticRegression().fit(X, y)
    explanation = pg.explain(model.predict, X, y, **QUIET)
    assert explanation.values[0, 0] > 0.2
    assert explanation.meta["loss"] == "zero_one"


def test_logits_of_probabilities_as_the_docs_state_them():
    X = np.array([[0.3, 1.0], [2.0, 0.0]])
    options = {
        "method": "shapley",
        "background": np.zeros((1, 2)),
        "scale": "logit",
        "random_state": 0,
        "progress": False,
    }
    weights = np.array([[1.0, -2.0, 0.5], [0.4, 0.3, -1.0]])

    def several(rows):
        scores = np.exp(rows @ weights)
        return scores / scores.sum(axis=1, keepdims=True)

    explanation = explain_with(several, X, **options)
    log = np.log(several(X))
    log -= log.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        explanation.values.sum(axis=1), log, atol=1e-9
    )  # of each class, less the mean of all
    high = lambda rows: 1 / (1 + np.exp(-40 * rows[:, 0]))  # noqa: E731
    two = explain_with(
        lambda rows: np.stack([1 - high(rows), high(rows)], axis=1), X, **options
    )
    np.testing.assert_allclose(
        two.values[:, 0, -1], [12, -np.log(np.finfo(float).eps)], atol=1e-6
    )
    scores = explain_with(
        lambda rows: 40 * rows[:, 0],
        X,
        returns="logits",
        class_names=["no", "yes"],
        **options,
    )
    np.testing.assert_allclose(scores.values[:, 0, -1], [12, 80])


class Bare:
    """Rows that are an array to whoever asks, and nothing else."""

    def __init__(self, rows):
        self.rows = rows

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.rows, dtype=dtype)


def test_rows_that_only_say_that_they_are_an_array():
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = X @ [1.0, 0.3, 0.0]
    rule = lambda rows: np.asarray(rows) @ [1.0, 0.3, 0.0]  # noqa: E731
    usual = pg.explain(rule, X, y, background=X, **QUIET)
    bare = pg.explain(rule, Bare(X), Bare(y), background=Bare(X), **QUIET)
    np.testing.assert_array_equal(bare.values, usual.values)


def test_inputs_that_a_predictor_does_not_take():
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = LogisticRegression().fit(X, X[:, 0] > 0)
    with pytest.raises(
        InputError, match=r"X has 1 features.* It gets X as passed, an array"
    ):
        pg.explain(model, X[:, :1], X[:, 0] > 0, **QUIET)
