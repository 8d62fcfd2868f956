"""Weights of rows: in summaries of local explanations, where all but one vanish, and
beside several outputs.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from scipy import stats
from torch import nn

import permgrad as pg
from permgrad.attribution.explanation.statistics import mean_over_rows

ROWS = torch.randn(
    40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
)
TIMES = np.random.default_rng(0).integers(0, 4, len(ROWS))
BACKGROUND = ROWS[:15]


def network(outputs: int = 2) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, outputs)).double()


NET = network()


class Sum(nn.Module):
    """Two inputs that do not interact, so that each one's values are the same whoever
    else plays.
    """

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [a[:, 0] * a[:, 1] + b.prod(dim=1), b[:, 0] ** 3 - a.sin().sum(dim=1)],
            dim=1,
        )


# ---- values that are set -------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 0.37])
def test_typical_values_are_those_of_repeated_rows(factor):
    """Weights that are no whole numbers come near them: 16 rows stand for each row."""
    rng = np.random.default_rng(2)
    rows = np.column_stack([rng.exponential(size=(61, 2)), rng.integers(0, 3, 61)])
    times = rng.integers(0, 5, 61)
    often = np.repeat(rows, times, axis=0)
    assert len(often) <= 16 * len(rows)
    call_options = {"method": "ablation", "progress": False, "random_state": 0}

    def model(table):
        return np.exp(table[:, 0]) + table[:, 1] * table[:, 2]

    weighted = explain_with(
        model,
        rows,
        model(rows) + rows[:, 1],
        sample_weight=factor * times,
        **call_options,
    )
    repeated = explain_with(model, often, model(often) + often[:, 1], **call_options)
    even = explain_with(model, rows, model(rows) + rows[:, 1], **call_options)
    np.testing.assert_allclose(
        weighted.values, repeated.values, rtol=1e-9 if factor == 1 else 0.05
    )
    assert not np.allclose(even.values, repeated.values, rtol=0.1)


# ---- summaries of local explanations -------------------------------------------------


@pytest.mark.parametrize("how", ["mean_abs", "mean", "sum_l1"])
@pytest.mark.parametrize("method", ["gradient", "shapley", "lime"])
def test_a_weight_is_rows_that_stand_there_more_often(method, how):
    call_options = {
        "method": method,
        "background": BACKGROUND,
        "progress": False,
        "random_state": 0,
    }
    weighted = explain_with(
        NET, ROWS, sample_weight=TIMES.astype(float), **call_options
    ).to_global(how)
    plain = explain_with(NET, ROWS, **call_options)
    repeated = np.repeat(plain.values, TIMES, axis=0)
    per_row = np.abs(repeated) if how == "mean_abs" else repeated
    expected = per_row.mean(axis=0)
    if how == "sum_l1":
        expected = expected / np.abs(expected).sum(axis=0)
    np.testing.assert_allclose(weighted.values, expected, atol=1e-12)
    assert not np.allclose(weighted.values, plain.to_global(how).values, atol=1e-3)
    if plain.parts and how == "mean":
        assert all(len(part_values) == 4 for part_values in weighted.parts.values())
    assert "sample_weight" not in weighted.meta


@pytest.mark.parametrize("how", ["mean_abs", "mean", "sum_l1"])
def test_weights_count_where_each_input_has_a_method_of_its_own(how):
    net = Sum()
    inputs, background_inputs = (
        {"a": table[:, :2], "b": table[:, 2:]} for table in (ROWS, BACKGROUND)
    )
    call_options = {
        "background": background_inputs,
        "progress": False,
        "random_state": 0,
        "sample_weight": TIMES.astype(float),
    }
    joint_explanation = explain_with(net, inputs, method="shapley", **call_options)
    mixed_explanation = explain_with(
        net, inputs, method={"a": "shapley", "b": "shapley"}, **call_options
    )
    assert mixed_explanation.method == "mixed"
    np.testing.assert_allclose(
        mixed_explanation.values, joint_explanation.values, atol=1e-12
    )
    for name in ("values", "std_error", "low", "high"):
        np.testing.assert_allclose(
            getattr(mixed_explanation.to_global(how), name),
            getattr(joint_explanation.to_global(how), name),
            atol=1e-12,
        )


def test_weights_stay_with_their_rows_through_a_file(tmp_path):
    call_options = {"method": "gradient", "background": BACKGROUND, "progress": False}
    explanation = explain_with(
        NET, ROWS, sample_weight=TIMES.astype(float), **call_options
    )
    explanation.save(tmp_path / "e")
    again = pg.Explanation.load(tmp_path / "e")
    np.testing.assert_array_equal(
        again.to_global().values, explanation.to_global().values
    )


def test_members_of_an_aggregate_are_weighted_alike():
    """Zero weights are rows left out, for members that explain rows and for members
    that explain losses.
    """
    y = NET(ROWS).detach().argmax(dim=1).numpy()
    kept_mask = np.arange(len(ROWS)) < 20
    call_options = {
        "method": "aggregate",
        "background": BACKGROUND,
        "members": ("gradient", "lime"),
        "progress": False,
    }
    weighted = explain_with(
        NET,
        ROWS,
        y,
        sample_weight=kept_mask.astype(float),
        random_state=0,
        **call_options,
    )
    alone = explain_with(NET, ROWS[:20], y[:20], random_state=0, **call_options)
    np.testing.assert_allclose(weighted.values[:, 0], alone.values[:, 0], atol=1e-10)
    full_explanation = explain_with(NET, ROWS, y, random_state=0, **call_options)
    assert np.abs(full_explanation.values[:, 0] - alone.values[:, 0]).max() > 1e-3


# ---- the mean and its error ----------------------------------------------------------


def test_equal_weights_give_the_usual_error_and_few_rows_wide_intervals():
    values = np.random.default_rng(1).normal(size=(4, 5))
    mean, std, size = mean_over_rows(values)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(std, values.std(axis=0, ddof=1) / np.sqrt(4))
    np.testing.assert_allclose(size, 4)
    np.testing.assert_allclose(mean_over_rows(values, np.full(4, 0.7))[1], std)
    summary = pg.explain(
        NET, ROWS[:4], method="gradient", background=BACKGROUND, progress=False
    ).to_global()
    np.testing.assert_allclose(
        summary.high - summary.values, stats.t(3).ppf(0.975) * summary.std_error
    )
    assert np.isnan(mean_over_rows(values[:3])[1]).all(), "no error below four rows"


@pytest.mark.parametrize("weights", [[1.0, 0.0, 0.0], [1.0, 1e-18, 1e-18]])
def test_a_single_row_that_counts_has_no_error(weights):
    mean, std, _ = mean_over_rows(np.array([[1.0], [2.0], [3.0]]), np.array(weights))
    np.testing.assert_allclose(mean, [1.0])
    assert np.isnan(std).all()
    assert np.isnan(mean_over_rows(np.zeros((0, 2)))[0]).all()


@pytest.mark.parametrize("method", ["permgrad", "permutation", "shapley"])
def test_weights_that_all_but_vanish_are_no_error(method):
    y = np.arange(len(ROWS)) % 2
    weights = np.r_[1.0, np.full(len(ROWS) - 1, 1e-18)]
    call_options = {
        "method": method,
        "scope": "global",
        "background": BACKGROUND,
        "progress": False,
        "n_repeats": 2,
    }
    explanation = explain_with(
        NET, ROWS, y, sample_weight=weights, random_state=0, **call_options
    )
    assert np.isfinite(explanation.values[:, 0]).all()
    assert np.isnan(explanation.std_error[:, 0]).any()


# ---- several outputs -----------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, len(ROWS))])
def test_the_loss_scale_of_several_outputs_is_the_mean_of_theirs(loss, weights):
    y = np.stack([ROWS[:, 0].numpy(), 3 * ROWS[:, 1].numpy() + 1000], axis=1)
    call_options = {
        "method": "permutation",
        "n_repeats": 1,
        "progress": False,
        "loss": loss,
        "sample_weight": weights,
    }
    joint_scale = explain_with(NET, ROWS, y, task="regression", **call_options).meta[
        "loss_scale"
    ]
    alone = [
        explain_with(NET, ROWS, y, target=k, task="regression", **call_options).meta["loss_scale"] for k in (0, 1)
    ]  # fmt: skip
    usual = np.ones(len(ROWS)) if weights is None else weights
    if loss == "squared_error":
        spread = [np.cov(y[:, k], aweights=usual, ddof=0) for k in (0, 1)]
        np.testing.assert_allclose(alone, spread)
    np.testing.assert_allclose(joint_scale, np.mean(alone))
    assert alone[1] > 2 * alone[0] > 0


# ---- options that are none -----------------------------------------------------------


@pytest.mark.parametrize(("options", "words"), [
    ({"method": "ablation", "baseline": np.zeros((1, 4))}, ("baseline must be one of "
                                                           "'typical', 'zeros'")),
    ({"method": "shapley", "blocks": ["flat"]}, "blocks must be one of"),
    ({"scale": np.array(["logit", "logit"])}, "scale must be one of"),
    ({"sampling": None}, "sampling must be one of"),
    ({"method": "permutation", "tolerance": "x"}, ("tolerance must be a finite number "
                                                  "of at least 0")),
    ({"method": "permutation", "tolerance": -1}, ("tolerance must be a finite number "
                                                  "of "
                                                 "at least 0")),
    ({"method": "permgrad", "tolerance": float("nan")}, ("tolerance must be a finite "
                                                        "number of at least 0")),
])  # fmt: skip
def test_options_that_are_none_are_refused_in_a_sentence(options, words):
    with pytest.raises(pg.InputError, match=words):
        explain_with(NET, ROWS, np.arange(len(ROWS)) % 2, progress=False, **options)


def test_a_ranking_is_that_of_the_weighted_summary():
    net = nn.Linear(2, 1, bias=False).double()
    nn.init.ones_(net.weight)
    rows = torch.zeros(20, 2, dtype=torch.float64)
    rows[:10, 0] = 3.0
    rows[10:, 1] = 2.0
    call_options = {
        "method": "shapley",
        "background": torch.zeros(3, 2, dtype=torch.float64),
        "progress": False,
    }
    plain = explain_with(net, rows, **call_options)
    weighted = explain_with(
        net, rows, sample_weight=np.repeat([0.01, 1.0], 10), **call_options
    )
    assert plain.ranking() == plain.to_global().ranking() == list(plain.names)
    assert (
        weighted.ranking() == weighted.to_global().ranking() == list(plain.names)[::-1]
    )
