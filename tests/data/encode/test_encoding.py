"""The encoder: closed forms, one feature at a time, no NaN, every surprise at
prediction time survived or refused.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from permgrad import InputError, PermgradWarning
from permgrad.data.encode.encoding import TableEncoder, align_columns
from permgrad.data.encode.table_statistics import TableStatistics
from permgrad.data.types.column_types import infer_schema

MODES = ["robust", "standard", "minmax", "quantile"]


def make_mixed(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": rng.normal(5, 2, n),
            "gaps": np.where(rng.random(n) < 0.2, np.nan, rng.exponential(size=n)),
            "coded": rng.choice([-9, -8, 1, 2, 3], n),
            "flag": rng.integers(0, 2, n),
            "answer": rng.choice(["yes", "no", None], n),
            "town": rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]),
            "holes": rng.choice(["x", "y", None], n),
            "when": pd.Timestamp("2019-11-05 06:00")
            + pd.to_timedelta(rng.integers(0, 900 * 24, n), unit="h"),
            "same": 7,
            "empty": np.nan,
            "patient_id": np.arange(n),
            "text_number": rng.integers(0, 50, n).astype(str),
        }
    )


def reference_robust(train, values):
    """RealMLP's robust scaling and smooth clipping, written again from the paper, one
    value at a time.
    """
    low, median, high = np.quantile(train, [0.25, 0.5, 0.75])
    if high > low:
        factor = 1 / (high - low)
    elif max(train) > min(train):
        factor = 2 / (max(train) - min(train))
    else:
        factor = 0.0
    scaled = [(value - median) * factor for value in values]
    return np.array([z / math.sqrt(1 + (z / 3) ** 2) for z in scaled])


# ---- numbers -------------------------------------------------------------------------
@pytest.mark.parametrize(
    "train", [np.r_[np.arange(50.0), 1e3], np.r_[np.zeros(90), np.arange(10.0)]]
)
def test_robust_is_the_papers(train):
    values = np.r_[train, -1e6, 1e6, 0.5]
    got = TableEncoder("robust").fit(train[:, None]).transform(values[:, None])[:, 0]
    assert np.ptp(got) > 1
    np.testing.assert_allclose(
        got, reference_robust(train, values), rtol=1e-6, atol=1e-7
    )
    assert np.abs(got).max() <= 3


@pytest.mark.parametrize("mode", ["standard", "minmax", "quantile"])
def test_modes_equal_scikit_learns(mode):
    from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

    rng = np.random.default_rng(0)
    train = np.c_[
        rng.exponential(size=3000), rng.integers(0, 6, 3000), rng.normal(1e6, 1, 3000)
    ]
    peers = {
        "standard": StandardScaler(),
        "minmax": MinMaxScaler(),
        "quantile": QuantileTransformer(output_distribution="normal", subsample=None),
    }
    expected = peers[mode].fit(train).transform(train)
    got = TableEncoder(mode).fit(train).transform(train)
    if mode == "quantile":
        # Ties at the ends differ on purpose: the middle of the tie, not the end of the
        # scale.
        ends = np.isin(train[:, 1], (0, 5))
        assert 0 < ends.sum() < len(ends)
        assert np.abs(got[ends, 1]).max() < 1.5
        expected[ends, 1] = got[ends, 1]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
@given(
    train=st.lists(
        st.floats(allow_nan=False, allow_infinity=False),
        min_size=2,
        max_size=20,
        unique=True,
    ),
    other=st.lists(
        st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=10
    ),
)
@example(train=[5e-324, -2.2250738585e-313], other=[0.0])
@settings(max_examples=40, deadline=None)
def test_any_finite_number_becomes_a_finite_number_in_order(mode, train, other):
    encoder = TableEncoder(mode).fit(pd.DataFrame({"a": train}))
    out = encoder.transform(pd.DataFrame({"a": np.array(other, dtype=float)}))
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    if out.shape[1]:
        present = np.array(sorted(value for value in other if not math.isnan(value)))
        if len(present):
            assert (
                np.diff(encoder.transform(pd.DataFrame({"a": present}))[:, 0]) >= 0
            ).all()


def test_missing_is_imputed_and_each_kind_is_told_apart():
    train = pd.DataFrame({"a": [1.0, 2.0, 3.0, -9.0, -9.0, np.nan, -8.0]})
    encoder = TableEncoder("minmax", na=[-9, -8, -7]).fit(train)
    assert encoder.encoded_names_ == [
        "a",
        "a=<missing>",
        "a=<missing -9>",
        "a=<missing -8>",
    ]
    assert encoder.kinds_ == ["numeric", "missing", "missing", "missing"]
    assert encoder.transform(train).tolist() == [
        [0, 0, 0, 0],
        [0.5, 0, 0, 0],
        [1, 0, 0, 0],
        [0.5, 0, 1, 0],
        [0.5, 0, 1, 0],
        [0.5, 1, 0, 0],
        [0.5, 0, 0, 1],
    ]
    # A kind that training never had: imputed, and counted.
    new = pd.DataFrame({"a": [-7.0, 3.0]})
    assert encoder.transform(new).tolist() == [[0.5, 0, 0, 0], [1, 0, 0, 0]]


def test_codes_by_column_and_as_text():
    frame = pd.DataFrame(
        {"a": [-9, 1, 2], "b": [-9, 1, 2], "c": ["-9", "u", "v"], "d": ["?", "1", "2"]}
    )
    encoder = TableEncoder("minmax", na={"a": [-9], "c": -9, "d": "?"}).fit(frame)
    assert encoder.encoded_names_ == [
        "a", "a=<missing -9>", "b", "c=u", "c=v", "c=<missing -9>", "d", "d=<missing ?>",
    ]  # fmt: skip
    assert encoder.transform(frame)[0].tolist() == [0.5, 1, 0, 0, 0, 1, 0.5, 1]


# ---- categories, booleans, dates -----------------------------------------------------
def test_levels_by_frequency_missing_unseen():
    train = pd.DataFrame({"t": ["b", "a", "b", "c", None, "b", "a"]})
    encoder = TableEncoder().fit(train)
    assert encoder.encoded_names_ == ["t=b", "t=a", "t=c", "t=<missing>"]
    with pytest.warns(
        PermgradWarning,
        match=r"1 of 2 values of 't' is an unseen category \('never'\), treated as "
        r"unknown",
    ):
        out = encoder.transform(pd.DataFrame({"t": ["a", None, "never"]}))
    assert out.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    whole_encoder = TableEncoder().fit(pd.DataFrame({"t": ["a", "b", "b"]}))
    assert whole_encoder.transform(pd.DataFrame({"t": [None]})).tolist() == [[0, 0]]


def test_rare_levels_share_other():
    train = pd.DataFrame(
        {"t": [letter for i, letter in enumerate("abcdef") for _ in range(10 - i)]}
    )
    encoder = TableEncoder(max_levels=3).fit(train)
    assert encoder.encoded_names_ == ["t=a", "t=b", "t=c", "t=<other>"]
    assert encoder.transform(pd.DataFrame({"t": ["b", "f", "new"]})).tolist() == [
        [0, 1, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
    ]


def test_one_level_has_one_name_whatever_its_type():
    train = pd.DataFrame({"code": [4, 5, 5, 4]})
    encoder = TableEncoder(kinds={"code": "categorical"}).fit(train)
    assert encoder.encoded_names_ == ["code=4", "code=5"]
    for values in (
        [4, 5],
        [4.0, 5.0],
        ["4", "5"],
        pd.Categorical([4, 5]),
        pd.array([4, 5], dtype="Int64"),
    ):
        assert encoder.transform(pd.DataFrame({"code": values})).tolist() == [
            [1, 0],
            [0, 1],
        ]


def test_booleans_are_one_column():
    train = pd.DataFrame(
        {"a": [True, False, True], "b": ["no", "Yes", None], "c": [0.0, 1.0, np.nan]}
    )
    encoder = TableEncoder().fit(train)
    assert encoder.encoded_names_ == ["a", "b", "b=<missing>", "c", "c=<missing>"]
    assert encoder.kinds_ == ["boolean", "boolean", "missing", "boolean", "missing"]
    assert encoder.transform(train)[:2].tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 1, 0]]
    assert encoder.numeric_columns_.tolist() == []


def test_dates_in_parts():
    train = pd.DataFrame(
        {"d": pd.to_datetime(["2020-01-01", "2020-07-01", "2021-01-01", "2022-04-01"])}
    )
    encoder = TableEncoder("minmax").fit(train)
    names = [name.removeprefix("d=") for name in encoder.encoded_names_]
    assert names == [
        "time",
        "year",
        "month sin",
        "month cos",
        "weekday sin",
        "weekday cos",
    ]
    out = dict(zip(names, encoder.transform(train).T, strict=True))
    np.testing.assert_allclose(out["year"], [0, 0, 0.5, 1])
    np.testing.assert_allclose(
        out["month cos"], np.cos(2 * np.pi * np.array([0, 6, 0, 3]) / 12), atol=1e-7
    )
    weekday = np.array([2, 2, 4, 4])  # Wednesday, Wednesday, Friday, Friday
    np.testing.assert_allclose(
        out["weekday sin"], np.sin(2 * np.pi * weekday / 7), atol=1e-7
    )
    np.testing.assert_allclose(out["time"][1], 182 / 821, atol=1e-6)
    assert list(encoder.features("column")) == ["d"]
    assert list(encoder.features()) == ["d: trend", "d: season", "d: weekday"]
    # Text and dates with a time zone mean the same moments.
    for date_series in (
        train["d"].dt.strftime("%Y-%m-%d"),
        train["d"].dt.tz_localize("UTC"),
    ):
        again = TableEncoder("minmax").fit(pd.DataFrame({"d": date_series}))
        np.testing.assert_array_equal(
            again.transform(pd.DataFrame({"d": date_series})), encoder.transform(train)
        )
    unreadable = TableEncoder().fit(train.assign(d=train["d"].dt.strftime("%Y-%m-%d")))
    with pytest.raises(
        InputError,
        match=r"Column 'd' must hold dates, as ISO8601, but holds 'soon' in row 1",
    ):
        unreadable.check_cells(pd.DataFrame({"d": ["2020-01-01", "soon"]}))


def test_constants_and_identifiers_are_features_without_columns():
    encoder = TableEncoder().fit(make_mixed())
    for name, kind in (
        ("same", "constant"),
        ("empty", "constant"),
        ("patient_id", "identifier"),
    ):
        assert encoder.schema_[name].kind == kind
        assert encoder.columns_of(name).tolist() == []
        assert encoder.features()[name].tolist() == []
    nothing = TableEncoder().fit(pd.DataFrame({"a": [1, 1]}))
    assert nothing.transform(pd.DataFrame({"a": [2, None]})).shape == (2, 0)


# ---- the contract --------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
def test_one_raw_column_touches_only_its_own_encoded_columns(mode):
    frame = make_mixed()
    encoder = TableEncoder(mode, na=[-9, -8]).fit(frame)
    base = encoder.transform(frame)
    donors = np.random.default_rng(1).permutation(len(frame))
    moved = 0
    for name in frame.columns:
        edited = frame.assign(**{name: frame[name].to_numpy()[donors]})
        expected = base.copy()
        columns = encoder.columns_of(name)
        expected[:, columns] = base[donors][:, columns]
        np.testing.assert_array_equal(encoder.transform(edited), expected)
        moved += int((expected != base).any())
    assert moved == 9


@pytest.mark.parametrize("mode", MODES)
def test_extremes_are_those_of_the_training_rows(mode):
    frame = make_mixed()
    encoder = TableEncoder(mode, na=[-9, -8], max_levels=2).fit(frame)
    out = encoder.transform(frame)
    np.testing.assert_array_equal(out.min(axis=0), encoder.minimum_)
    np.testing.assert_array_equal(out.max(axis=0), encoder.maximum_)
    assert (encoder.maximum_ > encoder.minimum_).all()
    assert sorted(encoder.numeric_columns_) == [
        i for i, k in enumerate(encoder.kinds_) if k in ("numeric", "date_part")
    ]


@pytest.mark.parametrize("mode", MODES)
def test_stored_and_read_back_gives_the_same_bits(mode):
    frame = make_mixed()
    encoder = TableEncoder(
        mode, na={"coded": [-9, -8]}, groups={"g": ["number", "gaps"]}
    ).fit(frame)
    again = TableEncoder.from_dict(
        json.loads(json.dumps(encoder.to_dict(), allow_nan=False))
    )
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(encoder)).transform(frame), encoder.transform(frame)
    )
    assert again.to_dict() == encoder.to_dict()
    assert again.features().keys() == encoder.features().keys()
    with pytest.raises(
        InputError,
        match=r"The stored encoder has format 2, but this permgrad reads format 1. "
        r"Update permgrad",
    ):
        TableEncoder.from_dict({**encoder.to_dict(), "format": 2})
    with pytest.raises(
        InputError,
        match=r"Part of a stored encoder is missing or damaged "
        r"\(KeyError\('slots'\)\). Save the model again",
    ):
        TableEncoder.from_dict(
            {key: value for key, value in encoder.to_dict().items() if key != "slots"}
        )


@pytest.mark.parametrize("mode", MODES)
def test_tables_of_categories_alone_are_stored_and_read_back(mode):
    """There is no column to scale, so nothing in the file says how wide the
    scales are.
    """
    frame = pd.DataFrame(
        {"town": ["Bonn", "Ulm", "Köln", "Ulm"] * 9, "other": ["p", "q"] * 18}
    )
    encoder = TableEncoder(mode).fit(frame)
    assert not any(kind == "numeric" for kind in encoder.kinds_)
    again = TableEncoder.from_dict(
        json.loads(json.dumps(encoder.to_dict(), allow_nan=False))
    )
    assert again.transform(frame).shape[1] > 3
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))
    assert again.to_dict() == encoder.to_dict()


def test_statistics_of_parts_give_the_same_encoder():
    frame = make_mixed()
    whole_encoder = TableEncoder(na=[-9, -8]).fit(frame)
    table_statistics = TableStatistics(whole_encoder.schema_, na=[-9, -8])
    table_statistics.update(frame[150:], first_row=150).update(frame[:150], first_row=0)
    merged = TableEncoder().update(table_statistics)
    assert merged.encoded_names_ == whole_encoder.encoded_names_
    np.testing.assert_array_equal(
        merged.transform(frame), whole_encoder.transform(frame)
    )


def test_a_constant_first_chunk_is_not_the_last_word():
    first = pd.DataFrame({"a": [1, 1], "t": ["x", "x"], "f": [0, 1]})
    statistics = TableStatistics(infer_schema(first)).update(first)
    statistics.update(pd.DataFrame({"a": [1, 3], "t": ["x", "y"], "f": [0, 5]}))
    encoder = TableEncoder("minmax").update(statistics)
    assert [column.kind for column in encoder.schema_] == [
        "numeric",
        "categorical",
        "numeric",
    ]
    assert encoder.encoded_names_ == ["a", "t=x", "t=y", "f"]


def test_inputs_of_every_form():
    values = np.random.default_rng(0).normal(size=(20, 3))
    encoder = TableEncoder().fit(values)
    assert encoder.feature_names_in_ == ["x0", "x1", "x2"]
    assert not encoder.named_
    expected = encoder.transform(values)
    named = TableEncoder().fit(pd.DataFrame(values, columns=list("abc")))
    assert named.named_
    for same in (
        values.tolist(),
        values.astype(object),
        np.asfortranarray(values),
        tuple(map(tuple, values)),
    ):
        np.testing.assert_array_equal(encoder.transform(same), expected)
        np.testing.assert_array_equal(named.transform(same), expected)
    mixed = [[1, "a", None], [2.5, "b", True], [3, "a", False]]
    assert [column.kind for column in TableEncoder().fit(mixed).schema_] == [
        "numeric",
        "categorical",
        "boolean",
    ]
    assert encoder.transform(np.empty((0, 3))).shape == (0, 3)


def test_nothing_of_the_users_is_changed():
    frame = make_mixed()
    before = frame.copy(deep=True)
    array = np.array([[1.0, -9.0], [2.0, 3.0], [np.nan, 4.0]])
    copy = array.copy()
    TableEncoder(na=[-9, -8]).fit(frame).transform(frame)
    TableEncoder(na=[-9]).fit(array).transform(array)
    pd.testing.assert_frame_equal(frame, before)
    np.testing.assert_array_equal(array, copy)


# ---- features and groups -------------------------------------------------------------
BLOCKS = pd.DataFrame(
    {
        "age": [1.0, 2.0, 3.0, 4.0],
        "soil1": [1, 0, 0, 0],
        "soil2": [0, 1, 1, 0],
        "wind": [5.0, 6.0, 7.0, 1.0],
        "soil3": [0, 0, 0, 1],
        "town": ["a", "b", "a", "b"],
    }
)


def test_levels_of_features():
    encoder = TableEncoder(groups={"soil": ["soil3", "soil1", "soil2"]}).fit(BLOCKS)
    as_lists = {
        level: {
            name: columns.tolist() for name, columns in encoder.features(level).items()
        }
        for level in ("column", "feature")
    }
    assert as_lists["column"] == {
        "age": [0],
        "soil1": [1],
        "soil2": [2],
        "wind": [3],
        "soil3": [4],
        "town": [5, 6],
    }
    assert as_lists["feature"] == {
        "age": [0],
        "soil": [1, 2, 4],
        "wind": [3],
        "town": [5, 6],
    }
    assert encoder.groups_ == {"soil": ["soil1", "soil2", "soil3"]}
    assert encoder.raw_columns_of("soil") == ["soil1", "soil2", "soil3"]
    assert encoder.columns_of("soil").tolist() == [1, 2, 4]
    assert encoder.columns_of("town").tolist() == [5, 6]
    assert encoder.feature_of_.tolist() == [0, 1, 2, 3, 4, 5, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"groups": {"g": ["age", "wnd"]}},
            ("Column 'wnd' of group 'g' not found. Did you mean 'wind'?"),
        ),
        (
            {"groups": {"g": ["age"], "h": ["age", "wind"]}},
            "Column 'age' is listed in two groups, 'g' and 'h'. List it once.",
        ),
        (
            {"groups": {"g": []}},
            "Group 'g' is empty. Add columns or remove it.",
        ),
        (
            {"groups": {"town": ["age", "wind"]}},
            "Group 'town' has the name of a column outside it. Rename the group.",
        ),
        (
            {"numeric": "robst"},
            ("numeric cannot be 'robst'. Did you mean 'robust'?"),
        ),
        (
            {"max_levels": 0},
            "max_levels must be an integer of at least 1, got 0. The default is 50.",
        ),
        (
            {"na": [None]},
            (
                "A code for missing values must be a number or text, got None. Pass "
                "for example -9 or '?'."
            ),
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError) as caught:
        TableEncoder(**options).fit(BLOCKS)
    assert caught.value.message == message


# ---- wrong tables --------------------------------------------------------------------
def test_names_of_blocks_and_columns_must_be_known():
    encoder = TableEncoder(groups={"both": ["number", "gaps"]}).fit(make_mixed())
    assert encoder.raw_columns_of("both") == ["number", "gaps"]
    assert encoder.raw_columns_of("town") == ["town"]
    with pytest.raises(InputError, match=r"No feature 'twon'. Did you mean 'town'\?"):
        encoder.raw_columns_of("twon")
    with pytest.raises(
        InputError, match="level must be one of 'column', 'feature', got 'row'"
    ):
        encoder.features("row")


def test_wrong_columns_are_refused_as_scikit_learn_does():
    encoder = TableEncoder().fit(BLOCKS)
    with pytest.raises(
        InputError,
        match=(
            "The feature names should match those that were passed during fit: they "
            "must be in the same "
            r"order. Pass X\[encoder.feature_names_in_\]"
        ),
    ):
        encoder.transform(BLOCKS[BLOCKS.columns[::-1]])
    with pytest.raises(
        InputError,
        match=(
            "The feature names should match those that were passed during fit: 1 "
            "unseen in training "
            r"\('more'\) and 1 missing \('wind'\). Pass the columns of training"
        ),
    ):
        encoder.transform(BLOCKS.rename(columns={"wind": "more"}))
    with pytest.raises(
        InputError,
        match="X has 2 features, but TableTransformer is expecting 6 features as input",
    ):
        encoder.transform([[1, 2]])
    with pytest.raises(
        InputError, match=r"This TableTransformer is not fitted. Call fit first"
    ):
        TableEncoder().transform(BLOCKS)
    with pytest.raises(
        InputError,
        match=r"Column 'age' must be numeric, but holds 'old' in row 2. Correct the "
        r"cell",
    ):
        encoder.transform(BLOCKS.assign(age=["1", "2", "old", "4"]))
    with pytest.raises(InputError, match="Column 'age' holds 1 infinite value"):
        encoder.transform(BLOCKS.assign(age=[1, 2, np.inf, 4]))


def test_wrong_tables_are_refused():
    for table, message in [
        (np.zeros(3), "Expected 2D array, got 1D array instead"),
        (pd.Series([1, 2]), "Expected 2D array, got 1D array instead"),
        (
            np.empty((0, 3)),
            (
                r"The table has 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 "
                r"is required. Pass at least "
                "one row"
            ),
        ),
        (np.empty((3, 0)), r"The table has 0 feature\(s\)"),
        (np.ones((3, 2)) * 1j, "Complex data not supported"),
        ([[1, 2], [3]], r"All rows must have the same number of cells, got \[1, 2\]"),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            "Column names must be unique, but 'a' is repeated",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            TableEncoder().fit(table)
    from scipy.sparse import csr_matrix

    with pytest.raises(
        InputError, match=r"X is a sparse matrix, .* Pass X.toarray\(\)"
    ):
        TableEncoder().fit(csr_matrix(np.eye(3)))


def test_columns_are_aligned_by_name_for_the_command_line():
    with pytest.warns(
        PermgradWarning,
        match="1 column is not used, because training did not have it: 'extra'",
    ):
        aligned = align_columns(
            BLOCKS[BLOCKS.columns[::-1]].assign(extra=1), list(BLOCKS.columns)
        )
    pd.testing.assert_frame_equal(aligned, BLOCKS, check_column_type=False)
    with pytest.raises(
        InputError,
        match=r"1 column of training is missing: 'wind'. Rename 'winds' to 'wind'\.",
    ):
        align_columns(BLOCKS.rename(columns={"wind": "winds"}), list(BLOCKS.columns))
    with pytest.warns(
        PermgradWarning,
        match="2 columns are not used, because training did not have them: 'extra', "
        "'more'",
    ):
        align_columns(BLOCKS.assign(extra=1, more=2), list(BLOCKS.columns))
    with pytest.raises(InputError, match="2 columns of training are missing: 'x', 'z'"):
        align_columns(BLOCKS, ["x", "z", *BLOCKS.columns])
    message = (
        "3 columns of training are missing: 'Wind ', 'z', 'wind_'. Rename 'wind' to "
        "'Wind ', and add the others."
    )
    with pytest.raises(InputError, match=re.escape(message)):
        align_columns(BLOCKS, ["Wind ", "z", "wind_", *BLOCKS.columns.drop("wind")])


# ---- size ----------------------------------------------------------------------------
def test_wide_and_long_tables_are_quick():
    wide = np.random.default_rng(0).normal(size=(500, 4_000))
    wide[::7, ::3] = np.nan
    start = time.process_time()
    out = TableEncoder().fit_transform(wide)
    assert out.shape == (500, 4_000 + 1_334)
    long = pd.concat([make_mixed(45_000).drop(columns="when")], axis=1)
    TableEncoder().fit_transform(long)
    # About 1 s on the machine this was written on; the bound leaves room for slow ones.
    assert time.process_time() - start < 7
