"""Rows that ``--where`` chooses: text is compared as text, numbers as numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from permgrad.runs.commands.explain import Conditions

CODES = ["07", "7", "7.0", "A1"]


@pytest.mark.parametrize("kind", ["str", object, "category"])
@pytest.mark.parametrize("wanted", CODES)
def test_text_is_chosen_as_it_is_written(kind, wanted):
    frame = pd.DataFrame({"code": pd.Series(CODES, dtype=kind)})
    assert Conditions([f"code={wanted}"], ["code"]).fits(frame).tolist() == [own == wanted for own in CODES]


@pytest.mark.parametrize("kind", ["int64", "float64", object, "Int64", "category"])
@pytest.mark.parametrize("wanted", ["7", "7.0", "07", "7e0"])
def test_a_number_may_be_written_in_any_way(kind, wanted):
    frame = pd.DataFrame({"age": pd.Series([7, 8], dtype=kind)})
    assert Conditions([f"age={wanted}"], ["age"]).fits(frame).tolist() == [True, False]
