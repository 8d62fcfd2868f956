"""The share of a branch follows from the errors on held-out rows, is as sure as it
says, and pays or not.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import mean_poisson_deviance

from permgrad.base.dependence import Dependence
from permgrad.models.estimators.share import Share, branch_words, row_losses
from permgrad.models.losses import losses
from permgrad.models.train.learner import UNITS_OF_NETWORK as UNITS


def two_guesses(rng, rows: int, repeat: int = 1):
    """Return two guesses whose errors have variances 4 and 1, and the truth.

    The best share of the second is 0.8.
    """
    y, *errors = (
        np.repeat(rng.normal(0, scale, rows // repeat), repeat) for scale in (3, 2, 1)
    )
    return (y + errors[0])[:, None], (y + errors[1])[:, None], y


def learned(outputs, other_outputs, y, **options):
    return Share.learn(
        outputs,
        other_outputs,
        row_losses(y, losses["squared_error"], UNITS),
        seed=0,
        **options,
    )


def test_it_follows_from_the_errors_and_its_interval_holds_it():
    covered_count = 0
    widths = []
    for seed in range(100):
        share = learned(*two_guesses(np.random.default_rng(seed), 200))
        covered_count += share.ci_low <= 0.8 <= share.ci_high
        widths.append(share.ci_high - share.ci_low)
    assert covered_count >= 88
    assert 0.05 < np.mean(widths) < 0.25
    share = learned(*two_guesses(np.random.default_rng(0), 20_000))
    assert share.share == share.ci_low == pytest.approx(0.8, abs=0.02)
    assert share.rows == 20_000
    # The error of the mixture is that of the best share: 0.2² · 4 + 0.8² · 1.
    assert share.gain == pytest.approx(4 - 0.8, rel=0.05)
    assert share.pays


@pytest.mark.parametrize("timed", [False, True])
def test_rows_of_a_group_do_not_make_it_surer(timed):
    guesses = two_guesses(np.random.default_rng(1), 2000, repeat=20)
    groups = Dependence(np.repeat(np.arange(100), 20), timed=timed)
    alone = learned(*guesses)
    grouped = learned(*guesses, dependence=groups)
    assert 0.5 < grouped.share < alone.share
    assert grouped.ci_high - grouped.ci_low > 2 * (alone.ci_high - alone.ci_low)
    assert grouped.std_error > 2 * alone.std_error


def test_rows_count_by_their_weight():
    outputs, other_outputs, y = two_guesses(np.random.default_rng(0), 400)
    swapped = (
        np.concatenate([outputs, other_outputs]),
        np.concatenate([other_outputs, outputs]),
        np.concatenate([y, y]),
    )
    weights = np.repeat([1.0, 0.0], 400)
    weighted = learned(*swapped, weights=weights)
    alone = learned(outputs, other_outputs, y)
    assert weighted.share == pytest.approx(alone.share, abs=0.03)
    assert learned(*swapped).share == 0.5


@pytest.mark.parametrize("outputs", [1, 2], ids=["one logit", "two logits"])
def test_logits_are_mixed(outputs):
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 6000)
    y = (rng.random(6000) < expit(truth)).astype(int)

    def guess(noise: float):
        logit = truth + rng.normal(0, noise, 6000)
        return (
            logit[:, None] if outputs == 1 else np.column_stack([-logit / 2, logit / 2])
        )

    both_guesses = guess(1.0), guess(1.5)
    share = Share.learn(
        both_guesses[0][:3000],
        both_guesses[1][:3000],
        row_losses(y[:3000], losses["cross_entropy"], UNITS),
        seed=0,
    )
    assert 0 < share.share < 0.5
    measured = row_losses(y[3000:], losses["cross_entropy"], UNITS)
    alone = [measured(single_guess[3000:]).mean() for single_guess in both_guesses]
    assert (
        measured(share(both_guesses[0][3000:], both_guesses[1][3000:])).mean()
        < min(alone) - 0.01
    )


def test_branches_that_are_equally_good_count_alike():
    rng = np.random.default_rng(0)
    y = np.random.default_rng(1).normal(size=200)
    share = learned(
        (y + rng.normal(size=200))[:, None], (y + rng.normal(size=200))[:, None], y
    )
    assert share.share == 0.5
    assert share.ci_low < 0.5 < share.ci_high
    assert share.pays


def test_few_rows_do_not_hold_up_a_branch_that_is_far_better():
    shares = []
    halves = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=17)
        pair = (
            (y + rng.normal(0, 1.6, 17))[:, None],
            (y + rng.normal(0, 0.6, 17))[:, None],
        )
        shares.append(learned(*pair, y, squared=True).share)
        halves.append(learned(*pair, y).share)
    best = 1.6**2 / (1.6**2 + 0.6**2)
    assert np.mean(shares) == pytest.approx(best, abs=0.05)
    assert np.mean(halves) < best - 0.1


def test_noise_and_too_few_rows_do_not_pay():
    rng = np.random.default_rng(0)
    y = np.random.default_rng(1).normal(size=500)
    outputs = (y + rng.normal(0, 0.1, 500))[:, None]
    noise = learned(outputs, rng.normal(size=(500, 1)), y)
    assert noise.share < 0.05
    assert learned(outputs[:4], outputs[:4], y[:4]) == Share(rows=4)
    assert not Share().pays


def test_a_probability_of_nothing_does_not_decide_alone():
    y = np.array([1, 0] * 10)
    sure = np.column_stack([np.full(20, 1e4), np.zeros(20)])
    assert row_losses(y, losses["cross_entropy"], UNITS)(sure).max() == pytest.approx(
        -np.log(1e-7)
    )


def test_rates_have_half_the_deviance_of_poisson():
    y = np.array([0.0, 2.0, 1.0])
    rates = np.array([[0.5], [1.5], [1.0]])
    poisson_losses = row_losses(y, losses["poisson"], UNITS)(rates)
    np.testing.assert_allclose(
        poisson_losses, [0.5, 1.5 - 2 + 2 * np.log(2 / 1.5), 0.0]
    )
    assert poisson_losses.mean() == pytest.approx(
        mean_poisson_deviance(y, rates[:, 0]) / 2
    )


def test_words_say_what_was_done():
    facts = {"kept": False, "label": "ridge regression", "share": 0.4, "rows": 90}
    facts |= {"loss": 0.4, "gain": -0.02, "std_error": 0.01}
    words = branch_words("linear", facts)
    assert words == (
        "linear branch (ridge regression) is left out: "
        "with it the loss of 90 held-out rows is 5.0 % larger (standard error 2.5 %)"
    )
    assert branch_words("trees", facts | {"kept": True, "gain": 0.02}).startswith(
        "tree branch (ridge regression) counts for 0.40 of the outputs: with it"
    )
