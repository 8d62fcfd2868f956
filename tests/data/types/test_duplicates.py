"""Columns that determine each other are found, whatever they are written in, and named
once.
"""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad import PermgradWarning
from permgrad.data.types.as_one import same_columns
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import (
    all_findings,
    of_duplicates,
    tell_of_columns,
    told_of_columns,
)


def slow_twin(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Compare each pair of columns cell by cell: equal, or alike in the same pairs of
    rows where values come again.
    """
    names = list(frame.columns)
    column_groups = list[list[str]]()
    for name in names:
        for group in column_groups:
            first_column = frame[group[0]]
            two = frame[name]
            blank = first_column.isna() == two.isna()
            equal = bool(
                (blank & ((first_column == two) | first_column.isna())).all()
            ) or (blank.all() and follows(first_column, two))
            pairs = (
                {*zip(first_column.dropna(), two.dropna(), strict=False)}
                if blank.all()
                else set()
            )
            coded = (
                len(pairs)
                == first_column.nunique()
                == two.nunique()
                <= first_column.notna().sum() / 2
            )
            if equal or (blank.all() and coded):
                group.append(name)
                break
        else:
            column_groups.append([name])
    return [tuple(group) for group in column_groups if len(group) > 1]


def follows(first_column: pd.Series, two: pd.Series) -> bool:
    """Whether many different numbers rise or fall strictly with each other."""
    if first_column.nunique() < 12 or not all(
        pd.api.types.is_numeric_dtype(compared_column)
        for compared_column in (first_column, two)
    ):
        return False
    pairs = [
        sorted({*zip(first_column.dropna(), sign * two.dropna(), strict=True)})
        for sign in (1, -1)
    ]
    return any(
        all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(value_pairs))
        for value_pairs in pairs
    )


def table(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    town = rng.integers(0, 5, rows)
    missing = rng.random(rows) < 0.9
    frame = pd.DataFrame(
        {"x": x, "town": [f"town {code}" for code in town], "z": 2 * x}
    )
    frame["x_copy"] = x
    frame["code"] = town * 7 - 3
    frame["flag"] = town > 2
    # Missing in the same rows, but with other values: no copies.
    frame["lab_1"], frame["lab_2"] = (
        np.where(missing, np.nan, rng.normal(size=rows)) for _ in range(2)
    )
    frame["lab_2_copy"] = frame["lab_2"]
    frame["unlike"] = np.where(np.arange(rows) == rows // 2 + 1, x + 1, x)
    return frame


@pytest.mark.parametrize("rows", [60, 999, 5003])
def test_copies_and_codes_are_found_as_by_comparing_cell_by_cell(rows):
    frame = table(rows)
    equal_groups = same_columns(frame, infer_schema(frame))
    assert equal_groups == slow_twin(frame)
    assert equal_groups == [
        ("x", "z", "x_copy"),
        ("town", "code"),
        ("lab_2", "lab_2_copy"),
    ]
    assert (
        same_columns(frame, infer_schema(frame), [["x", "x_copy", "z"], ["town"]])
        == equal_groups[1:]
    )


def test_the_same_values_in_other_types_are_the_same():
    rng = np.random.default_rng(0)
    whole_values = rng.permutation(40) * 3 - 40
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.permutation(40), unit="D")
    frame = pd.DataFrame(
        {
            "whole": whole_values,
            "float": whole_values * 1.0,
            "text": [f"{value}.0" for value in whole_values],
            "day": day,
        }
    )
    frame["nullable"] = pd.array(whole_values, dtype="Int64")
    frame["zero"] = np.where(whole_values == 0, -0.0, whole_values)
    frame["day_copy"] = frame["day"].dt.tz_localize("UTC")
    frame["next_day"] = frame["day"] + pd.Timedelta(days=1)
    assert infer_schema(frame).of_kind("identifier") == []
    assert same_columns(frame, infer_schema(frame)) == [
        ("whole", "float", "text", "nullable", "zero"),
        ("day", "day_copy", "next_day"),
    ]


def test_a_number_and_a_function_of_it_are_named_and_numbers_that_only_go_along_are_not():
    rng = np.random.default_rng(0)
    price = rng.lognormal(3, 1, 300).round(2)
    assert 150 < len(np.unique(price)) < 300, "some prices come again"
    frame = pd.DataFrame(
        {
            "price": price,
            "log_price": np.log(price),
            "per_price": 1 / price,
            "rank": price.argsort(),
        }
    )
    frame["near"] = price + 0.02 * rng.normal(size=300)
    frame["squared"] = (price - 20) ** 2  # two prices may have one square
    frame["price_missing"] = frame["price"].where(frame.index > 0)
    assert (
        same_columns(frame, infer_schema(frame))
        == [("price", "log_price", "per_price")]
        == slow_twin(frame)
    )
    few = frame.head(8)
    assert same_columns(few, infer_schema(few)) == [], (
        "of few numbers the order is chance"
    )


def test_constants_and_identifiers_are_no_copies():
    frame = pd.DataFrame(
        {"a": 1, "b": 1, "id": range(40), "nr": range(40), "x": np.arange(40) % 3}
    )
    schema = infer_schema(frame)
    assert [column_schema.kind for column_schema in schema] == ["constant"] * 2 + [
        "identifier"
    ] * 2 + ["numeric"]
    assert same_columns(frame, schema) == []


def test_many_groups_are_counted():
    duplicates_text = of_duplicates(
        [tuple(f"{letter}{i}" for i in range(7)) for letter in "abcdefg"], "row"
    ).text()
    assert "a0 = a1 = a2 = a3 = a4 and 2 more; b0" in duplicates_text
    assert "e4 and 2 more and 2 more groups. Leave out all but one" in duplicates_text


def test_an_estimator_names_them_once_and_not_where_they_act_as_one():
    frame = table(120)[["x", "x_copy", "lab_1"]]
    y = frame["x"] > 0
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=1, random_state=0, progress=False
    )
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        model.fit(frame, y)
    one_feature = (
        "Columns that encode one variable, or repeat another column, are one feature: "
        "x (x, x_copy). To read each by itself, pass groups={}."
    )
    split = (
        "These columns determine each other one to one in every training row, so "
        "importance is split between them: x = x_copy. Leave out all but one, or "
        "explain them together: pg.explain(..., groups={'x': ['x', 'x_copy']})."
    )
    assert [
        str(warning.message)
        for warning in caught_warnings
        if issubclass(warning.category, PermgradWarning)
    ] == [one_feature]
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        model.set_params(groups={}).fit(frame, y)
    assert [
        str(warning.message)
        for warning in caught_warnings
        if issubclass(warning.category, PermgradWarning)
    ] == [split]
    with warnings.catch_warnings():
        warnings.simplefilter("error", PermgradWarning)
        model.set_params(groups={"both": ["x", "x_copy"]}).fit(frame, y)
        # What the sentence proposes.
        explanation = pg.explain(
            model,
            frame,
            y,
            groups={"x": ["x", "x_copy"]},
            random_state=0,
            progress=False,
        )
    assert set(explanation.to_frame()["feature"]) == {"x", "lab_1"}


def test_a_long_table_names_them_by_the_rows_that_it_looked_at(tmp_path):
    frame = table(200)[["x", "x_copy", "lab_1"]]
    frame.assign(y=frame["x"] * 2).to_parquet(tmp_path / "table.parquet")
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    )
    with pytest.warns(PermgradWarning, match=r"are one feature: x \(x, x_copy\)\. To"):
        model.fit_stream(tmp_path / "table.parquet", "y")
    assert model.preprocessor_.groups_ == {"x": ["x", "x_copy"]}
    with pytest.warns(
        PermgradWarning,
        match=r"in every row that types are read from, .* them: x = x_copy\. Leave",
    ):
        model.set_params(groups={}).fit_stream(tmp_path / "table.parquet", "y")


def test_what_a_command_has_said_is_not_said_again():
    frame = table(60)
    with pytest.warns(PermgradWarning, match="x = z = x_copy"):
        tell_of_columns(all_findings(frame, infer_schema(frame)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with told_of_columns():
            tell_of_columns(all_findings(frame, infer_schema(frame)))


def test_names_that_are_no_text():
    values = np.random.default_rng(0).normal(size=40)
    frame = pd.DataFrame({0: values, 1: values, "a": 2 * values})
    assert same_columns(frame, infer_schema(frame)) == [("0", "1", "a")]
    model = pg.HyNNRegressor(
        preset="fast",
        branches=("tabular",),
        max_epochs=1,
        random_state=0,
        progress=False,
    )
    with pytest.warns(PermgradWarning, match=r"between them: 0 = 1\. Leave out"):
        model.fit(frame[[0, 1]], values)


def test_every_type_of_column_is_looked_at():
    boolean_cells = np.arange(40) % 3 == 0
    day = pd.to_datetime(np.where(boolean_cells, "2020-01-01", "2021-02-03"))
    frame = pd.DataFrame(
        {
            "bool": boolean_cells,
            "text": np.where(boolean_cells, "a", "b"),
            "day": day,
            "span": day - day[0],
        }
    )
    frame["nullable"] = pd.array(boolean_cells, dtype="boolean")
    frame["sparse"] = pd.arrays.SparseArray(np.where(boolean_cells, 1, 0))
    frame["category"] = pd.Categorical(np.where(boolean_cells, 1.5, 2.5))
    frame["period"] = day.to_period("M")
    frame["object"] = [1 if cell_flag else "z" for cell_flag in boolean_cells]
    frame["bytes"] = [b"x" if cell_flag else b"y" for cell_flag in boolean_cells]
    frame["interval"] = pd.cut(boolean_cells.astype(int), 2)
    frame["zone"] = day.tz_localize("Europe/Berlin")
    assert same_columns(frame, infer_schema(frame)) == [tuple(frame.columns)]
