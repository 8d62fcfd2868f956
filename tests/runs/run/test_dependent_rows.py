"""What a run, a report, a comparison and refits know of groups and times reaches every
interval and test.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import refit_with
from sklearn.linear_model import LinearRegression, Ridge

import permgrad as pg
from permgrad.attribution import explain_refits
from permgrad.runs.commands.explain_command import explain_table
from permgrad.runs.commands.report_command import rebuild_report
from permgrad.runs.requests import ExplainRequest, ReportRequest, RunRequest
from permgrad.runs.run.run import run_table


def farms(seed: int, count: int = 30, rows_each: int = 20) -> pd.DataFrame:
    """Return fields of farms. Soil and yield are of a farm, and unrelated."""
    draw = np.random.default_rng(seed)
    farm = np.repeat(np.arange(count), rows_each)
    table = pd.DataFrame({"farm": [f"farm {farm_code}" for farm_code in farm]})
    table["soil"], table["rain"] = (draw.normal(size=count)[farm] for _ in range(2))
    table["slope"] = draw.normal(size=len(farm))
    table["yield"] = draw.normal(size=count)[farm] + 0.3 * draw.normal(size=len(farm))
    return table


def run(table: pd.DataFrame, folder, **options) -> tuple[str, str]:
    """Return what a run says, and its short report."""
    table.to_csv(folder / "table.csv", index=False)
    progress_lines: list[str] = []
    request = RunRequest(
        table=str(folder / "table.csv"),
        target=("yield",),
        preset="fast",
        out=folder / "out",
        **options,
    )
    run_table(request, say=progress_lines.append)
    return "\n".join(progress_lines), (folder / "out" / "report.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_a_run_by_groups_counts_groups(tmp_path):
    _, page = run(farms(0), tmp_path, row_group="farm")
    assert "count 6 groups by farm, not 120 rows" in (
        tmp_path / "out" / "report.html"
    ).read_text(encoding="utf-8")
    assert "clearly different" not in page
    assert "clearly worse than the other rows" not in page
    # A page that is written again knows the groups, too.
    rebuild_report(ReportRequest(folder=tmp_path / "out"))
    assert "count 6 groups by farm" in (tmp_path / "out" / "report.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
@pytest.mark.parametrize("option", ["row_group", "time"])
def test_explaining_a_run_allows_for_what_the_run_was_told(tmp_path, option):
    table = farms(0)
    table["day"] = pd.date_range("1999-01-28", periods=len(table)).strftime(
        "%-m/%-d/%y" if option == "time" else "%F"
    )
    run(
        table.drop(columns="day" if option == "row_group" else "farm"),
        tmp_path,
        **{option: {"row_group": "farm"}.get(option, "day")},
    )
    run_explanation = pg.Explanation.load(
        tmp_path / "out" / "explanations" / "permgrad"
    )
    folder = tmp_path / "out"
    explain_table(ExplainRequest(model_folder=folder, out=tmp_path / "again"))
    again = pg.Explanation.load(tmp_path / "again")
    assert again.meta["independent"] == run_explanation.meta["independent"]
    np.testing.assert_array_equal(again.values, run_explanation.values)
    np.testing.assert_array_equal(again.p_values, run_explanation.p_values)
    # Rows of another file count its own groups, of which rows without a label are one.
    table.loc[table["farm"].isin(["farm 1", "farm 2"]), "farm"] = None
    table.to_csv(tmp_path / "other.csv", index=False)
    explain_table(
        ExplainRequest(
            model_folder=folder, table=tmp_path / "other.csv", out=tmp_path / "other"
        )
    )
    independent_rows = pg.Explanation.load(tmp_path / "other").meta["independent"]
    assert (
        independent_rows == {"by": "row_groups", "count": 29}
        if option == "row_group"
        else independent_rows["by"] == "row_time"
    )


def test_a_repeated_identifier_is_noted(tmp_path):
    progress_text, _ = run(farms(1, 20, 10), tmp_path, identifier=("farm",))
    assert "If so, pass --row-group farm" in progress_text


@pytest.mark.slow
def test_a_report_counts_groups():
    table = farms(2)
    known_farms = np.isin(
        table["farm"], [f"farm {farm_number}" for farm_number in range(15)]
    )
    names = ["soil", "rain", "slope"]
    y = table["yield"]
    model = LinearRegression().fit(table.loc[known_farms, names], y[known_farms])
    report_options = {"progress": False}
    pages = {}
    for groups in (None, "farm"):
        columns = [*names, *([] if groups is None else ["farm"])]
        train = table.loc[known_farms, columns], y[known_farms]
        rows = table.loc[~known_farms, columns], y[~known_farms]
        pages[groups] = pg.report(
            model,
            *rows,
            train=train,
            **report_options,
            **({} if groups is None else {"row_groups": groups}),
        )
    drifting = "clearly different values in the training and the test rows, most of all"
    assert (
        drifting in pages[None].html
    )  # what is of 15 farms each looks different in 300 rows
    assert drifting not in pages["farm"].html
    assert "count 15 groups by farm, not 300 rows" in pages["farm"].html


def test_refits_count_groups():
    table = farms(3, 40, 8)
    X = table[["soil", "slope"]]
    y = table["yield"]
    refit_options = {"refits": 5, "n_repeats": 2, "random_state": 0, "progress": False}
    plainly = pg.explain_refits(Ridge(), X, y, **refit_options)
    grouped = pg.explain_refits(
        Ridge(), table[["soil", "slope", "farm"]], y, row_groups="farm", **refit_options
    )
    assert grouped.names == plainly.names  # the column is no feature
    assert grouped.part_std["within"][0, 0] > 1.3 * plainly.part_std["within"][0, 0]
    timed = refit_with(Ridge(), X, y, row_time=np.arange(len(y)), **refit_options)
    assert timed.part_std["within"][0, 0] > 1.3 * plainly.part_std["within"][0, 0]


def test_a_comparison_explains_by_groups():
    table = farms(4, 30, 8)
    X = table[["soil", "slope"]]
    y = table["yield"] + 2 * table["soil"]
    models = [("ridge", Ridge()), ("plain", LinearRegression())]
    compare_options = {"cv": 3, "progress": False}
    feature_importances = pg.compare(
        models, X, y, row_groups=table["farm"], **compare_options
    ).importances.set_index("feature")
    # Of 10 farms with 8 rows each, the soil of which is one number.
    assert (
        feature_importances.loc["soil", "std_error"]
        > 0.16 * feature_importances.loc["soil", "importance"]
    ).all()
    alone = pg.compare(
        models, X, y, row_groups=np.arange(len(X)), **compare_options
    ).importances.set_index("feature")
    assert (
        alone.loc["soil", "std_error"] < 0.16 * alone.loc["soil", "importance"]
    ).all()


def test_labels_of_the_training_rows_are_asked_for():
    table = farms(5)
    X = table[["soil", "slope"]]
    y = table["yield"]
    model = LinearRegression().fit(X[:300], y[:300])
    report_options = {"row_groups": table["farm"][300:], "refits": 5, "progress": False}
    with pytest.raises(pg.InputError, match="of the training rows too"):
        pg.report(model, X[300:], y[300:], train=(X[:300], y[:300]), **report_options)
    labels = table["farm"][:300]
    with pytest.raises(
        pg.InputError, match="20 groups, got 15"
    ):  # the hint is followed; there are few farms
        pg.report(
            model, X[300:], y[300:], train=(X[:300], y[:300], labels), **report_options
        )


@pytest.mark.slow
def test_refits_of_a_run_divide_the_rows_as_the_run_does(tmp_path, monkeypatch):
    """With --row-group no group is trained on and explained by one refit; with --time
    no stretch of time is.
    """
    table = farms(6, 32, 8)
    table["day"] = np.arange(len(table)) // 2
    fits = []
    combine = explain_refits.combine
    monkeypatch.setattr(
        explain_refits,
        "combine",
        lambda some, *rest: fits.extend(some) or combine(some, *rest),
    )
    for name, options in (
        ("groups", {"row_group": "farm"}),
        ("times", {"time": "day"}),
    ):
        (tmp_path / name).mkdir()
        fits.clear()
        run(
            table.drop(columns="day" if name == "groups" else "farm"),
            tmp_path / name,
            refits=5,
            **options,
        )
        result = pg.Explanation.load(
            tmp_path / name / "out" / "explanations" / "refits"
        )
        # 26 of 32 farms, or 20 stretches: train and validation rows are of 80 % of
        # them.
        assert result.meta["independent"] == {
            "by": "row_groups",
            "count": {"groups": 26, "times": 20}[name],
        }
        # Each refit explains whole farms, or whole stretches of some 10 rows.
        assert len(fits) == 5
        for fit in fits:
            rows = fit.maps["rows"]
            lengths = np.diff(
                np.flatnonzero(np.diff(np.concatenate([[-9], rows, [9999]])) > 1)
            )
            assert (lengths % 8 == 0).all() if name == "groups" else lengths.min() >= 10
    with pytest.raises(pg.InputError, match="40 groups, got 26"):
        run(table.drop(columns="day"), tmp_path / "groups", refits=10, row_group="farm")
    with pytest.raises(pg.InputError, match="120 times, got 10"):
        run(table.drop(columns="farm"), tmp_path / "times", refits=30, time="day")


def test_the_intervals_of_a_run_know_the_groups_of_its_held_out_rows(tmp_path):
    run(farms(7, 60, 10), tmp_path, row_group="farm")
    model = pg.load(tmp_path / "out" / "model")
    assert model.held_out_.dependence.count in range(
        10, 15
    )  # a fifth of the farms, with all of their rows
    assert len(model.held_out_.scores) == 10 * model.held_out_.dependence.count
