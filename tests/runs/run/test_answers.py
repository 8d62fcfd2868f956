"""Files of the tabs Features and Rows: written and read again, in a run of each kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.report.page.content import CardsSection, ListedSection, SimilarRows
from permgrad.runs.run import answers


def listed_section(rows: int = 6, **changes) -> ListedSection:
    """Return listed rows with columns of every kind."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=rows), "colour": ["red", "blue", None] * (rows // 3)})
    table["day"] = pd.date_range("2020-01-01", periods=rows)
    table.loc[0, "size"] = np.nan
    near = np.array([[0, 1]] * rows)
    similar = SimilarRows(
        near=near,
        distance=near / 2,
        beside=near[:, :1],
        beside_distance=near[:, :1] * 1.5,
        numbers=np.array([70, 80]),
        truth=np.array([0, 1]),
        table=table.iloc[:2],
        searched=2,
        of=10,
    )
    fields = {
        "table": table,
        "numbers": np.arange(rows) * 10,
        "random": np.arange(rows) > 2,
        "truth": np.arange(rows) % 2,
        "predicted": rng.uniform(size=(rows, 2)),
        "classes": ["no", "yes"],
        "rows": 50,
        "notable": [20],
        "identifiers": pd.DataFrame({"patient": [f"p{k}" for k in range(rows)]}),
        "similar": similar,
        "inside": rng.uniform(size=(rows, 2)) > 0.5,
        "groups": {"size": (np.arange(rows) % 2, ["up to 0", "missing"])},
    }
    return ListedSection(**{**fields, **changes})


def test_listed_rows_come_back(tmp_path):
    section = listed_section()
    answers.save_listed(tmp_path, section)
    read = answers.read_listed(tmp_path)
    assert read.table["size"].tolist() == pytest.approx(section.table["size"].tolist(), nan_ok=True)
    assert read.table["colour"].tolist() == ["red", "blue", None] * 2
    assert read.table["day"].tolist()[0] == "2020-01-01 00:00:00"
    assert read.identifiers["patient"].tolist() == section.identifiers["patient"].tolist()
    for name in ("numbers", "random", "truth", "predicted", "inside"):
        assert getattr(read, name).tolist() == getattr(section, name).tolist()
    codes, names = read.groups["size"]
    assert (codes.tolist(), names) == ([0, 1] * 3, ["up to 0", "missing"])
    assert read.similar.distance.tolist() == section.similar.distance.tolist()
    assert read.similar.table["colour"].tolist() == ["red", "blue"]
    assert (read.rows, read.classes, read.notable, read.similar.of) == (50, ["no", "yes"], [20], 10)


def test_columns_of_equal_or_strange_names_come_back(tmp_path):
    table = pd.DataFrame([[1.0, "a"], [2.0, "b"]], columns=["</script>", "</script>"])
    answers.save_listed(tmp_path, listed_section(table=table, identifiers=None, similar=None))
    read = answers.read_listed(tmp_path)
    assert list(read.table.columns) == ["</script>"] * 2
    assert read.table.iloc[:, 1].tolist() == ["a", "b"]
    assert read.similar is None
    assert read.identifiers is None


def test_cards_come_back(tmp_path):
    curves = {"a": np.arange(12.0).reshape(2, 3, 2), "b/..": np.zeros((2, 1, 2))}
    section = CardsSection(
        cards=[{"feature": "a", "at": [0.0, 1.0, 2.0]}, {"feature": "b/.."}, {"feature": "c"}],
        curves=curves,
        classes=["no", "yes"],
        rows=9,
        features=30,
        curve_rows=np.array([4, 7]),
    )
    answers.save_cards(tmp_path, section)
    read = answers.read_cards(tmp_path)
    assert read.cards == section.cards
    assert {name: array.tolist() for name, array in read.curves.items()} == {
        name: array.tolist() for name, array in curves.items()
    }
    assert (read.rows, read.features, read.classes, list(read.curve_rows)) == (9, 30, ["no", "yes"], [4, 7])


def test_a_folder_of_an_older_version_has_none(tmp_path):
    assert answers.read_cards(tmp_path) is None
    assert answers.read_listed(tmp_path) is None


def test_the_positive_one_of_two_classes_is_shown():
    assert answers.shown_outputs(["a", "b"], "a") == [0]
    assert answers.shown_outputs(["a", "b"], None) == [1]
    assert answers.shown_outputs(["a", "b", "c"], None) == [0, 1, 2]
    assert answers.shown_outputs(None, None) == [0]
