"""Ranks with simultaneous intervals: no false statement at the wanted rate, ties named
as ties.
"""

import json

import numpy as np
import pytest

import permgrad as pg
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.ranks import compared, freedoms_of, ranks_of
from permgrad.base.errors import InputError

RNG = np.random.default_rng


def drawn(truth, correlation, std, rng):
    root = np.linalg.cholesky(correlation)
    values = truth + std * (root @ rng.normal(size=len(truth)))
    order = np.argsort(-values)
    return values[order], order


@pytest.mark.parametrize("shared", [-0.15, 0.0, 0.9])
def test_no_statement_is_false_at_the_wanted_rate(shared):
    """Ties and close values, errors that move together or against each other."""
    truth = np.array([3.0, 2.0, 2.0, 2.0, 1.0, 0.9, 0.0])
    count = len(truth)
    rng = RNG(1)
    std = np.full(7, 0.3)
    correlation = np.full((count, count), shared) + (1 - shared) * np.eye(count)
    false = statement_count = 0
    for _ in range(200):
        values, order = drawn(truth, correlation, std, rng)
        above = compared(values, std, correlation, np.inf, 0.95).above
        wrong = above & ~(truth[order][:, None] > truth[order][None, :])
        false += bool(wrong.any())
        statement_count += above.sum()
    assert statement_count / 200 > 5, (
        "the case is not trivial: some pairs can be told apart"
    )
    assert false <= 18  # 10 expected at most, 18 is above the 99 % quantile


def test_without_a_correlation_any_is_allowed_for():
    values = np.array([2.0, 1.0])
    std = np.array([0.2, 0.2])
    related = np.array([[1.0, -1.0], [-1.0, 1.0]])
    # The error of the difference is the sum of both where errors are opposite.
    assert compared(values, std, related, np.inf, 0.95).above[0, 1]
    assert compared(values, std, None, np.inf, 0.95).above[0, 1]
    assert not compared(values, std * 1.4, None, np.inf, 0.95).above.any()
    assert not compared(values, std * 1.4, related, np.inf, 0.95).above.any()
    assert compared(values, std * 1.4, np.eye(2), np.inf, 0.95).above[0, 1]


def test_ranks_and_sets_by_hand():
    values = np.array([9.0, 5.0, 4.9, 1.0, np.nan])
    std = np.array([0.1, 0.1, 0.1, 0.1, np.nan])
    low, high, sets = ranks_of(compared(values, std, np.eye(5), np.inf, 0.95).above)
    assert low.tolist() == [1, 2, 2, 4, 1]
    assert high.tolist() == [2, 4, 4, 5, 5]
    assert sets.tolist() == [1, 1, 1, 1, 1], (
        "the last one has no error and may stand anywhere"
    )
    low, high, sets = ranks_of(
        compared(values[:4], std[:4], np.eye(4), np.inf, 0.95).above
    )
    assert (low.tolist(), high.tolist(), sets.tolist()) == (
        [1, 2, 2, 4],
        [1, 3, 3, 4],
        [1, 2, 2, 3],
    )
    certain = ranks_of(
        compared(np.array([2.0, 1.0, 1.0]), np.zeros(3), None, np.inf, 0.95).above
    )
    assert certain[2].tolist() == [1, 2, 2]


def test_degrees_of_freedom_come_back_from_intervals():
    from scipy import stats

    std = np.array([0.5, 2.0])
    freedoms = freedoms_of(stats.t([7, 3]).ppf(0.975) * std, std, 0.95)
    np.testing.assert_allclose(freedoms, [7, 3], rtol=1e-6)
    assert np.isinf(freedoms_of(np.full(2, np.nan), std, 0.95)).all()


def test_a_call_a_file_and_a_wrong_number(tmp_path):
    rng = RNG(0)
    X = rng.normal(size=(300, 4))
    y = 3 * X[:, 0] + X[:, 1] + X[:, 2]

    def model(rows):
        return 3 * rows[:, 0] + rows[:, 1] + rows[:, 2]

    for method, scope in (
        ("permutation", "global"),
        ("shapley", "global"),
        ("shapley", "local"),
    ):
        result = pg.explain(
            pg.Model(model, task="regression"),
            X,
            y,
            method=method,
            scope=scope,
            random_state=0,
            progress=False,
        )
        frame = result.ranking(certain=0.95)
        assert frame.columns.tolist() == [
            "feature",
            "rank",
            "rank_low",
            "rank_high",
            "set",
        ]
        assert frame["feature"].tolist() == result.ranking()
        assert frame["set"].tolist()[0] == 1
        assert frame["set"].tolist()[-1] == 3, (
            "the first, two alike, and the one that does nothing"
        )
        summary = result.to_global() if scope == "local" else result
        back = Explanation.load(summary.save(tmp_path / f"{method}-{scope}"))
        assert back.ranking(certain=0.95).equals(frame)
        with pytest.raises(InputError, match="certain must be between 0 and 1"):
            result.ranking(certain=95)
    header = json.loads(
        (tmp_path / "permutation-global" / "explanation.json").read_text()
    )
    assert header["schema_version"] == 3


def test_a_certainty_near_1_takes_no_memory_and_is_written_in_full():
    values = np.array([9.0, 5.0, 4.9])
    std = np.full(3, 0.1)
    related = np.eye(3)
    for certain in (0.9999, 0.9999999, 1 - 2**-53):
        low, high, _ = ranks_of(compared(values, std, related, np.inf, certain).above)
        assert (low.tolist(), high.tolist()) == ([1, 2, 2], [1, 3, 3])
    few = compared(values, std, related, 3.0, 0.9999999)
    assert not few.above.any()
    assert few.critical > 400
    names = ("a", "b", "c")
    facts = {"confidence": 0.9999999, "rows_explained": 50}
    text = Explanation(
        values[:, None], names, ("t",) * 3, ("all",), "permutation", "global", std_error=std[:, None],
        low=values[:, None] - 0.5, high=values[:, None] + 0.5, meta=facts,
    ).summary()  # fmt: skip
    assert "Intervals: 99.99999 %." in text
    assert "Order at 99.99999 % confidence: 1 a; the rest." in text


def test_what_has_no_importance_takes_nobodys_place():
    values = np.array([[1.0], [9.0], [np.nan], [5.0]])
    std = np.full((4, 1), 0.1)
    names = ("low", "high", "none", "middle")
    explanation = pg.Explanation(
        values, names, ("table",) * 4, ("all",), "ale", "global", std_error=std
    )
    ranks = explanation.ranking(certain=0.95)
    assert ranks["feature"].tolist() == ["high", "middle", "low", "none"]
    assert ranks["rank_low"].tolist() == [1, 2, 3, 1]
    assert ranks["rank_high"].tolist() == [1, 2, 3, 4]
    assert "1 high; 2 middle" in explanation.summary()
