"""Labels of classes that are numbers, or words with a meaning of their own: rows keep
their class.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from torch import nn

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_summary import read_summary


def test_a_class_named_all_is_not_all_rows(tmp_path):
    lines = ["feature,modality,class,importance,std,ci_low,ci_high,p_value,p_adjusted"]
    lines += [
        f"{name},table,{label},{value},0.1,{value - 0.2},{value + 0.2},0.01,0.02"
        for name, label_values in (("a", (1.0, 9.0, 0.5)), ("b", (2.0, 0.1, 3.0)))
        for label, value in zip(("all", "all", "some"), label_values, strict=True)
    ]
    (tmp_path / "importance.csv").write_text("\n".join(lines) + "\n")
    scores = {"accuracy": 0.5}
    metrics = {
        "task": "classification",
        "rows": {"train": 6, "validation": 2, "test": 2},
        "baselines": {},
    }
    (tmp_path / "metrics.json").write_text(
        json.dumps(metrics | {"validation": scores, "test": scores, "verdict": []})
    )
    (tmp_path / "branches.json").write_text("{}")
    (tmp_path / "explanations").mkdir()
    (tmp_path / "explanations" / "related.json").write_text("[]")
    (tmp_path / "explanations" / "groups.json").write_text("{}")
    facts = read_summary(tmp_path).facts
    assert [(row["feature"], row["importance"]) for row in facts["top_features"]] == [
        ("b", 2.0),
        ("a", 1.0),
    ]
    assert facts["importance_unit"] == "increase of the log loss"
    assert facts["loss"] is None
    assert "without" not in facts["top_features"][0]
    losses = {
        "test": scores | {"log_loss": 0.25},
        "constant": {"log_loss": 0.75, "learnt": True},
    }
    (tmp_path / "metrics.json").write_text(
        json.dumps(metrics | {"validation": scores, "verdict": []} | losses)
    )
    outcome = read_summary(tmp_path)
    assert outcome.facts["loss"] == {
        "metric": "log_loss",
        "model": 0.25,
        "constant": 0.75,
    }
    assert [row["without"] for row in outcome.facts["top_features"]] == [2.25, 1.25]
    assert "of a constant 0.7500" in outcome.text


NAMES = ["all", "none", "some"]
ALL_ROWS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
ALL_LABELS = np.array(["all", "none", "some"])[np.arange(60) % 3]


def command(folder):
    pd.DataFrame(ALL_ROWS, columns=list("abc")).assign(kind=ALL_LABELS).to_csv(
        folder / "table.csv", index=False
    )
    load_inputs(RunRequest(table=str(folder / "table.csv"), target=("kind",)))


@pytest.mark.parametrize(
    "given",
    [
        command,
        lambda _: pg.HyNNClassifier(preset="fast", max_epochs=1, progress=False).fit(ALL_ROWS, ALL_LABELS),
        lambda _: pg.explain(pg.Model(nn.Linear(3, 3), class_names=NAMES), ALL_ROWS, method="gradient"),
        lambda _: pg.explain(pg.Model(lambda rows: rows, class_names=NAMES), ALL_ROWS),
    ],
)  # fmt: skip
def test_a_class_named_all_is_refused(tmp_path, given):
    with pytest.raises(InputError, match="A class must not be called 'all'"):
        given(tmp_path)
