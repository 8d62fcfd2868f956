"""Conditional draws of a user's table: cells that can stand there, the right law, and
nothing that cannot be drawn.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.subject.design import CellDesign
from permgrad.attribution.subject.frame_tensors import FrameForm
from permgrad.base.errors import InputError

QUIET = {"progress": False, "random_state": 3}


def table(rows, seed=0):
    """Return a table with columns of every kind, of which most depend on the first."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    since = pd.Timestamp("2020-01-01", tz="Europe/Madrid") + pd.to_timedelta(
        age + rng.integers(0, 9, rows), unit="D"
    )
    return pd.DataFrame(
        {
            "age": age,
            "dose": (np.array([0.1, 0.2, 0.7])[(age > 40) * 1 + (age > 60)]),
            "income": np.where(
                rng.random(rows) < 0.2, np.nan, age + rng.normal(0, 9, rows)
            ),
            "region": pd.Categorical(
                np.where(age > 50, "north", rng.choice(["south", "west"], rows))
            ),
            "job": np.where(
                rng.random(rows) < 0.2, None, rng.choice(["cook", "smith"], rows)
            ),
            "since": since.where(rng.random(rows) < 0.9),
            "visits": pd.array(
                np.where(rng.random(rows) < 0.2, None, rng.poisson(6, rows)),
                dtype="Int64",
            ),
            "stock": rng.poisson(5, rows).astype(np.uint8),
            "member": rng.random(rows) < 0.5,
            "always": "yes",
        }
    )


def test_cells_come_back_from_the_design_as_they_were():
    frame = table(80)
    form = FrameForm(frame)
    cells = form.read(frame).numpy()
    design = CellDesign(form, cells)
    expanded = design.expand(cells)
    assert np.isfinite(expanded).all()
    assert expanded.shape[1] == len(design.kinds_) > frame.shape[1]
    column_indices = np.arange(frame.shape[1])
    np.testing.assert_array_equal(
        design.collapse(column_indices, expanded[:, design.columns_of(column_indices)]),
        cells,
    )


@pytest.mark.slow
@pytest.mark.parametrize("given", [None, "background"])
def test_only_cells_that_can_stand_there_are_drawn(given):
    # A column without effect is tried on further values, which are not drawn.
    frame = table(160).drop(columns=["always", "member"])
    drawn_tables = []
    rows = frame if given is None else frame[:60].assign(age=frame["age"][:60] + 100)
    rows = rows.reset_index(drop=True)

    def score(edited):
        drawn_tables.append(edited)
        missing = edited[["income", "job", "since", "visits"]].isna().sum(axis=1)
        return (
            edited["age"] / 10
            + (edited["region"] == "north")
            + edited["dose"]
            + edited["stock"] / 9
            + missing
        )

    background = None if given is None else frame
    explanation = pg.explain(
        score,
        rows,
        score(rows),
        method=pg.methods.PermGrad(sampling="conditional"),
        background=background,
        n_repeats=3,
        **QUIET,
    )
    assert explanation.meta["sampling"] == "conditional"
    drawn = pd.concat(drawn_tables, ignore_index=True)
    assert list(drawn.dtypes) == list(frame.dtypes)
    for name in frame.columns.drop(["income", "age"]):
        assert set(drawn[name].dropna()) <= set(frame[name].dropna()), (
            name
        )  # 0.1 is 0.1, 3 visits are 3
        assert drawn[name].isna().any() == frame[name].isna().any()
    assert (
        not drawn["income"].dropna().isin(frame["income"]).all()
    )  # a number that fits, not another row's
    importance = explanation.to_frame().set_index("feature")["importance"]
    assert (importance > 0)[["age", "region", "dose", "stock"]].all()


@pytest.mark.slow
def test_levels_are_drawn_given_the_rest_and_their_determined_columns_are_named():
    frame = table(400)[["age", "dose", "region"]]
    drawn_tables = []

    def score(edited):
        drawn_tables.append(edited)
        return edited["age"] / 10 + (edited["region"] == "north")

    with pytest.warns(UserWarning, match="The other features determine these"):
        explanation = pg.explain(
            score,
            frame,
            score(frame),
            method=pg.methods.PermGrad(sampling="conditional"),
            **QUIET,
        )
    assert "dose" in explanation.meta["not_identifiable"]
    marginal = pg.explain(score, frame, score(frame), **QUIET)
    feature_index = explanation.names.index("region")
    assert (
        marginal.values[feature_index, 0] > 0.3
    )  # half of the rows move where nothing else is looked at
    assert explanation.values[feature_index, 0] < 0.05


@pytest.mark.slow
def test_gaussian_columns_have_the_effects_of_the_closed_form():
    rng = np.random.default_rng(1)
    rho = 0.8
    slopes = np.array([1.0, -2.0, 0.0])
    x = rng.normal(size=(3000, 3))
    x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
    y = x @ slopes + rng.normal(0, 0.1, len(x))
    explanation = pg.explain(
        pg.Model(lambda rows: rows @ slopes, task="regression"),
        x,
        y,
        method=pg.methods.PermGrad(sampling="conditional"),
        **QUIET,
    )
    truth = 2 * slopes**2 * np.array([1 - rho**2, 1 - rho**2, 1])
    np.testing.assert_allclose(explanation.values[:, 0], truth, rtol=0.1, atol=1e-12)
    grouped = pg.explain(
        pg.Model(lambda rows: rows @ slopes, task="regression"),
        x,
        y,
        method=pg.methods.PermGrad(sampling="conditional"),
        groups={"both": ["x0", "x1"], "other": ["x2"]},
        **QUIET,
    )
    joint_effect = slopes[:2] @ np.array([[1, rho], [rho, 1]]) @ slopes[:2] * 2
    assert grouped.values[0, 0] == pytest.approx(joint_effect, rel=0.1)


@pytest.mark.slow
def test_draws_do_not_depend_on_batches():
    frame = table(120)[["age", "income", "region"]]

    def score(edited):
        return (
            edited["age"] / 10
            + (edited["region"] == "north")
            + edited["income"].fillna(0) / 9
        )

    call_options = {"sampling": "conditional", "n_repeats": 2, **QUIET}
    first = explain_with(score, frame, score(frame), batch_size=7, **call_options)
    again = explain_with(score, frame, score(frame), **call_options)
    np.testing.assert_allclose(first.values, again.values, rtol=1e-12)
    assert (first.values != 0).all()


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([f"word {number}" for number in range(150)], "column 'odd' has 150"),
        (np.where(np.arange(150) == 7, np.inf, np.arange(150.0)), "holds infinity"),
    ],
)
def test_what_cannot_be_drawn_is_refused(column, words):
    frame = pd.DataFrame({"x": np.arange(150.0), "odd": column})
    with pytest.raises(InputError, match=words):
        pg.explain(
            pg.Model(lambda rows: rows["x"], task="regression"),
            frame,
            frame["x"],
            method=pg.methods.PermGrad(sampling="conditional"),
            **QUIET,
        )
