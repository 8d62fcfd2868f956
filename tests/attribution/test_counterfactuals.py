"""Counterfactuals: enumeration on small grids, bounds, kinds of columns, and what is
refused.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.data.read.cells import MissingCodes


def people(rows=400, seed=0):
    """Return rows with every kind of column, and a class that needs several of them."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "income": rng.gamma(4.0, 10.0, rows),
            "job": pd.Categorical(rng.choice(["none", "clerk", "chef"], rows)),
            "member": rng.random(rows) < 0.5,
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 2000, rows), unit="D"),
            "visits": np.where(rng.random(rows) < 0.2, np.nan, rng.poisson(3, rows)),
        }
    )
    return X, np.where(score(X) > 0, "yes", "no")


def score(X):
    return (
        (X["age"] - 50) / 20
        + (X["income"] - 40) / 20
        + (X["job"].astype(object) == "chef")
        + X["member"]
        + (X["since"] - pd.Timestamp("2022-10-01")).dt.days / 1000
        + X["visits"].fillna(0) / 5
        - 2
    ).to_numpy()


TYPES = list(people()[0].dtypes)


def rule(X):
    """A model whose decision is known exactly."""
    assert list(X.dtypes) == TYPES
    p = 1 / (1 + np.exp(-score(X)))
    return np.column_stack([1 - p, p])


RULE = pg.Model(rule, class_names=["no", "yes"])


def refused_row():
    X, y = people()
    return X[y == "no"][:1], X


def valid(result):
    return (rule(result.rows).argmax(axis=1) == 1).all()


# ---- enumeration ---------------------------------------------------------------------
def enumerated(predict, row, values, reached):
    """Return the fewest changes of a row that reach a goal, over all combinations of
    values. None: none does.
    """
    cells = np.array(list(itertools.product(*values)))
    changes = (cells != row).sum(axis=1)[reached(predict(cells))]
    return changes.min() if len(changes) else None


def grid_models():
    weights = np.array([3.0, -2.0, 1.5, 1.0])
    return {
        "linear": lambda t: t @ weights,
        "both": lambda t: 4.0 * ((t[:, 0] > 1) & (t[:, 1] > 1)) + 2.0 * (t[:, 3] == 2),
        "either": lambda t: (
            6.0 * ((t[:, 0] > 1) ^ (t[:, 2] > 0)) + 2.0 * (t[:, 3] == 3)
        ),
        "product": lambda t: t[:, 0] * t[:, 1] * t[:, 2] - t[:, 3],
    }


@pytest.mark.parametrize("name", grid_models())
@pytest.mark.parametrize("most", [None, 2])
def test_fewest_changes_equal_enumeration(name, most):
    predict = grid_models()[name]
    rng = np.random.default_rng(1)
    fewest_changes = []
    X = rng.integers(0, 4, size=(120, 4)).astype(float)
    for row, low in itertools.product(X[:8], (2.0, 4.0, 7.0)):
        truth = enumerated(
            predict, row, [np.arange(4.0)] * 4, lambda numbers, low=low: numbers >= low
        )
        counterfactuals = pg.counterfactuals(
            predict, row, X, want=(low, None), max_changes=most
        )
        fewest_changes.append(truth)
        if truth == 0:
            assert len(counterfactuals) == 0
            assert "already" in counterfactuals.summary()
        elif truth is None or (most is not None and truth > most):
            assert len(counterfactuals) == 0
        else:
            assert counterfactuals.measures["changes"].min() == truth
            assert (predict(counterfactuals.rows) >= low).all()
    assert {1, 2} <= set(
        fewest_changes
    )  # the task is neither empty nor always solved by one change


def test_first_is_the_nearest_of_the_fewest_changes():
    X = np.random.default_rng(0).integers(0, 10, size=(300, 2)).astype(float)
    counterfactuals = pg.counterfactuals(
        lambda t: t[:, 0], np.array([1.0, 5]), X, want=(6, 9)
    )
    assert counterfactuals.rows[0].tolist() == [6.0, 5.0]


@pytest.mark.parametrize("diagonal", [True, False])
def test_the_same_columns_are_changed_by_the_nearest_result_alone(diagonal):
    X = np.repeat(np.arange(10.0), 2)[:, None] + [0, 0]
    X[:, 1] = X[:, 1] if diagonal else 5
    counterfactuals = pg.counterfactuals(lambda t: t[:, 0], [0.0, 5], X, want=(3, None))
    assert counterfactuals.rows.tolist() == [[3, 5]]


def test_no_change_of_a_result_can_be_undone():
    row, X = refused_row()
    counterfactuals = pg.counterfactuals(RULE, row, X)
    assert (counterfactuals.changed.sum(axis=1) > 1).any()
    for (_, new_row), changed in zip(
        counterfactuals.rows.iterrows(), counterfactuals.changed, strict=True
    ):
        for name in X.columns[changed]:
            back = (
                pd.DataFrame([new_row])
                .assign(**{name: row[name].iloc[0]})
                .astype(X.dtypes)
            )
            assert rule(back).argmax() == 0


# ---- validity and limits -------------------------------------------------------------
def test_all_kinds_of_columns_stay_what_they_are():
    row, X = refused_row()
    before = X.copy(deep=True)
    counterfactuals = pg.counterfactuals(RULE, row, X)
    assert len(counterfactuals) == 4
    assert valid(counterfactuals)
    assert list(counterfactuals.rows.dtypes) == list(X.dtypes)
    pd.testing.assert_frame_equal(X, before)
    frame = counterfactuals.to_frame()
    assert (frame["prediction"] == "yes").all()
    np.testing.assert_allclose(frame["probability"], rule(counterfactuals.rows)[:, 1])
    moved = [
        [str(a) != str(b) for a, b in zip(row.iloc[0], new_row, strict=True)]
        for _, new_row in counterfactuals.rows.iterrows()
    ]
    assert (np.array(moved) == counterfactuals.changed).all()
    assert frame["changes"].tolist() == counterfactuals.changed.sum(axis=1).tolist()
    assert (
        len(
            {tuple(map(str, new_row)) for _, new_row in counterfactuals.rows.iterrows()}
        )
        == 4
    )


@pytest.mark.slow
def test_distances_are_those_of_a_slow_loop():
    row, X = refused_row()
    counterfactuals = pg.counterfactuals(RULE, row, X)
    numbers = {
        name: X[name].astype("int64") / 1e9 if name == "since" else X[name]
        for name in X.select_dtypes(["number", "datetime"])
    }

    def apart(one, other):
        total = 0.0
        for name in X:
            a = one[name]
            b = other[name]
            if pd.isna(a) or pd.isna(b):
                total += pd.isna(a) != pd.isna(b)
            elif name in numbers:
                gap = (a - b).total_seconds() if name == "since" else a - b
                seconds = (
                    X[name].map(lambda day: day.timestamp())
                    if name == "since"
                    else X[name]
                )
                total += abs(gap) / (seconds - seconds.median()).abs().median()
            else:
                total += a != b
        return total

    data = [
        table_row
        for (_, table_row), reached in zip(
            X.iterrows(), rule(X).argmax(axis=1) == 1, strict=True
        )
        if reached
    ]
    for position, (_, new_row) in enumerate(counterfactuals.rows.iterrows()):
        assert counterfactuals.measures["distance"][position] == pytest.approx(
            apart(row.iloc[0], new_row)
        )
        assert counterfactuals.measures["to_data"][position] == pytest.approx(
            min(apart(new_row, table_row) for table_row in data)
        )


LIMITS = {
    "fixed": {"fixed": ["age", "income"]},
    "ranges": {
        "ranges": {
            "age": (30, 60),
            "job": ["clerk", "none"],
            "since": ("2021-01-01", "2023-01-01"),
        }
    },
    "up": {"direction": {"age": "up", "since": "up", "income": "down"}},
    "few": {"max_changes": 2},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_hold(limit):
    X, _ = people()
    rows = X[rule(X)[:, 1] < 0.5][:10]
    result_count = 0
    for k in range(len(rows)):
        row = rows[k : k + 1]
        counterfactuals = pg.counterfactuals(RULE, row, X, **LIMITS[limit])
        result_count += len(counterfactuals)
        assert (
            valid(counterfactuals)
            if len(counterfactuals)
            else "No such row" in counterfactuals.summary()
        )
        for (_, new), changed in zip(
            counterfactuals.rows.iterrows(), counterfactuals.changed, strict=True
        ):
            old = row.iloc[0]
            names = set(X.columns[changed])
            if limit == "fixed":
                assert not names & {"age", "income"}
            if limit == "ranges":
                assert 30 <= new["age"] <= 60 or "age" not in names
                assert new["job"] != "chef" or "job" not in names
                assert (
                    pd.Timestamp("2021-01-01")
                    <= new["since"]
                    <= pd.Timestamp("2023-01-01")
                    or "since" not in names
                )
            if limit == "up":
                assert new["age"] >= old["age"]
                assert new["since"] >= old["since"]
                assert new["income"] <= old["income"]
            if limit == "few":
                assert len(names) <= 2
    assert result_count >= 20  # the limits leave something to find


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(-2, 2), width=st.floats(0, 2), seed=st.integers(0, 50),
    way=st.sampled_from(["up", "down", None]), most=st.integers(1, 3), bound=st.floats(-3, 3),
)  # fmt: skip
def test_bounds_are_never_broken(low, width, seed, way, most, bound):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 3)).round(rng.integers(0, 3))
    row = X[0]
    direction = {} if way is None else {"x1": way}

    def predict(table):
        return table[:, 0] * table[:, 1] + table[:, 2]

    counterfactuals = pg.counterfactuals(
        predict, row, X, want=(bound, bound + 1), ranges={"x0": (low, low + width)}, direction=direction,
        fixed=["x2"], max_changes=most,
    )  # fmt: skip
    predicted = predict(counterfactuals.rows)
    assert ((predicted >= bound) & (predicted <= bound + 1)).all()
    changed = counterfactuals.rows[:, 0][counterfactuals.rows[:, 0] != row[0]]
    assert ((changed >= low) & (changed <= low + width)).all()
    assert (counterfactuals.rows[:, 2] == row[2]).all()
    assert {
        "up": counterfactuals.rows[:, 1] >= row[1],
        "down": counterfactuals.rows[:, 1] <= row[1],
    }.get(way, np.ones(1, bool)).all()
    assert (counterfactuals.changed.sum(axis=1) <= most).all()


def test_a_range_beyond_the_data_is_reached_at_its_end():
    X = np.random.default_rng(0).random((100, 2))
    row = np.array([0.2, 0.3])
    want = {"want": (4.0, None)}

    def model(t):
        return 3 * t[:, 0]

    assert "No such row" in pg.counterfactuals(model, row, X, **want).summary()
    counterfactuals = pg.counterfactuals(model, row, X, ranges={"x0": (0, 2.0)}, **want)
    assert counterfactuals.rows.tolist() == [[2.0, 0.3]]


# ---- outcomes ------------------------------------------------------------------------
def test_pipelines_and_bounds_of_a_probability():
    X, y = people()
    X = X.drop(columns="since")
    encode = make_column_transformer(
        (OneHotEncoder(), ["job"]), remainder=SimpleImputer()
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(X, y)
    row = X[model.predict(X) == "no"][:1]
    counterfactuals = pg.counterfactuals(model, row, X, want={"yes": 0.8})
    assert len(counterfactuals)
    assert (model.predict_proba(counterfactuals.rows)[:, 1] >= 0.8).all()
    counterfactuals = pg.counterfactuals(model, row, X, want={"yes": (0.5, 0.6)})
    assert (
        (model.predict_proba(counterfactuals.rows)[:, 1] >= 0.5)
        & (model.predict_proba(counterfactuals.rows)[:, 1] <= 0.6)
    ).all()
    assert len(counterfactuals)


def test_another_of_three_classes_and_a_named_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    model = RandomForestClassifier(20, random_state=0).fit(
        X, X[:, 0].round().clip(-1, 1).astype(int) + 5
    )
    row = X[model.predict(X) == 5][:1]
    anything = pg.counterfactuals(model, row, X)
    assert len(anything)
    assert 5 not in model.predict(anything.rows)
    assert 5 not in anything.to_frame()["prediction"].tolist()
    assert set(model.predict(pg.counterfactuals(model, row, X, want=6).rows)) == {6}


def test_a_threshold_of_its_own_decides():
    """A model whose ``predict`` is not the largest probability is asked by what it
    decides.
    """

    class Strict(LogisticRegression):
        def predict(self, X):
            return (self.predict_proba(X)[:, 1] > 0.9).astype(int)

    X = np.random.default_rng(0).normal(size=(300, 3))
    model = Strict().fit(X, (X[:, 0] > 0).astype(int))
    row = X[model.predict_proba(X)[:, 1] < 0.5][:1]
    counterfactuals = pg.counterfactuals(model, row, X)
    assert len(counterfactuals)
    assert model.predict(counterfactuals.rows).all()
    assert not pg.counterfactuals(model, X[model.predict(X) == 1][:1], X, want=1)


def test_a_rule_that_first_rows_do_not_show_decides():
    """A threshold between whose probability and one half are only a few rows, all far
    behind in the table.
    """

    class Strict(LogisticRegression):
        def predict(self, X):
            return (self.predict_proba(X)[:, 1] > 0.9).astype(int)

    X = np.concatenate(
        [np.repeat([[-3.0], [3.0]], 150, axis=0), np.linspace(-1, 1, 60)[:, None]]
    )
    model = Strict().fit(X, (X[:, 0] > 0).astype(int))
    odds = model.predict_proba(X)[:, 1]
    between = (odds > 0.5) & (odds < 0.9)
    assert between[300:].any()
    assert not between[:300].any()
    # Of such a row, the largest output is no decision either, so that there is
    # something to find.
    for row, want in ((X[:1], None), (X[between][:1], None), (X[between][:1], 1)):
        counterfactuals = pg.counterfactuals(model, row, X, want=want)
        assert len(counterfactuals)
        assert counterfactuals.meta["prediction"] == 0
        assert model.predict(counterfactuals.rows).all()


def test_networks_of_permgrad():
    X, y = people(300)
    model = pg.HyNNClassifier(preset="fast", max_epochs=4, random_state=0).fit(X, y)
    row = X[model.predict(X) == "no"][:1]
    counterfactuals = pg.counterfactuals(model, row, X)
    assert len(counterfactuals)
    assert set(model.predict(counterfactuals.rows)) == {"yes"}


@pytest.mark.slow
def test_missing_cells_are_kept_or_filled_and_never_made():
    X, _ = people()
    gap = X[X["visits"].isna() & (rule(X)[:, 1] < 0.5)][:1]
    counterfactuals = pg.counterfactuals(RULE, gap, X, fixed=["age", "income"])
    assert valid(counterfactuals)
    assert len(counterfactuals)
    other_columns = [name for name in X if name != "visits"]
    filled = pg.counterfactuals(
        RULE, gap, X, fixed=other_columns, want={"yes": (0.01, None)}
    )
    assert len(filled) == 0 or filled.rows["visits"].notna().all()
    complete_rows = X[X["visits"].notna() & (rule(X)[:, 1] > 0.5)][:5]
    for k in range(5):
        lower = pg.counterfactuals(RULE, complete_rows[k : k + 1], X)
        assert len(lower)
        assert lower.rows["visits"].notna().all()


def test_dates_take_days_of_the_data_in_order():
    X, _ = people()
    row = X[(score(X) < -0.2) & (score(X) > -0.5) & (X["since"] < "2022-01-01")][:1]
    counterfactuals = pg.counterfactuals(
        RULE, row, X, fixed=[name for name in X if name != "since"], count=1
    )
    later = X["since"][X["since"] > row["since"].iloc[0]].sort_values().unique()
    tried = pd.concat([row] * len(later), ignore_index=True).assign(since=later)
    reached = later[rule(tried)[:, 1] > 0.5]
    assert len(reached)  # else the case says nothing
    assert counterfactuals.rows["since"].tolist() == [reached[0]]


# ---- forms and repeatability ---------------------------------------------------------
@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_other_libraries(library):
    frame = people()[0][["age", "income", "since"]]
    X = (
        pytest.importorskip(library).from_pandas(frame)
        if library == "polars"
        else pytest.importorskip("pyarrow").table(frame)
    )

    def model(table):
        assert type(table) is type(X)
        return np.asarray(table["age"]) / 10 + np.asarray(table["income"]) / 50

    counterfactuals = pg.counterfactuals(
        model, X[:1] if library == "polars" else X.slice(0, 1), X, want=(9, None)
    )
    assert type(counterfactuals.rows) is type(X)
    assert (model(counterfactuals.rows) >= 9).all()
    assert len(counterfactuals)
    assert type(counterfactuals.to_frame(library)) is type(X)


def test_a_series_or_mapping_is_a_row():
    row, X = refused_row()
    expected = pg.counterfactuals(RULE, row, X).to_frame()
    for form in (row.iloc[0], row.iloc[0].to_dict()):
        pd.testing.assert_frame_equal(
            pg.counterfactuals(RULE, form, X).to_frame(), expected
        )


def test_the_seed_decides_which_rows_are_looked_at():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20000, 3))
    options = {"want": (2.5, 2.6)}

    def asked(seed):
        return pg.counterfactuals(
            lambda t: t.sum(axis=1), X[0], X, random_state=seed, **options
        ).rows

    first = asked(0)
    assert np.array_equal(first, asked(0))
    assert len(first)
    assert not np.array_equal(first, asked(1))


def test_results_are_predicted_alone_where_rows_depend_on_each_other():
    X = np.random.default_rng(0).normal(size=(300, 2))
    options = {"want": (1.0, None)}
    row = [-1.0, 0.0]
    assert len(pg.counterfactuals(lambda t: t[:, 0], row, X, **options))
    assert not len(
        pg.counterfactuals(lambda t: t[:, 0] - t[:, 0].mean(), row, X, **options)
    )  # alone it is 0


@pytest.mark.parametrize("low", [0.0, 3.0])
def test_rows_far_away_are_predicted_if_few_near_ones_have_the_outcome(low):
    X = np.random.default_rng(0).normal(size=(4000, 1))
    counterfactuals = pg.counterfactuals(lambda t: t[:, 0], [-0.1], X, want=(low, None))
    near = np.sort(np.abs(X[:, 0] + 0.1))[1999]
    looked = X[np.abs(X[:, 0] + 0.1) <= near] if low == 0 else X
    assert (counterfactuals.meta["rows"], counterfactuals.meta["outcome_rows"]) == (
        len(looked),
        (looked >= low).sum(),
    )
    assert counterfactuals.rows.item() == X[low <= X].min()


def test_summary_and_notebook():
    row, X = refused_row()
    X = X.rename(columns={"job": "<b>job"})
    row = row.rename(columns={"job": "<b>job"})
    counterfactuals = pg.counterfactuals(
        pg.Model(
            lambda t: rule(t.rename(columns={"<b>job": "job"})),
            class_names=["no", "yes"],
        ),
        row,
        X,
    )
    text = counterfactuals.summary()
    assert "predicts no for the row" in text
    assert "predict 'yes'" in text
    assert "→" in text
    assert "<b>" not in counterfactuals._repr_html_()
    assert "yes" in counterfactuals._repr_html_()
    assert repr(counterfactuals) == "<Counterfactuals: 4 rows>"


# ---- wrong arguments -----------------------------------------------------------------
WRONG = {
    "want": ({"want": "maybe"}, "want must be one of 'no', 'yes'"),
    "want of two": ({"want": {"yes": 0.2, "no": 0.1}}, "want must be one of"),
    "want that falls": ({"want": {"yes": (0.8, 0.2)}}, "pair of numbers that rises"),
    "fixed": ({"fixed": ["ages"]}, "Did you mean 'age'"),
    "ranges": ({"ranges": {"age": 30}}, "pair of numbers"),
    "range that falls": ({"ranges": {"age": (60, 30)}}, "pair of numbers"),
    "no date": ({"ranges": {"since": ("x", None)}}, "pair of dates"),
    "no list": ({"ranges": {"job": "chef"}}, "must list values"),
    "unknown level": ({"ranges": {"job": ["cheff"]}}, "Did you mean 'chef'"),
    "no order": ({"direction": {"job": "up"}}, "direction needs"),
    "way": ({"direction": {"age": "higher"}}, "'up', 'down'"),
    "count": ({"count": 0}, "count must be"),
    "most": ({"max_changes": 0}, "max_changes must be"),
    "ranges form": ({"ranges": ["age"]}, "mapping"),
    "ranges as an array": (
        {"ranges": np.array([[0, 1]])},
        "ranges must be a mapping, got array",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(case):
    row, X = refused_row()
    options, words = WRONG[case]
    with pytest.raises(InputError) as error:
        pg.counterfactuals(RULE, row, X, **options)
    assert words in str(error.value)


def test_what_cannot_be_asked():
    row, X = refused_row()
    with pytest.raises(InputError, match="row must be one row"):
        pg.counterfactuals(RULE, X[:2], X)
    for edited in (row, X):
        name = next(name for name in X if X[name].dtype == np.float64)
        endless = edited.assign(
            **{name: edited[name].where(np.arange(len(edited)) > 0, -np.inf)}
        )
        arguments = (endless, X) if edited is row else (row, endless)
        with pytest.raises(
            InputError, match=f"no distance in column '{name}', which holds infinity"
        ):
            pg.counterfactuals(RULE, *arguments)
    with pytest.raises(InputError, match="row must hold the row's cells, got 5"):
        pg.counterfactuals(RULE, 5, X)
    with pytest.raises(InputError, match="columns of the inputs"):
        pg.counterfactuals(RULE, row.drop(columns="age"), X)
    with pytest.raises(InputError, match="want must be a pair of numbers"):
        pg.counterfactuals(
            lambda t: t[:, 0], np.zeros(2), np.random.default_rng(0).random((30, 2))
        )
    import torch

    with pytest.raises(InputError, match="torch network"):
        pg.counterfactuals(torch.nn.Linear(2, 2), np.zeros(2), np.zeros((9, 2)))


def test_one_of_several_outputs():
    X = np.random.default_rng(0).random((80, 2))

    def model(table):
        return np.column_stack([table[:, 0], -table[:, 1]])

    model = pg.Model(model, task="regression")
    with pytest.raises(InputError, match="one of several outputs"):
        pg.counterfactuals(model, X[0], X, want=(0.5, None))
    counterfactuals = pg.counterfactuals(model, X[0], X, want={"1": (None, -0.9)})
    assert len(counterfactuals)
    assert (counterfactuals.rows[:, 1] >= 0.9).all()
    assert not counterfactuals.changed[:, 0].any()


class Coded:
    """A model that takes −9 for missing, and predicts yes where the dose is missing or
    above 5.
    """

    classes_ = np.array(["no", "yes"])
    preprocessor_ = SimpleNamespace(codes_=MissingCodes.of([-9, "?"]))

    def predict_proba(self, X):
        yes = np.where(
            (X["dose"] == -9) | (X["town"] == "?") | (X["dose"] > 5), 0.9, 0.1
        )
        return np.column_stack([1 - yes, yes])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_a_cell_does_not_become_one_of_the_models_codes_of_missing_cells():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"dose": rng.integers(0, 10, 200), "age": rng.integers(20, 60, 200)}
    )
    X["town"] = rng.choice(["Bonn", "Ulm"], 200)
    X.loc[:60, "dose"] = -9
    X.loc[40:80, "town"] = "?"
    row = pd.DataFrame({"dose": [2], "age": [30], "town": ["Ulm"]})
    counterfactuals = pg.counterfactuals(Coded(), row, X)
    assert len(counterfactuals)
    assert counterfactuals.rows["dose"].iloc[0] == 6, (
        "the nearest number, though most such rows have a code"
    )
    assert (counterfactuals.rows["dose"] >= 6).all()
    assert set(counterfactuals.rows["town"]) <= {"Bonn", "Ulm"}
    dose = X["dose"][X["dose"] != -9]
    spread = np.median(np.abs(dose - dose.median()))
    assert counterfactuals.measures["distance"][0] == pytest.approx(4 / spread), (
        "codes are no numbers"
    )
    # A row that has a code keeps it, and is as far from a number as any missing cell.
    row = pd.DataFrame({"dose": [-9], "age": [30], "town": ["Ulm"]})
    back = pg.counterfactuals(Coded(), row, X)
    assert (back.rows["dose"] >= 0).all()
    assert back.measures["distance"][0] == 1
    assert not len(pg.counterfactuals(Coded(), row, X, fixed=["dose"]))
