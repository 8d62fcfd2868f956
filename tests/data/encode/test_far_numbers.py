"""Numbers far outside those of training are told, with their count, examples and the range of training."""

from __future__ import annotations

import warnings
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from permgrad import PermgradWarning
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scaling import ScalingMode


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "dose": np.append(rng.uniform(10, 20, 498), [10.0, 20.0]),
            "calls": rng.choice([0, 0, 0, 7], 500),
            "town": rng.choice(["Ulm", "Bonn"], 500),
            "sold": pd.date_range("2020-01-01", periods=500),
        }
    )


@pytest.mark.parametrize("mode", get_args(ScalingMode))
def test_only_numbers_farther_away_than_the_range_is_wide_are_told(table, mode):
    encoder = TableEncoder(numeric=mode).fit(table)
    near = table[:4].assign(dose=[0.5, 29.5, np.nan, 15.0], calls=[-6, 13, 0, 7], sold=pd.Timestamp("2090-01-01"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.tell_of_far_numbers(table)
        encoder.tell_of_far_numbers(near)
    far = near.assign(dose=[-0.5, 30.5, np.nan, 1e6])
    with pytest.warns(PermgradWarning) as told:
        encoder.tell_of_far_numbers(far)
    (said,) = [str(one.message) for one in told]
    assert said == "3 of 3 values of 'dose' are far outside training (-0.5, 30.5, 1000000; there 10 to 20)"


def test_a_constant_column_has_no_range():
    frame = pd.DataFrame({"x": np.arange(50.0), "same": 3.0})
    encoder = TableEncoder().fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.tell_of_far_numbers(frame.assign(same=1e9))
