"""Dummies of one variable, and columns that repeat another, are one feature; what
chance may do is not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.base.errors import PermgradWarning
from permgrad.data.types.as_one import columns_as_one


def one_hot(name, levels, n=200, seed=0):
    return pd.get_dummies(
        pd.Series(np.random.default_rng(seed).choice(levels, n)), prefix=name, dtype=int
    )


def test_blocks_are_found_by_name_and_content():
    frame = pd.concat(
        [
            pd.DataFrame({"age": np.arange(200)}),
            one_hot("home_town", ["Bonn", "Ulm", "New York"], seed=1),
            one_hot("size", ["S", "M"], seed=2).astype(bool),
            pd.DataFrame({f"soil{i}": np.arange(200) % 4 == i for i in range(4)}),
        ],
        axis=1,
    )
    assert columns_as_one(frame) == {
        "home_town": ["home_town_Bonn", "home_town_New York", "home_town_Ulm"],
        "size": ["size_M", "size_S"],
        "soil": ["soil0", "soil1", "soil2", "soil3"],
    }


def test_what_is_no_block_is_not_one():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"symptom_{i}": rng.integers(0, 2, 200) for i in range(4)})
    assert (frame.sum(axis=1) > 1).any()
    assert columns_as_one(frame) == {}
    # At most one, but nearly never one: rare flags.
    rare = pd.DataFrame({f"flag_{i}": np.arange(200) == i for i in range(3)}).astype(
        int
    )
    assert columns_as_one(rare) == {}
    # Two columns that are not complementary.
    two = pd.DataFrame({"d_a": [1, 0, 0, 0], "d_b": [0, 1, 0, 0]})
    assert columns_as_one(two) == {}
    assert columns_as_one(pd.DataFrame({"a_1": [1.0, np.nan], "a_2": [0, 1]})) == {}
    assert columns_as_one(pd.DataFrame({"a": ["x"]})) == {}


def test_dummies_that_most_rows_set_none_of_are_told_from_rare_flags():
    rng = np.random.default_rng(0)
    level = rng.choice(12, 2000, p=[0.4, *[0.05] * 10, 0.1])
    frame = pd.DataFrame({f"drug {k}": level == k for k in range(1, 11)})
    assert columns_as_one(frame) == {"drug": list(frame)}, "10 of 12 levels"
    assert (
        columns_as_one(frame.assign(**{"drug 3": frame["drug 3"] | frame["drug 4"]}))
        == {}
    ), "rows with two"
    assert columns_as_one(frame.rename(columns=lambda name: name[5:] + "x")) == {}, (
        "no stem"
    )
    assert columns_as_one(frame.astype(float).replace(0.0, np.nan)) == {}, "not 0 and 1"


def test_a_level_that_no_row_has_and_a_flag_of_the_same_stem():
    frame = one_hot("grade", [1, 2, 3], n=60).assign(
        grade_4=0, grade_final=np.arange(60) % 2, grade=np.arange(60.0) ** 2 % 7
    )
    assert columns_as_one(frame) == {
        "grade (grade_1 … grade_4)": ["grade_1", "grade_2", "grade_3", "grade_4"]
    }


def test_a_copy_is_found_whatever_it_is_written_in_and_the_column_that_dummies_encode():
    rng = np.random.default_rng(0)
    score = rng.normal(size=300)
    town = rng.choice(["Ulm", "Bonn", "Trier"], 300)
    frame = pd.DataFrame(
        {
            "place": town,
            "score": score,
            "centred": score - 7,
            "other": rng.normal(size=300),
        }
    )
    frame = frame.join(pd.get_dummies(frame["place"], prefix="town", dtype=int))
    frame["rounded"] = frame["score"].round(1)
    frame["code"] = frame["place"].map({"Ulm": 4, "Bonn": 9, "Trier": 1})
    assert columns_as_one(frame) == {
        "town": ["place", "town_Bonn", "town_Trier", "town_Ulm", "code"],
        "score": ["score", "centred"],
    }
    # Without the base level, the column that they encode says that the others are
    # dummies.
    assert columns_as_one(frame, ["code", "town_Ulm"]) == {
        "town": ["place", "town_Bonn", "town_Trier"],
        "score": ["score", "centred"],
    }
    assert columns_as_one(frame, ["code", "town_Ulm", "place"]) == {
        "score": ["score", "centred"]
    }


def test_dummies_of_years_without_the_first_are_one_feature_with_the_year():
    rng = np.random.default_rng(2)
    year = rng.integers(2011, 2015, 400)
    frame = pd.DataFrame({"year": year, "x": rng.normal(size=400)})
    for short_year in (12, 13, 14):
        frame[f"d{short_year}"] = (year == 2000 + short_year).astype(int)
    assert columns_as_one(frame) == {"d": ["year", "d12", "d13", "d14"]}
    # A flag that is set in other rows, too, tells something else.
    frame.loc[:9, "d12"] = 1
    assert "year" not in str(columns_as_one(frame))


def test_what_was_measured_once_for_each_farm_is_no_copy_of_what_else_was():
    rng = np.random.default_rng(0)
    farm = rng.integers(0, 25, 400)
    soil, rain = (rng.normal(size=25)[farm] for _ in range(2))
    frame = pd.DataFrame(
        {
            "farm": [f"farm {k}" for k in farm],
            "soil": soil,
            "rain": rain,
            "wet": 2 + 3 * rain,
        }
    )
    assert columns_as_one(frame) == {"rain": ["rain", "wet"]}
    assert columns_as_one(frame.assign(number=farm)) == {
        "farm": ["farm", "number"],
        "rain": ["rain", "wet"],
    }


def test_words_that_few_rows_have_agree_by_chance():
    rng = np.random.default_rng(0)
    rare = pd.DataFrame(
        {
            f"{chr(97 + k // 26)}{chr(97 + k % 26)}": np.zeros(300, dtype=int)
            for k in range(200)
        }
    )
    for name in rare:
        rare.loc[rng.integers(300), name] = 1
    assert len({tuple(column) for column in rare.T.to_numpy().tolist()}) < 200, (
        "some have the same row"
    )
    assert columns_as_one(rare) == {}
    assert columns_as_one(
        rare[["aa", "ab"]].assign(copy=np.arange(300) % 2, of=np.arange(300) % 2)
    ) == {"copy": ["copy", "of"]}


def test_a_predictor_and_an_estimator_have_one_feature_and_say_so_and_groups_undo_it():
    rng = np.random.default_rng(0)
    frame = one_hot("size", ["S", "M", "L"], n=240).assign(x=rng.normal(size=240))
    y = 2.0 * frame["size_L"] + frame["x"]
    call = {"random_state": 0, "n_repeats": 2, "progress": False}
    with pytest.warns(
        PermgradWarning,
        match=r"are one feature: size \(size_L, size_M, size_S\)\. .* groups=\{\}",
    ):
        explanation = explain_with(
            lambda table: 2.0 * table["size_L"] + table["x"], frame, y, **call
        )
    assert explanation.names == ("size", "x")
    assert (
        explanation.meta["as_one"]
        == explanation.groups
        == {"size": ["size_L", "size_M", "size_S"]}
    )
    alone = explain_with(
        lambda table: 2.0 * table["size_L"] + table["x"], frame, y, groups={}, **call
    )
    assert alone.names == tuple(frame)
    assert "as_one" not in alone.meta
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    )
    with pytest.warns(PermgradWarning, match=r"are one feature: size .* groups=\{\}"):
        explanation = explain_with(model.fit(frame, y), frame, y, **call)
    assert explanation.names == ("size", "x")
    assert explanation.meta["as_one"] == {"size": ["size_L", "size_M", "size_S"]}
    assert explain_with(model, frame, y, groups={}, **call).names == tuple(frame)
    model.set_params(groups={}).fit(frame, y)
    assert explain_with(model, frame, y, **call).names == tuple(frame)
    assert model.fit(frame.to_numpy(), y).preprocessor_.groups_ == {}, (
        "columns without names"
    )


def test_curves_of_a_feature_of_several_columns_set_them_all():
    rng = np.random.default_rng(0)
    frame = one_hot("size", ["S", "M", "L"], n=400).assign(
        x=rng.normal(size=400), other=rng.normal(size=400)
    )
    frame["y"] = 1 - 2 * frame["x"]

    def function(table):
        return 3.0 * table["size_L"] + table["x"] - table["y"]

    with pytest.warns(PermgradWarning, match="one feature: size .* x \\(x, y\\)"):
        curves = pg.explain(
            function, frame, method="ale", random_state=0, progress=False
        )
    assert curves.names == ("size", "x", "other")
    spread = [np.std(3.0 * frame["size_L"]), np.std(frame["x"] - frame["y"]), 0.0]
    np.testing.assert_allclose(curves.values[:, 0], spread, rtol=0.02, atol=1e-9)
