"""How numbers are written: digits, units, rounding, and the same in the scripts of the
page.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest

from permgrad.base.numerals import compact, distinct, fixed, number, numbers, percent


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            numbers([0.0505, 0.000784, float("nan"), 0.0]),
            ["0.0505", "0.0008", "–", "0"],
        ),
        (numbers([5.0, 1e-15]), ["5.00", "0"]),
        (numbers([50_000.0, 1e-9]), ["50,000", "0"]),
        (fixed(-0.0001), "0.000"),
        (fixed(-1234.5, 1), "−1,234.5"),
        (compact(-0.02), "−0.02"),
        (compact(7.0e6), "7\u00a0M"),
        (percent(0.714), "71\u00a0%"),
        (percent(None), "–"),
        (percent(0.004), "0.4\u00a0%"),
        (percent(1 / 8), "13\u00a0%"),
        (percent(0.665), "67\u00a0%"),
        (percent(57 / 200), "29\u00a0%"),
        (distinct([50_719.55, 84.5]), ["50,720", "84.5"]),
        (distinct([2019.0, 50_719.0]), ["2019", "50,719"]),
    ],
)
def test_writing(written, expected):
    assert written == expected


def test_numbers_have_significant_digits():
    values = (-0.01234, 12345.6, math.nan, 2.3e-9, 0.0, None)
    assert [number(value) for value in values] == [
        "−0.0123",
        "12,350",
        "–",
        "2.3e−9",
        "0",
        "–",
    ]


def test_large_numbers_have_a_unit_and_no_more_than_four_digits():
    values = (1639.4, 99999.6, 999_960.0, 1.37e10, -4.2e6, 2.5e13, 1e15)
    expected = [
        "1,639",
        "100,000",
        "1.00\u00a0M",
        "13.7\u00a0bn",
        "−4.20\u00a0M",
        "25.0\u00a0tn",
        "1,000\u00a0tn",
    ]
    assert [number(value) for value in values] == expected
    assert numbers([1.37e10, 52_340.0]) == ["13.7\u00a0bn", "52,340"]


def test_halves_are_rounded_away_from_zero():
    """Every half of a hundred, also where a computation has left it a little below."""
    for count in range(1, 200, 2):
        share = count / 200
        by_hand = Decimal(count * 5).scaleb(-1).quantize(Decimal(1), ROUND_HALF_UP)
        assert (
            percent(share, 0)
            == percent(np.nextafter(share, 0), 0)
            == f"{by_hand}\u00a0%"
        )
        assert fixed(-share * 100, 0) == f"−{by_hand}"
