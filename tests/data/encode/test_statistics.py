"""Statistics are the same whatever the chunks and their order."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad import InputError
from permgrad.data.encode.table_statistics import (
    LevelCounts,
    NumericStatistics,
    TableStatistics,
)
from permgrad.data.read.cells import Distinct, MissingCodes
from permgrad.data.types.column_types import infer_schema


def make_frame(n=500, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "big": 1e9 + rng.normal(size=n),
            "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.exponential(size=n)),
            "coded": rng.choice([-9, -8, 1, 2, 3], n),
            "flag": rng.integers(0, 2, n),
            "town": rng.choice(["a", "b", "c", None], n),
            "when": pd.Timestamp("2019-11-05")
            + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
        }
    )


@given(
    cuts=st.lists(st.integers(0, 500), max_size=6),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None)
def test_chunks_and_their_order_do_not_matter(cuts, order):
    frame = make_frame()
    schema = infer_schema(frame, na=[-9, -8])
    whole_statistics = TableStatistics(schema, na=[-9, -8]).update(frame)
    bounds = sorted({0, 500, *cuts})
    chunk_bounds = list(itertools.pairwise(bounds))
    order.shuffle(chunk_bounds)
    merged = TableStatistics(schema, na=[-9, -8])
    for start, end in chunk_bounds:
        merged.update(frame[start:end], first_row=start)
    assert merged.rows == 500
    for name in ("count", "minimum", "maximum", "missing", "sample", "sample_rows"):
        np.testing.assert_array_equal(
            getattr(merged.numeric, name), getattr(whole_statistics.numeric, name)
        )
    np.testing.assert_allclose(
        merged.numeric.mean, whole_statistics.numeric.mean, rtol=1e-14
    )
    # A mean of 1e9 is itself rounded to 1e-7: that is what the squares of its column
    # can lose.
    np.testing.assert_allclose(
        merged.numeric.squares, whole_statistics.numeric.squares, rtol=1e-7
    )
    np.testing.assert_allclose(
        merged.numeric.squares[1:], whole_statistics.numeric.squares[1:], rtol=1e-12
    )
    assert (
        merged.text["town"].by_frequency()
        == whole_statistics.text["town"].by_frequency()
    )
    for part_name, counts in whole_statistics.calendar["when"].items():
        np.testing.assert_array_equal(merged.calendar["when"][part_name], counts)


def test_moments_are_those_of_numpy():
    frame = make_frame()
    statistics = TableStatistics(infer_schema(frame[:200], na=[-9, -8]), na=[-9, -8])
    statistics.update(frame[:200]).update(frame[200:])
    for j, name in enumerate(statistics.numeric_names[:3]):
        values = frame[name].mask(frame[name].isin([-9, -8])).dropna().to_numpy()
        assert len(values) > 0
        assert statistics.numeric.count[j] == len(values)
        np.testing.assert_allclose(
            statistics.numeric.mean[j], values.mean(), rtol=1e-14
        )
        np.testing.assert_allclose(
            statistics.numeric.deviation[j],
            values.std(),
            rtol=1e-7 if j == 0 else 1e-12,
        )
        np.testing.assert_allclose(
            statistics.numeric.quantiles([0.1, 0.5])[:, j],
            np.quantile(values, [0.1, 0.5]),
        )
    # Kinds of missing: blank, -9, -8.
    assert statistics.numeric.missing[:, 1].tolist() == [
        int(frame["gaps"].isna().sum()),
        0,
        0,
    ]
    assert statistics.numeric.missing[1:, 2].tolist() == [
        int((frame["coded"] == code).sum()) for code in (-9, -8)
    ]


def test_sample_is_bounded_unbiased_and_independent_of_chunks():
    values = np.arange(20_000.0)[:, None]
    kinds = np.zeros(values.shape, dtype=np.int16)
    whole_statistics = NumericStatistics(1, size=1000)
    whole_statistics.update(values, kinds, 0)
    chunked_statistics = NumericStatistics(1, size=1000)
    for start in (15_000, 0, 5_000, 10_000):
        chunked_statistics.update(values[start : start + 5_000], kinds[:5_000], start)
    assert len(whole_statistics.sample) == 1000
    np.testing.assert_array_equal(whole_statistics.sample, chunked_statistics.sample)
    # The standard error of a median of 1,000 uniform values is 1.6 % of the range.
    assert abs(whole_statistics.quantiles([0.5])[0, 0] / 20_000 - 0.5) < 0.06


def test_level_counts_are_exact_for_what_is_kept():
    rng = np.random.default_rng(0)
    texts = pd.Series(rng.integers(0, 300, 5000).astype(str))
    whole_counts = LevelCounts(most=100)
    whole_counts.update(Distinct.of(texts, "t"), "t", MissingCodes())
    merged = LevelCounts(most=100)
    for i in (3, 0, 4, 1, 2):
        merged.update(Distinct.of(texts[i::5], "t"), "t", MissingCodes())
    assert merged.by_frequency() == whole_counts.by_frequency()
    assert len(whole_counts.levels) == 100
    assert not whole_counts.complete
    truth = texts.value_counts()
    assert all(truth[text] == count for text, count in whole_counts.levels.items())


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_column_quantiles_equal_numpy(values):
    column = np.array([np.nan if value is None else value for value in values])
    levels = np.array([0.0, 0.25, 0.5, 0.9, 1.0])
    statistics = NumericStatistics(1)
    statistics.update(column[:, None], np.isnan(column[:, None]).astype(np.int16), 0)
    column_quantiles = statistics.quantiles(levels)[:, 0]
    present = column[~np.isnan(column)]
    expected = np.quantile(present, levels) if len(present) else np.full(5, np.nan)
    np.testing.assert_allclose(column_quantiles, expected, rtol=1e-12, atol=1e-9)


def test_bad_chunks_are_refused():
    frame = make_frame()
    statistics = TableStatistics(infer_schema(frame)).update(frame)
    with pytest.raises(
        InputError,
        match=r"Column 'big' must be numeric, but holds 'oops' in row 1. Correct the "
        r"cell",
    ):
        statistics.update(frame[:2].assign(big=["1", "oops"]))


def test_quantiles_of_no_row_are_unknown():
    empty = NumericStatistics(3)
    missing_quantiles = empty.quantiles([0.25, 0.75])
    assert missing_quantiles.shape == (2, 3)
    assert np.isnan(missing_quantiles).all()


def test_codes_are_counted_apart_from_levels():
    codes = MissingCodes(labels=("none",))
    counts = LevelCounts(2)
    counts.update(
        Distinct.of(pd.Series(["a", "none", "a", None], dtype=object), "town"),
        "town",
        codes,
    )
    assert counts.levels == {"a": 2}
    assert counts.missing.tolist() == [1, 1]
