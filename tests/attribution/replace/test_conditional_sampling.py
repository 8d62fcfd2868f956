"""Conditional replacement: new values fit the rest of the row, and say nothing of the
value they replace.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.attribution.replace.conditional_models import of_levels
from permgrad.attribution.request import methods
from permgrad.base.errors import InputError
from permgrad.data.encode.encoding import TableEncoder

ROWS = 1500


def sampler_for(frame, *, shared=True, background=None):
    encoder = TableEncoder(numeric="standard").fit(frame)
    encoded = encoder.transform(frame)
    encoded_background = (
        encoded if background is None else encoder.transform(background)
    )
    return (
        encoder,
        encoded,
        ConditionalSampler(encoder, encoded, encoded_background, seed=3, shared=shared),
    )


def draw(sampler, encoder, player, columns=None, repeat=0):
    columns = encoder.columns_of(player) if columns is None else columns
    return sampler.draw(
        player, np.asarray(columns), np.arange(len(sampler.encoded)), repeat
    )


def correlated(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    return pd.DataFrame(
        {"a": a, "b": 0.8 * a + 0.6 * rng.normal(size=rows), "c": rng.normal(size=rows)}
    )


@pytest.mark.parametrize("shared", [True, False])
def test_numbers_keep_their_place_among_the_others_and_forget_themselves(shared):
    frame = correlated()
    encoder, encoded, sampler = sampler_for(
        frame, shared=shared, background=None if shared else correlated(seed=1)
    )
    new = draw(sampler, encoder, "b")[1][:, 0]
    old = encoded[:, encoder.columns_of("b")[0]]
    a = encoded[:, encoder.columns_of("a")[0]]
    correlation = np.corrcoef(old, a)[0, 1]
    assert correlation > 0.7
    assert np.corrcoef(new, a)[0, 1] == pytest.approx(correlation, abs=0.05)
    assert new.std() == pytest.approx(old.std(), rel=0.05)
    residual = [
        values - np.polyval(np.polyfit(a, values, 1), a) for values in (new, old)
    ]
    assert abs(np.corrcoef(*residual)[0, 1]) < 0.08


def test_curved_dependence_is_followed():
    rng = np.random.default_rng(2)
    a = rng.normal(size=ROWS)
    frame = pd.DataFrame({"a": a, "b": a**2 + 0.2 * rng.normal(size=ROWS)})
    encoder, encoded, sampler = sampler_for(frame)
    new = draw(sampler, encoder, "b")[1][:, 0]
    truth = encoded[:, encoder.columns_of("b")[0]]
    assert np.corrcoef(new, a**2)[0, 1] > 0.9
    assert np.corrcoef(truth, a)[0, 1] ** 2 < 0.1  # a line would not do


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_group_is_drawn_as_one(shared):
    # Twins that follow each other more closely than anything else does: new values must
    # be twins too.
    rng = np.random.default_rng(4)

    def table(seed):
        frame = correlated(seed=seed)
        frame["twin"] = frame["b"] + 0.05 * rng.normal(size=ROWS)
        frame["sign"] = np.where(frame["b"] > 0, "high", "low")
        return frame

    encoder, encoded, sampler = sampler_for(
        table(0), shared=shared, background=None if shared else table(1)
    )
    columns = np.concatenate(
        [encoder.columns_of(name) for name in ("b", "twin", "sign")]
    )
    new = draw(sampler, encoder, "family", columns)[1]
    old = encoded[:, columns]
    a = encoded[:, encoder.columns_of("a")[0]]
    assert np.std(new[:, 0] - new[:, 1]) < 0.3 * np.std(new[:, 0] - old[:, 0])
    assert np.corrcoef(new[:, 0], a)[0, 1] == pytest.approx(
        np.corrcoef(old[:, 0], a)[0, 1], abs=0.06
    )
    assert abs(np.corrcoef(new[:, 2], new[:, 0])[0, 1]) == pytest.approx(
        abs(np.corrcoef(old[:, 2], old[:, 0])[0, 1]), abs=0.1
    )
    residual = [
        values[:, 1] - np.polyval(np.polyfit(a, values[:, 1], 1), a)
        for values in (new, old)
    ]
    assert abs(np.corrcoef(*residual)[0, 1]) < 0.1


def test_categories_follow_the_rest_of_the_row():
    rng = np.random.default_rng(5)
    a = rng.normal(size=ROWS)
    level = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-2 * a)), "yes", "no")
    frame = pd.DataFrame({"a": a, "level": level, "c": rng.normal(size=ROWS)})
    encoder, encoded, sampler = sampler_for(frame)
    donors, new = draw(sampler, encoder, "level")
    old = encoded[:, encoder.columns_of("level")]
    assert (donors == -1).all()
    for side in (a > 1, a < -1, np.abs(a) < 0.3):
        np.testing.assert_allclose(
            new[side].mean(axis=0), old[side].mean(axis=0), atol=0.12
        )
    middle = np.abs(a) < 0.3
    assert abs(np.corrcoef(new[middle, 0], old[middle, 0])[0, 1]) < 0.2


@pytest.mark.slow
def test_features_that_the_others_determine_are_named():
    rng = np.random.default_rng(6)
    frame = correlated()
    frame["sum"] = frame["a"] + frame["c"]
    frame["city"] = rng.choice(["Oslo", "Rome", "Bonn"], size=ROWS)
    frame["country"] = frame["city"].map(
        {"Oslo": "Norway", "Rome": "Italy", "Bonn": "Germany"}
    )
    encoder, _, sampler = sampler_for(frame)
    for name in frame.columns:
        draw(sampler, encoder, name)
    assert set(sampler.not_identifiable) == {"a", "c", "sum", "city", "country"}


def test_missing_values_come_and_go_and_no_row_lends_to_itself():
    rng = np.random.default_rng(7)
    frame = correlated(400)
    frame.loc[rng.random(400) < 0.3, "b"] = np.nan
    encoder, encoded, sampler = sampler_for(frame)
    columns = encoder.columns_of("b")
    indicator = int(
        np.flatnonzero([encoder.kinds_[c] == "missing" for c in columns])[0]
    )
    shares = []
    for repeat in range(30):
        donors, new = draw(sampler, encoder, "b", repeat=repeat)
        lent = donors >= 0
        assert not (donors[lent] == np.flatnonzero(lent)).any()
        assert not frame["b"].isna().to_numpy()[donors[lent]].any()
        shares.append(
            (new[:, indicator] != encoded[:, columns[indicator]].min()).mean()
        )
    assert np.mean(shares) == pytest.approx(frame["b"].isna().mean(), abs=0.03)


def test_one_row_gets_the_same_draw_as_among_all():
    encoder, _, sampler = sampler_for(correlated())
    columns = encoder.columns_of("b")
    donors, values = sampler.draw("b", columns, np.arange(ROWS), 2)
    selected_rows = np.array([3, 700, 1200])
    few_donors, few = sampler.draw("b", columns, selected_rows, 2)
    np.testing.assert_array_equal(few_donors, donors[selected_rows])
    np.testing.assert_allclose(few, values[selected_rows], rtol=1e-6)


@pytest.mark.slow
def test_small_backgrounds_leave_no_fold_empty():
    frame = correlated(20)
    frame["level"] = ["u", "v"] * 10
    for seed in range(8):
        encoder = TableEncoder(numeric="standard").fit(frame)
        encoded = encoder.transform(frame)
        sampler = ConditionalSampler(encoder, encoded, encoded, seed=seed, shared=True)
        assert np.isfinite(draw(sampler, encoder, "b")[1]).all()
        assert np.isfinite(draw(sampler, encoder, "level")[1]).all()


def test_a_background_of_few_rows_is_refused():
    frame = correlated(11)
    with pytest.raises(InputError) as caught:
        sampler_for(frame)
    message = str(caught.value)
    assert message.startswith("sampling='conditional' needs at least ")
    assert "got 11. Pass background= with more rows, or leave sampling= out" in message


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["number", "level"])
def test_where_nothing_else_is_known_values_are_drawn_as_they_are(kind, shared):
    rng = np.random.default_rng(5)
    values = (
        rng.normal(3, 2, 400)
        if kind == "number"
        else rng.choice(["u", "v", "w"], 400, p=[0.6, 0.3, 0.1])
    )
    frame = pd.DataFrame({"only": values})
    encoder, encoded, sampler = sampler_for(
        frame, shared=shared, background=None if shared else frame
    )
    new = draw(sampler, encoder, "only")[1]
    assert (new != encoded[:, encoder.columns_of("only")]).any(axis=1).mean() > 0.2
    np.testing.assert_allclose(new.mean(axis=0), encoded.mean(axis=0), atol=0.2)
    np.testing.assert_allclose(new.std(axis=0), encoded.std(axis=0), atol=0.2)
    if not shared:
        # The fitted models serve other receivers, which get values from the same
        # distribution.
        moved = sampler.moved_to(np.tile(encoded, (2, 1)), 400)
        moved_values = draw(moved, encoder, "only")[1]
        assert moved_values.shape == (800, encoded.shape[1])
        np.testing.assert_allclose(
            moved_values.mean(axis=0), encoded.mean(axis=0), atol=0.2
        )
        np.testing.assert_allclose(
            moved_values.std(axis=0), encoded.std(axis=0), atol=0.2
        )


def test_a_fold_with_one_level_has_it_for_certain():
    """Where a fold's other rows all have one level nothing is fitted: the level gets
    all of the probability.
    """
    predict = of_levels(np.zeros((9, 2)), np.full(9, 2), 4, 1.0)
    np.testing.assert_array_equal(predict(np.ones((3, 2))), [[0.0, 0.0, 1.0, 0.0]] * 3)


@pytest.mark.slow
def test_every_method_that_takes_it_follows_it():
    """A method registered later must not pass over it in silence."""
    X = correlated(80)
    model = pg.HyNNRegressor(
        preset="fast", image="always", max_epochs=2, random_state=0
    ).fit(X, X["a"])
    taking = [
        name for name in sorted(methods) if "sampling" in methods.get(name).options
    ]
    common_options = {"random_state": 0, "progress": False, "n_repeats": 2}
    for method in taking:
        explanation = explain_with(
            model, X, X["a"], method=method, sampling="conditional", **common_options
        )
        assert not np.array_equal(
            explanation.values,
            explain_with(model, X, X["a"], method=method, **common_options).values,
        ), method
    assert taking == ["permgrad", "permutation", "shapley"]
