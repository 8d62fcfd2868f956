"""``permgrad run --time``: what of the time is a feature, what is said of it, and the
page of such a run.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call

import permgrad as pg
from permgrad.base.numerals import number
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs


def riders(rows: int = 1100, trend: float = 0.0) -> pd.DataFrame:
    """Return days whose riders depend on the weekday and on the weather, which is all
    that may be learned.
    """
    rng = np.random.default_rng(0)
    day = pd.date_range("2019-01-01", periods=rows)
    rain = rng.random(rows)
    count = (
        np.where(day.dayofweek > 4, 4.0, 12.0)
        - 2 * rain
        + trend * np.arange(rows)
        + 0.3 * rng.normal(size=rows)
    )
    return pd.DataFrame(
        {"day": day.strftime("%d.%m.%Y"), "rain": rain, "riders": count}
    )


def load(frame: pd.DataFrame, folder: Path, **options):
    frame.to_csv(folder / "t.csv", index=False)
    return load_inputs(
        RunRequest(table=str(folder / "t.csv"), target=("riders",), **options)
    )


def test_what_returns_is_a_feature_and_the_rest_is_said(tmp_path):
    inputs = load(riders(), tmp_path, time="day")
    assert inputs.kinds == {"day": "calendar"}
    assert list(inputs.parts["train"].frame) == ["day", "rain"]
    (note,) = [
        note for note in inputs.notes if note.startswith("'day' orders the rows")
    ]
    assert note == (
        "'day' orders the rows. Only its parts that return are features: month, day of "
        "the year, day of the month, weekday, weekend. The year is left out, and later "
        "rows count as the latest training row, because the test rows are later than "
        "those of training. To leave out all of it, pass --drop day"
    )
    days = pd.to_datetime(riders()["day"], dayfirst=True).to_numpy()
    ends = [
        days[inputs.parts[split_name].numbers]
        for split_name in ("train", "validation", "test")
    ]
    assert ends[0].max() < ends[1].min() <= ends[1].max() < ends[2].min()
    assert [len(part_days) for part_days in ends] == [770, 110, 220]
    assert inputs.split == "70 % training, 10 % validation, 20 % test; by time, 'day'"


def test_a_time_that_does_not_return_is_left_out_and_why_is_said(tmp_path):
    for time, why in (
        ([2019 + row_number // 55 for row_number in range(1100)], "it is no date"),
        (
            pd.date_range("2019-01-01", periods=1100, freq="s").astype(str),
            "nothing of it returns among them",
        ),
    ):
        inputs = load(riders().assign(day=time), tmp_path, time="day")
        assert list(inputs.parts["train"].frame) == ["rain"]
        assert str(inputs.left_out["day"]) == "left out: --time"
        assert any(
            note.startswith("'day' orders the rows. It is not a feature")
            for note in inputs.notes
        )
        assert any(
            note.endswith(f"than those of training and {why}.") for note in inputs.notes
        )


@pytest.mark.parametrize("options", [{"drop": ("day",)}, {"identifier": ("day",)}])
def test_a_time_that_another_option_leaves_out_is_left_out(options, tmp_path):
    inputs = load(riders(), tmp_path, time="day", **options)
    assert list(inputs.parts["train"].frame) == ["rain"]
    assert inputs.split.endswith("by time, 'day'")
    assert not any("orders the rows" in note for note in inputs.notes)


def test_a_test_file_may_lack_the_time(tmp_path):
    riders().drop(columns="day").to_csv(tmp_path / "later.csv", index=False)
    inputs = load(riders(), tmp_path, time="day", test=tmp_path / "later.csv")
    assert list(inputs.parts["test"].frame) == ["rain"]


@pytest.mark.slow
def test_a_run_in_time_learns_the_weekday_follows_the_level_and_shows_errors_over_time(
    tmp_path,
):
    riders(trend=0.004).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "out"
    call(
        "run",
        tmp_path / "t.csv",
        "--target",
        "riders",
        "--time",
        "day",
        "--preset",
        "fast",
        "--out",
        out,
    )
    rows = pd.read_csv(out / "predictions.csv")
    error = rows["truth"] - rows["prediction"]
    # Without the weekday, it would be 3.6. The level of the training rows is 0.004 ·
    # 550 below that of the test rows.
    assert np.sqrt((error**2).mean()) < 1.2 < 0.35 * rows["truth"].std()
    assert abs(error.mean()) < 0.5 * 0.004 * 550
    raised = json.loads((out / "metrics.json").read_text())["raised"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert (
        "In the earlier half of the test rows by day, the root mean squared error is"
        in page
    )
    assert "Test rows by day. Above: riders, true and predicted." in page
    assert "later rows count as the latest training row" in page
    assert raised != 0
    words = (
        f"{'raised' if raised > 0 else 'lowered'} by {number(abs(raised))} after "
        "training"
    )
    assert (
        f"Predictions were {words}, which is their mean error on the validation" in page
    )
    first, second = np.array_split((error**2).to_numpy(), 2)
    assert (
        f"is {number(np.sqrt(first.mean()))}, in the later half "
        f"{number(np.sqrt(second.mean()))}." in page
    )
    assert pg.load(out / "model").preprocessor_.parts_of("day")[-2:] == [
        "weekday",
        "weekend",
    ]


@pytest.mark.slow
def test_rows_in_time_without_drift_are_not_moved():
    frame = riders()
    options = {
        "preset": "fast",
        "random_state": 0,
        "progress": False,
        "kinds": {"day": "calendar"},
    }
    X = frame[["day", "rain"]]
    y = frame["riders"].to_numpy()
    moved = pg.HyNNRegressor(**options).fit(X, y, row_time=np.arange(len(y)))
    assert abs(moved.raised_) < 0.1
    drift = pg.HyNNRegressor(**options).fit(
        X, y + 3.0 * (np.arange(len(y)) >= 990), row_time=np.arange(len(y))
    )
    assert drift.raised_ == pytest.approx(3.0, abs=0.3)
    held_out_predictions = drift.predict(X[990:])
    assert abs(np.mean(held_out_predictions - y[990:] - 3)) < 0.1
    assert pg.HyNNRegressor(**options, max_epochs=1).fit(X, y).raised_ == 0


def recipe_of_earlier_values() -> str:
    """Return the lines of the page that add earlier values of ``sales``."""
    page = Path(__file__).resolve().parents[3] / "docs" / "your-own-table.md"
    section = page.read_text(encoding="utf-8").split("### Earlier values")[1]
    block = section.split("```python\n")[1].split("```")[0]
    return block.partition("\n\n")[2].partition("\n\n")[2]


def with_earlier_values(table: pd.DataFrame) -> pd.DataFrame:
    names = {"pd": pd, "sales": table}
    exec(recipe_of_earlier_values(), names)
    return names["sales"]


def shops(days: int, *, to_come: int) -> pd.DataFrame:
    """Return sales of two shops that move slowly, in another order than that of time,
    with days that lack a row and days to come.
    """
    rng = np.random.default_rng(5)
    tables = []
    for shop, level in (("north", 20.0), ("south", 60.0)):
        steps = rng.normal(size=(days + 6) // 7).cumsum()
        table = pd.DataFrame({"date": pd.date_range("2021-03-01", periods=days)})
        table["shop"] = shop
        table["sales"] = level + 3 * steps[np.arange(days) // 7]
        table.loc[days - to_come :, "sales"] = np.nan
        tables.append(table.drop(index=[30, 31, 77]))
    whole = pd.concat(tables, ignore_index=True)
    return whole.sample(frac=1, random_state=3).reset_index(drop=True)


def test_earlier_values_of_the_page_are_those_of_the_day_and_never_later_ones():
    table = shops(120, to_come=7)
    lagged = with_earlier_values(table)
    pd.testing.assert_frame_equal(lagged[table.columns.to_list()], table)
    sold = table.set_index(["shop", "date"])["sales"]
    week_before = pd.MultiIndex.from_arrays(
        [table["shop"], table["date"] - pd.Timedelta(days=7)]
    )
    expected = sold.reindex(week_before).to_numpy()
    earlier = lagged["sales, 7 days before"].to_numpy()
    np.testing.assert_array_equal(earlier, expected)
    # A week, three days without a row, of each of two shops, and the three days whose
    # value was not there.
    assert np.isnan(earlier).sum() == 2 * (7 + 3)
    to_come = table["sales"].isna()
    assert to_come.sum() == 14
    assert not np.isnan(earlier[to_come]).any()
    # What is sold on a day changes no row of an earlier day, and none within a week.
    day = pd.Timestamp("2021-05-20")
    other = table.copy()
    other.loc[other["date"] >= day, "sales"] += 1000
    changed = with_earlier_values(other)["sales, 7 days before"].to_numpy() != earlier
    changed &= ~np.isnan(earlier)
    assert changed.any()
    assert table.loc[changed, "date"].min() == day + pd.Timedelta(days=7)


def test_a_day_twice_is_refused_by_the_recipe():
    table = shops(90, to_come=0)
    with pytest.raises(pd.errors.MergeError):
        with_earlier_values(pd.concat([table, table.head(1)]))


@pytest.mark.slow
def test_a_run_reads_earlier_values_and_predicts_the_days_to_come(tmp_path):
    table = with_earlier_values(shops(400, to_come=7))
    table.to_csv(tmp_path / "sales.csv", index=False)
    call("run", tmp_path / "sales.csv", "--target", "sales", "--time", "date",
         "--preset", "fast", "--out", tmp_path / "run", "--no-rows")  # fmt: skip
    rank = pd.read_csv(tmp_path / "run" / "importance.csv")
    assert rank["feature"].iloc[0] == "sales, 7 days before"
    call("predict", tmp_path / "run", tmp_path / "sales.csv", "--out",
         tmp_path / "p.csv")  # fmt: skip
    predicted = pd.read_csv(tmp_path / "p.csv")
    assert len(predicted) == len(table)
    assert predicted.filter(like="predict").notna().all(axis=None)
