"""Scores of few rows and rare classes: equal groups, right degrees of freedom, errors
that are unknown and said so.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from explaining import explain_with
from scipy import stats
from torch import nn

import permgrad as pg
from permgrad.attribution.replace.scoring import deal_groups, jackknife_variance
from permgrad.base.errors import PermgradWarning

DRAWN = {"method": "permutation", "n_repeats": 4, "random_state": 0, "progress": False}


class Classes(nn.Module):
    """Logits of three classes, or of the first two."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([-x[:, 0], x[:, 0] + 0.5 * x[:, 1], x[:, 1]], dim=1)[
            :, : self.classes
        ]


def rows_of(count: int) -> torch.Tensor:
    return torch.randn(
        count, 2, generator=torch.Generator().manual_seed(count), dtype=torch.float64
    )


def explained(x, y, scoring, classes=2, **more):
    return explain_with(
        Classes(classes), x, y, scoring=scoring, **DRAWN, task="classification", **more
    )


def test_groups_are_of_equal_size_and_none_is_empty():
    for rows in (1, 2, 3, 19, 20, 21, 137):
        sizes = np.bincount(deal_groups(rows, 0, "rows"))
        assert len(sizes) == min(20, rows)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.min() >= 1
    first = deal_groups(137, 0, "rows")
    np.testing.assert_array_equal(first, deal_groups(137, 0, "rows"))
    assert (first != deal_groups(137, 1, "rows")).any()
    assert (first != deal_groups(137, 0, "background")).any()


def test_a_class_lies_in_one_group_alone_only_if_it_has_one_row():
    met = 0
    for seed in range(200):
        rare = np.zeros(60, dtype=np.int64)
        rare[:2] = 1
        rare[2:4] = 2
        rare[4] = 3
        plain = deal_groups(60, seed, "rows")
        spread = deal_groups(60, seed, "rows", rare)
        met += any(len(set(plain[rare == label])) == 1 for label in (1, 2))
        assert all(len(set(spread[rare == label])) == 2 for label in (1, 2))
        assert (np.bincount(spread) == 3).all()
        assert (plain != spread).sum() <= 4, "only what must be moved is moved"
    assert met > 5, "chance must have put a class into one group"


def test_groups_are_not_stratified_so_that_the_number_of_rows_of_each_class_stays_chance():
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=400) < 0.2).astype(np.int64)
    effects, variances = y * 1.0, []  # all of the spread is between the classes
    for seed in range(100):
        groups = deal_groups(400, seed, "rows", y)
        variances.append(
            jackknife_variance(
                np.array([effects[groups != group].mean() for group in range(20)])
            )[0]
        )
    assert np.mean(variances) == pytest.approx(effects.var(ddof=1) / 400, rel=0.1)


@pytest.mark.parametrize("rows", [4, 5, 12, 60])
def test_degrees_of_freedom_are_those_of_the_groups_there_are(rows):
    x = rows_of(rows)
    y = (np.arange(rows) % 2).astype(np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explanation = explained(x, y, "accuracy" if rows > 5 else "neg_brier_score")
    assert explanation.std_error[0, 0] > 0
    half = min(
        explanation.high[0, 0] - explanation.values[0, 0],
        explanation.values[0, 0] - explanation.low[0, 0],
    )
    assert half / explanation.std_error[0, 0] == pytest.approx(
        stats.t.ppf(0.975, min(rows, 20) - 1), rel=1e-9
    )


def test_a_class_of_one_row_leaves_the_value_and_makes_the_error_unknown():
    x = rows_of(200)
    predicted = Classes(3)(x).argmax(dim=1).numpy()
    y = np.minimum(predicted, 1)
    y[17] = 2
    names = ["neg_log_loss", "roc_auc_ovr", "accuracy"]
    with pytest.warns(
        PermgradWarning,
        match="Standard errors .* are NaN, .* Pass more rows, of every class",
    ) as caught_warnings:
        explanation = explained(x, y, names, classes=3)
    assert len(caught_warnings) == 1, (
        "scikit-learn's warnings of rows left out are not the user's"
    )
    assert "'roc_auc_ovr'" in str(caught_warnings[0].message)
    assert "'accuracy'" not in str(caught_warnings[0].message)
    assert np.isfinite(explanation.values).all()
    undefined = [name in str(caught_warnings[0].message) for name in names]
    for array in (
        explanation.std_error,
        explanation.low,
        explanation.high,
        explanation.p_values,
    ):
        np.testing.assert_array_equal(np.isnan(array[0]), undefined)
    assert not undefined[2]
    reported_score = explanation.meta["scores"]["accuracy"]
    assert reported_score == pytest.approx((predicted == y).mean())
    assert explanation.values[0, 2] > 0.05


def test_one_positive_row_gives_a_value_without_an_error_and_one_warning():
    x = rows_of(100)
    y = np.zeros(100, dtype=np.int64)
    y[int(x[:, 0].argmax())] = 1
    with pytest.warns(
        PermgradWarning, match="intervals of 'roc_auc' are NaN"
    ) as caught_warnings:
        explanation = explained(x, y, "roc_auc")
    assert len(caught_warnings) == 1
    assert explanation.values[0, 0] > 0.1
    assert np.isnan(explanation.std_error[0, 0])
    two = y.copy()
    two[int(x[:, 0].argsort()[-2])] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert explained(x, two, "roc_auc").std_error[0, 0] > 0


def test_a_scorer_that_fails_on_all_rows_is_refused():
    x = rows_of(30)
    with pytest.raises(pg.InputError, match=r"Scorer 'neg_log_loss' raised ValueError"):
        explained(x, np.zeros(30, dtype=np.int64), "neg_log_loss")


def test_one_row_and_a_background_of_one_row():
    x = rows_of(40)
    more = rows_of(25)
    y = np.arange(40) % 2
    with pytest.warns(PermgradWarning, match="no row is left"):
        explanation = explained(x[:1], y[:1], "neg_brier_score", background=more)
    assert np.isfinite(explanation.values).all()
    assert np.isnan(explanation.std_error).all()
    fixed = explained(x, y, "neg_brier_score", background=more[:1])
    half = (fixed.high - fixed.low)[0, 0] / 2
    assert half / fixed.std_error[0, 0] == pytest.approx(
        stats.t.ppf(0.975, 19), rel=1e-9
    )


def test_what_changes_nothing_is_exactly_zero_also_where_errors_are_unknown():
    class First(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([-x[:, 0], x[:, 0]], dim=1)

    x = rows_of(100)
    y = np.zeros(100, dtype=np.int64)
    y[int(x[:, 0].argmax())] = 1
    with pytest.warns(PermgradWarning, match="intervals of 'roc_auc' are NaN"):
        explanation = pg.explain(
            pg.Model(First(), task="classification"),
            x,
            y,
            scoring=["roc_auc", "neg_brier_score"],
            **DRAWN,
        )
    assert (explanation.values[0] != 0).all()
    assert (explanation.values[1] == 0).all()
    assert (explanation.std_error[1] == 0).all()
    assert (explanation.p_values[1] == 1).all()
