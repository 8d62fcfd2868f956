"""A model that was loaded reads rows as ``permgrad predict`` does, and says no value of
a row in an error.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.evaluation.baselines.table_model import table_model


@pytest.fixture(name="table", scope="module")
def _table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "height": rng.normal(170, 9, 160),
            "town": rng.choice(["Ulm", "Bonn", "Trier"], 160),
            "smokes": rng.choice([True, False], 160),
        }
    )


@pytest.fixture(name="model", scope="module")
def _model(table, tmp_path_factory):
    y = np.where(table["height"] > 172, "tall", "short")
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=2, random_state=0, progress=False
    )
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.fit(table, y).save(folder)
    return pg.load(folder)


def test_columns_are_taken_by_name_and_others_are_left_out(model, table):
    expected = model.predict_proba(table)
    shuffled = table[["smokes", "height", "town"]].assign(secret="wort")
    with pytest.warns(pg.PermgradWarning, match="1 column is not used") as warned:
        np.testing.assert_array_equal(model.predict_proba(shuffled), expected)
    assert "wort" not in str(warned[0].message)


@pytest.mark.parametrize("rows", [1, 5])
def test_records_are_rows(model, table, rows):
    records = table.head(rows).to_dict("records")
    expected = model.predict_proba(table.head(rows))
    np.testing.assert_array_equal(model.predict_proba(records), expected)
    reasons = model.reasons(records, n=2)
    assert list(reasons)[:4] == [
        "reason_1",
        "reason_1_value",
        "reason_1_points",
        "reason_2",
    ]
    assert len(reasons) == rows


def test_null_is_a_missing_cell(model, table):
    record = table.iloc[0].to_dict() | {"height": None}
    frame = table.head(1).assign(height=np.nan)
    np.testing.assert_array_equal(
        model.predict_proba([record]), model.predict_proba(frame)
    )


def test_a_cell_that_cannot_be_read_is_missing_and_not_said(model, table):
    record = table.iloc[0].to_dict()
    words = "1 cell of 'height' cannot be read and counts as missing"
    with pytest.warns(pg.PermgradWarning, match=words) as warned:
        odd = model.predict_proba([record | {"height": "sehr gross"}])
    assert "gross" not in str(warned[0].message)
    np.testing.assert_array_equal(odd, model.predict_proba([record | {"height": None}]))


SECRET = "Rumpelstilz"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"height": [SECRET]}, "Record 0 has a list as value of 'height'"),
        ({"town": {"a": SECRET}}, "Record 0 has a dict as value of 'town'"),
        ({"town": f"{SECRET}\ud800"}, "Record 0 has half a character .* in 'town'"),
    ],
)
def test_no_error_has_a_value_of_a_row(model, table, change, words):
    record = table.iloc[0].to_dict() | change
    with pytest.raises(pg.InputError, match=words) as refused:
        model.predict([record])
    assert SECRET not in str(refused.value)


def test_a_column_of_other_cells_is_named_without_them(model, table):
    frame = table.head(8).assign(height=[f"{SECRET} {row}" for row in range(8)])
    words = "Column 'height' holds cells that cannot be read as in training"
    with pytest.raises(pg.InputError, match=words) as refused:
        model.predict(frame)
    assert SECRET not in str(refused.value)


def test_a_text_with_half_a_character_is_refused_without_it(model, table):
    towns = pd.Series(["Ulm", f"{SECRET}\udfff", "Bonn"], dtype=object)
    frame = table.head(3).assign(town=towns)
    words = "Row 1 holds a cell that cannot be read as in training"
    with pytest.raises(pg.InputError, match=words) as refused:
        model.predict(frame)
    assert SECRET not in str(refused.value)


def test_a_record_that_lacks_a_column_is_refused(model, table):
    first, second = table.head(2).to_dict("records")
    del second["town"]
    with pytest.raises(pg.InputError, match="1 column of training is missing: 'town'"):
        model.predict([second])
    with pytest.raises(pg.InputError, match="Record 1 lacks 'town'"):
        model.predict([first, second])


def test_rows_that_are_no_records_are_refused_without_their_values(model, table):
    record = table.iloc[0].to_dict() | {"town": SECRET}
    words = r"Record 1 is a NoneType\. Pass a list of dicts\."
    with pytest.raises(pg.InputError, match=words) as refused:
        model.predict([record, None])
    assert SECRET not in str(refused.value)
    with pytest.raises(pg.InputError, match="There is no row to predict"):
        model.predict_parts([])


def test_a_model_that_was_not_loaded_refuses_another_order(table):
    y = table["height"].to_numpy()
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(table, y)
    with pytest.raises(pg.InputError, match="order"):
        model.predict(table[["town", "height", "smokes"]])


def test_a_model_of_columns_without_names_takes_them_by_their_place(tmp_path):
    X = np.random.default_rng(0).normal(size=(80, 2))
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, X[:, 0])
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    expected = model.predict(X[:9])
    np.testing.assert_array_equal(loaded.predict(X[:9]), expected)
    frame = pd.DataFrame(X[:9], columns=["b", "a"])
    np.testing.assert_array_equal(loaded.predict(frame), expected)
    records = [{"x1": row[1], "x0": row[0]} for row in X[:9].tolist()]
    np.testing.assert_array_equal(loaded.predict(records), expected)


@pytest.mark.parametrize("name", ["network", "linear"])
def test_a_model_that_was_just_fitted_reads_records_too(table, name):
    y = np.where(table["height"] > 172, "tall", "short")
    model = table_model("classification", "linear", random_state=0)
    if name == "network":
        model = pg.HyNNClassifier(
            preset="fast", max_epochs=1, random_state=0, progress=False
        )
    model.fit(table, y)
    records = table.head(4).to_dict("records")
    other_order = [dict(reversed(record.items())) for record in records]
    expected = model.predict_proba(table.head(4))
    np.testing.assert_array_equal(model.predict_proba(records), expected)
    np.testing.assert_array_equal(model.predict_proba(other_order), expected)
    assert len(model.reasons(records, n=1)) == 4
    record = {"height": 170.0, "town": SECRET}
    with pytest.raises(pg.InputError, match="training is missing: 'smokes'") as raised:
        model.predict([record])
    assert SECRET not in str(raised.value)


def test_no_error_of_a_shape_has_the_cells(table):
    X = table[["height"]].to_numpy()
    model = pg.HyNNRegressor(preset="fast", max_epochs=1, progress=False)
    model.fit(X, X[:, 0])
    for row in ([171.25, 163.5], 171.25, [SECRET]):
        words = r"Expected 2D array, got (1D|scalar) array instead\. Reshape your data"
        with pytest.raises(pg.InputError, match=words) as raised:
            model.predict(row if isinstance(row, float) else np.array(row))
        assert "171.25" not in str(raised.value)
        assert SECRET not in str(raised.value)
