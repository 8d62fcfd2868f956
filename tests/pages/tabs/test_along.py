"""The tab of columns with an order: what is said of bands beside their columns."""

from __future__ import annotations

import numpy as np
import pytest

from permgrad import Explanation
from permgrad.pages.tabs.along import _band_words

ORDER = ("x0", "x1", "x2", "x3")


def ranked(values: dict[str, float], **changes) -> Explanation:
    """A ranking in which whatever is above 0 clearly matters."""
    numbers = np.array(list(values.values()))[:, None]
    changes |= {"p_values": np.where(numbers > 0, 1e-4, 0.5)}
    return Explanation(numbers, tuple(values), ("table",) * len(values), ("all",), "permgrad", "global", **changes)


def bands(first: float, second: float) -> Explanation:
    groups = {"x0 … x1": list(ORDER[:2]), "x2 … x3": list(ORDER[2:])}
    return ranked({"x0 … x1": first, "x2 … x3": second}, groups=groups, level="group")


def test_the_strongest_band_is_compared_with_the_strongest_of_its_columns():
    columns = ranked({"x0": 0.1, "x1": 0.3, "x2": 0.5, "x3": 0.4})
    words = "The strongest band, x2 … x3, matters {}, and the strongest of its columns, x2, {} alone."
    assert _band_words(columns, bands(0.4, 0.8), None) == words.format("0.800", "0.500")
    assert _band_words(columns, bands(0.4, 0.8), 4.0) == words.format("20\u00a0%", "13\u00a0%")
    more = " Neighbours stand in for each other."
    assert _band_words(columns, bands(0.4, 2.0), None) == words.format("2.00", "0.500") + more


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.2), (0.0, 0.0)])
def test_nothing_is_said_of_bands_that_matter_no_more_than_a_column(first, second):
    assert not _band_words(ranked({"x0": 0.1, "x1": 0.3, "x2": 0.5, "x3": -0.2}), bands(first, second), None)
