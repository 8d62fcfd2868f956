"""A fixed, quick set of hostile tables; ``verification/verify_hostile.py`` goes on from
here for thousands of cases.
"""

import collections

import hostile_checks
import hostile_tables
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from permgrad import InputError

# One fixed sequence of cases: a new failure belongs to a change of the code, not to
# luck.
FIXED = settings(
    database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)  # fmt: skip


@pytest.mark.slow
def test_tables_are_encoded_or_refused():
    ends = collections.Counter()

    @settings(FIXED, max_examples=150)
    @given(hostile_tables.frames())
    def check(table):
        ends[hostile_checks.check_encoding(table)] += 1

    check()
    assert ends["encoded"] > 36
    assert len(ends) >= 5


@pytest.mark.slow
def test_tables_are_trained_on_and_explained_or_refused():
    ends = collections.Counter()

    @settings(FIXED, max_examples=60)
    @given(hostile_tables.problems(least=2, most=20))
    def check(problem):
        ends[hostile_checks.check_training(problem.table, problem.y, problem.task)] += 1

    check()
    assert ends["explained"] > 8
    assert len(ends) > 5


@pytest.mark.parametrize("kind", sorted(hostile_tables.columns))
def test_every_kind_of_column_alone(kind):
    @settings(FIXED, max_examples=4)
    @seed(1)
    @given(hostile_tables.tables_of(kind, rows=7))
    def check(table):
        hostile_checks.check_encoding(table)

    check()


def test_the_checks_see_what_is_wrong(monkeypatch):
    table = pd.DataFrame({"a": np.arange(30.0), "b": np.arange(30.0) % 7})
    assert (
        hostile_checks.check_training(table, table["a"] * 2, "regression")
        == "explained"
    )
    with pytest.raises(
        hostile_checks.BrokenError, match="a refusal states the problem and a hint"
    ):
        hostile_checks.refusal(InputError("no"))
    monkeypatch.setattr(hostile_checks, "TOLERANCE", 1e-12)
    with pytest.raises(hostile_checks.BrokenError, match="the effect of 'a' is"):
        hostile_checks.check_training(table, table["a"] * 2, "regression")
    usual = hostile_checks.TableEncoder.transform
    monkeypatch.setattr(
        hostile_checks.TableEncoder,
        "transform",
        lambda self, X: usual(self, X) + len(X),
    )  # a row alone differs
    with pytest.raises(
        hostile_checks.BrokenError, match="a row is encoded alone as among others"
    ):
        hostile_checks.check_encoding(table)
