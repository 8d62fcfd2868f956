"""Columns that alone give the target are found whatever they are written in; ordinary leading ones raise no alarm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from permgrad.evaluation.leaks import ALONE, columns_that_tell


def told(frame: pd.DataFrame, target: str, task: str, seed: int = 0) -> dict[str, float]:
    """Alarms of a table of which 60 % are learned from."""
    rows = np.random.default_rng(seed).permutation(len(frame))
    cut = int(0.6 * len(rows))
    X, y = frame.drop(columns=target), frame[target].to_numpy()
    found = columns_that_tell((X.iloc[rows[:cut]], y[rows[:cut]]), (X.iloc[rows[cut:]], y[rows[cut:]]), task)
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    assert all(ALONE <= one["score"] <= 1 for one in found)
    return {one["column"]: one["score"] for one in found}


def numbers(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = rng.lognormal(2, 0.6, rows).round(2)
    frame = pd.DataFrame({"y": y, "log": np.log(y), "falls": 1 / y, "waves": np.abs(y - 8), "id": np.arange(rows)})
    frame["slightly_noisy"] = y + 0.1 * y.std() * rng.normal(size=rows)
    frame["strong"] = y + 0.25 * y.std() * rng.normal(size=rows)
    frame["text"] = [f"{value:.2f} EUR" for value in y]
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta((100 * y).round(), unit="D")
    frame["name"] = [f"p{i}" for i in range(rows)]
    return frame


def test_functions_of_a_number_are_found_and_strong_ones_and_identifiers_are_not():
    frame = numbers()
    assert np.corrcoef(frame["y"], frame["strong"])[0, 1] ** 2 > 0.93, "as ordinary features hardly ever are"
    assert set(told(frame, "y", "regression")) == {"log", "falls", "slightly_noisy", "day"}


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_codes_of_a_class_are_found_at_any_frequency(share):
    rng = np.random.default_rng(1)
    y = np.where(rng.random(600) < share, "well", "ill")
    frame = pd.DataFrame({"y": y, "code": np.where(y == "ill", 7, 3), "only_ill": np.where(y == "ill", "x", None)})
    frame["hardly_wrong"] = np.where(rng.random(600) < 0.005, 7, frame["code"])
    frame["often_wrong"] = np.where(rng.random(600) < 0.1, 10 - frame["code"], frame["code"])
    frame["many_levels"] = rng.integers(0, 250, 600).astype(str)
    frame["name"] = [f"p{i}" for i in range(600)]
    frame["number"] = rng.normal(size=600) + 2 * (y == "ill")
    assert set(told(frame, "y", "classification")) == {"code", "only_ill", "hardly_wrong"}


def test_classes_of_one_row_hide_no_copy():
    rng = np.random.default_rng(0)
    years = rng.choice([8, 10, 12, 12, 12, 14, 16], 300)
    years[:4] = [3, 5, 19, 21]
    assert told(pd.DataFrame({"y": years, "copy": years * 2.5, "x": rng.normal(size=300)}), "y", "classification") == {
        "copy": 1.0
    }


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
@pytest.mark.parametrize("seed", range(3))
def test_tables_of_scikit_learn_raise_no_alarm_until_a_column_is_planted(name, seed):
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    task = "regression" if name == "diabetes" else "classification"
    assert told(frame, "target", task, seed) == {}
    frame["planted"] = np.exp(-frame["target"] / 100) if task == "regression" else frame["target"].map("c{}".format)
    assert set(told(frame, "target", task, seed)) == {"planted"}


def test_few_rows_and_many_columns_of_noise_raise_no_alarm():
    rng = np.random.default_rng(0)
    for rows in (10, 24, 40):
        frame = pd.DataFrame(rng.normal(size=(rows, 60))).add_prefix("x")
        assert told(frame.assign(y=np.arange(rows) % 2), "y", "classification") == {}
        assert told(frame.assign(y=frame["x0"]), "y", "regression") == ({} if rows < 20 else {"x0": 1.0})


def test_long_and_wide_tables_are_looked_at_in_part():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60_000, 3)), columns=list("abc"))
    assert told(frame.assign(y=frame["b"] > 0), "y", "classification") == pytest.approx({"b": 1.0}, abs=0.001)
    assert told(pd.DataFrame({"y": np.ones(50), "x": np.arange(50)}), "y", "regression") == {}
