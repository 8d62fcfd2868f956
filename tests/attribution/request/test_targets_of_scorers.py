"""Scorers read a y of other columns than the output has: two columns or a frame, here a
time and an event.
"""

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
    for event_index in np.flatnonzero(events):
        later = times > times[event_index]
        pairs += later.sum()
        hits += (risk[event_index] > risk[later]).sum() + (
            risk[event_index] == risk[later]
        ).sum() / 2
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
}


def index(truth, risk):
    return harrell(truth[:, 0], truth[:, 1] > 0, np.ravel(risk))


def own_scorer(model, rows, truth):
    return index(truth, model.predict(rows))


@pytest.mark.parametrize("scorer", [make_scorer(index), own_scorer])
@pytest.mark.parametrize("form", Y)
def test_falls_of_a_concordance_index_are_those_of_a_loop(form, scorer):
    background_row = X.iloc[[3]]
    before = harrell(TIMES, EVENTS, hazard(X))
    assert 0.6 < before < 1
    expected_falls = [
        before
        - harrell(
            TIMES, EVENTS, hazard(X.assign(**{name: background_row[name].iloc[0]}))
        )
        for name in X
    ]
    got = pg.explain(
        hazard, X, Y[form], background=background_row, scoring=scorer, **QUIET
    )
    np.testing.assert_allclose(got.values[:, 0], expected_falls, atol=1e-12)
    assert got.values[0, 0] > 0.05
    assert got.values[2, 0] == 0
    assert np.isfinite(
        pg.explain(hazard, X, Y[form], scoring=scorer, **QUIET).values
    ).all()


def test_numbers_that_are_not_those_of_the_output_are_refused():
    with pytest.raises(
        InputError, match="y must have 1 number per row, like the output, got the shape"
    ):
        pg.explain(hazard, X, Y["columns"], **QUIET)
    fields = np.array(
        list(zip(EVENTS, TIMES, strict=True)), dtype=[("died", bool), ("months", float)]
    )
    with pytest.raises(
        InputError, match="y must have one value per row, got the fields died, months"
    ):
        pg.explain(hazard, X, fields, **QUIET)
