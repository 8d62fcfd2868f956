"""Equal replacements are computed once: what is asked of the network, and that nothing
else changes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from hypothesis import given, settings
from hypothesis import strategies as st

import permgrad as pg
from permgrad.attribution.replace import engine, game
from permgrad.models.fast.replacement import ReplacementEngine


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    rows=st.integers(0, 9),
    repeats=st.integers(1, 6),
    columns=st.integers(1, 3),
    levels=st.integers(1, 5),
)
def test_every_draw_finds_its_value_and_nothing_is_asked_twice(
    seed, rows, repeats, columns, levels
):
    rng = np.random.default_rng(seed)
    row_values = rng.integers(0, levels, (rows, columns)).astype(np.float32)
    drawn = [
        rng.integers(0, levels, (rows, columns)).astype(np.float32)
        for _ in range(repeats)
    ]
    pair_rows, pair_values, pair_places = engine.distinct_pairs(row_values, drawn)
    for values, pair_index in zip(drawn, pair_places, strict=True):
        for row in range(rows):
            if pair_index[row] < 0:
                assert (values[row] == row_values[row]).all()
            else:
                assert pair_rows[pair_index[row]] == row
                assert (pair_values[pair_index[row]] == values[row]).all()
    requested_pairs = [
        (int(row), *values)
        for row, values in zip(pair_rows, pair_values.tolist(), strict=True)
    ]
    assert len(set(requested_pairs)) == len(requested_pairs)
    assert all(
        tuple(row_values[row]) != values
        for row, *pair_numbers in requested_pairs
        for values in [tuple(pair_numbers)]
    )
    assert (np.diff(pair_rows) >= 0).all()


def test_a_value_that_is_not_a_number_is_no_value_of_its_own():
    nothing = np.full((2, 1), np.nan, dtype=np.float32)
    assert len(engine.distinct_pairs(nothing, [nothing, nothing])[0]) == 4


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "flag": rng.integers(0, 2, 240).astype(float),
            "count": rng.poisson(1.5, 240).astype(float),
            "colour": rng.choice(["red", "green", "blue"], 240),
            "size": rng.normal(size=240),
        }
    )
    y = (
        frame["flag"] + frame["count"] + (frame["colour"] == "red") + frame["size"]
        > 2.5
    ).astype(int)
    return (
        pg.HyNNClassifier(preset="fast", max_epochs=3, random_state=0).fit(frame, y),
        frame,
        y,
    )


@pytest.mark.parametrize("paths", [("tabular", "image"), ("tabular",)])
def test_the_same_as_if_every_draw_were_computed(fitted, monkeypatch, paths):
    model, frame, y = fitted
    if paths == ("tabular",):
        model = pg.HyNNClassifier(
            preset="fast", branches=paths, max_epochs=3, random_state=0
        ).fit(frame, y)
    replaced_counts = []
    plain = ReplacementEngine.replace

    def counted(self, block, start, stop, columns, values, *rest):
        replaced_counts.append(len(values))
        return plain(self, block, start, stop, columns, values, *rest)

    def all_of_them(own, drawn):
        values = np.stack(drawn, axis=1)
        count, repeats, columns = values.shape
        pair_index = np.arange(count * repeats).reshape(count, repeats)
        return (
            np.arange(count).repeat(repeats),
            values.reshape(-1, columns),
            tuple(pair_index.T),
        )

    monkeypatch.setattr(ReplacementEngine, "replace", counted)
    options = {"n_repeats": 6, "random_state": 0, "progress": False, "direction": False}
    once = explain_with(model, frame, y, **options)
    few = sum(replaced_counts)
    replaced_counts.clear()
    monkeypatch.setattr(engine, "distinct_pairs", all_of_them)
    every = explain_with(model, frame, y, **options)
    # Precondition: there is something to save, and the plain way asks for every pair.
    assert sum(replaced_counts) == 4 * 6 * 240
    assert few < 0.75 * sum(replaced_counts)
    scale = np.log(2)
    np.testing.assert_allclose(once.values, every.values, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(
        once.std_error, every.std_error, rtol=0, atol=1e-6 * scale
    )


def test_rounds_of_repeats_prepare_their_rows_once(fitted, monkeypatch):
    model, frame, y = fitted
    rounds = []
    prepared = []
    play = game.Game.play
    prepare = ReplacementEngine.prepare

    def played(self, plays, repeats, *rest):
        rounds.append(repeats)
        return play(self, plays, repeats, *rest)

    def noted(self, encoded, **options):
        if (
            len(encoded) > 1
        ):  # one row alone is prepared to see how much memory it takes
            prepared.append(options.get("light", False))
        return prepare(self, encoded, **options)

    monkeypatch.setattr(game.Game, "play", played)
    monkeypatch.setattr(ReplacementEngine, "prepare", noted)
    pg.explain(
        model,
        frame,
        y,
        method=pg.methods.Permutation(tolerance=1e-9),
        n_repeats=12,
        random_state=0,
        progress=False,
    )
    assert len(rounds) > 1, "the interval is not narrow after the first"
    assert prepared.count(False) == 1
