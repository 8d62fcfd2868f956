"""Finished runs, what two of them must have in common, and what changed from one to the other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError, counted, listed
from permgrad.base.random import generator
from permgrad.base.stored import read_json
from permgrad.runs.folder import documents

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.base.dependence import Dependence
    from permgrad.evaluation.changes import Changes

#: Fewer common rows than this say nothing about a difference. More of a sample than this are not needed.
LEAST_ROWS, _MOST_ROWS = 10, 10_000


@dataclass(frozen=True)
class FinishedRun:
    """A run with a trained model: its record, its data, and its predictions for the test rows by their number.

    ``dependence``: which test rows depend on each other, where that is known.
    """

    folder: Path
    record: Mapping[str, Any]
    data: Mapping[str, Any]
    predictions: pd.DataFrame
    explanation: Explanation | None
    dependence: Dependence | None = None

    @property
    def rows_of(self) -> Any:
        """What identifies the file that the test rows are from: the hash of its content."""
        configuration = self.record["configuration"]
        return configuration.get("test content") or configuration.get("table content")

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the columns of probabilities."""
        mark = "probability_"
        return [name.removeprefix(mark) for name in self.predictions.columns if name.startswith(mark)]

    def guess(self, rows: pd.DataFrame) -> Floats:
        """Return the probabilities ``(rows, classes)``, or numbers ``(rows,)``, of some rows of the predictions."""
        columns: Any = [f"probability_{name}" for name in self.classes] if self.classes else "prediction"
        return rows[columns].to_numpy(dtype=np.float64)

    @property
    def kind(self) -> dict[str, Any]:
        """What the run predicts, and from which columns."""
        read = sorted(one["name"] for one in self.data.get("columns", ()) if one["used"])
        named = {"target": self.data["target"], "task": self.data["task"]}
        return named | {"classes": sorted(self.classes), "columns": read}


def read_run(folder: Path, record: Mapping[str, Any]) -> FinishedRun:
    """Read a finished run."""
    from permgrad.assess.store import Store  # loads torch

    data = read_json(folder / documents.DATA)
    if data.get("weight"):
        problem = f"{folder} is a run with --weight {data['weight']}, and a comparison of runs counts each row once"
        raise InputError(problem, hint="Compare runs without --weight, or each run's own report.", code="PG006")
    predictions = documents.read_predictions(folder, data)
    explanation = documents.saved_explanation(folder, "permgrad")
    return FinishedRun(folder, record, data, predictions, explanation, Store(folder).get("dependence"))


def labels_of_runs(folders: Sequence[Path]) -> list[str]:
    """Return a name for each run: its folder's, or the path where two folders have one name."""
    names = [folder.resolve().name for folder in folders]
    return [os.fspath(folder) if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)]


# ---- what two runs have in common ------------------------------------------------------------------------------------
def check_alike(folders: Sequence[Path], old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse runs of another ``kind``."""
    for what, first in old.items():
        second = new[what]
        if first == second:
            continue
        problem = f"The runs have another {what}: {folders[0]} has {first!r}, {folders[1]} has {second!r}"
        hint = "Compare runs that predict the same column of one table."
        if isinstance(first, list):
            here, there = (
                [name for name in one if name not in other] for one, other in ((first, second), (second, first))
            )
            folder = folders[0] if here else folders[1]
            problem = f"The runs have other {what}: only {folder} has {listed(here or there, 5, show=repr)}"
        if what == "columns":
            hint = "Leave them out with --drop."
        raise InputError(problem, hint=hint, code="PG051")


def common_rows(old: FinishedRun, new: FinishedRun) -> tuple[Any, list[pd.DataFrame]]:
    """Return the numbers of the test rows that both runs have, and the predictions of each run for them."""
    first, second = (run.predictions["row"].to_numpy(dtype=np.int64) for run in (old, new))
    rows = np.intersect1d(first, second)
    if len(rows) < LEAST_ROWS:
        problem = f"The runs have {counted(len(rows), 'common test row')}, too few to compare them"
        raise InputError(problem, hint="Split both alike, with the same --time and --row-group.", code="PG013")
    tables = [run.predictions.set_index("row").loc[rows] for run in (old, new)]
    truth = tables[0]["truth"].to_numpy()
    if (tables[1]["truth"].to_numpy() != truth).any():
        problem = "The runs have other targets in the same rows"
        raise InputError(problem, hint="Compare runs of one table.", code="PG051")
    return rows, tables


# ---- what changed ----------------------------------------------------------------------------------------------------
def changed(old: FinishedRun, new: FinishedRun) -> Changes:
    """Return what changed from one run to another.

    Two models on test rows of one file are compared on those that both have. Else the old model is applied to both
    runs' test rows.
    """
    same = old.rows_of == new.rows_of
    read = {"columns": ()} if same else {}
    check_alike([old.folder, new.folder], old.kind | read, new.kind | read)
    result = _of_models(old, new) if same else _of_samples(old, new)
    return replace(result, meta={**result.meta, "runs": labels_of_runs([old.folder, new.folder])})


def _of_models(old: FinishedRun, new: FinishedRun) -> Changes:
    from permgrad.evaluation.changes import changes_of_models  # loads torch
    from permgrad.evaluation.skill import Predicted

    rows, tables = common_rows(old, new)
    classes, truth = old.classes, tables[0]["truth"].to_numpy()
    known = np.isin(truth, classes) if classes else np.ones(len(truth), dtype=bool)
    codes = pd.Index(classes).get_indexer(pd.Index(truth)) if classes else truth.astype(np.float64)
    one, other = (Predicted(codes[known], old.guess(table)[known]) for table in tables)
    units = new if new.dependence is not None else old
    related = units.dependence
    if related is not None:
        related = related.take(pd.Index(units.predictions["row"]).get_indexer(pd.Index(rows[known])))
    explained = None if old.explanation is None or new.explanation is None else (old.explanation, new.explanation)
    return changes_of_models((one, other), explained, related)


def _of_samples(old: FinishedRun, new: FinishedRun) -> Changes:
    from permgrad.attribution.request.arguments import Arguments
    from permgrad.evaluation.changes import changes_between
    from permgrad.runs.run.predicting import open_model, read_rows, test_rows_of

    seed = int(new.record["configuration"].get("seed") or 0)
    model = open_model(old.folder)[0]
    labels = {str(label): label for label in getattr(model, "classes_", np.zeros(0)).tolist()}
    samples: list[tuple[pd.DataFrame, Any]] = []
    related: list[dict[str, Any]] = []
    trained: pd.DataFrame | None = None
    for place, run in enumerate((old, new)):
        path, rows, sheet = test_rows_of(run.folder, run.record, run.predictions["row"].to_numpy())
        table = read_rows(model, {**run.data, "sheet": sheet}, path)[0]
        truth = run.predictions["truth"]
        places = np.flatnonzero(truth.isin(list(labels)) if labels else np.ones(len(truth), dtype=bool))
        places = np.sort(generator(seed, "rows compared", place).permutation(places)[:_MOST_ROWS])
        y = truth.map(labels) if labels else truth
        samples.append((table.iloc[rows[places]].reset_index(drop=True), y.to_numpy()[places]))
        name, codes = ("", None) if run.dependence is None else run.dependence.argument
        related.append({} if codes is None else {name: codes[places].tolist()})
        if trained is None:  # all other rows of the old run's file
            trained = table.drop(index=table.index[rows])
    groups = old.data.get("groups") if not hasattr(model, "module_") else {}
    common: dict[str, Any] = {"groups": groups, "random_state": seed, "progress": False}
    both = zip(samples, related, strict=True)
    sides = (Arguments(model, X=X, y=y, scope="global", **common, **told) for (X, y), told in both)
    result = changes_between(*sides)
    assert trained is not None
    known, asked = (pd.util.hash_pandas_object(one.astype(str), index=False) for one in (trained, samples[1][0]))
    return replace(result, meta={**result.meta, "copies": int(asked.isin(known).sum())})
