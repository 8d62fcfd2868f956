"""``permgrad counterfactuals``: the same as in Python, and one sentence for what cannot
be asked.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from invoking import QUICK, call

import permgrad as pg
from permgrad.runs.run.predicting import open_model

YOUNG = "<=50"


def table(rows=300):
    """Rows with every kind of column, codes of missing cells, and classes that look
    like ranges.
    """
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.integers(18, 80, rows), "dose": rng.gamma(4.0, 1.0, rows).round(2)}
    )
    frame["job"] = rng.choice(["chef", "clerk", "none, yet"], rows)
    frame["since"] = (
        pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, rows), "D")
    ).strftime("%Y-%m-%d")
    frame["member"] = rng.choice(["yes", "no"], rows)
    score = (frame["age"] - 50) / 12 + (frame["job"] == "chef") + frame["dose"] / 4 - 1
    frame["outcome"] = np.where(score + 0.3 * rng.normal(size=rows) > 0, ">50", YOUNG)
    frame.loc[rng.random(rows) < 0.1, "dose"] = -9
    return frame


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run, and another one that predicts numbers."""
    folder = tmp_path_factory.mktemp("command")
    table().to_csv(folder / "table.csv", index=False)
    (folder / "preset.json").write_text(json.dumps(QUICK | {"max_epochs": 20}))
    for target, out in (("outcome", "run"), ("age", "numbers")):
        words = (
            "--target",
            target,
            "--preset",
            folder / "preset.json",
            "--na=-9",
            "--out",
            folder / out,
        )
        call("run", folder / "table.csv", *words)
    return folder


def ask(base_folder, *words, run="run", row=0, code=0):
    return call(
        "counterfactuals",
        base_folder / run,
        base_folder / "table.csv",
        "--row",
        row,
        *words,
        code=code,
    )


def predictions(base_folder, run="run"):
    model, _ = open_model(base_folder / run)
    X = pd.read_csv(base_folder / "table.csv")[
        list(model.preprocessor_.feature_names_in_)
    ]
    return model, X, np.asarray(model.predict(X))


def test_the_results_are_those_of_python(place, tmp_path):
    model, X, predicted = predictions(place)
    row = int(np.flatnonzero(predicted == YOUNG)[0])
    words = (
        "--want",
        ">50=0.6",
        "--fixed",
        "member",
        "--range",
        "age=..70",
        "--range",
        "job=chef,clerk",
    )
    words += (
        "--range",
        "since=2020-01-01..2024-06-30",
        "--direction",
        "dose=up",
        "--max-changes",
        2,
        "--count",
        3,
    )
    shown = ask(place, *words, "--out", tmp_path / "found.csv", row=row)
    facts = json.loads(ask(place, *words, "--json", row=row))
    options = {
        "fixed": ["member"],
        "direction": {"dose": "up"},
        "max_changes": 2,
        "count": 3,
    }
    ranges = {
        "age": (None, 70),
        "job": ["chef", "clerk"],
        "since": ("2020-01-01", "2024-06-30"),
    }
    X["since"] = pd.to_datetime(X["since"])
    counterfactuals = pg.counterfactuals(
        model, X[row : row + 1], X, want={">50": 0.6}, ranges=ranges, **options
    )
    assert counterfactuals.changed[
        :, list(counterfactuals.cells).index("since")
    ].any(), "the precondition: dates are no categories"
    assert counterfactuals.changed.any(axis=0).sum() > 1
    assert (counterfactuals.measures["probability"] >= 0.6).all()
    assert facts["prediction"] == YOUNG
    assert len(facts["alternatives"]) == len(counterfactuals)
    for line, alternative in enumerate(facts["alternatives"]):
        for name in ("probability", "distance", "to_data", "plausibility"):
            assert alternative[name] == pytest.approx(
                counterfactuals.measures[name][line]
            )
        assert {
            name: str(cells["to"]) for name, cells in alternative["cells"].items()
        } == {
            name: str(counterfactuals.cells[name].iloc[line + 1]).removesuffix(
                " 00:00:00"
            )
            for name in counterfactuals.cells.columns[counterfactuals.changed[line]]
        }
        assert all(f"{name} " in shown for name in alternative["cells"])
    written = pd.read_csv(tmp_path / "found.csv")
    assert list(written) == list(counterfactuals.to_frame())
    np.testing.assert_allclose(
        written["probability"], counterfactuals.measures["probability"]
    )
    assert shown.startswith(
        f"The model predicts {YOUNG} for row {row}. To predict '>50' with a "
        "probability of at least 0.6"
    )
    assert shown.count(
        "Then the model predicts >50 (the probability asked for is "
    ) == len(counterfactuals)
    assert shown.endswith(f"Alternatives: {tmp_path / 'found.csv'}\n")
    (tmp_path / "found.csv").write_text("another file")
    ask(place, *words, "--out", tmp_path / "found.csv", row=row)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "found.csv"), written)


def test_numbers_and_the_rows_of_the_run(place):
    row = int(pd.read_csv(place / "numbers" / "predictions.csv")["row"][0])
    facts = json.loads(
        call(
            "counterfactuals",
            place / "numbers",
            "--row",
            row,
            "--want",
            "30..40",
            "--json",
        )
    )
    assert facts["row"] == row
    assert facts["alternatives"] or facts["reason"]
    assert all(
        30 <= alternative["prediction"] <= 40 for alternative in facts["alternatives"]
    )


def test_it_says_where_there_is_none(place):
    _, _, predicted = predictions(place)
    row = int(np.flatnonzero(predicted == YOUNG)[0])
    fixed = [
        word for name in ("age", "dose", "job", "since") for word in ("--fixed", name)
    ]
    shown = ask(place, *fixed, "--want", ">50=0.999", row=row)
    assert "No such row was found within the limits" in shown


WRONG = {
    "column": (
        ("--fixed", "agee"),
        "--fixed agee: no such column. Did you mean 'age'?",
    ),
    "column of a range": (
        ("--range", "agee=1..2"),
        "--range agee: no such column. Did you mean 'age'?",
    ),
    "column of a way": (
        ("--direction", "agee=up"),
        "--direction agee: no such column.",
    ),
    "class": (("--want", "oldd"), "want must be one of '<=50', '>50', got 'oldd'."),
    "range that falls": (
        ("--range", "age=60..18"),
        "--range must be a range that rises, got '60..18'. The lower end",
    ),
    "no range": (
        ("--range", "age"),
        "--range must have the form COL=…, got 'age'. For example: --range age=18..60.",
    ),
    "open range": (
        ("--range", "age=.."),
        "--range must be a range, got '..'. For example 18..60, or 18.. with an open",
    ),
    "list of numbers": (
        ("--range", "age=20,30"),
        "Column age has numbers, so --range must name their ends, got 20, 30.",
    ),
    "cell": (
        ("--range", "job=cheff"),
        "ranges['job'] cannot be 'cheff'. Did you mean 'chef'?",
    ),
    "way": (
        ("--direction", "age=sideways"),
        "--direction must be one of 'up', 'down', got 'sideways'.",
    ),
    "way of texts": (("--direction", "job=up"), "direction needs numbers or dates"),
    "share": (("--want", ">50=much"), "want must be a pair of numbers"),
    "count": (("--count", 0), "--count must be from 1 to 100, got 0"),
    "place": (
        ("--out", "found.html"),
        "Alternatives are written as CSV, got --out found.html.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked(place, case):
    words, message_start = WRONG[case]
    error = ask(place, *words, code=2)
    assert error.startswith(f"error: {message_start}"), error
    assert error.rstrip().endswith("]")


def test_rows_and_goals_that_there_are_not(place):
    _, _, predicted = predictions(place)
    assert ask(place, row=300, code=2).startswith(
        "error: --row must be below the number of rows, got 300"
    )
    already = ask(place, "--want", predicted[0], code=2)
    assert already.startswith(
        f"error: The model already predicts {predicted[0]} for row 0. Pass another "
        "--want, or"
    )
    assert ask(place, "--want", "30", run="numbers", code=2).startswith(
        "error: --want must be a range, got '30'."
    )
    assert "Missing option '--row'" in call("counterfactuals", place / "run", code=2)
    assert "nothing does not exist" in call(
        "counterfactuals", place / "nothing", "--row", 0, code=2
    )
