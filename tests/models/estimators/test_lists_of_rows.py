"""Lists of rows: their cells are what they are, as in a frame of the same rows."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.validation import check_array

from permgrad import HyNNClassifier, HyNNRegressor

SMALL = {"dense_units": [16], "conv_filters": [4], "pooling": [4], "fusion_units": [8]}


def small(kind=HyNNClassifier):
    return kind(
        preset="fast",
        network=SMALL,
        pixels=8,
        max_epochs=2,
        random_state=0,
        progress=False,
    )


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    days = [
        dt.date(2024, 1, 1) + dt.timedelta(days=int(day))
        for day in rng.integers(0, 500, 120)
    ]
    numbers = rng.normal(size=120).tolist()
    texts = rng.choice(["a", "b", "c"], 120).tolist()
    row_list = [
        [number, text, number > 0.3, day]
        for number, text, day in zip(numbers, texts, days, strict=True)
    ]
    for row in row_list[::7]:
        row[0] = float("nan")
    for row in row_list[::11]:
        row[1] = None
    return row_list


@pytest.fixture
def y(rows):
    return [int(row[2]) for row in rows]


@pytest.mark.parametrize("kind", [HyNNClassifier, HyNNRegressor])
def test_numbers_beside_text_stay_numbers(rows, y, kind):
    plain = [row[:3] for row in rows if row[1] is not None]
    own_labels = [
        label for label, row in zip(y, rows, strict=True) if row[1] is not None
    ]
    assert check_array(plain, dtype=None, ensure_all_finite=False).dtype.kind == "U", (
        "scikit-learn turns them to text"
    )
    fitted = small(kind).fit(plain, own_labels)
    framed = small(kind).fit(pd.DataFrame(plain), own_labels)
    schema = fitted.preprocessor_.schema_
    assert [column.kind for column in schema] == ["numeric", "categorical", "boolean"]
    assert schema["x0"].n_missing > 0
    expected = framed.predict(pd.DataFrame(plain))
    np.testing.assert_array_equal(fitted.predict(plain), expected)
    np.testing.assert_array_equal(fitted.predict(tuple(map(tuple, plain))), expected)
    np.testing.assert_array_equal(
        fitted.predict(np.array(plain, dtype=object)), expected
    )


def test_a_row_with_a_missing_number_is_predicted(rows, y):
    plain = [row[:2] for row in rows if row[1] is not None]
    own_labels = [
        label for label, row in zip(y, rows, strict=True) if row[1] is not None
    ]
    fitted = small().fit(plain, own_labels)
    alone = fitted.predict_proba([[float("nan"), "a"]])
    np.testing.assert_array_equal(
        alone, fitted.predict_proba(np.array([[np.nan, "a"]], dtype=object))
    )
    assert not np.array_equal(alone, fitted.predict_proba([[1.0, "a"]]))


def test_dates_and_missing_texts_are_read_as_in_a_frame(rows, y):
    fitted = small().fit(rows, y)
    framed = small().fit(pd.DataFrame(rows), y)
    kinds = [column.kind for column in fitted.preprocessor_.schema_]
    assert kinds == ["numeric", "categorical", "boolean", "date"]
    assert kinds == [column.kind for column in framed.preprocessor_.schema_]
    np.testing.assert_array_equal(
        fitted.predict_proba(rows), framed.predict_proba(pd.DataFrame(rows))
    )


def test_lists_of_numbers_and_of_text_alone_are_read_as_before(rows, y):
    numbers = [[row[0], float(row[2])] for row in rows]
    texts = [[str(row[1]), str(row[2])] for row in rows]
    for cells in (numbers, texts):
        expected = small().fit(np.array(cells), y).predict_proba(np.array(cells))
        np.testing.assert_array_equal(
            small().fit(cells, y).predict_proba(cells), expected
        )


def test_rows_of_different_lengths_are_refused_by_scikit_learn(rows, y):
    with pytest.raises(ValueError, match="inhomogeneous"):
        small().fit([*rows[:-1], rows[-1][:2]], y)
