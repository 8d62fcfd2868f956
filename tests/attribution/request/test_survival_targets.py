"""Times that may be censored as y: in two columns, a frame or a structured array, with a scorer or a loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import make_scorer

import permgrad as pg
from permgrad import InputError

QUIET = {"n_repeats": 2, "random_state": 0, "progress": False}


def harrell(times, events, risk):
    pairs = hits = 0.0
    for one in np.flatnonzero(events):
        later = times > times[one]
        pairs += later.sum()
        hits += (risk[one] > risk[later]).sum() + (risk[one] == risk[later]).sum() / 2
    return hits / pairs


def hazard(rows):
    return (1.6 * rows["stage"] - 0.5 * rows["marker"]).to_numpy()


def patients(rows=70):
    rng = np.random.default_rng(4)
    X = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["stage", "marker", "height"])
    return X, rng.exponential(np.exp(-hazard(X))), rng.random(rows) < 0.6


X, TIMES, EVENTS = patients()
Y = {
    "columns": np.stack([TIMES, EVENTS], axis=1),
    "frame": pd.DataFrame({"months": TIMES, "died": EVENTS}),
    "structured": np.array(list(zip(EVENTS, TIMES, strict=True)), dtype=[("died", bool), ("months", float)]),
}


def index(truth, risk):
    if truth.dtype.names:
        return harrell(truth["months"], truth["died"], np.ravel(risk))
    return harrell(truth[:, 0], truth[:, 1] > 0, np.ravel(risk))


def own_scorer(model, rows, truth):
    return index(truth, model.predict(rows))


@pytest.mark.parametrize("scorer", [make_scorer(index), own_scorer])
@pytest.mark.parametrize("form", Y)
def test_falls_of_a_concordance_index_are_those_of_a_loop(form, scorer):
    one = X.iloc[[3]]
    before = harrell(TIMES, EVENTS, hazard(X))
    assert 0.6 < before < 1
    wanted = [before - harrell(TIMES, EVENTS, hazard(X.assign(**{name: one[name].iloc[0]}))) for name in X]
    got = pg.explain(hazard, X, Y[form], background=one, scoring=scorer, **QUIET)
    np.testing.assert_allclose(got.values[:, 0], wanted, atol=1e-12)
    assert got.values[0, 0] > 0.05
    assert got.values[2, 0] == 0
    assert np.isfinite(pg.explain(hazard, X, Y[form], scoring=scorer, **QUIET).values).all()


@pytest.mark.parametrize("form", Y)
def test_without_a_loss_times_and_events_are_refused_and_the_hint_works(form):
    with pytest.raises(InputError, match="Pass loss='cox' if these are times and events"):
        pg.explain(hazard, X, Y[form], **QUIET)
    cox = pg.explain(hazard, X, Y[form], loss="cox", **QUIET)
    np.testing.assert_array_equal(cox.values, pg.explain(hazard, X, Y["columns"], loss="cox", **QUIET).values)
    assert np.abs(cox.values[:2]).min() > 0


def test_other_fields_are_refused_by_name():
    y = np.array(list(zip(TIMES, TIMES, strict=True)), dtype=[("first", float), ("second", float)])
    with pytest.raises(InputError, match="y has the fields first, second, and only a time"):
        pg.explain(hazard, X, y, **QUIET)


# ---- outputs that are a survival curve -------------------------------------------------------------------------------
AT = (0.2, 0.5, 1.0)


def chances(rows):
    return pd.DataFrame({point: np.exp(-point * np.exp(hazard(rows))) for point in AT})


def brier(guess, weigh=None):
    """Return the mean of w (S − [T > t])² at each time, row by row, with weights by Kaplan and Meier's product."""
    losses = np.zeros((len(TIMES), len(AT)))
    for column, point in enumerate(AT):
        for row, (time, event) in enumerate(zip(TIMES, EVENTS, strict=True)):
            if time > point or event:
                chance = 1.0
                for left in TIMES[~EVENTS & (min(time, point) > TIMES)]:
                    chance *= 1 - 1 / (left <= TIMES).sum()
                losses[row, column] = (guess.iloc[row, column] - (time > point)) ** 2 / chance
    return np.average(losses, axis=0, weights=weigh)


@pytest.mark.parametrize("form", Y)
@pytest.mark.parametrize(("target", "chosen"), [(None, [0, 1, 2]), ("0.5", [1])])
def test_importances_along_a_survival_curve_weigh_censored_rows(form, target, chosen):
    """Slow twin. Ties have no part: times are all different."""
    assert 0.1 < (~EVENTS).mean() < 0.9
    assert len(set(TIMES)) == len(TIMES)
    one, weigh = X.iloc[[3]], np.random.default_rng(0).gamma(2, size=len(X))
    got = pg.explain(chances, X, Y[form], background=one, target=target, sample_weight=weigh, **QUIET)
    before = brier(chances(X), weigh)[chosen].mean()
    changed = [X.assign(**{name: one[name].iloc[0]}) for name in X]
    wanted = [brier(chances(rows), weigh)[chosen].mean() - before for rows in changed]
    assert wanted[0] > 0.02
    np.testing.assert_allclose(got.values[:, 0], wanted, atol=1e-12)
    assert (got.meta["loss"], got.meta["unit"]) == ("survival_brier", "Brier score")
    assert "Brier score" in got.summary()


@pytest.mark.parametrize("method", ["permutation", "ablation", "shapley"])
def test_other_methods_take_the_loss_of_a_curve(method):
    found = pg.explain(chances, X, Y["structured"], method=method, scope="global", **QUIET)
    same = pg.explain(chances, X, Y["columns"], method=method, scope="global", loss="survival_brier", **QUIET)
    np.testing.assert_array_equal(found.values, same.values)
    assert found.values[2, 0] == 0
    assert found.values[0, 0] > 0.01


def test_scores_of_a_curve_keep_y_as_it_is():
    scorer = make_scorer(lambda truth, guess: index(truth, -guess[:, 1]))
    assert pg.explain(chances, X, Y["structured"], scoring=scorer, **QUIET).values[0, 0] > 0.05


@pytest.mark.parametrize(
    ("model", "y", "options", "says"),
    [
        (lambda rows: 3 * chances(rows), "structured", {}, r"the outputs are no chances to survive: from"),
        (lambda rows: chances(rows).to_numpy(), "columns", {"loss": "survival_brier", "task": "regression"},
         "needs several outputs that are called by their times, got '0, 1, 2'"),
        (chances, "short", {}, r"Too few rows are followed until 0\.5"),
        (chances, "none", {}, r"y needs finite times and events of 0 \(censored\) or 1, with at least one 1"),
        (chances, "numbers", {}, "y must have 3 numbers per row"),
        (chances, "numbers", {"loss": "survival_brier"}, "needs y with a time and an event for 70 rows"),
        (chances, "columns", {"loss": "cox"}, "needs one output and y with a time and an event"),
    ],
)  # fmt: skip
def test_curves_and_targets_that_do_not_go_together_are_refused(model, y, options, says):
    targets = {**Y, "none": np.stack([TIMES, np.zeros(70)], axis=1), "numbers": TIMES}
    targets["short"] = np.stack([np.minimum(TIMES, 0.3), EVENTS & (TIMES <= 0.3)], axis=1)
    with pytest.raises(InputError, match=says):
        pg.explain(model, X, targets[y], **options, **QUIET)
