"""Columns in another order than in fit, levels that few rows lack, and what a returned
frame calls its columns.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import permgrad as pg
from permgrad import InputError, PermgradWarning

QUIET = {"n_repeats": 2, "random_state": 0, "progress": False}


def table(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        rng.normal(size=(rows, 4)), columns=["engine hp", "age", "doors", "noise"]
    )
    return X, (
        X["engine hp"] + 0.4 * X["age"] + rng.normal(0, 0.3, rows) > 0
    ).to_numpy().astype(int)


class Wrapper:
    def __init__(self, model):
        self.inner = model

    def predict(self, rows):
        return self.inner.predict_proba(rows)[:, 1]


class Average:
    def __init__(self, *models):
        self.members = models

    def predict(self, rows):
        return np.mean(
            [model.predict_proba(rows)[:, 1] for model in self.members], axis=0
        )


X, Y = table()
BOOSTER = LGBMClassifier(n_estimators=8, verbosity=-1).fit(X, Y)
BY_PLACE = {
    "estimator": BOOSTER,
    "booster": BOOSTER.booster_,
    "bound method": BOOSTER.predict_proba,
    "partial": partial(BOOSTER.booster_.predict, raw_score=True),
    "wrapper": Wrapper(BOOSTER),
    "average": Average(BOOSTER, clone(BOOSTER).fit(X, Y)),
    "after a function": make_pipeline("passthrough", FunctionTransformer(), clone(BOOSTER)).fit(X, Y),
    "calibrated": CalibratedClassifierCV(clone(BOOSTER), cv=2).fit(X, Y),
}  # fmt: skip
MOVED = ["age", "engine hp", "doors", "noise"]


@pytest.mark.parametrize("rows", [1, 200])
@pytest.mark.parametrize("name", BY_PLACE)
def test_columns_in_another_order_than_in_fit_are_refused_and_the_order_works(
    name, rows
):
    model = BY_PLACE[name]
    assert (
        np.asarray(BOOSTER.predict(X[MOVED])) != BOOSTER.predict(X)
    ).any()  # LightGBM itself says nothing
    background = {"background": X[MOVED]} if rows == 1 else {}
    match = (
        r"'age' stands where 'engine hp' stood.*Pass the columns in the order of "
        r"fit: 'engine hp', 'age', 'doors'"
    )
    with pytest.raises(InputError, match=match):
        explain_with(model, X[MOVED][:rows], Y[:rows], **QUIET, **background)
    assert pg.explain(model, X, Y, **QUIET).ranking()[0] == "engine hp"


@pytest.mark.parametrize("spell", [str.upper, lambda name: name.replace(" ", ".")])
def test_columns_that_are_spelled_otherwise_are_the_same(spell):
    spelled = X.rename(columns=spell)
    with pytest.raises(
        InputError,
        match=f"Pass the columns in the order of fit: {spell('engine hp')!r}",
    ):
        pg.explain(BOOSTER, spelled[[spell(name) for name in MOVED]], Y, **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PermgradWarning)
        pg.explain(BOOSTER, spelled, Y, **QUIET)


def test_a_model_that_reads_by_name_may_get_any_order():
    by_name = make_column_transformer(
        (StandardScaler(), list(X)), verbose_feature_names_out=False
    )
    model = make_pipeline(
        by_name.set_output(transform="pandas"),
        LGBMClassifier(n_estimators=8, verbosity=-1),
    ).fit(X, Y)
    there, here = (
        pg.explain(model, rows, Y, **QUIET).ranking() for rows in (X, X[MOVED])
    )
    assert there[0] == here[0] == "engine hp"


def test_another_name_at_the_place_of_a_column_is_told_and_changes_nothing():
    with pytest.warns(
        PermgradWarning, match="'seats' stands where 'doors' stood in fit"
    ):
        renamed = pg.explain(BOOSTER, X.rename(columns={"doors": "seats"}), Y, **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PermgradWarning)
        usual = pg.explain(BOOSTER, X, Y, **QUIET)
        pg.explain(BOOSTER, X.to_numpy(), Y, **QUIET)
        pg.explain(
            BOOSTER, X.set_axis(list("wxyz"), axis=1), Y, **QUIET
        )  # all are renamed, on purpose
    # Draws go by the names of columns.
    np.testing.assert_array_equal(
        np.delete(renamed.values, 2, axis=0), np.delete(usual.values, 2, axis=0)
    )


# ---- levels --------------------------------------------------------------------------
LEVELS = ["bar", "cafe", "inn", "pub"]
WORTH = {"bar": 0.0, "cafe": 3.0, "inn": -2.0, "pub": 1.0}


def places(rows=240):
    rng = np.random.default_rng(1)
    kinds = rng.choice(LEVELS, rows)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "kind": pd.Categorical(kinds, categories=LEVELS),
        }
    )
    return frame, frame["size"].to_numpy() + np.array([WORTH[kind] for kind in kinds])


def worth(frame):
    return frame["size"].to_numpy() + frame["kind"].astype(object).map(WORTH).to_numpy(
        dtype=float
    )


@pytest.mark.parametrize("model", ["lightgbm", "function"])
def test_levels_that_the_rows_lack_need_no_advice(model):
    frame, y = places()
    predict = (
        worth
        if model == "function"
        else LGBMRegressor(n_estimators=15, verbosity=-1).fit(frame, y)
    )
    few = frame[frame["kind"].isin(["cafe", "pub"])][:30]
    cut = few.assign(kind=few["kind"].cat.remove_unused_categories())
    assert list(cut["kind"].cat.categories) == ["cafe", "pub"]
    all_levels, own_levels, texts = (
        pg.explain(predict, rows, y[few.index], background=background, **QUIET).values
        for rows, background in (
            (few, frame),
            (cut, frame),
            (cut, frame.assign(kind=frame["kind"].astype(object))),
        )
    )
    assert all_levels[1, 0] > 1  # the column matters
    np.testing.assert_array_equal(own_levels, all_levels)
    np.testing.assert_array_equal(texts, all_levels)
    # Neither has all levels.
    other_rows = frame[frame["kind"].isin(["bar", "inn"])]
    seen_columns = []
    predict = lambda rows: (seen_columns.append(rows["kind"]), worth(rows))[1]  # noqa: E731
    pg.explain(
        predict,
        cut,
        y[few.index],
        background=other_rows.assign(
            kind=other_rows["kind"].cat.remove_unused_categories()
        ),
        **QUIET,
    )
    assert set(
        pd.concat([seen_column.astype(object) for seen_column in seen_columns])
    ) == set(LEVELS)


def test_ordered_levels_keep_their_order_or_are_refused():
    frame, y = places(60)

    def ordered(rows, levels):
        return rows.assign(
            kind=rows["kind"]
            .astype(str)
            .astype(pd.CategoricalDtype(levels, ordered=True))
        )

    few = frame[frame["kind"].isin(["cafe", "pub"])]
    seen_types = []
    predict = lambda rows: (seen_types.append(rows["kind"].dtype), worth(rows))[1]  # noqa: E731
    pg.explain(
        predict,
        ordered(few, ["cafe", "pub"]),
        y[few.index],
        background=ordered(frame, LEVELS),
        **QUIET,
    )
    assert seen_types[-1] == pd.CategoricalDtype(LEVELS, ordered=True)
    with pytest.raises(
        InputError,
        match=r"'kind' has ordered categories that differ.*Give it all levels in one "
        r"order",
    ):
        pg.explain(
            worth,
            ordered(few, ["pub", "cafe"]),
            y[few.index],
            background=ordered(frame, LEVELS),
            **QUIET,
        )


@pytest.mark.parametrize("kind", ["Enum", "Categorical", "String"])
def test_levels_of_polars(kind):
    polars = pytest.importorskip("polars")
    frame, y = places()
    polars_table = polars.DataFrame(
        {"size": frame["size"].to_numpy(), "kind": frame["kind"].astype(str).to_list()}
    )
    dtype = polars.Enum(LEVELS) if kind == "Enum" else getattr(polars, kind)
    row_indices = np.flatnonzero(frame["kind"].isin(["cafe", "pub"]))[:30]
    few = polars_table[row_indices].with_columns(
        polars.col("kind").cast(polars.Enum(["cafe", "pub"]))
    )
    predict = lambda rows: worth(  # noqa: E731
        pd.DataFrame({name: rows[name].to_list() for name in rows.columns})
    )
    background = polars_table.with_columns(polars.col("kind").cast(dtype))
    got = pg.explain(
        predict, few, y[row_indices], background=background, **QUIET
    ).values
    np.testing.assert_array_equal(
        got,
        pg.explain(
            worth, frame.iloc[row_indices], y[row_indices], background=frame, **QUIET
        ).values,
    )
    with pytest.raises(
        InputError,
        match="Column 'kind' must hold cells of the type of the inputs, got int",
    ):
        pg.explain(
            predict,
            few,
            y[row_indices],
            background=polars_table.with_columns(kind=polars.lit(3)),
            **QUIET,
        )


# ---- returned frames -----------------------------------------------------------------
def chances(rows):
    high = 1 / (1 + np.exp(-3 * rows["engine hp"].to_numpy()))
    return {"low": 0.7 * (1 - high), "very low": 0.3 * (1 - high), "high": high}


ORDER = ["high", "very low", "low"]
DRAWN = np.random.default_rng(2).random(len(X))
OUTCOMES = np.where(
    chances(X)["high"] > DRAWN, "high", np.where(DRAWN > 0.8, "very low", "low")
)


@pytest.mark.parametrize("classes", [None, ("high", "low", "very low")])
@pytest.mark.parametrize("numbers", [False, True])
def test_a_returned_frame_names_its_classes(numbers, classes):
    codes = {"high": 5, "low": 1, "very low": 10}
    named = (lambda name: codes[name]) if numbers else str
    y = np.array([named(outcome) for outcome in OUTCOMES])
    classes = (
        classes if classes is None else [named(class_label) for class_label in classes]
    )
    predict = lambda rows: pd.DataFrame(  # noqa: E731
        {named(name): chances(rows)[name] for name in ORDER}
    )
    got = pg.explain(pg.Model(predict, class_names=classes), X, y, **QUIET)
    assert list(got.outputs[1:]) == [str(named(name)) for name in ORDER]
    loops = pg.explain(
        pg.Model(
            lambda rows: np.stack(
                [chances(rows)[name] for name in sorted(ORDER)], axis=1
            ),
            class_names=None,
        ),
        X,
        np.searchsorted(sorted(ORDER), OUTCOMES),
        **QUIET,
    )
    np.testing.assert_allclose(got.values[:, 0], loops.values[:, 0], atol=1e-12)


def test_names_that_are_no_classes_are_left_alone():
    frame = lambda rows: pd.DataFrame(  # noqa: E731
        {f"P({name})": chances(rows)[name] for name in sorted(ORDER)}
    )
    y = np.searchsorted(sorted(ORDER), OUTCOMES)
    got = pg.explain(frame, X, y, **QUIET)
    assert list(got.outputs[1:]) == ["0", "1", "2"]
    np.testing.assert_array_equal(
        got.values,
        pg.explain(lambda rows: frame(rows).to_numpy(), X, y, **QUIET).values,
    )


def test_targets_in_another_order_than_the_returned_columns_are_refused():
    two_outputs = lambda rows: pd.DataFrame(  # noqa: E731
        {"mass": rows["age"] * 100, "height": rows["doors"]}
    )
    y = two_outputs(X)[["height", "mass"]]
    with pytest.raises(
        InputError, match=r"columns of y .*another order.*in the predictor's order"
    ):
        pg.explain(two_outputs, X, y, **QUIET)
    assert (
        pg.explain(two_outputs, X, y[["mass", "height"]], **QUIET).ranking()[0] == "age"
    )


def test_a_returned_frame_names_its_outputs_without_y_and_beside_one_number_per_row():
    two_outputs = lambda rows: pd.DataFrame(  # noqa: E731
        {"mass": rows["age"] * 1.5, "height": rows["doors"]}
    )
    several = pg.explain(two_outputs, X, scope="local", **QUIET)
    assert several.outputs == ("mass", "height")
    assert several.meta["task"] == "regression", "names of columns are none of classes"
    mass = X["age"].to_numpy() * 1.5 + 0.25
    assert (mass % 1 != 0).any()
    got = pg.explain(two_outputs, X, mass, target="mass", **QUIET)
    expected_explanation = pg.explain(
        pg.Model(lambda rows: two_outputs(rows)["mass"], task="regression"),
        X,
        mass,
        **QUIET,
    )
    assert got.meta["task"] == "regression"
    np.testing.assert_allclose(got.values, expected_explanation.values, rtol=1e-9)
    with pytest.raises(InputError, match="y must have 2 numbers per row"):
        pg.explain(two_outputs, X, mass, **QUIET)


@pytest.mark.parametrize("named", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_report_of_a_function_that_returns_a_frame(named, tmp_path):
    names = ["high", "other"] if named else ["P(high)", "P(other)"]
    y = (
        np.where(OUTCOMES == "high", "high", "other")
        if named
        else (OUTCOMES != "high").astype(int)
    )

    def predict(rows):
        high = chances(rows)["high"]
        return pd.DataFrame(dict(zip(names, (high, 1 - high), strict=True)))

    page = pg.report(predict, X, y, path=tmp_path / "page.html")
    assert page is not None
    assert (tmp_path / "page.html").stat().st_size > 1000
