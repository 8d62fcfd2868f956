"""Scores computed again: a leave-a-group-out jackknife by hand, weights, regressions,
modalities, what is told.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from explaining import donor_rows, explain_with
from scipy import stats
from sklearn.metrics import (
    make_scorer,
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
)
from torch import nn

import permgrad as pg
from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.replace.scoring import deal_groups, resolve_scorers
from permgrad.base.random import uniform

ROWS = 90
REPEATS = 3
GROUPS = 20


def drawn(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(
        rows, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


class Plain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, 0] * (1 + x[:, 1]))[:, None]


def predicted(x: torch.Tensor) -> np.ndarray:
    return (x[:, 0] * (1 + x[:, 1])).numpy()


@pytest.fixture(scope="module")
def case():
    x = drawn(ROWS, 0)
    return x, predicted(x) + 0.3 * np.random.default_rng(0).normal(size=ROWS)


def freedom_of(group_values) -> np.ndarray:
    """Return the degrees of freedom of the low and the high end: fewer on the side of
    the long tail.
    """
    longer = min(
        len(group_values) / (1 + 3 * max(stats.kurtosis(group_values), 0)),
        len(group_values) - 1,
    )
    ends = [len(group_values) - 1.0, max(longer, 1.5)]
    return np.array(ends if stats.skew(group_values) >= 0 else ends[::-1])


def drawn_by_weight(column: str, repeat: int, weights) -> np.ndarray:
    """Return donors in proportion to their weights, never the row itself."""
    chances = uniform(3, ("donor", column, repeat), np.arange(len(weights)))
    donors = []
    for row, chance in enumerate(chances):
        other_rows = np.delete(np.arange(len(weights)), row)
        along = np.cumsum(weights[other_rows])
        donors.append(
            other_rows[np.searchsorted(along, chance * along[-1], side="right")]
        )
    return np.array(donors)


def fall_by_hand(
    x, y, background, score, *, shared: bool, weights=None
) -> tuple[float, float, np.ndarray]:
    """Return the fall of a score when column 0 is permuted, its error by leaving groups
    out, and degrees of freedom.
    """
    groups = deal_groups(ROWS, 3, "rows")
    receivers = np.tile(np.arange(ROWS), REPEATS)
    donors = np.concatenate(
        [
            drawn_by_weight("x[0]", k, weights)
            if shared and weights is not None
            else donor_rows(
                3, "x[0]", k, np.arange(ROWS), len(background), shared=shared
            )
            for k in range(REPEATS)
        ]
    )
    edited = x[torch.as_tensor(receivers)].clone()
    edited[:, 0] = background[torch.as_tensor(donors), 0]
    after = predicted(edited)
    before = predicted(x)
    weights = np.ones(ROWS) if weights is None else weights

    def fall(stays) -> float:
        rows = receivers[stays]
        full_score = score(y[rows], before[rows], sample_weight=weights[rows])
        return full_score - score(y[rows], after[stays], sample_weight=weights[rows])

    def variance(leaves) -> float:
        kept_falls = np.array([fall(~leaves(group)) for group in range(GROUPS)])
        return (GROUPS - 1) / GROUPS * (
            (kept_falls - kept_falls.mean()) ** 2
        ).sum(), freedom_of(kept_falls.mean() - kept_falls)

    everything = fall(np.ones(len(receivers), dtype=bool))
    if shared:
        total, freedom = variance(
            lambda group: (groups[receivers] == group) | (groups[donors] == group)
        )
        return everything, total**0.5, freedom
    background_groups = deal_groups(len(background), 3, "background")
    at_random = deal_groups(len(donors), 3, "pairs")
    of_rows, first = variance(lambda group: groups[receivers] == group)
    noise, _ = variance(lambda group: at_random == group)
    of_donors, donor_freedom = variance(
        lambda group: background_groups[donors] == group
    )
    of_donors = max(of_donors - noise, 0.0)
    total = of_rows + of_donors
    return (
        everything,
        total**0.5,
        total**2 / (of_rows**2 / first + of_donors**2 / donor_freedom),
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shared", [True, False])
def test_falls_and_errors_of_a_regression(case, shared, weighted):
    x, y = case
    background = x if shared else drawn(40, 1)
    weights = np.arange(ROWS) % 3 + 1.0 if weighted else None
    explanation = pg.explain(
        Plain(), x, y, method="permutation", scoring=["r2", "neg_mean_absolute_error"], n_repeats=REPEATS,
        background=None if shared else background, sample_weight=weights, random_state=3, progress=False,
        confidence=0.8,
    )  # fmt: skip
    scores = (
        r2_score,
        lambda truth, own, sample_weight: (
            -mean_absolute_error(truth, own, sample_weight=sample_weight)
        ),
    )
    for column, score in enumerate(scores):
        fall, error, freedom = fall_by_hand(
            x, y, background, score, shared=shared, weights=weights
        )
        assert fall > 0.1
        assert explanation.values[0, column] == pytest.approx(fall, rel=1e-6)
        assert explanation.std_error[0, column] == pytest.approx(error, rel=1e-6)
        reported_score = explanation.meta["scores"][
            ("r2", "neg_mean_absolute_error")[column]
        ]
        assert reported_score == pytest.approx(
            score(y, predicted(x), sample_weight=weights), rel=1e-6
        )
        low, high, p_value = interval(
            explanation.values[0, column],
            explanation.std_error[0, column],
            freedom + 1,
            0.8,
        )
        assert (
            explanation.low[0, column],
            explanation.high[0, column],
        ) == pytest.approx((low, high), rel=1e-6)
        assert explanation.p_values[0, column] == pytest.approx(p_value, rel=1e-6)


def test_what_is_told_of_scores(case):
    x, y = case
    begun = time.perf_counter()
    explanation = pg.explain(
        Plain(), x, y, scoring="r2", n_repeats=2, random_state=3, progress=False
    )
    assert 0 < explanation.meta["seconds"] < time.perf_counter() - begun
    assert (explanation.meta["quantity"], explanation.meta["unit"]) == (
        "fall of the score",
        "score",
    )
    assert (
        explanation.method,
        explanation.scope,
        explanation.level,
        explanation.outputs,
    ) == (
        "permgrad",
        "global",
        "feature",
        ("r2",),
    )
    assert explanation.modality == ("x", "x")
    groups = {"both": ["x[0]", "x[1]"]}
    grouped = pg.explain(
        Plain(),
        x,
        y,
        scoring="r2",
        n_repeats=2,
        random_state=3,
        progress=False,
        groups=groups,
    )
    assert (grouped.names, grouped.groups, grouped.level) == (
        ("both",),
        groups,
        "group",
    )


class Sum(nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first.sum(dim=1, keepdim=True) * (1 + second.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("scoring", ["r2", ["r2", "neg_mean_squared_error"]])
def test_parts_of_a_fall_have_errors_of_their_own(scoring):
    inputs = {"first": drawn(ROWS, 0), "second": drawn(ROWS, 1)}
    with torch.no_grad():
        y = Sum()(**inputs)[:, 0].numpy() + np.random.default_rng(0).normal(size=ROWS)
    explanation = pg.explain(
        Sum(),
        inputs,
        y,
        groups="modality",
        scoring=scoring,
        n_repeats=2,
        random_state=3,
        progress=False,
    )
    assert set(explanation.parts) == set(explanation.part_std) == {"alone", "last"}
    for name, part_errors in explanation.part_std.items():
        assert (
            part_errors.shape
            == explanation.values.shape
            == explanation.parts[name].shape
        )
        assert (part_errors > 0).all()
        assert not np.allclose(part_errors, explanation.std_error)
    assert not np.allclose(explanation.parts["alone"], explanation.parts["last"])
    np.testing.assert_allclose(
        (explanation.parts["alone"] + explanation.parts["last"]) / 2,
        explanation.values,
        rtol=1e-9,
    )


def test_ablation_of_a_network_sets_what_the_baseline_says(case):
    x, y = case
    effects_by_baseline = {}
    for baseline, value in (("typical", float(np.median(x[:, 0]))), ("zeros", 0.0)):
        for background in (None, drawn(41, 1) + 1):
            set_to = (
                float(np.median(background[:, 0]))
                if baseline == "typical" and background is not None
                else value
            )
            edited = x.clone()
            edited[:, 0] = set_to
            explanation = pg.explain(
                Plain(),
                x,
                y,
                method=pg.methods.Ablation(baseline=baseline),
                scoring="r2",
                background=background,
                progress=False,
            )
            expected = r2_score(y, predicted(x)) - r2_score(y, predicted(edited))
            assert explanation.values[0, 0] == pytest.approx(expected, rel=1e-9)
            assert explanation.std_error[0, 0] > 0
            effects_by_baseline[set_to] = expected
    assert len(effects_by_baseline) == 3, "the baselines must differ"
    call = {"scoring": "r2", "progress": False}
    with pytest.raises(pg.InputError, match="baseline"):
        explain_with(Plain(), x, y, method="ablation", baseline="nothing", **call)


def test_scorers_have_names():
    def own(estimator, rows, truth) -> float:
        return 1.0

    class Scorer:
        def __call__(self, estimator, rows, truth) -> float:
            return 2.0

    assert list(resolve_scorers("r2")) == ["r2"]
    assert list(resolve_scorers(own)) == ["own"]
    assert list(resolve_scorers(["r2", Scorer(), own])) == ["r2", "score_1", "own"]
    # Scorers of one function, or of functions without a name, stay apart, and say what
    # they measure.
    several = [
        make_scorer(mean_pinball_loss, alpha=level, greater_is_better=False)
        for level in (0.1, 0.9)
    ]
    assert list(resolve_scorers(several)) == [
        f"neg_mean_pinball_loss alpha={level}" for level in (0.1, 0.9)
    ]
    assert list(resolve_scorers([lambda *_: 1.0, lambda *_: 2.0, "r2"])) == [
        "<lambda>_0",
        "<lambda>_1",
        "r2",
    ]
    mapped = resolve_scorers({"first": "r2", "second": own})
    assert list(mapped) == ["first", "second"]
    assert mapped["second"] is own
    for wrong in ([3], {"a": None}):
        with pytest.raises(
            pg.InputError, match="A scorer must be a name or a callable"
        ):
            resolve_scorers(wrong)
