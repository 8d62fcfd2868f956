"""Options of ``permgrad run`` in random combinations, on small tables: each works, or
is refused before training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from permgrad.cli import app

TASKS = ("two classes", "three classes", "regression", "counts")
#: Models of the quick cases: each is trained in less than a second.
CHEAP = ("linear", "histogram_boosting", "lightgbm", "network")
MODELS = (
    *CHEAP,
    *("auto", "random_forest", "extra_trees", "bagging", "xgboost", "catboost"),
)
#: What one of three options is: its words, as a shell would split them.
OPTIONS: tuple[tuple[str, ...], ...] = (
    ("--positive", "yes"),
    ("--positive", "b"),
    ("--drop", "dose"),
    ("--drop", "key"),
    ("--id", "key"),
    ("--kind", "grade=categorical"),
    ("--kind", "dose=categorical"),
    ("--kind", "town=identifier"),
    ("--kind", "note=text"),
    ("--kind", "y=numeric"),
    ("--kind", "y=categorical"),
    ("--na", "-9"),
    ("--na", "dose=-9"),
    ("--na", "Ulm"),
    ("--not-na", "None"),
    ("--groups", "groups.json"),
    ("--groups", "none"),
    ("--row-group", "site"),
    ("--row-group", "town"),
    ("--test", "test.csv"),
    ("--time", "day"),
    ("--time", "grade"),
    ("--weight", "wt"),
    ("--weight", "dose"),
    ("--offset", "log_time"),
    ("--no-rows",),
    ("--preset", "tabular.json"),
    ("--preset", "image.json"),
    ("--preset", "trees.json"),
    ("--preset", "linear.json"),
    ("--preset", "paper.json"),
    ("--baselines", "linear"),
    ("--baselines", "random_forest,lightgbm"),
    ("--cost", "1", "12"),
    ("--cost", "5", "0"),
    ("--threshold", "0.2"),
    ("--threshold", "1"),
    ("--refits", "5"),
    ("--sensitive", "town"),
    ("--sensitive", "dose"),
    ("--seed", "3"),
    ("--threads", "1"),
    ("--time-limit", "90s"),
    ("--max-rows", "12"),
    ("--max-rows", "all"),
    ("--task", "regression"),
    ("--task", "classification"),
    ("--task", "counts"),
    ("--device", "cpu"),
    ("--overwrite",),
)
#: What is done with a run that works.
AFTER = ("predict", "explain", "report")
_FAULT = re.compile(r"fault in permgrad|Traceback", re.IGNORECASE)


@dataclass(frozen=True)
class OptionCase:
    """A model, a task, and three options."""

    number: int
    model: str
    task: str
    options: tuple[tuple[str, ...], ...]

    @classmethod
    def draw(cls, number: int, models: Sequence[str] = MODELS) -> OptionCase:
        """Return case ``number``. Models and tasks come in turn, options by chance."""
        draw = np.random.default_rng([83, number])
        named = list(dict.fromkeys(words[0] for words in OPTIONS))
        names = draw.choice(named, 3, replace=False).tolist()
        options = list[tuple[str, ...]]()
        for name in names:
            choices = [words for words in OPTIONS if words[0] == name]
            options.append(choices[int(draw.integers(len(choices)))])
        model = models[number % len(models)]
        task = TASKS[number // len(models) % len(TASKS)]
        return cls(number, model, task, tuple(options))

    @property
    def words(self) -> list[str]:
        """The command without ``permgrad``."""
        words = ["run", f"{self.task.split()[0]}.csv", "--target", "y"]
        words += ["--model", self.model, "--out", "run"]
        options = [word for option in self.options for word in option]
        if self.task == "counts" and "--task" not in options:
            options += ["--task", "counts"]
        if self.model in ("network", "auto") and "--preset" not in options:
            options += ["--preset", "tabular.json"]
        return [*words, *options]


def write_tables(folder: Path) -> None:
    """Write the tables and files that the cases name."""
    for name in ("two", "three", "regression", "counts"):
        frame = table(name, 90, seed=1)
        frame.to_csv(folder / f"{name}.csv", index=False)
    network = {"base": "fast", "max_epochs": 2}
    for branch in ("tabular", "image", "trees", "linear"):
        branches = [branch] if branch in ("tabular", "image") else ["tabular", branch]
        preset = json.dumps(network | {"branches": branches})
        (folder / f"{branch}.json").write_text(preset)
    paper = json.dumps({"base": "paper", "max_epochs": 2})
    (folder / "paper.json").write_text(paper)
    (folder / "groups.json").write_text(json.dumps({"body": ["dose", "age"]}))


def table(task: str, rows: int, seed: int) -> pd.DataFrame:
    """Return rows with every kind of column, and a target ``y`` of a task."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"key": [f"k{row}" for row in range(rows)]})
    frame["dose"] = draw.normal(size=rows).round(2)
    frame.loc[::11, "dose"] = -9
    frame["age"] = draw.integers(20, 80, rows)
    frame["grade"] = draw.integers(1, 5, rows)
    frame["town"] = draw.choice(["Bonn", "Ulm", "None"], rows)
    frame["site"] = np.arange(rows) // 5
    frame["day"] = pd.date_range("2023-01-01", periods=rows).strftime("%Y-%m-%d")
    frame["wt"] = draw.uniform(0.5, 2, rows).round(2)
    frame["log_time"] = draw.normal(size=rows).round(2)
    words = ["pain in the left arm", "no pain at all", "came late", "sleeps well now"]
    frame["note"] = draw.choice(words, rows)
    score = frame["age"] / 20 + draw.normal(size=rows)
    frame["y"] = {
        "two": np.where(score > 2.5, "yes", "no"),
        "three": np.array(["a", "b", "c"])[np.digitize(score, [2, 3])],
        "regression": score.round(3),
        "counts": draw.poisson(np.exp(score / 3)),
    }[task]
    return frame


def try_case(case: OptionCase, folder: Path) -> dict[str, str]:
    """Run a case in an empty folder, and return how each command ended.

    Raises:
        AssertionError: A command ends in a fault, or is refused after training began.
    """
    folder.mkdir()
    write_tables(folder)
    name = case.task.split()[0]
    table(name, 30, seed=2).to_csv(folder / "test.csv", index=False)
    with chdir(folder):
        ends = {"run": _call(case, case.words)}
        if ends["run"] != "works":
            begun = Path("run", "model").exists()
            assert not begun, f"{case}: refused after training began: {ends['run']}"
            return ends
        table(name, 30, seed=3).drop(columns="y").to_csv("new.csv", index=False)
        ends["predict"] = _call(case, ["predict", "run", "new.csv"])
        method = ("permutation", "permgrad", "ablation")[case.number % 3]
        words = ["explain", "run", "--method", method, "--max-rows", "8"]
        ends["explain"] = _call(case, [*words, "--out", "why"])
        ends["report"] = _call(case, ["report", "run", "--out", "page.html"])
    return ends


def _call(case: OptionCase, words: list[str]) -> str:
    """Return ``"works"``, or the words in which a command is refused."""
    result: Any = CliRunner().invoke(app, words)
    said = f"{result.stdout}\n{result.stderr}"
    is_exit = result.exception is None or isinstance(result.exception, SystemExit)
    is_fault = not is_exit or _FAULT.search(said) is not None
    command = f"{case}\npermgrad {' '.join(words)}\n"
    assert not is_fault, f"{command}{said[-1500:]}\n{result.exception!r}"
    if result.exit_code == 0:
        return "works"
    error = next((x for x in reversed(said.splitlines()) if "error" in x.lower()), "")
    assert re.search(r"\[PG\d+\]", said), f"{command}no words: {said[-1500:]}"
    return error.strip()
