"""A blend of the network and a boosted model: its weight is right and as sure as it says, and decides what is used."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

import permgrad as pg
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError
from permgrad.evaluation.baselines.fitting import BaselineRows, boosted_model, run_baselines
from permgrad.evaluation.baselines.networks import Blend, network_guess
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.evaluation.skill import Predicted
from permgrad.models.estimators.mix import Mix
from permgrad.runs.run.others import _blended


def two_guesses(rng, rows: int, repeat: int = 1):
    """Return two guesses whose errors have variances 1 and 4, and the truth. The best weight of the first is 0.8."""
    y, *errors = (np.repeat(rng.normal(0, scale, rows // repeat), repeat) for scale in (3, 1, 2))
    return (y + errors[0], y + errors[1]), y


def needs_no_skops():
    if boosted_model() == "histogram_boosting":
        pytest.importorskip("skops")


# ---- the weight ------------------------------------------------------------------------------------------------------
def test_the_weight_follows_from_the_errors_and_its_interval_holds_it():
    held, widths = 0, []
    for seed in range(100):
        guesses, y = two_guesses(np.random.default_rng(seed), 200)
        mix = Mix.learn(guesses, y, seed=seed)
        held += mix.ci_low <= 0.8 <= mix.ci_high
        widths.append(mix.ci_high - mix.ci_low)
    assert held >= 88
    assert 0.05 < np.mean(widths) < 0.25
    guesses, y = two_guesses(np.random.default_rng(0), 20_000)
    mix = Mix.learn(guesses, y, seed=0)
    assert mix.network == mix.ci_low == pytest.approx(0.8, abs=0.02)
    assert mix.rows == 20_000


@pytest.mark.parametrize("timed", [False, True])
def test_rows_of_a_group_do_not_make_it_surer(timed):
    guesses, y = two_guesses(np.random.default_rng(1), 2000, repeat=20)
    groups = Dependence(np.repeat(np.arange(100), 20), timed=timed)
    alone, grouped = Mix.learn(guesses, y, seed=0), Mix.learn(guesses, y, seed=0, dependence=groups)
    assert 0.5 < grouped.network < alone.network
    assert grouped.ci_high - grouped.ci_low > 2 * (alone.ci_high - alone.ci_low)


def test_probabilities_are_mixed_in_the_logit():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 6000)
    y = (rng.random(6000) < expit(truth)).astype(int)

    def guess(noise: float):
        chance = np.clip(expit(truth + rng.normal(0, noise, 6000)), 1e-6, 1 - 1e-6)
        return np.column_stack([1 - chance, chance])

    both = guess(1.0), guess(1.5)
    mix = Mix.learn((both[0][:3000], both[1][:3000]), y[:3000], seed=0)
    assert 0.5 < mix.network < 1
    mixed = mix(both[0][3000:], both[1][3000:])
    mean = mix.network * logit(both[0][3000:, 1]) + (1 - mix.network) * logit(both[1][3000:, 1])
    np.testing.assert_allclose(mixed, np.column_stack([expit(-mean), expit(mean)]), rtol=1e-6)

    def loss(chances):
        return -np.log(chances[np.arange(3000), y[3000:]]).mean()

    assert loss(mixed) < min(loss(one[3000:]) for one in both) - 0.01


def test_models_that_are_equally_good_count_alike():
    rng, y = np.random.default_rng(0), np.random.default_rng(1).normal(size=200)
    mix = Mix.learn((y + rng.normal(size=200), y + rng.normal(size=200)), y, seed=0)
    assert mix.network == 0.5
    assert mix.ci_low < 0.5 < mix.ci_high


def test_too_few_rows_give_equal_weights():
    guesses, y = two_guesses(np.random.default_rng(0), 9)
    assert Mix.learn(guesses, y, seed=0) == Mix(rows=9)


# ---- the model -------------------------------------------------------------------------------------------------------
def made(rows: int, *, steps: bool):
    """Return a table whose target a network learns better, or trees: it is smooth, or stands in steps."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc"))
    truth = np.sign(frame["a"]) * np.round(frame["b"]) if steps else frame["a"] * 2 + frame["b"]
    return frame, (truth + rng.normal(0, 0.1, rows)).to_numpy()


def fitted(X, y, *, epochs: int):
    """Return a blend with a small network."""
    model = table_model("regression", "blend")
    network = pg.HyNNRegressor(preset="fast", max_epochs=epochs, random_state=0, progress=False)
    rows = network.fit_encoder(X[:600], y=y[:600])
    held = X[600:900], y[600:900]
    network.fit(rows, y[:600], eval_set=held)
    return model.fit(rows, y[:600], held, network=network)


def test_a_part_without_weight_is_neither_used_nor_saved(tmp_path):
    needs_no_skops()
    X, y = made(1200, steps=True)
    model = fitted(X, y, epochs=1)
    assert model.blend_["network"] < 0.2
    model.fitted_.model.__dict__["mix"] = Mix(network=0.0)
    model.blend_ = model.fitted_.model.facts()
    model.save(tmp_path / "model")
    assert not (tmp_path / "model" / "network").exists()
    loaded = pg.load(tmp_path / "model")
    expected = model.fitted_.model.boosted.predict(model.encode_rows(X[900:]).encoded)
    np.testing.assert_allclose(loaded.predict(X[900:]), expected)
    model.fitted_.model.__dict__["mix"] = Mix(network=1.0)
    model.blend_ = model.fitted_.model.facts()
    model.save(tmp_path / "other")
    assert not list((tmp_path / "other").glob("fitted.*"))
    expected = network_guess(model.fitted_.model.network, model.encode_rows(X[900:]).encoded)
    np.testing.assert_allclose(pg.load(tmp_path / "other").predict(X[900:]), expected)


@pytest.mark.parametrize("steps", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_on_new_rows_it_is_no_worse_than_the_better_part(steps):
    """Both parts stopped by the rows that the weight is learned from, which could have flattered one of them."""
    X, y = made(6000, steps=steps)
    model = fitted(X, y, epochs=30)
    rows, blend = model.encode_rows(X[900:]).encoded, model.fitted_.model
    parts = blend.mix.network, network_guess(blend.network, rows), np.asarray(blend.boosted.predict(rows))
    errors = [np.sqrt(np.mean((y[900:] - guess) ** 2)) for guess in (model.predict(X[900:]), *parts[1:])]
    assert errors[0] < 1.03 * min(errors[1:])
    weights = np.linspace(0, 1, 101)
    new = [np.mean((y[900:] - weight * parts[1] - (1 - weight) * parts[2]) ** 2) for weight in weights]
    assert model.blend_["ci_low"] - 0.1 <= weights[int(np.argmin(new))] <= model.blend_["ci_high"] + 0.1
    inside = model.predict_parts(X[900:], 0.9)["inside"]
    assert 0.85 < ((inside[:, 0] <= y[900:]) & (y[900:] <= inside[:, 1])).mean() < 0.95


def test_a_changed_network_is_refused(tmp_path):
    needs_no_skops()
    X, y = made(900, steps=False)
    model = fitted(X, y, epochs=10)
    assert model.blend_["network"] > 0
    model.save(tmp_path / "model")
    assert {"X", "background"}.isdisjoint(np.load(tmp_path / "model" / "arrays.npz"))
    assert len(np.load(tmp_path / "model" / "network" / "arrays.npz")["background"]) == 0
    file = tmp_path / "model" / "network" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": 5}))
    with pytest.raises(InputError, match="is damaged"):
        pg.load(tmp_path / "model").predict(X)
    model.save(tmp_path / "model", overwrite=True)
    np.testing.assert_allclose(pg.load(tmp_path / "model").predict(X), model.predict(X))


@pytest.mark.parametrize("kind", ["classes", pytest.param("numbers", marks=pytest.mark.slow)])
def test_it_is_a_competitor_like_any_other(kind):
    X, y = made(400, steps=False)
    y = y if kind == "numbers" else np.where(y > 0, "high", "low")
    model = table_model("regression" if kind == "numbers" else "classification", "linear")
    rows = model.fit_encoder(X[:300], y=y[:300])
    held = model.encode_rows(X[300:])
    parts = {
        "train": BaselineRows(rows.encoded, y[:300], source=rows),
        "validation": BaselineRows(held.encoded[:50], y[300:350], source=held.take(range(50))),
        "test": BaselineRows(held.encoded[50:], y[350:]),
    }
    found = run_baselines(model.task, parts, names=["blend", "linear"])
    assert found["blend"]["r2" if kind == "numbers" else "roc_auc"] > 0.95


# ---- auto ------------------------------------------------------------------------------------------------------------
def test_auto_blends_the_predictions_that_it_has():
    (first, second), y = two_guesses(np.random.default_rng(0), 3000)
    part = np.arange(3000) % 3
    tried = {"network": Predicted(y, first), boosted_model(): Predicted(y, second)}
    blended = _blended(tried, part, 0)
    assert np.mean((blended - y) ** 2) == pytest.approx(0.8, rel=0.08)
    # The weight of a part comes from the other parts: its own targets change nothing.
    changed = np.where(part == 0, -y, y)
    tried = {"network": Predicted(changed, first), boosted_model(): Predicted(changed, second)}
    np.testing.assert_allclose(_blended(tried, part, 0)[part == 0], blended[part == 0])
    assert _blended({"network": tried["network"]}, part, 0) is None


def test_a_blend_of_one_part_needs_only_it():
    class Trees:
        def predict(self, rows):
            return rows[:, 0]

    rows = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_array_equal(Blend(None, Trees(), "lightgbm", Mix(network=0.0)).predict(rows), rows[:, 0])
