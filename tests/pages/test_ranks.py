"""Ranks in words, in a plot and in the page's lists."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from permgrad import Explanation
from permgrad.attribution.explanation.ranks import Ranks
from permgrad.base import style
from permgrad.pages.words import MOST_ORDERED, order_words, rank_texts, shown_ranks


def explained(values, std_error=0.1, **fields):
    values = np.asarray(values, dtype=float)[:, None]
    names = tuple(f"f{feature_number}" for feature_number in range(len(values)))
    fields = {"std_error": np.full(values.shape, std_error), **fields}
    return Explanation(
        values,
        names,
        ("table",) * len(names),
        ("all",),
        "permutation",
        "global",
        **fields,
    )


@pytest.mark.parametrize(
    ("sets", "most", "expected"),
    [
        ([1, 2, 2, 2, 3, 3], 5, "1 a; 2–4 b, c and d; the rest"),
        ([1, 2, 3], 5, "1 a; 2 b; 3 c"),
        ([1, 1, 1, 1, 1, 2], 6, "1–5 a, b, c, d and 1 more; 6 f"),
        ([1, 1, 1], 5, ""),
        ([1, 2, 3, 4, 5, 6], 3, "1 a; 2 b; 3 c; and so on"),
        ([1, 2, 3, 4], 3, "1 a; 2 b; 3 c; the rest"),
    ],
)
def test_who_can_be_told_apart(sets, most, expected):
    rank_positions = np.arange(1, len(sets) + 1)
    ranks = Ranks(
        list("abcdef")[: len(sets)], rank_positions, rank_positions, np.array(sets)
    )
    assert order_words(ranks, most) == expected


def test_intervals_of_ranks_are_written_everywhere():
    result = explained([5.0, 2.0, 1.9, 0.0], correlation=np.eye(4)[None])
    ranks = shown_ranks(result)
    assert rank_texts(ranks) == ["1", "2–3", "2–3", "4"]
    assert result.summary().endswith(
        "Order at 95 % confidence: 1 f0; 2–3 f1 and f2; 4 f3."
    )
    words = {text.get_text() for text in result.plot.bar().axes[0].texts}
    assert {"rank", "1", "2–3", "4"} <= words
    assert rank_texts(shown_ranks(explained([1.0, 1.1, 0.9]))) == ["undecided"] * 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2.0, np.nan, 5.0, np.nan], "Order at 95 % confidence: 1 f2; 2 f0."),
        ([1.0, 1.1, np.nan], "The order is not certain."),
    ],
)
def test_what_has_no_importance_has_no_place_in_the_order(values, expected):
    std_errors = np.where(np.isnan(values), np.nan, 0.1)[:, None]
    result = explained(values, std_error=std_errors)
    assert result.summary().endswith(expected)


def test_bars_of_features_that_do_not_clearly_matter_are_grey():
    tests = {"p_values": np.array([[0.001], [0.6]])}
    for fields, second in ((tests, style.NEUTRAL), ({}, style.NEGATIVE)):
        result = explained([5.0, -2.0], **fields)
        shades = [
            to_hex(bar_patch.get_facecolor())
            for bar_patch in result.plot.bar().axes[0].patches
        ]
        assert shades == [style.POSITIVE, second]
        assert f"background:{second}" in result.to_html()


def test_where_there_are_no_errors_there_are_no_ranks():
    assert shown_ranks(explained([2.0, 1.0], std_error=np.nan)) is None
    assert shown_ranks(explained([2.0])) is None
    assert shown_ranks(explained([2.0, 1.0], meta={"rows_summarised": 2})) is None
    assert shown_ranks(explained(np.zeros(MOST_ORDERED + 1))) is None
    assert "Order" not in explained([2.0, 1.0], std_error=np.nan).summary()
