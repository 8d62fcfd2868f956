"""What the terminal shows of a run: from memory when it is done, from the run's files
when it was finished before.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from permgrad.base.files import plain
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import run_summary as summary
from permgrad.runs.run.run import run_table

READERS = ("read_json", "read_csv", "read_record", "saved_explanation")


def request(folder, task: str) -> RunRequest:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    table = pd.DataFrame(x, columns=["1", "02", "=c", "d"]).assign(
        e=x[:, 3] + 0.01 * rng.normal(size=300)
    )
    signal = x[:, 0] - x[:, 3] + 0.2 * rng.normal(size=300)
    table.assign(
        y=signal if task == "regression" else np.where(signal > 0, "yes", "no")
    ).to_csv(folder / "t.csv", index=False)
    further = {"model": "lightgbm"}
    if task == "classification":
        further = {"baselines": ("extra_trees",), "refits": 5, "preset": "fast"}
    options = {"out": folder / "run", **further}
    return RunRequest(table=str(folder / "t.csv"), target=("y",), **options)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.slow
def test_a_run_reads_nothing_of_its_summary_back_and_says_what_its_files_say(
    tmp_path, monkeypatch, task
):
    run_request = request(tmp_path, task)
    with monkeypatch.context() as only:
        for name in READERS:
            only.setattr(
                summary, name, lambda *_, **__: pytest.fail("a file is read back")
            )
        done = run_table(run_request, say=lambda _: None)
    again = run_table(run_request, say=pytest.fail)
    assert again.facts["already_finished"]
    assert json.loads(
        json.dumps(plain({**done.facts, "already_finished": True}))
    ) == json.loads(json.dumps(plain(again.facts)))
    assert done.text in again.text
    assert "fit_seconds" in str(done.facts["baselines"]) or task == "regression"
    assert {row["feature"] for row in done.facts["top_features"]} == {
        "1",
        "02",
        "=c",
        "d",
        "e",
    }
