"""``ensure_top``: drawing ends when the order of the first players is certain, or names the ties."""

import numpy as np
import pytest

import permgrad as pg
from permgrad.attribution.explanation.ranks import Looks, compared
from permgrad.attribution.replace.moments import PairMoments, draw_variance
from permgrad.attribution.replace.top import Estimates, TopLooks, doubled, top_words
from permgrad.base.errors import InputError, PermgradWarning

WEIGHTS = np.array([3.0, 2.0, 1.0, 0.2, 0.0, 0.0])


def model(rows):
    return np.asarray(rows) @ WEIGHTS


def data(rows=300, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    # Signs: all of the error comes from the draws, so that draws decide.
    X = rng.choice([-1.0, 1.0], (rows, len(WEIGHTS)))
    return X, model(X) + noise * rng.normal(size=rows)


def explain(X, y, method="permutation", **options):
    shared = {"method": method, "scope": "global", "task": "regression", "random_state": 0, "progress": False}
    return pg.explain(model, X, y, **(shared | options))


def test_looks():
    assert doubled(128) == (2, 4, 8, 16, 32, 64, 128)
    assert doubled(10) == (2, 4, 8, 10)
    assert [doubled(most) for most in (1, 2, 3)] == [(1,), (2,), (2, 3)]


def test_the_draws_part_of_the_variance_by_hand():
    """Rows' effects with any donor are known up to the donor's own number: within a row only that varies."""
    rng, rows, draws = np.random.default_rng(0), 50, 8
    moments, effects = PairMoments(rows, 400, False, 1, 1), rng.normal(size=(draws, rows))
    for drawn in effects:
        moments.add(np.arange(rows), rng.integers(0, 400, rows), drawn[:, None])
    expected = effects.var(axis=0, ddof=1).mean() / (rows * draws)
    assert draw_variance(moments, 10.0) == pytest.approx(expected)
    assert draw_variance(moments, 0.01) == 0.01**2, "never more than all of it"
    single = PairMoments(rows, 400, False, 1, 1)
    single.add(np.arange(rows), np.arange(rows), effects[0][:, None])
    assert draw_variance(single, 0.5) == 0.25, "one draw says nothing about its part"


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        (0.0, []),  # nothing left to draw: the rest is given up
        (0.04, ["b", "c"]),  # all of the error comes from the draws: the two that are close are drawn again
    ],
)
def test_who_is_in_question(draws, expected):
    std = np.full(4, 0.2)
    looks = TopLooks(tuple("dbca"), 2, 0.95, (2, 4))
    now = Estimates(np.array([0.0, 5.0, 4.9, 9.0]), std, np.full(4, draws), np.full(4, 2.0), np.eye(4), np.inf)
    assert looks.in_question(now) == expected
    facts = looks.facts
    assert (facts["ties"], facts["ranks"], facts["holds"]) == ([["b", "c"]], [[2, 3]], False)
    assert facts["more_draws_help"] == bool(expected)
    advice = "Raise max_repeats above 4" if expected else "More draws would not help: explain more rows"
    assert top_words(facts, 0.95) == (
        f"The order of the first 2 is not certain at 95 %. Not told apart: b, c (ranks 2–3). {advice}"
    )


@pytest.mark.parametrize("method", ["permutation", "permgrad", "shapley"])
def test_an_order_is_certain_and_only_what_is_needed_is_drawn(method):
    X, y = data()
    result = explain(X, y, method, ensure_top=3)
    assert result.meta["ensure_top"]["holds"]
    assert result.ranking()[:3] == ["x0", "x1", "x2"]
    assert result.ranking(certain=0.95)["set"].tolist()[:4] == [1, 2, 3, 4]
    assert "The order of the first 3 is certain at 95 %" in result.summary()
    if method != "shapley":
        repeats = result.meta["repeats"]
        assert repeats["x5"] == 2 < 128
        # Donors are those of a call with as many repeats.
        fixed = explain(X, y, method, n_repeats=repeats["x0"])
        assert result.values[0] == pytest.approx(fixed.values[0], rel=1e-12)


def test_ties_are_named_at_the_budget_and_where_rows_do_not_suffice():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 6))
    y = model(X) + rng.normal(size=200)
    with pytest.warns(PermgradWarning, match=r"Not told apart: .*x[45], x[45] \(ranks") as warned:
        result = explain(X, y, ensure_top=5)
    facts = result.meta["ensure_top"]
    assert not facts["holds"]
    assert any({"x4", "x5"} <= set(tie) for tie in facts["ties"])
    assert str(warned[0].message).rstrip(".") in result.summary()
    # One in which draws decide, and too few are allowed.
    X, _ = data(300)

    def close(rows):
        return np.asarray(rows) @ [3.0, 2.8, 1.0, 0.0, 0.0, 0.0]

    options = {"method": "permutation", "task": "regression", "random_state": 0, "progress": False, "ensure_top": 2}
    with pytest.warns(PermgradWarning, match=r"x0, x1 \(ranks 1–2\)\. Raise max_repeats above 2"):
        result = pg.explain(close, X, close(X), max_repeats=2, **options)
    assert set(result.meta["repeats"].values()) == {2}
    result = pg.explain(close, X, close(X), **options)
    assert result.meta["ensure_top"]["holds"]
    repeats = result.meta["repeats"]
    assert repeats["x0"] == repeats["x1"] > 2 == repeats["x2"]


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 1.0, 1.01), (1.0, 1.1, 1.3)])
def test_the_bound_allows_for_every_look(share, least, most):
    """Without draws all looks are one. With draws alone, the bound lies between one look and seven independent ones."""
    values, std = np.arange(6.0)[::-1] / 10, np.ones(6)
    looks = Looks(np.full(6, share), np.full(6, 2.0), doubled(128))
    one, all_of_them = (compared(values, std, np.eye(6), np.inf, 0.95, each).critical for each in (None, looks))
    independent = compared(values, std, np.eye(6), np.inf, 0.95 ** (1 / 7)).critical
    assert independent > 1.15 * one
    assert least * one <= all_of_them * 1.02
    assert all_of_them <= min(most * one * 1.02, independent * 1.02)


def test_ranks_allow_for_every_look():
    X, y = data(100, noise=3.0)
    result = explain(X, y, ensure_top=1, max_repeats=128)
    assert result.meta["ensure_top"]["looks"] == [2, 4, 8, 16, 32, 64, 128]
    strict = result.ranking(certain=0.95)
    result.meta.pop("ensure_top")
    assert (result.ranking(certain=0.95)["rank_low"] >= strict["rank_low"]).all()


def test_batches_and_modalities_change_nothing():
    X, y = data(120, noise=2.0)
    one, other = (explain(X, y, ensure_top=2, batch_size=size, max_repeats=16) for size in ("auto", 7))
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9, atol=1e-12)
    assert one.meta["repeats"] == other.meta["repeats"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensure_top": 0}, "ensure_top must be an integer of at least 1"),
        ({"ensure_top": 2, "max_repeats": 1}, "max_repeats must be an integer of at least 2"),
        ({"max_repeats": 8}, "max_repeats needs ensure_top"),
        ({"ensure_top": 2, "tolerance": 0.1}, "both decide how often to draw"),
        ({"ensure_top": 2, "scope": "local"}, "scope='local' explains single rows"),
        ({"ensure_top": 2, "scoring": "r2"}, "scoring= measures scores"),
        ({"ensure_top": 2, "method": "ablation"}, "sets one value and draws nothing"),
        ({"ensure_top": 2, "method": "lime", "scope": "local"}, "has no importances over rows"),
    ],
)
def test_calls_that_are_refused(options, message):
    X, y = data(30)
    with pytest.raises(InputError, match=message):
        explain(X, y, **options)
