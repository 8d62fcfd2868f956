"""Several runs of one table on their common test rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.pages.conftest import global_explanation

from permgrad.base.errors import InputError
from permgrad.pages.side_by_side import reliance, standing_words
from permgrad.pages.views import SectionView
from permgrad.runs.several import FinishedRun, compared, labels_of_runs, runs_page


def run(name: str, rows: range, noise: float, explanation=None) -> FinishedRun:
    numbers = np.array(rows)
    truth = np.sin(numbers)
    guess = truth + noise * np.random.default_rng(len(name)).normal(size=len(numbers))
    predictions = pd.DataFrame({"row": numbers, "truth": truth, "prediction": guess})
    return FinishedRun(
        Path("runs") / name,
        {"configuration": {"table content": "abc", "seed": 3}, "stages": {"model": {"seconds": 9.0}}},
        {"target": "price", "task": "regression", "table": "houses"},
        {"task": "regression", "positive": None},
        predictions,
        explanation,
        seconds=2.0,
    )


def test_runs_of_other_splits_are_compared_on_the_rows_that_all_tested():
    good, poor = run("good", range(60), 0.1), run("poor", range(20, 90), 0.5)
    models, notes = compared([poor, good])
    assert models.rows == 40
    assert models.names == ["good", "poor"]
    rows = good.predictions.iloc[20:]
    assert models.measured["good"]["rmse"] == pytest.approx(np.sqrt(((rows["truth"] - rows["prediction"]) ** 2).mean()))
    assert notes == [
        "poor: 40 of its 70 test rows are test rows of all runs.",
        "good: 40 of its 60 test rows are test rows of all runs.",
    ]
    assert models.seconds == {"good": 2.0, "poor": 2.0}, "of the network, without the baselines of that stage"
    page = runs_page(models, title="a < b", target="price", commands=[("good", "permgrad run x")], notes=notes)
    assert "a &lt; b" in page
    assert "good has the best RMSE" in page
    assert "It is significantly better than poor." in page


def test_equal_models_are_not_called_level_with_each_other():
    one = run("one", range(60), 0.1)
    models, _ = compared([one, replace(one, folder=Path("runs/two"))])
    assert standing_words(models).startswith("Of 2 models, one and two have the same best RMSE, ")
    assert "significant" not in standing_words(models)


def test_runs_of_other_tables_targets_or_rows_are_refused():
    one = run("one", range(60), 0.1)
    other = run("other", range(60), 0.2)
    with pytest.raises(InputError, match=r"The runs have another target: .*'price'.*'rent'"):
        compared([one, replace(other, data={**other.data, "target": "rent"})])
    with pytest.raises(InputError, match="are runs of different tables"):
        compared([one, replace(other, record={"configuration": {"table content": "xyz"}})])
    with pytest.raises(InputError, match="The runs have 5 common test rows, too few"):
        compared([one, run("late", range(55, 90), 0.1)])
    changed = other.predictions.assign(truth=other.predictions["truth"] + 1)
    with pytest.raises(InputError, match="The runs have other targets in the same rows"):
        compared([one, replace(other, predictions=changed)])


def test_runs_are_named_by_their_folders_unless_two_have_one_name():
    assert labels_of_runs([Path("a/x-0"), Path("b/x-1")]) == ["x-0", "x-1"]
    assert labels_of_runs([Path("a/x"), Path("b/x"), Path("y")]) == ["a/x", "b/x", "y"]


def test_a_column_that_a_run_does_not_have_has_no_importance():
    explained = global_explanation(("rooms", "area"), task="regression")
    without = global_explanation(("area",), task="regression")
    models, notes = compared([run("all", range(60), 0.1, explained), run("few", range(60), 0.3, without)])
    section = SectionView("reliance", "Reliance")
    reliance(section, models)
    ((_, (_, table)),) = [block for block in section.blocks if block[0] == "fold"]
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert cells["rooms"][2:] == ["–", "–"]
    assert cells["area"][2:] == ["100\u00a0%", "1"]
    assert "does not have it" in table.caption
    assert notes == []
