"""``permgrad explain``: a trained model and a table in, an explanation with its plots out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.parts.folder import refuse_inside
from permgrad.base.errors import InputError, by_count, counted, warn_user
from permgrad.base.locks import hold_name
from permgrad.data.parts.partitions import is_partitioned
from permgrad.data.read.cells import canonical
from permgrad.data.read.table import blank_codes
from permgrad.runs.commands.chosen_rows import check_row, read_selected, selected
from permgrad.runs.commands.explained import check_folder, draw_once, outcome_of, write
from permgrad.runs.commands.stream import (
    explain_streamed,
    is_streamed,
    open_streamed,
    positive_option,
    target_column,
    tell_no_targets,
    with_target,
)
from permgrad.runs.commands.trained import check_model, open_model, read_rows, table_of
from permgrad.runs.folder.documents import check_cells
from permgrad.runs.folder.outputs import refuse_input, refuse_run_file
from permgrad.runs.requests import ExplainRequest, Outcome
from permgrad.runs.run.cache import Cache
from permgrad.runs.run.images import explain_records, is_image_model
from permgrad.runs.run.own_rows import own_test_rows
from permgrad.runs.run.stages import prediction_table, predictions_of, use_threads
from permgrad.runs.run.target import find_column

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.parts.engines import Engine

_UNKNOWN = (
    "rows explained globally must have a known target, however: of those chosen none has; choose others, or leave "
    "the target's column out of the table"
)


def explain_table(request: ExplainRequest) -> Outcome:
    """Explain a model on the rows of a table: ``explanation.json, values.npz, importance.csv, plots/``.

    If the run's target stands in the table, global games measure the loss; else the divergence from the model's own
    prediction. With a row, the explanation is local unless the scope says otherwise.

    Raises:
        InputError: No model, no such row or method, a table without the model's columns, or a folder in the way.
        EnvironmentProblem: The folder cannot be written.
    """
    import permgrad.attribution as _registered  # noqa: F401 — importing the package registers every method
    from permgrad.attribution.method import methods
    from permgrad.attribution.parts.engines import make_engine

    method = methods.get(request.method)
    _check_options(request, method)
    check_model(request.model_folder)
    if request.table is None:
        request = _of_test_rows(request)
    refuse_inside(request.folder, request.source)
    refuse_input(request.folder, {"table": request.source})
    refuse_run_file(request.folder, request.model_folder)
    engine = make_engine(request.engine, workers=request.workers, address=request.address)
    if request.rows is not None:
        _check_sampled(request)
    in_parts = True if request.stream is None and request.rows is not None else request.stream
    streamed = request.test_rows is None and is_streamed(request.source, in_parts)
    if streamed and request.row is None and not request.where:
        return _explain_in_parts(request, engine)
    _check_form(request, streamed=streamed)
    check_folder(request)
    with hold_name(request.folder):
        check_folder(request)  # again, now that nobody else can write it
        explanation, rows = _explain_in_memory(request, method, engine, streamed=streamed)
        write(request.folder, explanation, rows)
        return outcome_of(request, explanation, rows)


# ---- refusals --------------------------------------------------------------------------------------------------------
def _check_options(request: ExplainRequest, method: Any) -> None:
    """Refuse options that do not go together, before a model is read."""
    if request.row is not None and request.where:
        raise InputError("rows are chosen by --row or by --where, however: both are given; leave one of them out")
    if request.baseline is not None and "baseline" not in method.options:
        raise InputError(
            f"--baseline belongs to methods that compare with a baseline, however: --method {request.method} has none; "
            "add --method integrated_gradients, or leave it out"
        )


def _check_form(request: ExplainRequest, *, streamed: bool) -> None:
    """Refuse what goes with the explanation of a whole table in parts alone."""
    chosen_by = "--where" if request.where else "--row"
    if streamed and request.rows is not None:
        raise InputError(
            f"rows are chosen by {chosen_by} or drawn by --rows, however: both are given; leave one of them out"
        )
    if request.form == "tidy":
        return
    if streamed:
        raise InputError(
            f"--form is of files with the explanation of every row, however: {chosen_by} is given as well; leave "
            "--form out"
        )
    raise InputError(
        f"--form belongs to tables that are read in parts, however: {request.source} is read into memory; add "
        "--stream (Parquet), or leave --form out"
    )


def _check_sampled(request: ExplainRequest) -> None:
    if request.stream is False or (request.source.is_file() and not is_partitioned(request.source)):
        what = "it is no Parquet" if request.stream is not False else "--no-stream is given"
        raise InputError(
            f"--rows draws rows of a Parquet table that is read in parts, however: {what} ({request.source}); write it "
            "as Parquet and leave --no-stream out, or leave --rows out"
        )


def _check_several(request: ExplainRequest, places: npt.NDArray[np.int64], explained: npt.NDArray[np.int64]) -> None:
    """Refuse rows whose loss cannot be explained, and tell how many of those chosen have no target."""
    if not len(explained):
        raise InputError(_UNKNOWN)
    if left_out := len(places) - len(explained):
        warn_user(
            f"{left_out:,} of {counted(len(places), 'row')} of {request.source} "
            f"{by_count(left_out, 'has', 'have')} no target and {by_count(left_out, 'is', 'are')} left out where "
            "the loss is explained; leave the target's column out to explain all of them"
        )
    if request.method == "permgrad-paper" and len(explained) == 1:
        row = "leave --row out and " if request.row is not None else ""
        raise InputError(
            "permgrad-paper shuffles each feature among the rows explained, which must be several, however: there is 1 "
            f"here; {row}choose more rows, or pass --method permgrad"
        )


# ---- in parts --------------------------------------------------------------------------------------------------------
def _explain_in_parts(request: ExplainRequest, engine: Engine) -> Outcome:
    """Explain a table that need not fit in memory."""
    explanation, finished = explain_streamed(request, engine)
    draw_once(request.folder, explanation)
    outcome = outcome_of(request, explanation)
    facts = {**outcome.facts, "rows_explained": explanation.meta["rows_explained"]}
    parts = counted(explanation.meta["streamed"]["parts"], "part")
    lines = [f"{counted(facts['rows_explained'], 'row')} in {parts}."]
    lines += ["It was finished before; nothing was computed."] if finished else []
    return Outcome(facts, "\n".join([*lines, outcome.text]))


# ---- in memory -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Read:
    """Rows to explain.

    Attributes:
        model: The trained model, ``data`` what its run says of its data.
        rows: As the model takes them; ``table`` with all columns; ``numbers`` theirs in the file.
        places: Those chosen among them; None: all are.
    """

    model: Any
    data: Mapping[str, Any]
    rows: Any
    table: pd.DataFrame
    numbers: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64] | None


def _explain_in_memory(
    request: ExplainRequest, method: Any, engine: Engine, *, streamed: bool
) -> tuple[Explanation, pd.DataFrame | None]:
    """Explain all rows of a table, or those chosen of one that need not fit in memory, which are also listed."""
    read = _read_chosen(request, method) if streamed else _read_all(request)
    use_threads(request.threads)
    scope = request.scope
    if read.places is not None and scope == "auto" and "local" in method.scopes:
        scope = "local"
    truth, measurable = _truth(read, request)
    # A local explanation is of the model's own prediction; the truth only stands beside it.
    measured = (method.scopes[0] if scope == "auto" else scope) == "global"
    if measured and truth is None:
        tell_no_targets(read.data, read.table.columns, request.source, named=request.y is not None)
    places = np.arange(len(read.table), dtype=np.int64) if read.places is None else read.places
    explained = np.intersect1d(places, measurable) if measured else places
    if measured:
        _check_several(request, places, explained)
    rows, numbers = read.rows.take(explained), read.numbers[explained]
    y = None if truth is None else truth[explained]
    if not streamed:
        check_cells(read.model.preprocessor_, table_of(rows), request.source)
    explanation = _computed(request, read, rows, y if measured else None, engine, scope)
    if explanation.scope == "global":
        return explanation, None
    if not np.array_equal(numbers, np.arange(len(explained))):
        # The rows of the table, wherever rows are named: the same number in importance.csv as in rows.csv.
        explanation = replace(explanation, meta={**explanation.meta, "rows": numbers.tolist()})
    if read.places is None:
        return explanation, None
    no_names = pd.DataFrame(index=range(len(numbers)))
    truth = None if y is None or pd.isna(y).all() else y
    return explanation, prediction_table(numbers, no_names, predictions_of(read.model, rows), read.model, truth=truth)


def _computed(
    request: ExplainRequest, read: _Read, rows: Any, y: npt.NDArray[Any] | None, engine: Engine, scope: str
) -> Explanation:
    """Return the explanation of some rows; of a run's model and its tables from its cache, if it is there."""
    from permgrad.attribution.explain import explain

    # A row explained alone draws the donors that it draws among all rows.
    options: dict[str, Any] = {} if request.row is None or scope != "local" else {"row_offset": request.row}
    options |= {} if request.baseline is None else {"baseline": request.baseline}
    options |= {"method": request.method, "scope": scope, "target": _targets(read.model, request.target)}
    options |= {"n_repeats": request.repeats, "random_state": request.seed}
    options |= positive_option(read.model, read.data, request.positive)
    if not is_image_model(read.model):
        # Who computes changes nothing in the result but rounding, hence nothing in its entry.
        compute = partial(explain, engine=engine)
        return Cache.of(request.model_folder).explain(compute, read.model, rows, y, **options)
    if request.engine != "local":
        raise InputError(
            f"a model that reads images is explained in this process, however: --engine {request.engine}; leave it out"
        )
    return explain_records(read.model, rows, y, **options)


def _targets(model: Any, wanted: tuple[str, ...]) -> list[int | str] | None:
    """Return the outputs asked for: classes by name, or positions."""
    if not wanted:
        return None
    names = [str(label) for label in getattr(model, "classes_", np.array(["all"])).tolist()]
    return [name if name in names or not name.isdigit() else int(name) for name in wanted]


# ---- rows ------------------------------------------------------------------------------------------------------------
def _of_test_rows(request: ExplainRequest) -> ExplainRequest:
    """Return the request for the test rows of the model's run; a row is chosen by its number in the run's table."""
    if request.stream or request.rows is not None:
        option = "--stream" if request.stream else "--rows"
        raise InputError(f"{option} belongs to a table that is read in parts. Name the TABLE, or leave {option} out.")
    table, rows = own_test_rows(request.model_folder)
    place = request.row
    if place is not None:
        if place not in rows:
            some = ", ".join(map(str, rows[:5].tolist()))
            raise InputError(
                f"Row {place} is not a test row of this run, whose test rows are {some}, … (column 'row' of "
                "predictions.csv). Choose one of them, or name the TABLE."
            )
        place = int(np.flatnonzero(rows == place)[0])
    return replace(request, table=table, row=place, test_rows=rows, out=request.folder)


def _read_all(request: ExplainRequest) -> _Read:
    """Read a table, of which all rows are explained, or some."""
    model, data = open_model(request.model_folder)
    data = with_target(model, data, request.y)
    rows, table = read_rows(model, data, request.source)
    if request.y is not None:
        find_column(request.y, [str(column) for column in table.columns], "y")
    numbers = request.test_rows
    if numbers is None:
        check_row(request, len(table))
        numbers = np.arange(len(table), dtype=np.int64)
    else:
        rows, table = rows.take(numbers), table.take(numbers).reset_index(drop=True)
    return _Read(model, data, rows, table, numbers, selected(request, table))


def _read_chosen(request: ExplainRequest, method: Any) -> _Read:
    """Read the chosen rows of a table that need not fit in memory."""
    model, data, parts = open_streamed(request.model_folder, request.source, request.y)
    if request.y is not None:
        find_column(request.y, parts.columns, "y")
    features = [str(name) for name in model.preprocessor_.feature_names_in_]
    target = target_column(data, parts)
    columns = features if target is None else list(dict.fromkeys([*features, target]))
    table, numbers = read_selected(request, parts, columns)
    # Of chosen rows the loss is explained only if that is asked for, or if the method knows nothing else.
    measured = request.scope == "global" or (request.scope == "auto" and "local" not in method.scopes)
    if target is None:
        if measured:
            tell_no_targets(data, parts.columns, request.source, named=request.y is not None)
        data = {**data, "target": None}
    elif measured and not _known_target(table, target, data)[1].any():
        raise InputError(_UNKNOWN)
    return _Read(model, data, table[features], table, numbers, np.arange(len(table), dtype=np.int64))


def _known_target(
    table: pd.DataFrame, target: str, data: Mapping[str, Any]
) -> tuple[pd.Series[Any], npt.NDArray[np.bool_]]:
    """Return the target, and which of its values are neither missing nor one of the run's codes for missing."""
    values = blank_codes(table[[target]], list(data.get("na_codes", ())))[target]
    return values, values.notna().to_numpy(dtype=bool)


def _truth(read: _Read, request: ExplainRequest) -> tuple[npt.NDArray[Any] | None, npt.NDArray[np.int64]]:
    """Return the target of all rows, if any has one, and the rows whose loss can be explained."""
    target = read.data.get("target")
    if target is None or target not in read.table.columns:
        return None, np.arange(len(read.table), dtype=np.int64)
    values, present = _known_target(read.table, target, read.data)
    if not present.any():
        return None, np.arange(len(read.table), dtype=np.int64)
    if read.data["task"] == "classification":
        y, present = _class_truth(read, values, present, request)
        return y, np.flatnonzero(present)
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise InputError(
            f"the target must hold numbers as in training, however: column {target!r} of {request.source} holds text; "
            "correct it, or leave the column out"
        )
    return values.to_numpy(dtype=np.float64), np.flatnonzero(present)


def _class_truth(
    read: _Read, values: pd.Series[Any], present: npt.NDArray[np.bool_], request: ExplainRequest
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the model's classes of all rows, and which are known; other classes are refused, or left out of a run."""
    # Classes are compared as text: a file may hold 1 where the model learnt from 1.0, or the other way round.
    classes = read.model.classes_.tolist()
    labels = {canonical(label): label for label in classes}
    y = np.array([labels.get(canonical(value)) for value in values.tolist()], dtype=object)
    strange = present & np.array([value is None for value in y])
    count = int(strange.sum())
    if count and request.test_rows is None:
        first = values.to_numpy()[strange].tolist()[0]
        raise InputError(
            f"the target must hold classes of the model ({', '.join(map(str, classes[:10]))}), however: {count} of "
            f"{counted(len(y), 'row')} of {request.source} {by_count(count, 'holds', 'hold')} another, such as "
            f"{first!r}; correct or leave out such rows, or leave the column out"
        )
    if count:
        rows = f"{counted(count, 'test row')} {by_count(count, 'has', 'have')} a class that no training row has"
        warn_user(f"{rows}; {by_count(count, 'it is', 'they are')} left out")
    return y, present & ~strange
