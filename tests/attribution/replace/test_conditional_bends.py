"""Conditional draws where features depend on each other along curves and surfaces, and
a word where they do not fit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.data.encode.encoding import TableEncoder

ROWS = 600


def draw(frame: pd.DataFrame, player: str) -> tuple[np.ndarray, ConditionalSampler]:
    """Return new values of a player in the units of the frame, and the sampler."""
    encoder = TableEncoder(numeric="standard").fit(frame)
    encoded = encoder.transform(frame)
    sampler = ConditionalSampler(encoder, encoded, encoded, seed=3, shared=True)
    columns = encoder.columns_of(player)
    drawn = np.concatenate(
        [
            sampler.draw(player, columns, np.arange(len(frame)), repeat)[1]
            for repeat in range(3)
        ]
    )
    slope, level = np.polyfit(
        encoded[:, columns[0]].astype(float), frame[player].to_numpy(float), 1
    )
    return slope * drawn[:, 0].astype(float) + level, sampler


def others(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 4)), rng


MEANS = {
    "wave": lambda a, b, c: np.sin(2.5 * a),
    "product": lambda a, b, c: a * b,
    "three": lambda a, b, c: a * b * c / 2,
    "steep": lambda a, b, c: np.exp(0.8 * a) + np.abs(b),
}


@pytest.mark.parametrize("kind", MEANS)
def test_draws_follow_the_mean_of_any_smooth_kind(kind):
    """What a draw misses of the mean is small beside the noise, so that it does not
    look like an effect.
    """
    x, rng = others()
    mean = MEANS[kind](*x.T[:3])
    noise = 0.3
    frame = pd.DataFrame(x, columns=list("abcd")).assign(
        bent=mean + noise * rng.normal(size=ROWS)
    )
    new, sampler = draw(frame, "bent")
    line = np.column_stack([np.ones(ROWS), x])
    assert (mean - line @ np.linalg.lstsq(line, mean, rcond=None)[0]).std() > noise, (
        "a line would not do"
    )
    missed = new - np.tile(mean, 3)
    # Beside the noise itself there is little, also in the rows that lie far out.
    assert np.sqrt((missed**2).mean()) < 1.15 * noise
    assert sampler.residuals_dependent == []


def test_draws_spread_where_the_number_does():
    x, rng = others()
    spread = np.exp(0.8 * x[:, 0])
    frame = pd.DataFrame(x, columns=list("abcd")).assign(
        bent=x[:, 1] + spread * rng.normal(size=ROWS)
    )
    new, sampler = draw(frame, "bent")
    size = np.abs(new - np.tile(x[:, 1], 3))
    low, high = (np.tile(row_mask, 3) for row_mask in (x[:, 0] < -0.8, x[:, 0] > 0.8))
    truth = spread[x[:, 0] > 0.8].mean() / spread[x[:, 0] < -0.8].mean()
    assert truth > 4
    assert 0.5 * truth < size[high].mean() / size[low].mean() < 1.5 * truth
    assert sampler.residuals_dependent == []


def test_levels_follow_a_surface():
    x, rng = others(1200)
    yes = rng.random(1200) < 1 / (1 + np.exp(-2.5 * x[:, 0] * x[:, 1]))
    frame = pd.DataFrame(x, columns=list("abcd")).assign(
        bent=np.where(yes, "yes", "no")
    )
    encoder = TableEncoder(numeric="standard").fit(frame)
    encoded = encoder.transform(frame)
    sampler = ConditionalSampler(encoder, encoded, encoded, seed=3, shared=True)
    columns = encoder.columns_of("bent")
    new = sampler.draw("bent", columns, np.arange(1200), 0)[1][:, 0]
    old = encoded[:, columns[0]]
    for side in (x[:, 0] * x[:, 1] > 0.7, x[:, 0] * x[:, 1] < -0.7):
        assert new[side].mean() == pytest.approx(
            old[side].mean(), abs=0.1 * float(np.ptp(old))
        )
    assert sampler.residuals_dependent == []


@pytest.mark.slow
def test_a_number_of_few_values_is_drawn_as_one_of_them():
    x, rng = others()
    grade = np.clip(np.round(x[:, 0] + 0.5 * rng.normal(size=ROWS)), -2, 2)
    new, _ = draw(pd.DataFrame(x, columns=list("abcd")).assign(bent=grade), "bent")
    assert set(np.round(new, 3)) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert np.corrcoef(new, np.tile(x[:, 0], 3))[0, 1] > 0.8


def test_what_no_model_follows_is_named():
    """Two clusters whose shares follow another column: a mean, a spread and a residual
    do not make them.
    """
    x, rng = others()
    frame = pd.DataFrame(x[:, :3], columns=list("abc")).assign(
        bent=rng.normal(size=ROWS)
    )
    assert draw(frame, "bent")[1].residuals_dependent == []
    upper = rng.random(ROWS) < 1 / (1 + np.exp(-3 * x[:, 0]))
    new, sampler = draw(
        frame.assign(bent=np.where(upper, 2, -2) + 0.3 * rng.normal(size=ROWS)), "bent"
    )
    assert sampler.residuals_dependent == ["bent"]
    assert (np.abs(new) < 1).mean() > 0.05, "rows that cannot occur are drawn"


# ---- a network of one's own ----------------------------------------------------------


class Leaning(torch.nn.Module):
    """Predicts a² half by a, half by a feature that follows a² and is irrelevant given
    it.
    """

    def forward(self, x):
        return (x[:, :1] ** 2 + x[:, 2:3]) / 2 + x[:, 1:2]


def leaning(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    y = x[:, 0] ** 2 + x[:, 1] + 0.5 * rng.normal(size=rows)
    x[:, 2] = x[:, 0] ** 2 + 0.5 * x[:, 2]
    return x.astype(np.float32), y


def explain(x, y, network=None, **options):
    call_options = {
        "method": "permutation",
        "n_repeats": 5,
        "random_state": 0,
        "progress": False,
    } | options
    return explain_with(
        network or Leaning(), x, y, sampling="conditional", **call_options
    )


@pytest.mark.slow
def test_own_networks_do_not_reject_a_proxy_given_what_it_stands_for():
    p_values = []
    for seed in range(12):
        explanation = explain(*leaning(seed=seed))
        assert explanation.p_values[1, 0] < 1e-6
        assert explanation.meta["sampling"] == "conditional"
        assert explanation.meta["not_identifiable"] == []
        p_values.append(explanation.p_values[2, 0])
    assert (np.array(p_values) < 0.05).mean() <= 0.25
    marginal = pg.explain(
        Leaning(), *leaning(), method="permutation", random_state=0, progress=False
    )
    assert marginal.p_values[2, 0] < 1e-6, "precondition: the network leans on it"


def test_groups_of_an_own_network_are_drawn_as_one():
    x, y = leaning()
    names = explain(x, y).names
    explanation = explain(x, y, groups={"bent": [names[0], names[2]]})
    assert explanation.names[:1] == ("bent",)
    assert explanation.p_values[0, 0] < 1e-6
    assert explanation.values[0, 0] > explain(x, y).values[0, 0]


def test_own_networks_draw_the_same_in_any_batch_and_leave_inputs_alone():
    x, y = leaning()
    before = x.copy()
    full_explanation, batched_explanation = (
        explain(x, y, batch_size=size) for size in ("auto", 37)
    )
    np.testing.assert_allclose(
        full_explanation.values, batched_explanation.values, rtol=1e-5
    )
    np.testing.assert_array_equal(x, before)
    separate = explain(x, y, background=leaning(seed=1)[0])
    assert separate.p_values[1, 0] < 1e-6 < separate.p_values[2, 0]
    local = explain(x, y, scope="local")
    assert local.values.shape[:2] == (ROWS, 3)


def test_misfitting_draws_are_said_in_meta_and_in_a_warning():
    x, y = leaning()
    rng = np.random.default_rng(9)
    upper = rng.random(ROWS) < 1 / (1 + np.exp(-3 * x[:, 1]))
    x[:, 2] = np.where(upper, 2, -2) + 0.3 * rng.normal(size=ROWS)
    with pytest.warns(pg.PermgradWarning, match="do not fit the other columns"):
        explanation = explain(x, y)
    assert explanation.names[2] in explanation.meta["residuals_dependent"]


def test_networks_without_a_table_are_refused():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(1))
    rows = np.zeros((30, 3, 4))
    network(torch.zeros(rows.shape))
    with pytest.raises(pg.InputError, match="needs a network with one input of floats"):
        explain(rows.astype(np.float32), np.zeros(30), network)
