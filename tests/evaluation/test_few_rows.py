"""Few rows that decide a score: named with the score without them, in regression and of
classes.
"""

from __future__ import annotations

import numpy as np
import pytest

import permgrad as pg
from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.evaluation.few_rows import rows_that_decide
from permgrad.evaluation.skill import Predicted
from permgrad.pages.content import PageContent
from permgrad.pages.facts.feature_facts import by_absolute_errors, few_rows_decide
from permgrad.pages.findings import say

ROWS = 500


def usual(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=ROWS)
    return truth, truth + 0.5 * rng.normal(size=ROWS)


def test_two_wild_predictions_are_named_and_left_out():
    truth, guess = usual()
    guess[[40, 41]] = -30.0, 22.0
    numbers = np.arange(ROWS) * 10
    known_range = float(truth.min()), float(truth.max())
    deciding_rows = rows_that_decide(Predicted(truth, guess), numbers, known_range)
    errors = (truth - guess) ** 2
    remaining_errors = np.delete(errors, [40, 41])
    assert deciding_rows["numbers"] == [400, 410]
    assert deciding_rows["predicted"] == [-30.0, 22.0]
    assert deciding_rows["outside"] == 2
    assert deciding_rows["share"] == pytest.approx(
        errors[[40, 41]].sum() / errors.sum()
    )
    assert deciding_rows["without"] == pytest.approx(np.sqrt(remaining_errors.mean()))
    assert deciding_rows["value"] == pytest.approx(np.sqrt(errors.mean()))
    content = Assessment(title="t", target="y", task="regression")
    content.metrics = {"few_rows_decide": deciding_rows}
    words = say("few_rows_decide", few_rows_decide(PageContent.of(content)))
    low, high = (f"{end:.2f}".replace("-", "−") for end in known_range)
    assert words == (
        f"2 of 500 test rows make {100 * deciding_rows['share']:.0f}\u00a0% of the "
        "squared error: rows 400 (predicted −30.0) and 410 (predicted 22.0). Training "
        f"targets lie between {low} and {high}. Without them, the RMSE is "
        f"{deciding_rows['without']:.3f} instead of {deciding_rows['value']:.2f}."
    )


def test_a_row_far_outside_is_named_even_where_it_decides_nothing():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=ROWS)
    guess = truth + 3 * rng.normal(size=ROWS)
    guess[guess > 2.5] = 2.5
    guess[guess < -2.5] = -2.5
    guess[7] = truth[7] + 9
    deciding_rows = rows_that_decide(
        Predicted(truth, guess), np.arange(ROWS), (-3.0, 3.0)
    )
    assert deciding_rows["numbers"] == [7]
    assert deciding_rows["share"] < 0.1, "the precondition"
    content = Assessment(title="t", target="y", task="regression")
    content.metrics = {"few_rows_decide": deciding_rows}
    assert few_rows_decide(PageContent.of(content))["form"] == "outside"
    assert say("few_rows_decide", few_rows_decide(PageContent.of(content))).startswith(
        "1 of 500 test rows is predicted far outside: row 7 (predicted "
    )


def test_a_row_that_carries_the_log_loss_is_named():
    rng = np.random.default_rng(2)
    chance = rng.uniform(0.05, 0.95, ROWS)
    truth = (rng.random(ROWS) < chance).astype(int)
    chance[3] = 1e-300 if truth[3] else 1.0
    guess = np.column_stack([1 - chance, chance])
    deciding_rows = rows_that_decide(Predicted(truth, guess), np.arange(ROWS))
    assert deciding_rows["numbers"] == [3]
    assert deciding_rows["predicted"] is None
    assert deciding_rows["metric"] == "log_loss"
    assert deciding_rows["without"] < deciding_rows["value"]


@pytest.mark.parametrize("seed", range(20))
def test_usual_errors_name_nobody(seed):
    truth, guess = usual(seed)
    known_range = float(truth.min()) - 1, float(truth.max()) + 1
    assert (
        rows_that_decide(Predicted(truth, guess), np.arange(ROWS), known_range) is None
    )


def test_few_rows_counts_and_weights_name_nobody():
    truth, guess = usual()
    guess[0] = 50.0
    numbers = np.arange(ROWS)
    assert rows_that_decide(Predicted(truth, guess), numbers) is not None
    few = Predicted(truth[:60], guess[:60])
    assert rows_that_decide(few, numbers[:60]) is None
    counts = Predicted(np.abs(truth), np.abs(guess), counts=True)
    assert rows_that_decide(counts, numbers) is None
    weighed = Predicted(truth, guess, weights=np.ones(ROWS))
    assert rows_that_decide(weighed, numbers) is None


def test_predictions_of_an_assessment_are_taken_as_they_are():
    truth, guess = usual()
    guess[9] = 40.0
    predictions = Predictions(truth=truth, guess=guess)
    deciding_rows = rows_that_decide(predictions.scored, np.arange(ROWS), (-4.0, 4.0))
    assert deciding_rows["numbers"] == [9]


def test_the_ranking_by_absolute_errors_is_told():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = 3 * X[:, 0]
    explained = pg.explain(lambda t: t[:, 0] * 2.5, X, y, loss="absolute_error")
    content = Assessment(title="t", target="y", task="regression", absolute=explained)
    assert say("by_absolute_errors", by_absolute_errors(PageContent.of(content))) == (
        "By absolute errors, which few rows decide less, 1 of 2 features clearly "
        "matters, most of all x0."
    )
