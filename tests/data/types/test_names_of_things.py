"""Whole numbers that name things are categories where their column's name says so.

Amounts stay numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.data.types.column_types import infer_schema

RNG = np.random.default_rng(0)
#: The subjects of lme4's sleepstudy, ten days each.
SUBJECTS = [
    308,
    309,
    310,
    330,
    331,
    332,
    333,
    334,
    335,
    337,
    349,
    350,
    351,
    352,
    369,
    370,
    371,
    372,
]
SHOPS = RNG.integers(1, 41, 400)

THINGS = {
    "Subject": np.repeat(SUBJECTS, 10),
    "shop": SHOPS, "Store": SHOPS, "store_nr": SHOPS, "patient_no": SHOPS, "participant": SHOPS, "firm": SHOPS,
    "site": SHOPS, "zipcode": SHOPS * 7 + 85_001, "PLZ": SHOPS * 11, "zip code": SHOPS * 7 + 1_001,
    "id": SHOPS, "ID": SHOPS, "school_id": SHOPS, "userId": SHOPS, "StoreID": SHOPS % 6 + 1,
    "staff no": SHOPS,
    "person": np.where(np.arange(400) == 7, np.nan, SHOPS), "student": RNG.integers(1, 2973, 20_000),
}  # fmt: skip
AMOUNTS = {
    "age": RNG.integers(18, 90, 400), "year": RNG.integers(1990, 2020, 400), "children": RNG.integers(0, 6, 400),
    "rating": RNG.integers(1, 6, 400), "dose": RNG.choice([0, 5, 10, 20, 50], 400),
    "zip": RNG.integers(10_000, 99_999, 400),
    "visits": RNG.poisson(3, 400), "bid": RNG.integers(1, 6, 400), "paid": RNG.integers(1, 9, 400),
    "hospital": RNG.poisson(1, 400), "doctor": RNG.poisson(1, 400), "number": SHOPS, "rooms": RNG.integers(1, 12, 400),
    "patients": SHOPS, "n_patient": SHOPS, "school": RNG.integers(6, 18, 400), "row": SHOPS, "trial": SHOPS,
    "id_age": SHOPS, "zip_share": SHOPS, "income": RNG.integers(1, 500, 400) * 100, "grid": RNG.integers(1, 6, 400),
    "day": np.repeat(SUBJECTS, 10),
    "childid": SHOPS,
    "household": RNG.integers(1, 6, 400), "partyid": RNG.integers(0, 8, 400), "balance id": SHOPS - 20,
}  # fmt: skip


def column(name: str, values: np.ndarray):
    return infer_schema(pd.DataFrame({name: values}))[name]


@pytest.mark.parametrize("name", THINGS)
def test_repeated_numbers_of_things_are_categories(name):
    column_schema = column(name, THINGS[name])
    assert (column_schema.kind, column_schema.storage) == ("categorical", "text")
    assert "names" in column_schema.flags
    assert column_schema.n_levels == pd.Series(THINGS[name]).nunique()


@pytest.mark.parametrize("name", AMOUNTS)
def test_amounts_stay_numbers(name):
    column_schema = column(name, AMOUNTS[name])
    assert column_schema.kind == "numeric"
    assert "names" not in column_schema.flags


def test_numbers_that_hardly_repeat_are_no_categories():
    assert column("student", RNG.permutation(400)).kind == "identifier"
    assert (
        column(
            "student", np.append(RNG.permutation(200), RNG.integers(0, 200, 60))
        ).kind
        == "numeric"
    )


def test_missing_cells_and_a_declared_kind():
    values = np.repeat(SUBJECTS, 10).astype(float)
    values[::7] = np.nan
    column_schema = column("Subject", values)
    assert (column_schema.kind, column_schema.n_missing) == (
        "categorical",
        len(values[::7]),
    )
    schema = infer_schema(
        pd.DataFrame({"Subject": values}), kinds={"Subject": "numeric"}
    )
    assert schema["Subject"].kind == "numeric"
