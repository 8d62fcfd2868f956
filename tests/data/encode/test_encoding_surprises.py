"""Tables at prediction time that spell things in another way than training: read, named
in a warning, or refused.
"""

from __future__ import annotations

import json
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from permgrad import InputError, PermgradWarning
from permgrad.base.errors import keeping_warnings
from permgrad.data.encode.encoding import TableEncoder, surprises_told_once
from permgrad.data.read.dates import read_dates
from permgrad.data.types.column_types import infer_schema

DAYS = pd.date_range("2021-11-20", periods=60, freq="D")


def encode_quietly(encoder, values, name="c"):
    """Encode one column; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return encoder.transform(pd.DataFrame({name: values}))


# ---- dates ---------------------------------------------------------------------------
@pytest.mark.parametrize("learned", ["%d.%m.%Y", "%Y-%m-%d", "%m/%d/%Y", None])
@pytest.mark.parametrize(
    "spelled",
    [
        "{}",
        " {} ",
        "%Y-%m-%d",
        " %Y-%m-%d ",
        "%Y-%m-%dT%H:%M:%S",
        "{} %H:%M",
        "{}, %H:%M:%S",
    ],
)
def test_dates_in_the_form_of_training_or_of_iso_are_the_same_days(learned, spelled):
    spelled = spelled.format("%Y-%m-%d" if learned is None else learned)
    if ", " in spelled and "Y-" in spelled:
        pytest.skip("ISO 8601 has no comma before a time")
    train = DAYS if learned is None else DAYS.strftime(learned)
    encoder = TableEncoder("minmax").fit(pd.DataFrame({"c": train}))
    assert encoder.schema_["c"].kind == "date"
    expected = encode_quietly(encoder, train)
    assert np.ptp(expected[:, 0]) == 1
    np.testing.assert_array_equal(
        encode_quietly(encoder, DAYS.strftime(spelled)), expected
    )
    stored = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    np.testing.assert_array_equal(
        encode_quietly(stored, DAYS.strftime(spelled)), expected
    )


def test_dates_as_objects_and_a_mixture_of_forms_are_read():
    encoder = TableEncoder("minmax").fit(pd.DataFrame({"c": DAYS.strftime("%d.%m.%Y")}))
    expected = encode_quietly(encoder, DAYS)[:3]
    np.testing.assert_array_equal(
        encode_quietly(encoder, ["20.11.2021", "2021-11-21", "22.11.21"]), expected
    )
    objects = pd.Series([day.date() for day in DAYS[:3]], dtype=object)
    np.testing.assert_array_equal(encode_quietly(encoder, objects), expected)
    blank = encode_quietly(encoder, [None, "", np.nan])
    assert (blank == blank[0]).all()


@pytest.mark.parametrize(
    ("learned", "cell"),
    [
        ("%d.%m.%Y", "soon"),
        ("%d.%m.%Y", "03/04/2021"),  # the third of April or the fourth of March
        ("%m/%d/%Y", "25/12/2021"),  # day first: then the rest of the column is too
        ("%m/%d/%Y", "25/12/2021 10:00"),
        ("%d.%m.%Y", "2021"),
        ("%d.%m.%Y", "3 May 2021"),
        ("%d.%m.%Y", "31.02.2021"),
    ],
)
def test_text_that_is_no_date_without_doubt_is_refused(learned, cell):
    encoder = TableEncoder().fit(pd.DataFrame({"c": DAYS.strftime(learned)}))
    assert encoder.schema_["c"].date_format == learned
    with pytest.raises(InputError) as caught:
        encoder.transform(pd.DataFrame({"c": [DAYS[0].strftime(learned), None, cell]}))
    assert caught.value.message == (
        f"Column 'c' must hold dates, as {learned} or ISO 8601, but holds {cell!r} in "
        "row 2. Write it like 2024-01-31, leave it empty, or declare it as a code for "
        "missing values."
    )


def test_a_declared_code_among_dates_is_no_text_to_refuse():
    train = pd.DataFrame({"c": [*DAYS.strftime("%d.%m.%Y"), "never"]})
    encoder = TableEncoder(na="never").fit(train)
    assert encoder.encoded_names_[-1] == "c=<missing never>"
    assert encode_quietly(encoder, ["2021-12-13", "never"])[:, -1].tolist() == [0, 1]


def test_words_among_dates_make_them_text_and_are_named():
    """Of a few in hundreds they are missing."""
    long = pd.date_range("2020-01-01", periods=299, freq="D").strftime("%d.%m.%Y")
    frame = pd.DataFrame({"c": [*long, *["soon"] * 9]})
    column = infer_schema(frame)["c"]
    assert (column.kind, column.facts["example"]) == ("identifier", "soon")
    assert (
        infer_schema(frame, na="soon")["c"].kind
        == infer_schema(frame[:299])["c"].kind
        == infer_schema(frame[:303])["c"].kind
        == "date"
    )


def test_read_dates_of_nothing():
    assert read_dates([], "%d.%m.%Y").shape == (0,)


# ---- yes and no ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("yes", "no"),
        ("True", "False"),
        ("T", "F"),
        ("y", "n"),
        ("on", "off"),
        ("Yes", "NO"),
    ],
)
def test_words_of_a_pair_whatever_their_spelling_and_real_booleans(yes, no):
    encoder = TableEncoder().fit(pd.DataFrame({"c": [yes, no, yes, None]}))
    assert encoder.kinds_ == ["boolean", "missing"]
    spelled = [yes, no, yes.upper(), f" {no.lower()} ", yes.lower() + " ", True, False]
    for series in (spelled, pd.Series(spelled, dtype=object)):
        assert encode_quietly(encoder, series).tolist() == [
            [1, 0],
            [0, 0],
            [1, 0],
            [0, 0],
            [1, 0],
            [1, 0],
            [0, 0],
        ]
    assert encode_quietly(encoder, np.array([True, False])).tolist() == [[1, 0], [0, 0]]
    assert encode_quietly(
        encoder, pd.array([True, None], dtype="boolean")
    ).tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("yes", "no"),
    [("yes", "no"), ("True", "False"), ("y", "n"), (1, 0), (1.0, 0.0), (True, False)],
)
def test_words_that_evidently_mean_true_and_false_whichever_were_learned(yes, no):
    encoder = TableEncoder().fit(pd.DataFrame({"c": [yes, no, yes, no]}))
    assert encoder.kinds_ == ["boolean"]
    for true_word, false_word in [
        ("yes", "no"),
        ("TRUE", "false"),
        ("y", "N"),
        ("on", "off"),
        ("t", "f"),
        ("1", "0"),
        (1, 0),
    ]:
        for series in (
            [true_word, false_word],
            pd.Series([true_word, false_word], dtype=object),
        ):
            assert encode_quietly(encoder, series).tolist() == [[1], [0]], (
                true_word,
                false_word,
            )
    if not isinstance(yes, str):
        with pytest.raises(
            InputError,
            match=r"Column 'c' must be 0 or 1, or true or false, but holds 'maybe' in "
            r"row 1",
        ):
            encoder.transform(pd.DataFrame({"c": ["yes", "maybe"]}))


def test_other_words_count_as_missing_with_a_warning():
    encoder = TableEncoder().fit(pd.DataFrame({"c": ["yes", "no", "yes", None]}))
    with pytest.warns(PermgradWarning) as caught:
        out = encoder.transform(pd.DataFrame({"c": ["maybe", "NO", None, "perhaps"]}))
    assert out.tolist() == [[1, 1], [0, 0], [1, 1], [1, 1]]
    assert [str(warning.message) for warning in caught] == [
        (
            "2 of 3 values of 'c' are neither of the two training values ('maybe', "
            "'perhaps'), treated as missing"
        )
    ]


def test_a_declared_pair_without_evident_meaning_has_no_true_and_false():
    encoder = TableEncoder(kinds={"c": "boolean"}).fit(
        pd.DataFrame({"c": ["left", "Right", "left"]})
    )
    assert encode_quietly(encoder, ["LEFT", "right "]).tolist() == (
        encode_quietly(encoder, ["left", "Right"]).tolist()
    )
    with pytest.warns(
        PermgradWarning,
        match=r"1 of 2 values of 'c' is neither of the two .* \('True'\), treated as",
    ):
        encoder.transform(pd.DataFrame({"c": ["left", True]}))
    # Words that differ by their capitals only are told apart as they were learned.
    capitals = TableEncoder(kinds={"c": "boolean"}).fit(
        pd.DataFrame({"c": ["a", "A", "a"]})
    )
    assert sorted(encode_quietly(capitals, ["a", "A"])[:, 0]) == [0, 1]


# ---- levels --------------------------------------------------------------------------
def test_unseen_levels_are_named_once_for_all_columns():
    train = pd.DataFrame(
        {
            "Geschlecht": ["m", "w", "m", "d"],
            "town": ["a", "b", "a", None],
            "n": [1, 2, 3, 4],
        }
    )
    encoder = TableEncoder().fit(train)
    new = pd.DataFrame(
        {
            "Geschlecht": ["m"] * 9 + ["alien"] * 3,
            "town": [*"abcdefgh", None, None, "", "a"],
            "n": 1.0,
        }
    )
    with pytest.warns(PermgradWarning) as caught:
        out = encoder.transform(new)
    assert len(caught) == 1
    assert str(caught[0].message) == (
        "3 of 12 values of 'Geschlecht' are unseen categories ('alien'), treated as "
        "unknown; 6 of 9 values of 'town' "
        "are unseen categories ('c', 'd', 'e' and 3 more), treated as unknown"
    )
    assert caught[0].filename == __file__
    encoded_columns = encoder.columns_of("Geschlecht")
    assert out[-1, encoded_columns].tolist() == [0, 0, 0]
    assert out[0, encoded_columns].sum() == 1
    assert out[2, encoder.columns_of("town")].tolist() == [0, 0, 0]


def test_many_columns_make_one_short_warning():
    names = [f"c{i}" for i in range(9)]
    encoder = TableEncoder().fit(pd.DataFrame({name: ["a", "b"] for name in names}))
    with pytest.warns(
        PermgradWarning, match="'c4' .*; likewise in 4 more columns$"
    ) as caught:
        encoder.transform(pd.DataFrame({name: ["a", "z"] for name in names}))
    assert len(caught) == 1
    assert "'c5'" not in str(caught[0].message)


def test_a_run_says_it_once_for_each_column():
    encoder = TableEncoder().fit(
        pd.DataFrame({"mix": ["a", "b", "a"], "town": ["x", "y", "x"]})
    )
    frames = [
        pd.DataFrame({"mix": mix, "town": town})
        for mix, town in (
            (["a", "c"], ["x", "y"]),
            (["d", "e"], ["x", "z"]),
            (["f"], ["z"]),
        )
    ]
    for _ in range(2):
        with keeping_warnings() as warning_texts, surprises_told_once():
            for frame in frames:
                encoder.transform(frame)
        assert [
            sentence.partition(" is an unseen")[0] for sentence in warning_texts
        ] == [
            "1 of 2 values of 'mix'",
            "1 of 2 values of 'town'",
        ]
    with keeping_warnings() as warning_texts:
        for frame in frames:
            encoder.transform(frame)
    assert len(warning_texts) == 3, "outside of a run it is said each time"


def test_no_warning_where_nothing_is_lost():
    letters = pd.DataFrame(
        {"c": [letter for i, letter in enumerate("abcdef") for _ in range(10 - i)]}
    )
    assert encode_quietly(
        TableEncoder(max_levels=3).fit(letters), ["new"]
    ).tolist() == [[0, 0, 0, 1]]
    codes = TableEncoder(na=["?", "-"]).fit(pd.DataFrame({"c": ["a", "b", "?"]}))
    assert encode_quietly(codes, ["a", "?", "-", None])[2:].tolist() == [
        [0, 0, 0],
        [0, 0, 0],
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = np.random.default_rng(0).integers(0, 2, (30, 3)).astype(float)
        TableEncoder().fit(numbers).transform(numbers * 7 - 2)
        frame = pd.DataFrame(
            {"t": ["a", "b", None] * 9, "p": ["yes", "no", None] * 9, "n": range(27)}
        )
        TableEncoder().fit(frame).transform(frame)
        # Columns that give no encoded column have nothing to lose.
        same = TableEncoder().fit(pd.DataFrame({"t": ["a", "a"], "n": [1, 2]}))
        same.transform(pd.DataFrame({"t": ["b", "a"], "n": [1, 2]}))


def test_an_estimator_says_it_once_a_call():
    from permgrad import HyNNClassifier

    frame = pd.DataFrame({"town": list("ab") * 30, "n": np.arange(60.0)})
    model = HyNNClassifier(max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PermgradWarning)
        model.fit(frame, np.arange(60) % 2)
    new = frame.assign(town=["alien", *frame["town"][1:]])
    with pytest.warns(PermgradWarning) as caught:
        model.predict(new)
    assert [
        str(warning.message)
        for warning in caught
        if issubclass(warning.category, PermgradWarning)
    ] == [
        "1 of 60 values of 'town' is an unseen category ('alien'), treated as unknown"
    ]


# ---- cells that Python holds for equal -----------------------------------------------
def test_cells_of_several_types_are_read_alone_as_among_others():
    cells = [
        True,
        1,
        1.0,
        "1",
        Decimal("1.0"),
        Fraction(1, 1),
        Decimal("1.50"),
        1.5,
        "x",
        None,
        False,
        0,
    ]
    table = pd.DataFrame({"c": pd.Series(cells, dtype=object)})
    encoder = TableEncoder().fit(table)
    assert set(encoder.encoded_names_) == {
        "c=True",
        "c=1",
        "c=1.5",
        "c=x",
        "c=False",
        "c=0",
        "c=<missing>",
    }
    together = encode_quietly(encoder, table["c"])
    alone = [
        encode_quietly(encoder, table["c"].iloc[[row]])[0] for row in range(len(table))
    ]
    np.testing.assert_array_equal(np.stack(alone), together)
    assert (together.sum(axis=1) == 1).all()


def test_codes_with_decimals_mean_missing_in_columns_of_float32_too():
    cells = np.random.default_rng(0).normal(20, 5, 60)
    cells[::5] = -99.9
    encoders = [
        TableEncoder("standard", na=[-99.9]).fit(
            pd.DataFrame({"t": cells.astype(kind)})
        )
        for kind in (np.float64, np.float32)
    ]
    assert encoders[0].encoded_names_ == ["t", "t=<missing -99.9>"]
    assert encoders[1].encoded_names_ == encoders[0].encoded_names_
    encoded = [
        encoder.transform(pd.DataFrame({"t": cells.astype(np.float32)}))
        for encoder in encoders
    ]
    np.testing.assert_allclose(encoded[1], encoded[0], atol=1e-5)
    assert encoded[1][:, 1].sum() == 12


def test_dates_are_no_numbers_and_durations_no_dates():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 9, 60),
            "day": DAYS,
            "lasted": pd.to_timedelta(rng.integers(1, 99, 60), "h"),
        }
    )
    encoder = TableEncoder("standard").fit(frame)
    assert np.isfinite(encoder.transform(frame)).all()
    with pytest.raises(
        InputError,
        match=r"Column 'age' must hold numbers as in training, but holds a date "
        r"\(2021.*\) in row 2",
    ):
        encoder.transform(frame.assign(age=frame["day"].where(frame.index > 1)))
    with pytest.raises(
        InputError,
        match=r"Column 'lasted' must hold numbers as in training, but holds a date .* "
        r"in row 0",
    ):
        encoder.transform(frame.assign(lasted=frame["day"]))
    with pytest.raises(
        InputError,
        match=r"Column 'day' must hold dates as in training, but holds a duration .* "
        r"in row 0",
    ):
        encoder.transform(frame.assign(day=frame["lasted"]))
    # Nothing but missing cells says nothing of their type.
    empty = encoder.transform(frame.assign(age=pd.Series(pd.NaT, index=frame.index)))
    np.testing.assert_array_equal(empty, encoder.transform(frame.assign(age=np.nan)))
