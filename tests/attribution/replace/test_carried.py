"""Few rows that make an importance, or hide it, are found with the figure without them.

Normal errors have none.
"""

from __future__ import annotations

import numpy as np
import pytest

import permgrad as pg
from permgrad.assess.assessment import Assessment
from permgrad.pages.content import PageContent
from permgrad.pages.facts.feature_facts import few_rows_matter
from permgrad.pages.findings import say

WEIGHTS = np.array([1.0, 0.5, 0.25])


def explained(X, y, function):
    return pg.explain(function, X, y, random_state=0, progress=False)


def line(X):
    return X @ WEIGHTS


def data(rows, seed, errors="normal"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 3))
    drawn = rng.normal(size=rows)
    if errors == "t3":
        drawn = rng.standard_t(3, size=rows) / 3**0.5
    if errors == "lognormal":
        drawn = (np.exp(rng.normal(size=rows)) - np.exp(0.5)) / 2.16
    return X, line(X) + drawn


def test_a_row_whose_value_is_far_outside_is_named_with_the_figure_without_it():
    X, y = data(1000, 0)
    X[17, 0] = 60.0
    found = explained(X, y, line)
    assert found.ci()[0][0, 0] < 0, "the row hides the importance"
    few = found.meta["few_rows"]["x0"]
    assert few["places"] == [17]
    rest = np.arange(1000) != 17
    wanted = explained(X[rest], y[rest], line).values[0, 0]
    assert few["without"] == pytest.approx(wanted, rel=0.15)
    assert abs(few["value"] - wanted) > 0.5


def test_rows_that_a_model_predicts_wildly_make_an_importance():
    X, y = data(1000, 1)
    X[:3, 0] = (4.0, 4.1, 4.2)

    def wild(rows):
        return np.where(rows[:, 0] >= 4, -80.0, line(rows))

    assert (np.abs(X[3:, 0]) < 3.9).all()
    few = explained(X, y, wild).meta["few_rows"]["x0"]
    assert sorted(few["places"]) == [0, 1, 2]
    assert abs(few["without"] - 2.0) < 0.4, "two times the square of the weight"


@pytest.mark.slow
@pytest.mark.parametrize("rows", [200, 1200])
def test_normal_errors_have_no_such_row(rows):
    said = 0
    for seed in range(20):
        X, y = data(rows, seed)
        said += "few_rows" in explained(X, y, line).meta
    assert said <= 2


def test_the_first_page_says_so():
    X, y = data(400, 3)
    X[9, 1] = -50.0
    explanation = explained(X, y, line)
    few = explanation.meta["few_rows"]["x1"]
    few["numbers"] = [1009]
    content = Assessment(
        title="t", target="y", task="regression", explanation=explanation
    )
    facts = few_rows_matter(PageContent.of(content))
    assert facts["feature"] == "x1"
    words = say("few_rows_matter", facts)
    assert words.startswith(
        "1 of 400 test rows decides the importance of x1: row 1009. Without it, "
        "shuffling x1 changes the squared error by "
    )
