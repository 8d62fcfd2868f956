"""Targets of a table that is read in parts: numbers, numbers beside a code for missing,
classes.
"""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from permgrad import HyNNRegressor
from permgrad.attribution.parts.plan import read_targets
from permgrad.base.errors import InputError

REGRESSOR = HyNNRegressor()
CLASSIFIER = SimpleNamespace(classes_=np.array([0, 1]))


@pytest.mark.parametrize(
    ("cells", "codes"),
    [
        ([1.5, 2.0], ()),
        ([1.5, 2.0], "?"),
        (["1.5", "2"], "?"),  # the code kept the column from being numbers
        ([Decimal("1.5"), Decimal(2)], ()),
    ],
)
def test_numbers(cells, codes):
    np.testing.assert_array_equal(
        read_targets(pd.Series(cells, name="y"), REGRESSOR, codes), [1.5, 2.0]
    )


@pytest.mark.parametrize(
    ("cells", "codes", "message"),
    [
        (["1.5", "2"], (), "column 'y' holds text\\. Correct it"),
        (["1.5", "two"], "?", "column 'y' holds text\\. Correct it"),
        ([pd.Timestamp(0).date()], (), "column 'y' holds dates\\. Correct it"),
        ([b"1"], (), "column 'y' holds bytes\\. Correct it"),
        ([1.5, np.inf], (), "column 'y' holds inf in row 1. Correct it"),
    ],
)
def test_what_is_no_number_is_refused(cells, codes, message):
    with pytest.raises(InputError, match=message):
        read_targets(pd.Series(cells, name="y"), REGRESSOR, codes)


def test_classes_are_compared_as_text():
    np.testing.assert_array_equal(
        read_targets(pd.Series([1.0, 0.0, 1.0]), CLASSIFIER), [1, 0, 1]
    )
    with pytest.raises(InputError, match="2"):
        read_targets(pd.Series([1.0, 2.0]), CLASSIFIER)
