"""Reasons of single predictions: closed forms, outputs and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.evaluation.baselines.table_model import table_model

pytestmark = pytest.mark.usefixtures("small_baselines_file")


@pytest.fixture(name="rows", scope="module")
def _rows() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])


def test_reasons_of_a_line_are_its_slopes_times_the_distance_to_the_mean(rows):
    y = 3 * rows["a"] - rows["b"]
    model = table_model("regression", "linear", random_state=0).fit(rows, y)
    slopes = model.predict(pd.DataFrame(np.eye(3), columns=list("abc")))
    slopes -= model.predict(pd.DataFrame(np.zeros((1, 3)), columns=list("abc")))
    assert slopes == pytest.approx([3, -1, 0], abs=0.05), "the precondition"
    told = model.reasons(rows.head(20), n=5)
    # The rows compared with have the means of the training rows.
    by_name = {}
    for place in (1, 2, 3):
        for row, name in enumerate(told[f"reason_{place}"]):
            by_name[row, name] = told[f"reason_{place}_change"][row]
            assert told[f"reason_{place}_value"][row] == rows[name][row]
    for row in range(20):
        for column, name in enumerate("abc"):
            away = rows[name][row] - rows[name].mean()
            assert by_name[row, name] == pytest.approx(slopes[column] * away, abs=0.15)
    sizes = told[[f"reason_{place}_change" for place in (1, 2, 3)]].abs()
    assert (np.diff(sizes, axis=1) <= 0).all()
    assert "reason_4" not in told, "there are three features"


def test_points_are_of_the_positive_class_or_the_predicted_one(rows):
    chance = 1 / (1 + np.exp(-4 * rows["a"]))
    y = np.where(np.random.default_rng(0).random(300) < chance, "yes", "no")
    model = table_model("classification", "linear", random_state=0).fit(rows, y)
    positive = model.classes_[model.decision_.positive]
    told = model.reasons(rows.head(30), n=1)
    sign = 1 if positive == "yes" else -1
    strong = rows["a"].head(30).abs() > 0.7
    assert strong.sum() > 5, "the precondition"
    assert (told["reason_1"][strong] == "a").all()
    same = np.sign(told["reason_1_points"]) == sign * np.sign(rows["a"].head(30))
    assert same[strong].all()
    assert told["reason_1_points"].abs().max() > 20, "points, not shares"
    three = np.digitize(rows["b"], [-0.5, 0.5]).astype(str)
    many = table_model("classification", "linear", random_state=0).fit(rows, three)
    of_predicted = many.reasons(rows.head(30), n=1)
    sure = many.predict_proba(rows.head(30)).max(axis=1) > 0.8
    assert sure.sum() > 5, "the precondition"
    assert (of_predicted["reason_1_points"][sure] > 0).all()


def test_a_row_has_the_same_reasons_alone_and_among_others(rows):
    y = rows["a"] * rows["b"]
    model = table_model("regression", "random_forest", random_state=0).fit(rows, y)
    told = model.reasons(rows.head(6))
    for row in (0, 4):
        alone = model.reasons(rows.iloc[[row]])
        pd.testing.assert_frame_equal(
            alone, told.iloc[[row]].reset_index(drop=True), check_exact=False
        )


# Four columns are enumerated, and of eight orders are drawn.
@pytest.mark.parametrize(("columns", "apart"), [(4, 1e-7), (8, 1.0)])
def test_reasons_are_the_shapley_values_of_explain(columns, apart):
    rng = np.random.default_rng(3)
    names = [f"x{column}" for column in range(columns)]
    X = pd.DataFrame(rng.normal(size=(400, columns)), columns=names)
    score = X["x0"] * X["x1"] + X["x2"] - 0.5 * X["x3"]
    y = np.where(score + rng.normal(0, 0.5, 400) > 0, "yes", "no")
    model = table_model("classification", "random_forest", random_state=0).fit(X, y)
    told = model.reasons(X.head(6), n=columns)
    explanation = pg.explain(
        model, X.head(6), method="shapley", scope="local", progress=False
    )
    place = explanation.outputs.index(model.classes_[model.decision_.positive])
    values = pd.DataFrame(explanation.values[:, :, place], columns=explanation.names)
    assert values.abs().to_numpy().max() > 0.1, "the precondition"
    for reason in range(1, columns + 1):
        names_told = told[f"reason_{reason}"]
        points = [values.loc[row, name] for row, name in enumerate(names_told)]
        np.testing.assert_allclose(
            told[f"reason_{reason}_points"], 100 * np.array(points), atol=apart
        )
    assert (told["reason_1"] == values.abs().idxmax(axis=1)).all()


def test_a_missing_cell_is_none(rows):
    gaps = rows.assign(a=rows["a"].where(rows["a"] > -1))
    y = 3 * rows["a"].clip(-1)
    model = table_model("regression", "linear", random_state=0).fit(gaps, y)
    told = model.reasons(gaps.head(60), n=1)
    missing = gaps["a"].head(60).isna() & (told["reason_1"] == "a")
    assert missing.any(), "the precondition"
    assert all(value is None for value in told["reason_1_value"][missing])


@pytest.mark.parametrize("n", [0, -1, 1.5, "3"])
def test_numbers_of_reasons_are_checked(rows, n):
    model = table_model("regression", "linear", random_state=0).fit(rows, rows["a"])
    with pytest.raises(pg.InputError, match="n must be an integer of at least 1"):
        model.reasons(rows.head(2), n=n)


def test_a_model_without_rows_has_nothing_to_compare_with(rows, tmp_path):
    pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    model = table_model("regression", "lightgbm", random_state=0).fit(rows, rows["a"])
    model.save(tmp_path / "model", keep_rows=False)
    words = "keeps no training rows, which reasons compare a row with"
    with pytest.raises(pg.InputError, match=words):
        pg.load(tmp_path / "model").reasons(rows.head(2))
