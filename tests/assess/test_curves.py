"""Reports of models whose outputs are a curve: the point shown, scores and importances along all points, censoring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from assessing import assessed, words
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_pinball_loss, r2_score

import permgrad as pg
from permgrad.assess.assessment import PLACES
from permgrad.assess.curves import AtPoint, Curve, are_points
from permgrad.assess.reading import ReadModel
from permgrad.assess.sections.curve import _leaders, _scores
from permgrad.assess.store import Store
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError
from permgrad.models.losses import outcomes
from permgrad.pages.plots.curve import bands
from permgrad.pages.sentences import leader_words, left_out_words, score_words, shown_words
from permgrad.pages.verdict import verdict

HORIZONS = (1.0, 2.0, 4.0, 8.0)
#: Of a linear forecast: how much it moves with each column, by horizon.
WEIGHTS = {"now": np.array([2.0, 1.0, 0.5, 0.25]), "trend": np.array([0.2, 0.4, 0.8, 1.6]), "noise": np.zeros(4)}
LEVELS, TIMES = (0.1, 0.5, 0.9), (0.5, 1.0, 2.0, 4.0)


def table(rows=120, seed=0):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, 3)), columns=list(WEIGHTS))


def forecast(rows):
    return pd.DataFrame(
        {h: sum(rows[name] * weight[k] for name, weight in WEIGHTS.items()) for k, h in enumerate(HORIZONS)}
    )


def later(X, seed=1):
    return forecast(X).to_numpy() + np.random.default_rng(seed).normal(size=(len(X), 4))


def quantiles(rows):
    return pd.DataFrame({level: rows["now"] + np.exp(rows["trend"] / 2) * norm.ppf(level) for level in LEVELS})


def rate(rows):
    return 0.4 * np.exp(0.9 * rows["now"] - 0.4 * rows["trend"])


def survival(rows):
    return pd.DataFrame({time: np.exp(-time * rate(rows)) for time in TIMES})


def lives(X, seed=2, *, follow=5.0):
    """Return times of the law of ``survival``, those seen, and whether they end."""
    rng = np.random.default_rng(seed)
    time, end = rng.exponential(size=len(X)) / rate(X).to_numpy(), rng.exponential(follow, size=len(X))
    return time, np.minimum(time, end), time <= end


@pytest.fixture(scope="module")
def horizons():
    X = table()
    return X, later(X), assessed(forecast, X, later(X))


# ---- horizons --------------------------------------------------------------------------------------------------------
def test_a_report_shows_one_point_and_measures_all(horizons):
    X, y, made = horizons
    along = made.curve
    assert (along.kind, along.shown, along.chosen, along.points) == ("numbers", "4", False, 4)
    assert made.target == "y at 4"
    want = [r2_score(y[:, k], forecast(X).to_numpy()[:, k]) for k in range(4)]
    assert np.std(want) > 0.05
    np.testing.assert_allclose(along.scores["score"], want, atol=1e-12)
    assert made.test["r2"] == pytest.approx(want[2])
    assert (along.scores["low"] < want).all()
    assert (want < along.scores["high"]).all()


def test_importances_along_the_curve_are_those_of_explain_and_of_the_closed_form(horizons):
    X, _, made = horizons
    found = made.curve.explanation
    assert found.outputs == ("1", "2", "4", "8")
    options = {"exact": 5, "references": 50, "tolerance": 0.1, "max_permutations": 100}
    asked = pg.explain(
        forecast, X, method="shapley", scope="local", background=X, random_state=0, progress=False, **options
    )
    np.testing.assert_allclose(found.values, asked.values, atol=1e-12)
    # A linear model's value is its weight times how far the cell is from the background's mean, for some mean.
    for at, (name, weight) in enumerate(WEIGHTS.items()):
        centre = X[name].mean() if not weight.any() else X[name][0] - found.values[0, at, 0] / weight[0]
        assert abs(centre - X[name].mean()) < 0.5
        np.testing.assert_allclose(found.values[:, at], np.outer(X[name] - centre, weight), atol=1e-9)


def test_features_that_lead_at_the_ends_are_named_and_alike_ones_are_not(horizons):
    _, _, made = horizons
    leaders = {one["point"]: (one["feature"], one["clear"]) for one in made.curve.leaders}
    assert leaders == {"1": ("now", True), "4": ("trend", True), "8": ("trend", True)}
    assert "now at 1 and trend at 4 and 8 (p below 0.05 for all 3 points together)" in leader_words(made.curve)
    assert shown_words(made.curve).endswith("about 4, one in the middle (target= chooses another).")
    assert left_out_words(made.curve) == ""
    spoken = next(one for one in verdict(made) if one["facts"]["kind"] == "curve")
    assert spoken["facts"]["shown"] == "4"


def test_false_leads_are_rare(horizons):
    """Two columns that matter equally: one of them is called the leader of any point in at most 5 % of samples."""
    _, _, made = horizons
    found, rng, false = made.curve.explanation, np.random.default_rng(0), 0
    for _ in range(300):
        shared, own = rng.normal(size=(50, 2, 1)), rng.normal(size=(50, 2, 4))
        values = np.sqrt(0.5) * shared + np.sqrt(0.5) * own
        like = dict.fromkeys(("std", "low", "high", "p_values", "feature_values", "base_values", "predictions"))
        made_up = replace(found, names=("a", "b"), modality=("table",) * 2, values=values, **like)
        false += any(one["clear"] for one in _leaders(made_up))
    assert 0 < false / 300 < 0.08


def test_intervals_of_scores_hold_the_truth():
    truth_of, hits = 0.8, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        guess = rng.normal(size=(100, 2))
        curve = Curve(
            kind="numbers", names=("1", "3"), place=0, chosen=False, guess=guess,
            truth=guess + 0.5 * rng.normal(size=(100, 2)),
        )  # fmt: skip
        line = _scores(curve, np.array([0]), None).iloc[0]
        hits += line["low"] < truth_of < line["high"]
    assert 0.92 <= hits / 300 <= 0.98


@pytest.mark.filterwarnings("ignore:90 rows of 120 repeat another row")
def test_groups_of_rows_widen_all_intervals():
    X, code = table(30), np.repeat(np.arange(30), 4)
    X4, y4 = X.loc[code].reset_index(drop=True), later(X)[code]
    alone, grouped = (assessed(forecast, X4, y4, **more).curve for more in ({}, {"row_groups": code}))
    widths = [(one.scores["high"] - one.scores["low"]).to_numpy() for one in (alone, grouped)]
    assert (widths[1] > 1.5 * widths[0]).all()
    first, second = (bands(one.explanation)[2] for one in (alone, grouped))
    assert ((second[1] - second[0])[:2] > 1.5 * (first[1] - first[0])[:2]).all()


def test_bands_of_groups_are_those_of_their_sums(horizons):
    """With one row in each group nothing changes."""
    _, _, made = horizons
    plain = made.curve.explanation
    single = replace(plain, meta={**plain.meta, "row_groups": list(range(len(plain.values)))})
    assert Dependence.of_rows(single.meta) is not None
    for one, other in zip(bands(plain)[1], bands(single)[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=0.02, atol=1e-12)


def test_the_section_is_stored_and_read(horizons, tmp_path):
    _, _, made = horizons
    store = Store(tmp_path)
    store.put("explanations/curve", made.curve, "along_the_curve")
    again = store.get(*PLACES["curve"])
    assert leader_words(again) == leader_words(made.curve)
    np.testing.assert_allclose(again.scores["score"], made.curve.scores["score"])
    np.testing.assert_allclose(again.explanation.values, made.curve.explanation.values)


def test_names_of_the_points_may_come_from_y_and_the_point_from_target(undrawn):
    X = table()
    y = pd.DataFrame(later(X), columns=HORIZONS)
    model = LinearRegression().fit(X, y)
    page = pg.report(model, X, y, train=(X, y), target=8.0, n_repeats=2, interactions=0, random_state=0, progress=False)
    text = words(page)
    assert "The other sections are about 8, as target= asks." in text
    assert "Along the curve" in text
    assert "It is clearly better than a constant at 4 of 4 points" in text


# ---- quantiles -------------------------------------------------------------------------------------------------------
def test_quantiles_of_one_target_are_scored_by_their_loss():
    X = table(300)
    y = pd.Series(X["now"] + np.exp(X["trend"] / 2) * np.random.default_rng(3).normal(size=300), name="price")
    before, held = slice(0, 150), slice(150, 300)
    made = assessed(quantiles, X[held], y[held], train=(X[before], y[before]))
    along = made.curve
    assert (along.kind, made.target, along.shown) == ("quantiles", "price, quantile 0.5", "0.5")
    for level, line in zip(LEVELS, along.scores.to_dict("records"), strict=True):
        told, constant = quantiles(X[held])[level], np.full(150, np.quantile(y[before], level))
        losses = [mean_pinball_loss(y[held], one, alpha=level) for one in (told, constant)]
        assert line["score"] == pytest.approx(1 - losses[0] / losses[1])
        assert line["below"] == pytest.approx((y[held] <= told).mean())
    assert made.explanation.meta["loss"] == "quantile 0.5"


def test_a_model_that_knows_its_levels_needs_no_frame():
    xgboost = pytest.importorskip("xgboost")
    X = table(200)
    y = X["now"] + np.random.default_rng(0).normal(size=200)
    model = xgboost.XGBRegressor(objective="reg:quantileerror", quantile_alpha=list(LEVELS), n_estimators=10)
    model.fit(X[:100], y[:100])
    assert pg.explain(model, X[100:], method="shapley", random_state=0, progress=False).outputs == ("0.1", "0.5", "0.9")
    assert assessed(model, X[100:], y[100:], target="0.9").curve.shown == "0.9"


# ---- survival --------------------------------------------------------------------------------------------------------
def slow_outcomes(truth, point):
    """Return weights by Kaplan and Meier's product, term by term: who ends at a time is gone before others leave."""
    weights = []
    for time, event in truth:
        beyond = time > point or (time == point and not event)
        if not beyond and not event:
            weights.append(0.0)
            continue
        until, chance = (point if beyond else time), 1.0
        for left in sorted({one for one, ended in truth if not ended and one < until}):
            there = sum(one > left or (one == left and not ended) for one, ended in truth)
            gone = sum(one == left and not ended for one, ended in truth)
            chance *= 1 - gone / there
        weights.append(1 / chance)
    return np.array(weights)


@pytest.mark.parametrize("point", [2.0, 2.5, 4.0])
def test_weights_are_those_of_kaplan_and_meier(point):
    rng = np.random.default_rng(0)
    truth = np.column_stack([rng.integers(1, 8, 60).astype(float), rng.random(60) < 0.6])
    weights, slow = outcomes(truth, point)[1], slow_outcomes(truth.tolist(), point)
    assert len(np.unique(slow)) > 2
    np.testing.assert_allclose(weights, slow)
    assert weights.sum() == pytest.approx(60)


def test_censored_rows_bias_neither_scores_nor_the_rows_shown():
    X = table(20000, seed=5)
    time, seen, ended = lives(X, follow=4.0)
    truth = np.column_stack([seen, ended])
    full = Curve(kind="survival", names=tuple(map(str, TIMES)), place=2, chosen=False, guess=survival(X).to_numpy(),
                 truth=np.column_stack([time, np.ones(len(X))]))  # fmt: skip
    some = replace(full, truth=truth)
    for place in range(4):
        (all_ours, all_constant, _), (ours, constant, weights) = full.losses(place), some.losses(place)
        score = 1 - (weights * ours).sum() / (weights * constant).sum()
        assert score == pytest.approx(1 - all_ours.sum() / all_constant.sum(), abs=0.03)
    places, labels, counts = AtPoint(survival, full).kept(truth, 0)
    share, want = (labels == "until 2.0").mean(), (time <= 2.0).mean()
    known = ended | (seen > 2.0)
    assert counts == {"rows": 20000, "censored": int((~known).sum()), "ended": int((seen[known] <= 2.0).sum()),
                      "thinned": int(known.sum()) - len(places)}  # fmt: skip
    assert share == pytest.approx(want, abs=0.015)
    assert (seen[known] <= 2.0).mean() > want + 0.05, "leaving them out alone would show too many ends"


@pytest.mark.parametrize("form", ["structured", pytest.param("columns", marks=pytest.mark.slow)])
def test_a_report_of_survival_says_what_it_leaves_out(form, undrawn):
    X = table(240)
    _, seen, ended = lives(X)
    y = np.array(list(zip(seen, ended, strict=True)), dtype=[("time", float), ("event", bool)])
    if form == "columns":
        y = pd.DataFrame({"time": seen, "event": ended.astype(int)})
    part = (lambda rows: y.iloc[rows]) if form == "columns" else (lambda rows: y[rows])
    train = (X[120:], part(slice(120, 240)))
    made = assessed(survival, X[:120], part(slice(0, 120)), train=train, target="1.0")
    along = made.curve
    assert (along.kind, along.shown, made.target, made.task) == ("survival", "1", "survival at 1", "classification")
    assert set(made.predictions.classes) == {"until 1", "beyond 1"}
    facts = along.left_out
    assert facts["censored"] > 0
    assert made.metrics["rows"]["test"] == facts["rows"] - facts["censored"] - facts["thinned"]
    assert f"{facts['censored']} of 120 test rows are censored before 1" in left_out_words(along)
    assert len(along.explanation.values) == 120, "importances along the curve are of all rows"
    assert (along.scores["score"] > 0).all()
    page = pg.report(survival, X[:120], part(slice(0, 120)), train=train, target="1.0", sensitive=X["noise"][:120] > 0,
                     n_repeats=2, interactions=0, random_state=0, progress=False)  # fmt: skip
    assert "All test rows count here. Scores count each row by the inverse of the chance" in words(page)


def test_rows_that_are_left_keep_their_numbers():
    X = table(60)
    _, seen, ended = lives(X)
    y, model = np.column_stack([seen, ended]), lambda cells: survival(pd.DataFrame(cells, columns=list(WEIGHTS)))
    for rows in (X, X.to_numpy()):
        read = ReadModel(survival if rows is X else model, rows, y, progress=False)
        assert 10 < len(read.rows) < 60
        assert read.rows.identifiers["index"].tolist() == read.kept.astype(str).tolist()
        np.testing.assert_array_equal(read.rows.table, X.to_numpy()[read.kept])


def test_without_censoring_no_row_is_left_out():
    X = table(80)
    time, _, _ = lives(X)
    y = np.array([(one, True) for one in time], dtype=[("time", float), ("event", bool)])
    made = assessed(survival, X, y)
    assert left_out_words(made.curve) == ""
    assert (made.predictions.truth == "until 2").sum() == (time <= 2.0).sum()
    assert "points (after Holm's correction)." in score_words(made.curve)


# ---- wrong calls -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "y", "options", "says"),
    [
        (survival, "numbers", {}, "y must have 4 numbers per row"),
        (survival, "lives", {"target": "3.0"}, "target must be one of the 4 outputs, got '3.0'"),
        (survival, "lives", {"target": [0, 1]}, "A report is of one output, and the model has 4"),
        (survival, "censored", {}, "with at least one 1"),
        (survival, "short", {}, "Too few rows are followed until 4"),
        (forecast, "lives", {}, "the outputs are no chances to survive: from"),
        (forecast, "later", {"target": [0, 1]}, "A report is of one output, and the model has 4"),
        (lambda rows: forecast(rows).to_numpy(), "later", {"task": "regression"}, "columns are its times, quantiles"),
    ],
)
def test_wrong_calls_are_refused(model, y, options, says):
    X = table(40)
    _, seen, ended = lives(X)
    targets = {
        "numbers": seen, "later": later(X), "lives": np.column_stack([seen, ended]),
        "censored": np.array([(one, False) for one in seen], dtype=[("time", float), ("event", bool)]),
        "short": np.column_stack([np.minimum(seen, 0.3), seen <= 0.3]),
    }  # fmt: skip
    options |= {"target": "4.0"} if y == "short" else {}
    with pytest.raises(InputError, match=says):
        pg.report(model, X, targets[y], random_state=0, progress=False, **options)


def test_which_names_are_points():
    assert are_points(("0.1", "0.5"))
    assert are_points(("1", "2", "3"))
    for names in (("0", "1", "2"), ("2", "1"), ("a", "b"), ("1",), ("1", "1")):
        assert not are_points(names)
