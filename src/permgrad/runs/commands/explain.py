"""``permgrad explain``: a trained model and a table in, an explanation with its plots out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from permgrad.runs.commands.trained import check_model, open_model, own_test_rows, read_rows, table_of
from permgrad.runs.folder.documents import check_cells
from permgrad.runs.folder.folder import refuse_input, refuse_run_file
from permgrad.runs.requests import ExplainRequest, Outcome
from permgrad.runs.run.cache import Cache
from permgrad.runs.run.images import explain_records, is_image_model
from permgrad.runs.run.stages import prediction_table, predictions_of, use_threads
from permgrad.runs.run.target import find_column

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.parts.engines import Engine


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
    if request.row is not None and request.where:
        raise InputError("rows are chosen by --row or by --where, however: both are given; leave one of them out")
    if request.baseline is not None and "baseline" not in method.options:
        raise InputError(
            f"--baseline belongs to methods that compare with a baseline, however: --method {request.method} has none; "
            "add --method integrated_gradients, or leave it out"
        )
    check_model(request.model_folder)
    if request.table is None:
        request = _of_test_rows(request)
    refuse_inside(request.folder, request.source)
    refuse_input(request.folder, {"table": request.source})
    refuse_run_file(request.folder, request.model_folder)
    engine = make_engine(request.engine, workers=request.workers, address=request.address)
    streamed = _is_in_parts(request)
    if streamed and request.row is None and not request.where:
        explanation, finished = explain_streamed(request, engine)
        draw_once(request.folder, explanation)
        outcome, count = outcome_of(request, explanation), explanation.meta["rows_explained"]
        lines = [f"{counted(count, 'row')} in {counted(explanation.meta['streamed']['parts'], 'part')}."]
        lines += ["It was finished before; nothing was computed."] if finished else []
        return Outcome({**outcome.facts, "rows_explained": count}, "\n".join([*lines, outcome.text]))
    check_folder(request)
    with hold_name(request.folder):
        check_folder(request)  # again, now that nobody else can write it
        explanation, rows = _explain_in_memory(request, method, engine, streamed=streamed)
        write(request.folder, explanation, rows)
        return outcome_of(request, explanation, rows)


def _is_in_parts(request: ExplainRequest) -> bool:
    """Whether the table is read in parts; options that do not go with that are refused."""
    chosen_by = "--where" if request.where else "--row" if request.row is not None else None
    stream = request.stream
    if request.rows is not None:
        if stream is False or (request.source.is_file() and not is_partitioned(request.source)):
            what = "it is no Parquet" if stream is not False else "--no-stream is given"
            raise InputError(
                f"--rows draws rows of a Parquet table that is read in parts, however: {what} ({request.source}); "
                "write it as Parquet and leave --no-stream out, or leave --rows out"
            )
        stream = True
    streamed = request.test_rows is None and is_streamed(request.source, stream)
    if streamed and chosen_by is not None and request.rows is not None:
        raise InputError(
            f"rows are chosen by {chosen_by} or drawn by --rows, however: both are given; leave one of them out"
        )
    if request.form == "tidy" or (streamed and chosen_by is None):
        return streamed
    if streamed:
        raise InputError(
            f"--form is of files with the explanation of every row, however: {chosen_by} is given as well; leave "
            "--form out"
        )
    raise InputError(
        f"--form belongs to tables that are read in parts, however: {request.source} is read into memory; add "
        "--stream (Parquet), or leave --form out"
    )


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


# ---- in memory -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Read:
    """Rows to explain.

    Attributes:
        model: The trained model, ``data`` what its run says of its data.
        columns: All columns of the table.
        rows: As the model takes them; ``table`` with the target; ``numbers`` theirs in the file.
        places: Those chosen among them; None: all are.
    """

    model: Any
    data: Mapping[str, Any]
    columns: Sequence[str]
    rows: Any
    table: pd.DataFrame
    numbers: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64] | None


def _read(request: ExplainRequest, *, streamed: bool) -> _Read:
    """Read a table, of which all rows are explained, or some; of one that need not fit in memory only those chosen."""
    if streamed:
        model, data, parts = open_streamed(request.model_folder, request.source, request.y)
        if request.y is not None:
            find_column(request.y, parts.columns, "y")
        features = [str(name) for name in model.preprocessor_.feature_names_in_]
        target = target_column(data, parts)
        wanted = features if target is None else list(dict.fromkeys([*features, target]))
        table, numbers = read_selected(request, parts, wanted)
        return _Read(model, data, parts.columns, table[features], table[wanted], numbers, np.arange(len(table)))
    model, data = open_model(request.model_folder)
    data = with_target(model, data, request.y)
    rows, table = read_rows(model, data, request.source)
    columns = [str(column) for column in table.columns]
    if request.y is not None:
        find_column(request.y, columns, "y")
    numbers = request.test_rows
    if numbers is None:
        check_row(request, len(table))
        numbers = np.arange(len(table), dtype=np.int64)
    else:
        rows, table = rows.take(numbers), table.take(numbers).reset_index(drop=True)
    return _Read(model, data, columns, rows, table, numbers, selected(request, table))


def _explain_in_memory(
    request: ExplainRequest, method: Any, engine: Engine, *, streamed: bool
) -> tuple[Explanation, pd.DataFrame | None]:
    """Explain all rows of a table, or those chosen of one that need not fit in memory, which are also listed."""
    read = _read(request, streamed=streamed)
    use_threads(request.threads)
    scope = request.scope
    if read.places is not None and scope == "auto" and "local" in method.scopes:
        scope = "local"
    truth, measurable = _truth(read, request, streamed=streamed)
    # A local explanation is of the model's own prediction; the truth only stands beside it.
    measured = (method.scopes[0] if scope == "auto" else scope) == "global"
    places = np.arange(len(read.table), dtype=np.int64) if read.places is None else read.places
    explained = np.intersect1d(places, measurable) if measured else places
    if measured:
        if truth is None:
            tell_no_targets(read.data, read.columns, request.source, named=request.y is not None)
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


def _check_several(request: ExplainRequest, places: npt.NDArray[np.int64], explained: npt.NDArray[np.int64]) -> None:
    """Refuse rows whose loss cannot be explained, and tell how many of those chosen have no target."""
    if not len(explained):
        raise InputError(
            "rows explained globally must have a known target, however: of those chosen none has; choose others, or "
            "leave the target's column out of the table"
        )
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


def _computed(
    request: ExplainRequest, read: _Read, rows: Any, y: npt.NDArray[Any] | None, engine: Engine, scope: str
) -> Explanation:
    """Return the explanation of some rows; of a run's model and its tables from its cache, if it is there."""
    from permgrad.attribution.explain import explain

    names = [str(label) for label in getattr(read.model, "classes_", np.array(["all"])).tolist()]
    target = [name if name in names or not name.isdigit() else int(name) for name in request.target]
    options: dict[str, Any] = {"method": request.method, "scope": scope, "target": target or None}
    options |= {"n_repeats": request.repeats, "random_state": request.seed}
    # A row explained alone draws the donors that it draws among all rows.
    options |= {} if request.row is None or scope != "local" else {"row_offset": request.row}
    options |= {} if request.baseline is None else {"baseline": request.baseline}
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


# ---- targets ---------------------------------------------------------------------------------------------------------
def _truth(
    read: _Read, request: ExplainRequest, *, streamed: bool
) -> tuple[npt.NDArray[Any] | None, npt.NDArray[np.int64]]:
    """Return the target of all rows, if any row of the table has one, and the rows whose loss can be explained."""
    target, everywhere = read.data.get("target"), np.arange(len(read.table), dtype=np.int64)
    if target is None or target not in read.table.columns:
        return None, everywhere
    values = blank_codes(read.table[[target]], list(read.data.get("na_codes", ())))[target]
    present = values.notna().to_numpy(dtype=bool)
    # A long table's target is read only where some of its rows has one.
    if not present.any() and not streamed:
        return None, everywhere
    if read.data["task"] == "regression":
        if present.any() and not pd.api.types.is_numeric_dtype(values.dtype):
            raise InputError(
                f"the target must hold numbers as in training, however: column {target!r} of {request.source} holds "
                "text; correct it, or leave the column out"
            )
        return values.to_numpy(dtype=np.float64, na_value=np.nan), np.flatnonzero(present)
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
    return y, np.flatnonzero(present & ~strange)
