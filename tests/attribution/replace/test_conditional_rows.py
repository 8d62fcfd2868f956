"""Conditional draws: the same for a row wherever it stands, whole for what belongs
together, other in each repeat.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.data.encode.encoding import TableEncoder

ROWS = 60
BACKGROUND = 160
PLAYERS = {
    "a number": ["number"], "a level": ["kind"], "a group": ["number", "kind", "gaps"],
    "gaps": ["gaps"], "a date": ["day"],
}  # fmt: skip


def table(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    number = rng.normal(size=rows)
    common_cause = rng.normal(size=rows)
    frame = pd.DataFrame({
        "number": 0.7 * common_cause + number,
        "kind": np.where(rng.random(rows) < 1 / (1 + np.exp(-3 * common_cause)), "high", np.where(number > 0, "low", "none")),
        "gaps": common_cause**2 + number,
        "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
        "other": common_cause,
    })  # fmt: skip
    frame.loc[rng.random(rows) < 0.25, "gaps"] = np.nan
    return frame


@pytest.fixture(scope="module")
def encoder() -> TableEncoder:
    return TableEncoder(numeric="standard").fit(table(BACKGROUND, 1))


@pytest.fixture(scope="module")
def encoded(encoder) -> tuple[np.ndarray, np.ndarray]:
    return encoder.transform(table(ROWS, 0)), encoder.transform(table(BACKGROUND, 1))


def columns_of(encoder: TableEncoder, player: str) -> np.ndarray:
    return np.concatenate([encoder.columns_of(name) for name in PLAYERS[player]])


def draw(encoder, rows, background, player, *, offset=0, which=None):
    sampler = ConditionalSampler(
        encoder, rows, background, seed=3, shared=False, row_offset=offset
    )
    row_indices = np.arange(len(rows)) if which is None else which
    return sampler.draw(player, columns_of(encoder, player), row_indices, 0)


@pytest.mark.parametrize("player", PLAYERS)
def test_a_row_gets_the_same_wherever_it_stands(encoder, encoded, player):
    rows, background = encoded
    full_draw = draw(encoder, rows, background, player)
    for start, stop in ((20, 60), (59, 60)):
        part_draw = draw(encoder, rows[start:stop], background, player, offset=start)
        np.testing.assert_array_equal(part_draw[0], full_draw[0][start:stop])
        np.testing.assert_allclose(
            part_draw[1], full_draw[1][start:stop], rtol=0, atol=1e-6
        )
    selected_rows = np.array([5, 31, 7])
    picked = draw(encoder, rows, background, player, which=selected_rows)
    np.testing.assert_array_equal(picked[0], full_draw[0][selected_rows])
    np.testing.assert_allclose(
        picked[1], full_draw[1][selected_rows], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("player", ["a number", "a level", "gaps", "a date"])
def test_repeats_seeds_and_players_draw_apart(encoder, encoded, player, shared):
    rows, background = encoded
    rows = background if shared else rows
    columns = columns_of(encoder, player)
    every = np.arange(len(rows))
    first_sampler, two = (
        ConditionalSampler(encoder, rows, background, seed=seed, shared=shared)
        for seed in (3, 4)
    )
    first = first_sampler.draw(player, columns, every, 0)[1]
    assert first.shape == (len(rows), len(columns))
    # The same columns by another name: donors are those of the name.
    other_draws = [
        first_sampler.draw(player, columns, every, 1),
        two.draw(player, columns, every, 0),
        first_sampler.draw("x", columns, every, 0),
    ]
    for other_values in (rows[:, columns], *(values for _, values in other_draws)):
        assert (np.abs(other_values - first).max(axis=1) > 1e-6).mean() > 0.15


def test_a_date_is_drawn_as_one(encoder, encoded):
    """Its numbers are those of one day of the background, however many columns it
    has.
    """
    rows, background = encoded
    columns = encoder.columns_of("day")
    assert len(columns) > 1
    drawn = draw(encoder, rows, background, "a date")[1]
    known_dates = {
        tuple(np.round(date_numbers, 5))
        for date_numbers in background[:, columns].tolist()
    }
    assert {
        tuple(np.round(date_numbers, 5)) for date_numbers in drawn.tolist()
    } <= known_dates
    assert len({tuple(date_numbers) for date_numbers in drawn.tolist()}) > 20


@pytest.mark.parametrize("player", ["gaps"])
def test_a_missing_number_is_missing_in_all_its_columns(encoder, encoded, player):
    """The indicator says so, and the number is the one that stands for it; elsewhere it
    is a number.
    """
    rows, background = encoded
    columns = columns_of(encoder, player)
    drawn = draw(encoder, rows, background, player)[1]
    mine = encoder.columns_of("gaps")
    (indicator,) = (column for column in mine if encoder.kinds_[column] == "missing")
    (number,) = (column for column in mine if encoder.kinds_[column] != "missing")
    column_positions = {
        int(column): position for position, column in enumerate(columns)
    }
    missing = drawn[:, column_positions[indicator]] == background[:, indicator].max()
    filled = background[
        background[:, indicator] == background[:, indicator].max(), number
    ]
    assert np.ptp(filled) == 0, "one number stands for all that are missing"
    np.testing.assert_allclose(
        drawn[missing, column_positions[number]], filled[0], rtol=0, atol=1e-6
    )
    assert 0.1 < missing.mean() < 0.45
    assert (
        len(np.unique(drawn[~missing, column_positions[number]]))
        > 0.8 * (~missing).sum()
    )


@pytest.mark.slow
def test_levels_of_a_group_are_levels_that_there_are(encoder, encoded):
    rows, background = encoded
    columns = columns_of(encoder, "a group")
    drawn = draw(encoder, rows, background, "a group")[1]
    levels = encoder.columns_of("kind")
    level_positions = [int(np.flatnonzero(columns == column)[0]) for column in levels]
    known_levels = {
        tuple(level_code) for level_code in np.round(background[:, levels], 5).tolist()
    }
    assert {
        tuple(level_code)
        for level_code in np.round(drawn[:, level_positions], 5).tolist()
    } == known_levels


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.slow
def test_values_drawn_for_repeated_rows_stay_near_the_data():
    rng = np.random.default_rng(0)
    group = rng.random(150) < 0.5
    x = np.where(group, 3 + rng.normal(size=150), 0.5 * rng.normal(size=150))
    again = np.repeat(np.arange(150), np.where(group, 1, 9))
    rows = np.column_stack([x, group, rng.normal(size=150)])[again]
    y = (x + 0.3 * rng.normal(size=150))[again]
    for seed in range(3):
        options = {
            "task": "regression",
            "sampling": "conditional",
            "random_state": seed,
            "progress": False,
        }
        explanation = explain_with(
            lambda table: np.asarray(table)[:, 0], rows, y, **options
        )
        assert (
            explanation.values[0, 0] < 4 * y.var()
        )  # independent values have twice the variance


def test_a_feature_that_is_always_the_same_stays_so_and_is_not_called_determined():
    frame = pd.DataFrame(
        {"a": np.random.default_rng(0).normal(size=100), "kind": list("uv") * 50}
    )
    encoder = TableEncoder(numeric="standard").fit(frame)
    background = encoder.transform(frame[frame["kind"] == "u"])
    sampler = ConditionalSampler(
        encoder, encoder.transform(frame), background, seed=0, shared=False
    )
    columns = encoder.columns_of("kind")
    drawn = sampler.draw("kind", columns, np.arange(100), 0)[1]
    np.testing.assert_array_equal(drawn, encoder.transform(frame)[:, columns])
    assert sampler.not_identifiable == []
