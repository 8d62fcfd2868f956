"""Finished runs: their names, and which of them can be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad.runs.commands.report_command import FinishedRun, _common_rows, changed


def run(name: str, rows: range, noise: float) -> FinishedRun:
    numbers = np.array(rows)
    truth = np.sin(numbers)
    guess = truth + noise * np.random.default_rng(len(name)).normal(size=len(numbers))
    predictions = pd.DataFrame({"row": numbers, "truth": truth, "prediction": guess})
    about = {"target": "price", "task": "regression", "table": "houses"}
    return FinishedRun(
        Path("runs") / name,
        {"configuration": {"table content": "abc", "seed": 3}},
        about,
        predictions,
        None,
    )


def test_runs_of_other_splits_are_compared_on_the_rows_that_both_tested():
    good = run("good", range(60), 0.1)
    poor = run("poor", range(20, 90), 0.5)
    rows, tables = _common_rows(poor, good)
    assert list(rows) == list(range(20, 60))
    for table, run_result in zip(tables, (poor, good), strict=True):
        kept_predictions = run_result.predictions[
            run_result.predictions["row"].isin(range(20, 60))
        ]
        assert list(table["prediction"]) == list(kept_predictions["prediction"])
    lines = changed(poor, good).to_frame().set_index("name")
    errors = [((table["truth"] - table["prediction"]) ** 2).mean() for table in tables]
    assert lines.loc["loss", ["old", "new"]].tolist() == pytest.approx(errors)
    assert lines.loc["rmse", "new"] == pytest.approx(np.sqrt(errors[1]))


def test_runs_of_other_targets_or_rows_are_refused():
    first_run = run("one", range(60), 0.1)
    second_run = run("other", range(60), 0.2)
    with pytest.raises(
        InputError, match=r"The runs have another target: .*'price'.*'rent'"
    ):
        changed(
            first_run, replace(second_run, data={**second_run.data, "target": "rent"})
        )
    with pytest.raises(InputError, match="The runs have 5 common test rows, too few"):
        changed(first_run, run("late", range(55, 90), 0.1))
    moved = second_run.predictions.assign(truth=second_run.predictions["truth"] + 1)
    with pytest.raises(
        InputError, match="The runs have other targets in the same rows"
    ):
        changed(first_run, replace(second_run, predictions=moved))


def test_runs_are_named_by_their_folders_unless_both_have_one_name():
    good = run("good", range(60), 0.1)
    poor = run("poor", range(60), 0.5)
    assert changed(poor, good).meta["runs"] == ["poor", "good"]
    twins = replace(poor, folder=Path("a/x")), replace(good, folder=Path("b/x"))
    assert changed(*twins).meta["runs"] == [str(Path("a/x")), str(Path("b/x"))]
