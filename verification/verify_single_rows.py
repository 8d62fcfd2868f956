"""Do page, command and Python give a row's prediction to the same features?

Five models, 100 rows of each.

    python -m verification.verify_single_rows
    python -m verification.verify_single_rows --quick    # 20 rows of each

A run trains a network of permgrad, LightGBM, a line and a forest on one made table of
14 columns. The page's values of a row are those of its *What if?*, or the stored ones
where a model cannot run in a page. The command is ``permgrad explain --row N --method
shapley``, and Python ``pg.explain(model, rows, method="shapley")`` of the saved model.
A plain function has a page (``pg.report``) and Python. Floors: the feature with the
largest value is the same in 95 % of the rows, and values correlate by .99, page against
command and page against Python; and the 95 % intervals of Python hold the values
against all training rows in 90 % of the cases.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import pandas as pd

import permgrad as pg
from permgrad.assess.assess import assess
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import Budget
from permgrad.assess.read_model import ReadModel
from permgrad.assess.work import Work
from permgrad.pages.views import page_data
from permgrad.pages.whatif import with_what_if
from permgrad.runs.commands.explain_command import explain_table
from permgrad.runs.requests import ExplainRequest, RunRequest
from permgrad.runs.run.assessing import read_assessment
from permgrad.runs.run.run import run_table
from verification.verify_what_if import browse, scripted

MODELS = ("network", "lightgbm", "linear", "random_forest")
_VALUES = """
const content = JSON.parse(document.getElementById("edits").textContent).content;
const made = Shares.make(content), known = content.computed;
const stored = known ? Page.unpack(known.values) : [];
const results = content.rows.map((_, place) => {
  const at = known ? known.rows.indexOf(place) : -1, each = known ? stored.length / known.rows.length : 0;
  if (at >= 0) return Array.from(stored.slice(at * each, (at + 1) * each));
  return Array.from(made.explain(made.encode(place, {}), made.walks[made.walks.length - 1]).values);
});
document.getElementById("out").textContent = JSON.stringify(results);
"""


def table(rows: int, seed: int) -> pd.DataFrame:
    """Return a made table: numbers that depend on each other, levels, cells without a
    value, and two classes.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, 10))
    numbers[:, 1] += numbers[:, 0]
    numbers[:, 2] = np.exp(numbers[:, 2])
    frame = pd.DataFrame(numbers, columns=[f"n{place}" for place in range(10)])
    frame["shop"] = rng.choice(["north", "south", "east", "west"], rows)
    frame["member"] = rng.choice(["yes", "no"], rows, p=[0.2, 0.8])
    frame["visits"] = rng.poisson(3, rows)
    frame["age"] = rng.integers(18, 90, rows)
    score = numbers[:, 0] * numbers[:, 3] + numbers[:, 1] + (frame["shop"] == "north")
    score += 0.04 * (frame["age"] - 50) - 0.3 * numbers[:, 2] + np.sin(numbers[:, 4])
    frame["sick"] = np.where(score + rng.normal(size=rows) > 0, "yes", "no")
    frame.loc[rng.random(rows) < 0.05, "n4"] = np.nan
    return frame


def of_page(content: Any, model: Any, names: list[str]) -> dict[int, np.ndarray]:
    """Return the values ``(features,)`` of the positive class that a page shows of its
    rows.
    """
    shown = with_what_if(content, model, large=False, keep_rows=True)
    if "form" not in (shown.what_if or {}):
        return of_parts(content, names)
    form = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in shown.what_if.items()
    }
    text = scripted(page_data({"content": form}), _VALUES)
    with tempfile.TemporaryDirectory() as place:
        values = browse(text, Path(place))
    players = [name for name, _ in json.loads(form["form"])["players"]]
    order = [players.index(name) for name in names]
    each = np.array(values).reshape(len(values), len(players), -1)[:, order, -1]
    return dict(zip(form["rows"], each, strict=True))


def of_parts(content: Any, names: list[str]) -> dict[int, np.ndarray]:
    """Return the values of the rows that a page has stored."""
    found: dict[int, np.ndarray] = {}
    for local in (content.explained, content.notable):
        if local is not None:
            order = [local.explanation.names.index(name) for name in names]
            values = local.explanation.values[:, order, -1]
            found |= dict(zip(map(int, local.numbers), values, strict=True))
    return found


def of_command(run: Path, row: int, names: list[str], out: Path) -> np.ndarray:
    """Return the values that ``permgrad explain --row`` writes of a test row."""
    explain_table(
        ExplainRequest(model_folder=run, method="shapley", row=row, out=out / str(row))
    )
    found = pg.Explanation.load(out / str(row))
    return of_rows(found, names)[0]


def of_rows(explanation: pg.Explanation, names: list[str]) -> np.ndarray:
    """Return the values of the positive class ``(rows, features)``."""
    order = [explanation.names.index(name) for name in names]
    return explanation.values[:, order, -1]


def agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return in which share of rows the largest value is of the same feature, and the
    correlation of all values.
    """
    same = np.abs(one).argmax(axis=1) == np.abs(other).argmax(axis=1)
    return float(same.mean()), float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def check_run(name: str, folder: Path, count: int) -> list[tuple[str, float, float]]:
    """Train a model in a run, and compare page, command and Python."""
    source = folder / "table.csv"
    table(1000, 0).to_csv(source, index=False)
    run = folder / name
    fast = {"preset": "fast"} if name == "network" else {}
    run_table(
        RunRequest(table=source, target=("sick",), model=name, out=run, **fast),
        say=lambda _: None,
    )
    model = pg.load(run / "model")
    content = read_assessment(run, model)
    names = list(model.preprocessor_.features("feature"))
    page = of_page(content, model, names)
    rows = sorted(page)[:count]
    test = pd.read_csv(source).iloc[rows].drop(columns="sick")
    python = of_rows(
        pg.explain(model, test, method="shapley", scope="local", progress=False), names
    )
    command = np.stack(
        [of_command(run, row, names, folder / f"{name}-rows") for row in rows]
    )
    shown = np.stack([page[row] for row in rows])
    return [
        ("page and command", *agreement(shown, command)),
        ("page and Python", *agreement(shown, python)),
        ("command and Python", *agreement(command, python)),
    ]


def score(X: pd.DataFrame) -> np.ndarray:
    """Return what a plain function says of rows."""
    value = X["n0"] * X["n3"] + X["n1"] + 0.04 * (X["age"] - 50) - 0.3 * X["n2"]
    chance = 1 / (1 + np.exp(-value.to_numpy()))
    return np.column_stack([1 - chance, chance])


def check_function(count: int) -> list[tuple[str, float, float]]:
    """Compare the page of a plain function with Python."""
    frame = table(400, 1)
    y = (frame.pop("sick") == "yes").astype(int).to_numpy()
    X = frame.drop(columns=["shop", "member", "n4"])
    read = ReadModel(score, X, y)
    empty = Assessment(
        title="score", target="sick", task=read.model.task, subject=read.model.subject
    )
    content = assess(Work(read.model, read.rows, empty, Budget()))
    names = list(X)
    page = of_parts(content, names)
    rows = sorted(page)[:count]
    found = pg.explain(score, X, method="shapley", scope="local", progress=False)
    shown = np.stack([page[row] for row in rows])
    return [("page and Python", *agreement(shown, of_rows(found, names)[rows]))]


def coverage(count: int) -> float:
    """Return how often intervals hold the values against all rows that the background
    was drawn from.
    """
    X = table(1000, 2)[["n0", "n1", "n2", "n3", "age"]]
    asked: Any = {"method": "shapley", "scope": "local", "progress": False}

    def grown(rows: pd.DataFrame) -> np.ndarray:
        value = rows["n0"] * rows["n3"] + rows["n1"] + 0.04 * rows["age"] - rows["n2"]
        return np.asarray(value)

    few = pg.explain(grown, X, **asked)
    whole = pg.explain(grown, X.iloc[:count], background=X, **asked)
    assert few.low is not None
    assert few.high is not None
    inside = (few.low[:count] <= whole.values) & (whole.values <= few.high[:count])
    return float(inside.mean())


def main(arguments: list[str] | None = None) -> int:
    """Check all models and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 rows of each model.")
    parser.add_argument("--only", nargs="*", default=[*MODELS, "function"])
    chosen = parser.parse_args(arguments)
    count = 20 if chosen.quick else 100
    record = Record("Why a row got its prediction: page, command and Python", 0)
    lines: list[list[str]] = []
    first, correlated = 1.0, 1.0
    for name in chosen.only:
        with tempfile.TemporaryDirectory() as place:
            if name == "function":
                found = check_function(count)
            else:
                found = check_run(name, Path(place), count)
        for pair, same, correlation in found:
            lines.append([name, pair, f"{same:.3f}", f"{correlation:.4f}"])
            first, correlated = min(first, same), min(correlated, correlation)
    head = ["model", "compared", "same first feature", "correlation of values"]
    record.write(markdown_table(head, lines))
    record.floor("smallest share of rows with the same first feature", first, 0.95)
    record.floor("smallest correlation of values", correlated, 0.99)
    record.floor("intervals that hold the value of all rows", coverage(count), 0.9)
    path = None if chosen.quick else RESULTS / "verify_single_rows.md"
    return record.close(path)


if __name__ == "__main__":
    raise SystemExit(main())
