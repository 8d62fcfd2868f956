"""Open trained models, read tables for them, and write their predictions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import check_confidence
from permgrad.base.errors import InputError, warn_user
from permgrad.base.files import file_hash
from permgrad.base.folders import believed, sum_of
from permgrad.base.startup import loading
from permgrad.base.stored import read_json, read_npz
from permgrad.data.encode.encoding import align_columns
from permgrad.data.image_table import pages_said
from permgrad.data.read.cells import Distinct
from permgrad.data.read.image_cells import source_of
from permgrad.data.read.reading import Written
from permgrad.data.read.table import sheet_of
from permgrad.data.read.whole_numbers import without_points
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.data.weights import read_exposures
from permgrad.runs.configuration import content_of
from permgrad.runs.requests import PredictRequest, run_of
from permgrad.runs.run.early import check_model, find_column, known_columns, saved_in
from permgrad.runs.run_documents import DATA, read_like
from permgrad.runs.run_folder import CACHE, read_record

if TYPE_CHECKING:
    from permgrad.assess.assessed_model import Cache

#: ``prediction`` ``(rows,)``, for classifiers also ``probabilities`` ``(rows,
#: classes)``. With a coverage also ``inside``: the ends of intervals ``(rows, 2)``, or
#: whether each class is in the row's set ``(rows, classes)``.
Predicted = Mapping[str, npt.NDArray[Any]]
#: A table, the numbers of some of its rows, and its sheet if it is an Excel file.
Source = tuple[Path, npt.NDArray[np.int64], str | None]


def use_threads(threads: int | None) -> None:
    """Limit the threads of torch in this process."""
    if threads is not None and "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def prediction_table(
    rows: npt.NDArray[np.int64],
    identifiers: pd.DataFrame,
    predicted: Predicted,
    model: Any,
    *,
    truth: npt.NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Return one line per row: its number in the file, identifiers, (truth,)
    prediction, probabilities, interval.

    Identifiers stay in order. One gets ``_`` added if predictions use its name.
    """
    if hasattr(model, "classes_"):
        labels = model.classes_.tolist()
    else:
        labels = None
    if labels is None:
        inside = ["interval_low", "interval_high"]
    else:
        inside = [f"in_set_{label}" for label in labels]
    chances = [f"probability_{label}" for label in labels or ()]
    taken_names = {"row", "truth", "prediction", *chances, *inside}
    table = pd.DataFrame({"row": rows})
    for column_name in identifiers.columns:
        shown = column_name
        while shown in taken_names or (
            shown != column_name and shown in identifiers.columns
        ):
            shown += "_"
        table[shown] = without_points(identifiers[column_name]).array
    if truth is not None:
        table["truth"] = truth
    table["prediction"] = predicted["prediction"]
    for class_index, chance_name in enumerate(
        chances if "probabilities" in predicted else ()
    ):
        table[chance_name] = predicted["probabilities"][:, class_index]
    for inside_index, inside_name in enumerate(inside if "inside" in predicted else ()):
        table[inside_name] = predicted["inside"][:, inside_index]
    return table


def with_reasons(
    predictions: pd.DataFrame, model: Any, rows: pd.DataFrame, count: int | None
) -> pd.DataFrame:
    """Return predictions with the strongest reasons of each, if they are asked for.

    An identifier that has the name of such a column keeps it with ``_``.
    """
    if count is None:
        return predictions
    reasons = model.reasons(rows, count)
    renamed = {}
    for name in predictions.columns.intersection(reasons.columns):
        renamed[name] = f"{name}_"
    return pd.concat([predictions.rename(columns=renamed), reasons], axis=1)


def intervals_of(
    request: PredictRequest, model: Any, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of the intervals or sets that were asked for."""
    weight = data.get("weight") or data.get("offset")
    if request.coverage is not None and weight:
        problem = (
            "--coverage counts each held-out row once, and the run weighs rows "
            f"by {weight!r}"
        )
        raise InputError(problem, hint="Leave it out.", code="PG006")
    if request.by_class and (
        request.coverage is None or not hasattr(model, "classes_")
    ):
        problem = "--by-class is for sets of classes, which --coverage adds"
        add_words = "Add --coverage 0.9, for example."
        leave_out = "Leave it out: this model predicts numbers."
        if hasattr(model, "classes_"):
            advice = add_words
        else:
            advice = leave_out
        raise InputError(problem, hint=advice, code="PG004")
    if request.coverage is None:
        coverage = None
    else:
        coverage = check_confidence(request.coverage, "--coverage")
    return {"coverage": coverage, **({"by_class": True} if request.by_class else {})}


def check_threshold(threshold: float | None, model: Any) -> None:
    """Refuse a threshold that is none, or of a model that does not decide between two
    classes.
    """
    if threshold is None:
        return
    if not 0 <= threshold <= 1:
        problem = f"--threshold must be a number from 0 to 1, got {threshold:g}"
        raise InputError(problem, "For example: --threshold 0.2.", "PG002")
    if getattr(model, "decision_", None) is None:
        classes = len(getattr(model, "classes_", ()))
        if classes:
            model_words = f"predicts {classes} classes"
        else:
            model_words = "predicts numbers"
        problem = (
            f"--threshold is for models of two classes, and this one {model_words}"
        )
        raise InputError(problem, "Leave it out.", "PG004")


def decide_at(model: Any, threshold: float | None) -> None:
    """Let an opened model predict by another threshold than its own."""
    check_threshold(threshold, model)
    if threshold is not None:
        model.decision_ = model.decision_.at(threshold)


# ---- models that commands open -------------------------------------------------------
def features_of(model: Any) -> list[str]:
    """Return the names of the columns that a model reads."""
    return list(
        map(
            str,
            getattr(model, "feature_names_in_", model.preprocessor_.feature_names_in_),
        )
    )


def open_model(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the model of a run's folder (or of the model folder in it), and
    ``data.json`` if there is one.
    """
    check_model(folder)
    run_folder = run_of(folder)
    with loading():
        from permgrad.models.save.saving import load_trusting

        model = load_trusting(saved_in(folder))
        if (fitted := getattr(model, "fitted_", None)) is not None:
            _ = fitted.model.predict  # its file is read, or refused, now
    record = read_record(run_folder)
    if record is None or not (run_folder / DATA).is_file():
        return model, _learned_target(model)
    if record["stages"].get("data", {}).get("sums", {}).get(DATA) not in (
        None,
        sum_of(run_folder / DATA),
    ):
        raise InputError(
            f"{run_folder / DATA} is damaged or changed",
            hint="Run again with --from data.",
            code="PG052",
        )
    with believed(run_folder):
        return model, read_json(run_folder / DATA)


def _learned_target(model: Any) -> dict[str, Any]:
    """Return what a model outside a run knows of its target: the column, and the
    task.
    """
    target_name = getattr(model, "target_name_", None)
    if target_name is None:
        return {}
    if hasattr(model, "classes_"):
        task = CLASSIFICATION
    else:
        task = REGRESSION
    return {"target": target_name, "task": task}


def cache_of(model_folder: Path) -> Cache:
    """Return the cache of a run by its folder or its model's.

    A model outside a run has none.
    """
    from permgrad.assess.assessed_model import Cache  # loads torch

    run_folder = run_of(model_folder)
    saved = run_folder / "model"
    if (
        not saved.is_dir()
        or model_folder not in (run_folder, saved)
        or read_record(run_folder) is None
    ):
        return Cache()
    # This file holds the checksums of the other files of the model.
    return Cache(run_folder / CACHE, file_hash(saved / "model.json"))


def own_test_rows(folder: Path) -> Source:
    """Return the table with a run's test rows."""
    run_folder = run_of(folder)
    record = read_record(run_folder)
    if record is None or "data" not in record["finished_stages"]:
        problem = f"{folder} is not a run, so it has no test rows"
        raise InputError(problem, hint="Name the TABLE to explain.", code="PG005")
    with believed(run_folder):
        return test_rows_of(
            run_folder,
            record,
            np.asarray(read_npz(run_folder / "split.npz")["test"], dtype=np.int64),
        )


def test_rows_of(
    run: Path, record: Mapping[str, Any], rows: npt.NDArray[np.int64]
) -> Source:
    """Return the table with a run's test rows, if it is unchanged, with ``rows`` and
    its sheet.
    """
    sources = record["facts"]["sources"]
    if "test" in sources:
        source_role = "test"
    else:
        source_role = "table"
    stored_content = record["configuration"][f"{source_role} content"]
    table = str(sources[source_role])
    try:
        if content_of(table, source_role) == stored_content:
            file_state = None
        else:
            file_state = "has changed since the run"
    except InputError:
        file_state = "no longer exists"
    if file_state is not None:
        problem_hint = "Put the file back. To explain other rows, name a TABLE."
        raise InputError(
            f"The {source_role} file of the run {run}, {table}, {file_state}",
            hint=problem_hint,
            code="PG010",
        )
    return Path(table), rows, sheet_of(table, record["configuration"].get("sheet"))


def read_rows(
    model: Any, data: Mapping[str, Any], path: Path
) -> tuple[pd.DataFrame, Written]:
    """Return the columns of a table that a model reads, and the complete table as
    written.

    Columns that the model does not use are left out with a warning, except the run's
    target and identifiers.
    """
    features = features_of(model)
    written = read_like(path, data, features)
    table = written.frame
    silent = []
    for column_name in known_columns(data):
        if column_name in table.columns and column_name not in features:
            silent.append(column_name)
    aligned = align_columns(table.drop(columns=silent), features)
    for image_column in model.preprocessor_.schema_.of_modality("photo"):
        sources = map(source_of, Distinct.of(aligned[image_column], image_column).texts)
        for page_note in pages_said(
            image_column, [source for source in sources if isinstance(source, Path)]
        ):
            warn_user(page_note)
    return aligned, written


def as_rates(
    table: pd.DataFrame, data: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a table of counts as one of rates, as a run with an offset read them, with
    their weights in its column.
    """
    target = data.get("target")
    offset = data.get("offset")
    weight = data.get("weight")
    if offset is None or target not in table.columns:
        return table, dict(data)
    find_column(offset, list(table.columns), "--offset")
    exposure = read_exposures(table[offset])
    weights = exposure * (
        1.0 if weight not in table.columns else table[weight].to_numpy(dtype=np.float64)
    )
    rates = pd.to_numeric(table[target], errors="coerce") / exposure
    changed: dict[str, Any] = {str(target): rates, str(offset): weights}
    return table.assign(**changed), {**data, "weight": offset}
