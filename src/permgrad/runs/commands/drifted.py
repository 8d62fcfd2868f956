"""``permgrad predict --against``: how new rows differ from those of training, or from
those of another table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.files import plain, write_json_atomic
from permgrad.base.folders import believed
from permgrad.base.startup import loading
from permgrad.base.stored import read_json
from permgrad.data.encode.encoding import surprises_told_once
from permgrad.data.encode.readable_rows import ReadableRows
from permgrad.data.tasks import tasks
from permgrad.runs.options import TRAINING_ROWS
from permgrad.runs.requests import PredictRequest, run_of
from permgrad.runs.run import predicting
from permgrad.runs.run_documents import TRAINING, read_predictions
from permgrad.runs.run_folder import read_record

#: Classes whose probabilities are compared.
_MOST_CLASSES = 30


@dataclass(frozen=True)
class Drifted:
    """How new rows differ from others: ``drift`` of columns, the means of ``outputs``,
    and both in ``sentences``.
    """

    against: str
    drift: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    sentences: list[str]

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON."""
        facts: dict[str, Any] = plain(
            {
                "against": self.against,
                "sentences": self.sentences,
                "drift": list(self.drift),
                "outputs": list(self.outputs),
            }
        )
        return facts

    def write(self, predictions: Path) -> Path:
        """Write it beside the file of the predictions."""
        name = predictions.name.removesuffix(".gz").rpartition(".")[0]
        target = predictions.with_name(f"{name}-drift.json")
        write_json_atomic(target, self.facts)
        return target


def drifted(
    request: PredictRequest,
    model: Any,
    data: Mapping[str, Any],
    rows: pd.DataFrame,
    predicted: predicting.Predicted,
) -> Drifted | None:
    """Compare the rows of a table with those of training, or of the table
    ``request.against``. None: nobody asked.

    Args:
        request: the command.
        model: the model.
        data: what its run says of the data.
        rows: the new rows ``(rows, features)``, with their target if they have it.
        predicted: their predictions.
    """
    if request.against is None:
        return None
    na = list(data.get("na", ()))
    if str(request.against) == TRAINING_ROWS:
        sides = ("training", "new")
        drift = _from_training(request.model_folder, rows, na)
        before = _tested(request.model_folder, data)
    else:
        sides = ("old", "new")
        earlier, outputs = _of_table(request.against, model, data)
        shared = [name for name in rows.columns if name in earlier.columns]
        with loading():
            from permgrad.evaluation.drift import compare_parts
        drift = compare_parts(earlier[shared], rows[shared], na=na)["drift"]
        before = _outputs(outputs, model, data)
    after = _outputs(predicted, model, data)
    with loading():
        from permgrad.evaluation.changes import adjusted_lines, lines_of_outputs
        from permgrad.pages.moved import moved_words
        from permgrad.pages.summaries import outputs_words
    sentences = [moved_words(drift, sides)]
    lines = list[dict[str, Any]]()
    if before is not None and before.keys() == after.keys() and len(rows) > 1:
        lines = adjusted_lines(lines_of_outputs(before, after))
        of_test = " (before: the test rows of the run)" * (sides[0] == "training")
        sentences.append(f"{outputs_words(lines).removesuffix('.')}{of_test}.")
    sentences = [words.replace("\u00a0", " ") for words in sentences]
    return Drifted(str(request.against), drift, lines, sentences)


def _from_training(
    folder: Path, rows: pd.DataFrame, na: Sequence[Any]
) -> list[dict[str, Any]]:
    """Compare rows with what a run keeps of its training rows."""
    run = run_of(folder)
    if read_record(run) is None or not (run / TRAINING).is_file():
        problem = f"{folder} keeps nothing of its training rows to compare with"
        hint = "Name a table of earlier rows: --against TABLE."
        raise InputError(problem, hint=hint, code="PG005")
    with loading():
        from permgrad.evaluation.column_summary import against_summary
    with believed(run):
        summary = read_json(run / TRAINING)
    return against_summary(summary, rows, na=na)


def _tested(folder: Path, data: Mapping[str, Any]) -> dict[str, Floats] | None:
    """Return the predictions of a run's test rows, by the names of outputs.

    None: it has none.
    """
    run = run_of(folder)
    if not (run / "predictions.csv").is_file() or "task" not in data:
        return None
    with believed(run):
        table = read_predictions(run, data)
    if not tasks.get(data["task"]).has_classes:
        return {"prediction": table["prediction"].to_numpy(dtype=np.float64)}
    mark = "probability_"
    columns = list(map(str, table))
    names = [name.removeprefix(mark) for name in columns if name.startswith(mark)]
    chances = table[[f"{mark}{name}" for name in names]].to_numpy(dtype=np.float64)
    return _of_classes(names, chances, data)


def _of_table(
    path: Path, model: Any, data: Mapping[str, Any]
) -> tuple[pd.DataFrame, predicting.Predicted]:
    """Return the rows of an earlier table as the model reads them, with its target, and
    their predictions.
    """
    rows, written = predicting.read_rows(model, {**data, "sheet": None}, path)
    with written.lines.named():
        read = ReadableRows.of(rows, model.preprocessor_, strict=False)
    with surprises_told_once(list(model.preprocessor_.feature_names_in_)):
        predicted = model.predict_parts(read.rows)
    return with_targets(read.rows, written.frame, data), predicted


def with_targets(
    rows: pd.DataFrame, table: pd.DataFrame, data: Mapping[str, Any]
) -> pd.DataFrame:
    """Return rows of features with their target, if a table has it and counts have no
    exposure.
    """
    target = data.get("target")
    if target not in table.columns or data.get("offset") is not None:
        return rows
    if not table[target].notna().any():
        return rows
    return rows.assign(**{str(target): table[target].to_numpy()})


def _outputs(
    predicted: predicting.Predicted, model: Any, data: Mapping[str, Any]
) -> dict[str, Floats]:
    """Return predictions ``(rows,)`` by the names of outputs."""
    if not hasattr(model, "classes_"):
        return {"prediction": np.asarray(predicted["prediction"], dtype=np.float64)}
    names = list(map(str, model.classes_.tolist()))
    if "probabilities" not in predicted:
        labels = np.asarray(predicted["prediction"]).astype(str)
        shares = (labels[:, None] == np.array(names)).astype(np.float64)
        return _of_classes(names, shares, data)
    return _of_classes(names, np.asarray(predicted["probabilities"]), data)


def _of_classes(
    names: Sequence[str], probabilities: Floats, data: Mapping[str, Any]
) -> dict[str, Floats]:
    with loading():
        from permgrad.evaluation.changes import of_classes
    positive = str(data.get("positive"))
    if positive in names:
        positive_index = names.index(positive)
    else:
        positive_index = 1
    few = list(names)[:_MOST_CLASSES]
    return of_classes(few, probabilities[:, : len(few)], positive_index)
