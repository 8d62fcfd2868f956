"""``permgrad explain``: explain a trained model on the rows of a table, and write the
result with plots.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from permgrad.attribution.explain import explain, find_method
from permgrad.attribution.model import Model
from permgrad.attribution.parts.engines import Engine, make_engine
from permgrad.attribution.parts.stream import explain_by, stream
from permgrad.attribution.replace.plays import loss_game
from permgrad.attribution.request import methods
from permgrad.attribution.request.arguments import Arguments, RowsToCompare
from permgrad.attribution.request.takes import reads
from permgrad.attribution.scopes import AUTO, LOCAL, chosen_scope, is_by_row, scopes
from permgrad.base.arrays import Array, Integers
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, by_count, counted, warn_user
from permgrad.base.files import plain
from permgrad.base.locks import hold_name
from permgrad.base.random import generator
from permgrad.base.typed import FROM_FILES, OPTIONS, argument_typed
from permgrad.data.encode.groups import read_groups
from permgrad.data.known_rows import any_known
from permgrad.data.read.cells import RowLines, canonical
from permgrad.data.read.reading import Written
from permgrad.data.read.table import blank_codes
from permgrad.data.tasks import tasks
from permgrad.data.types.positive import one_spelling, spelling
from permgrad.evaluation.baselines.file_model import FileModel, make_file_model
from permgrad.models.estimators.kept_rows import rows_in
from permgrad.models.onnx_model import check_onnx, read_onnx
from permgrad.runs.commands.explain_outcome import (
    check_folder,
    draw_once,
    outcome_of,
    write,
)
from permgrad.runs.commands.predict import is_streamed
from permgrad.runs.commands.predict_parts import open_streamed, with_target
from permgrad.runs.options import NO_GROUPS
from permgrad.runs.requests import ExplainRequest, Outcome, run_of
from permgrad.runs.run import predicting
from permgrad.runs.run.early import check_model, find_column, saved_in
from permgrad.runs.run.predicting import cache_of
from permgrad.runs.run_documents import read_like
from permgrad.runs.run_folder import read_record, refuse_input, refuse_run_file

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


#: Rows of a model file's table that are their own donors, and donors drawn for fewer
#: rows. The same as for a network.
_OWN_DONORS = 200
_BACKGROUND = 1000
#: Rows of a long table that are read together.
_READ_ROWS = 50_000


def explain_table(request: ExplainRequest) -> Outcome:
    """Explain a model on the rows of a table: ``explanation.json, values.npz,
    importance.csv, plots/``.

    If the table has the run's target, global games measure the loss, else the
    divergence from the model's own prediction. For a single row, the explanation is
    local unless the scope says otherwise.
    """
    method = methods.get(request.method)
    if request.row is not None and request.max_rows is not None:
        raise InputError(
            "--row and --max-rows cannot be combined",
            hint="Leave one of them out.",
            code="PG006",
        )
    _method_options(request)  # refuses what the method does not have
    request, is_file = located(request), request.model_folder.is_file()
    if is_file:
        model = request.model_folder
    else:
        model = None
    refuse_input(
        request.folder,
        {"table": request.source, "model": model, "groups file": request.groups},
    )
    refuse_run_file(request.folder, request.model_folder)
    engine = make_engine(
        request.engine, workers=request.workers, address=request.address
    )
    # The test rows of a run, or a row, are some rows of a table that is read.
    needs_some_rows = (
        is_file or request.test_rows is not None or request.row is not None
    )
    if not needs_some_rows and is_streamed(request.source, None):
        explanation, finished = explain_streamed(request, engine)
        draw_once(request.folder, explanation)
        outcome = outcome_of(request, explanation)
        count = explanation.meta["rows_explained"]
        lines = [
            (
                f"{counted(count, 'row')} in "
                f"{counted(explanation.meta['streamed']['parts'], 'part')}."
            )
        ]
        if finished:
            lines += ["It was already finished. Nothing was computed."]
        return Outcome(
            {**outcome.facts, "rows_explained": count},
            "\n".join([*lines, outcome.text]),
        )
    check_folder(request)
    with hold_name(request.folder):
        check_folder(request)  # again, now that no other process can write it
        explained = _explain_in_memory(request, method, engine)
        write(request.folder, explained.explanation, explained.listed_rows)
        return outcome_of(request, *explained)


def located(request: ExplainRequest) -> ExplainRequest:
    """Return the request with a table: without one, with the test rows of the model's
    run.

    Refuse what is no model, and options that do not apply to model files.
    """
    if request.model_folder.is_file():
        check_onnx(request.model_folder)
        file_words = f"{request.model_folder.name} is a model file"
        if request.table is None:
            problem = f"Missing TABLE: {file_words}, which has no test rows"
            raise InputError(problem, hint="Name the table to explain.", code="PG005")
        if request.engine != "local":
            problem = f"--engine applies to models of permgrad, but {file_words}"
            raise InputError(problem, hint="Leave it out.", code="PG004")
        return request
    check_model(request.model_folder)
    if request.table is not None:
        return request
    table, test_rows, sheet = predicting.own_test_rows(request.model_folder)
    row_position = request.row
    if row_position is not None:
        if row_position not in test_rows:
            first_rows = ", ".join(map(str, test_rows[:5].tolist()))
            problem = (
                f"Row {row_position} is not a test row of this run. The test rows are "
                f"{first_rows}, … (column 'row' of predictions.csv)"
            )
            raise InputError(
                problem, hint="Choose one of them, or name the TABLE.", code="PG003"
            )
        row_position = int(np.flatnonzero(test_rows == row_position)[0])
    return replace(
        request,
        table=table,
        sheet=sheet,
        row=row_position,
        test_rows=test_rows,
        out=request.folder,
    )


# ---- in memory -----------------------------------------------------------------------
@dataclass(frozen=True)
class ReadRows:
    """Rows to explain in the model's form, their numbers and lines in the file, and
    which are chosen (None: all).
    """

    model: Any
    data: Mapping[str, Any]
    columns: Sequence[str]
    rows: Any
    table: pd.DataFrame
    numbers: Integers
    places: Integers | None
    lines: RowLines


def read_rows_of(request: ExplainRequest) -> ReadRows:
    """Read a table, of which all or some rows are explained."""
    model: Any
    if request.model_folder.is_file():
        model, feature_rows, written = _file_read(request)
        data_facts = {"target": request.y, "task": model.task}
    else:
        model, data_facts = predicting.open_model(request.model_folder)
        data_facts = with_target(model, data_facts, request.y) | {
            "sheet": request.sheet
        }
        feature_rows, written = predicting.read_rows(model, data_facts, request.source)
    with written.lines.named():
        table, data_facts = predicting.as_rates(written.frame, data_facts)
    if len(table) < 2 and (isinstance(model, FileModel) or not rows_in(model)[0]):
        problem = (
            "The table has one row, so there are no other rows to take "
            "replacements from"
        )
        raise InputError(problem, hint="Add rows, and use --row.", code="PG013")
    columns = list(map(str, table.columns))
    if request.y is not None:
        find_column(request.y, columns, "--option y=")
    numbers = request.test_rows
    if numbers is None:
        if request.row is not None and request.row >= len(table):
            rows_of = f"{request.source} has {counted(len(table), 'row')}"
            problem = (
                f"--row must be below the number of rows, got {request.row} ({rows_of})"
            )
            raise InputError(problem, hint="Rows are counted from 0.", code="PG002")
        numbers = np.arange(len(table), dtype=np.int64)
    else:
        feature_rows = feature_rows.take(numbers)
        table = table.take(numbers).reset_index(drop=True)
    if request.row is None:
        row_indices = None
    else:
        row_indices = np.array([request.row], dtype=np.int64)
    return ReadRows(
        model,
        data_facts,
        columns,
        feature_rows,
        table,
        numbers,
        row_indices,
        written.lines,
    )


class _FileRows(NamedTuple):
    """A model file and a table.

    Attributes:
        model: The model.
        rows: The rows of the table, in the form that the model takes.
        written: The complete table as written.
    """

    model: FileModel
    rows: pd.DataFrame
    written: Written


class _Explained(NamedTuple):
    """An explanation of rows in memory.

    Attributes:
        explanation: The explanation.
        listed_rows: The chosen row with its prediction. None: none was chosen, or the
            explanation is global.
        lines: In which lines of the table its rows stand, ``(rows,)``. None as above.
    """

    explanation: Explanation
    listed_rows: pd.DataFrame | None = None
    lines: Integers | None = None


def _file_read(request: ExplainRequest) -> _FileRows:
    """Return the model of a file, and the rows of the request's table."""
    predictor = read_onnx(request.model_folder)
    names = predictor.names or ()
    y = request.y
    written = read_like(
        request.source, {"texts": predictor.texts, "sheet": request.sheet}, names
    )
    table = written.frame
    table.columns = pd.Index(list(map(str, table.columns)))
    if y is not None:
        find_column(y, list(table.columns), "--option y=")
        if y in names:
            problem = f"Column {y!r} (target) is a feature of the model"
            raise InputError(
                problem, hint="Name the column that the model predicts.", code="PG006"
            )
    feature_rows = predictor.table_for(table, y)
    model = make_file_model(predictor, feature_rows, None if y is None else table[y])
    return _FileRows(model, feature_rows, written)


def _explain_in_memory(
    request: ExplainRequest, method: Any, engine: Engine
) -> _Explained:
    """Explain all rows of a table in memory, or a chosen one."""
    read_rows = read_rows_of(request)
    predicting.use_threads(request.threads)
    scope = request.scope
    if read_rows.places is not None and scope == AUTO and LOCAL in method.scopes:
        scope = LOCAL
    truth, measurable = truth_of(read_rows, request)
    # A local explanation is of the model's prediction. The true value is only shown
    # with it.
    measured = not chosen_scope(scope, method.scopes[0]).by_row
    explained = (
        np.arange(len(read_rows.table))
        if read_rows.places is None
        else read_rows.places
    )
    if measured:
        if truth is None:
            tell_no_targets(
                read_rows.data,
                read_rows.columns,
                request.source,
                named=request.y is not None,
            )
        explained = _with_targets(request, explained, measurable)
    explained = _at_most(request, explained)
    explained_rows = read_rows.rows.take(explained)
    numbers = read_rows.numbers[explained]
    y = None if truth is None else truth[explained]
    if not isinstance(read_rows.model, FileModel):
        with read_rows.lines.named():
            read_rows.model.preprocessor_.check_cells(
                explained_rows[list(read_rows.model.preprocessor_.feature_names_in_)]
            )
    explanation = _computed(
        request, read_rows, explained, y if measured else None, engine, scope
    )
    if not explanation.scope.by_row:
        return _Explained(explanation)
    if not np.array_equal(numbers, np.arange(len(explained))):
        # The row number is that of the table in all files: importance.csv and rows.csv
        # agree.
        explanation = replace(
            explanation, meta={**explanation.meta, "rows": numbers.tolist()}
        )
    if read_rows.places is None:
        return _Explained(explanation)
    no_names = pd.DataFrame(index=range(len(numbers)))
    truth = None if y is None or pd.isna(y).all() else y
    predicted = read_rows.model.predict_parts(explained_rows)
    listed_rows = predicting.prediction_table(
        numbers, no_names, predicted, read_rows.model, truth=truth
    )
    return _Explained(explanation, listed_rows, read_rows.lines.lines)


def _with_targets(
    request: ExplainRequest, row_indices: Integers, measurable: Integers
) -> Integers:
    """Return the rows whose loss can be explained, and warn of rows without a target.

    Refuse too few rows.
    """
    explained = np.intersect1d(row_indices, measurable)
    if not len(explained):
        problem = "None of the chosen rows has a target, so no loss can be explained"
        raise InputError(
            problem,
            hint="Choose others, or leave the target's column out of the table.",
            code="PG015",
        )
    if left_out := len(row_indices) - len(explained):
        warn_user(
            f"{left_out:,} of {counted(len(row_indices), 'row')} of {request.source} "
            f"{by_count(left_out, 'has', 'have')} no target and "
            f"{by_count(left_out, 'is', 'are')} left out. "
            "Leave the target's column out to explain all rows without a loss."
        )
    explained = _at_most(request, explained)
    if request.method == "permgrad_paper" and len(explained) == 1:
        if request.row is not None:
            row_words = "leave --row out and "
        else:
            row_words = ""
        problem = (
            "permgrad_paper shuffles each feature among the explained rows and "
            "needs several, got 1"
        )
        raise InputError(
            problem,
            hint=f"{row_words}choose more rows, or pass --method permgrad.",
            code="PG013",
        )
    return explained


def _at_most(request: ExplainRequest, row_indices: Integers) -> Integers:
    """Return the rows, or as many of them as ``--max-rows`` says, drawn at random."""
    if request.max_rows is None or len(row_indices) <= request.max_rows:
        return row_indices
    order = generator(request.seed, "rows explained").permutation(len(row_indices))
    return row_indices[np.sort(order[: request.max_rows])]


def _computed(
    request: ExplainRequest,
    read: ReadRows,
    explained: Integers,
    y: Array | None,
    engine: Engine,
    scope: str,
) -> Explanation:
    """Return the explanation of some rows.

    For a run's model and tables it is cached.
    """
    explained_rows = read.rows.take(explained)
    positive, options = _asked(request, read, explained, scope)
    # Few rows do not represent a feature well, so donors come from the complete table.
    has_few_rows = len(explained_rows) < min(_OWN_DONORS, len(read.rows))
    chosen_method, _ = find_method(options["method"])
    reads_donors = reads(chosen_method, "background", scope)
    has_few_rows = has_few_rows and reads_donors
    if isinstance(read.model, FileModel):
        if has_few_rows:
            options["background"] = _background(read.rows, request, scope)
        return explain_by(
            engine,
            Arguments(
                Model(read.model.predictor, **read.model.options),
                explained_rows,
                y,
                **options,
            ),
        )
    model = Model(read.model, positive=positive)
    # Saved without rows, or by 0.1 with rows that are images and an encoded table.
    keeps = is_by_row(scope) and getattr(read.model, "compared_", None) is not None
    if not keeps and (
        not rows_in(read.model)[0] or isinstance(read.model.background_, dict)
    ):
        drawn = (
            _background(read.rows, request, scope)
            if has_few_rows or (y is None and reads_donors)
            else None
        )
        return explain_by(
            engine, Arguments(model, explained_rows, y, background=drawn, **options)
        )

    # The engine changes the result only by rounding, so it is not part of the cache
    # entry.
    def compute(
        model: Model, X: Any, y: Any = None, **call_options: Any
    ) -> Explanation:
        return explain_by(engine, Arguments(model, X, y, **call_options))

    return cache_of(request.model_folder).explain(
        compute, model, explained_rows, y, **options
    )


def _asked(
    request: ExplainRequest, read: ReadRows, explained: Integers, scope: str
) -> tuple[Any, dict[str, Any]]:
    """Return the positive class, and the options that the explanation is asked with."""
    names = []
    for label in getattr(read.model, "classes_", np.array(["all"])).tolist():
        names.append(str(label))
    target = [
        name if name in names or not name.isdigit() else int(name)
        for name in request.target
    ]
    positive, options = _options(request, read.model, read.data)
    options |= {"scope": scope, "target": target or None}
    if len(explained) > 1 and not {"row_groups", "row_time"} & {*options}:
        method, _ = find_method(options["method"])
        for name, column in dependence_columns(request, read).items():
            if reads(method, name, scope):
                options[name] = column
    options = _weighed(request, read.data, read.columns, scope) | options
    for name in {"row_groups", "row_time", "sample_weight"} & {*options}:
        find_column(str(options[name]), [*read.table.columns], name)
        cells = read.table[str(options[name])].iloc[explained]
        # As in a run, rows without a label are one group.
        if name == "row_groups":
            cells = cells.astype(object).where(cells.notna(), "")
        options[name] = cells.tolist()
    if request.row is not None and is_by_row(scope):
        # A single row draws the same donors as among all rows.
        options |= {"row_offset": request.row}
    return positive, options


def dependence_columns(request: ExplainRequest, read: ReadRows) -> dict[str, str]:
    """Return by which column rows depend on each other, as --row-group or --time told
    the model's run.
    """
    if isinstance(read.model, FileModel):
        record = None
    else:
        record = read_record(run_of(request.model_folder))
    if record is None:
        run_options = {}
    else:
        run_options = record["configuration"]
    named = {
        "row_groups": run_options.get("row_group"),
        "row_time": run_options.get("time"),
    }
    return dict(
        [
            (argument_name, str(column))
            for argument_name, column in named.items()
            if column in read.table.columns
        ][:1]
    )


def _weighed(
    request: ExplainRequest, data: Mapping[str, Any], columns: Iterable[str], scope: str
) -> dict[str, str]:
    """Return the column that weighs rows, as --weight told the model's run.

    Warn where the table lacks it.
    """
    weight = data.get("weight")
    usual_scope = methods.get(request.method).scopes[0]
    if weight is None or chosen_scope(scope, usual_scope).by_row:
        return {}
    if weight not in columns:
        warn_user(
            f"The run weighs rows by {weight!r}, which {request.source} lacks. Each of "
            "its rows counts once."
        )
        return {}
    return {"sample_weight": weight}


def _background(rows: pd.DataFrame, request: ExplainRequest, scope: str) -> Any:
    """Return the rows of a table that a model without rows of its own draws from."""
    if is_by_row(scope):
        return RowsToCompare(_drawn(rows, request.seed), drawn_from=len(rows))
    return _drawn(rows, request.seed)


def _drawn(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return at most as many rows as permgrad's own models store of training."""
    row_indices = generator(seed, "background").permutation(len(rows))[:_BACKGROUND]
    return rows.take(np.sort(row_indices)).reset_index(drop=True)


# ---- targets -------------------------------------------------------------------------
def truth_of(read: ReadRows, request: ExplainRequest) -> tuple[Array | None, Integers]:
    """Return the target of all rows, if any row has one, and the rows whose loss can be
    explained.
    """
    target = read.data.get("target")
    everywhere = np.arange(len(read.table), dtype=np.int64)
    if target is None or target not in read.table.columns:
        return None, everywhere
    values = blank_codes(read.table[[target]], list(read.data.get("na", ())))[target]
    present = values.notna().to_numpy(dtype=bool)
    if not present.any():
        return None, everywhere
    if tasks.get(read.data["task"]).numeric:
        if not pd.api.types.is_numeric_dtype(values.dtype):
            problem = (
                f"Column {target!r} of {request.source} holds text, but the "
                "target was numeric in training"
            )
            raise InputError(
                problem, hint="Correct it, or leave the column out.", code="PG015"
            )
        return values.to_numpy(dtype=np.float64, na_value=np.nan), np.flatnonzero(
            present
        )
    # Classes are compared as text: a file may hold 1 where the model learned 1.0, or
    # the reverse.
    classes = read.model.classes_.tolist()
    labels = {canonical(label): label for label in classes}
    # Of classes that differ by no more than their spelling, training has made one.
    labels_by_spelling: dict[str, Any] = {}
    if not one_spelling(dict.fromkeys(labels, 1)):
        for label_text, label in labels.items():
            labels_by_spelling[spelling(label_text)] = label
    names = map(canonical, values.tolist())
    y = np.array(
        [
            labels.get(class_name, labels_by_spelling.get(spelling(class_name)))
            for class_name in names
        ],
        dtype=object,
    )
    strange = present & np.array([value is None for value in y])
    count = int(strange.sum())
    if count and request.test_rows is None:
        first = values.to_numpy()[strange].tolist()[0]
        problem = (
            f"{count:,} of {counted(len(y), 'row')} of {request.source} "
            f"{by_count(count, 'has', 'have')} a class that the model does not know, "
            f"such as {first!r} (its classes: {', '.join(map(str, classes[:10]))})"
        )
        raise InputError(
            problem,
            hint="Correct or remove these rows, or leave the column out.",
            code="PG015",
        )
    if count:
        row_words = (
            f"{counted(count, 'test row')} {by_count(count, 'has', 'have')} a "
            "class that no training row has"
        )
        warn_user(f"{row_words}. {by_count(count, 'It is', 'They are')} left out.")
    return y, np.flatnonzero(present & ~strange)


# ---- in parts ------------------------------------------------------------------------
def tell_no_targets(
    data: Mapping[str, Any], columns: Iterable[str], table: Path, *, named: bool
) -> None:
    """Warn that the column of targets is empty, or refuse it if the user ``named`` it.

    Without a column, do nothing.
    """
    target_name = data.get("target")
    if target_name is None or target_name not in columns:
        return
    if named:
        problem = f"Column {target_name!r} is empty in {table}"
        raise InputError(
            problem,
            hint="Name another column with --option y=, or leave it out.",
            code="PG015",
        )
    warn_user(
        f"The target's column {target_name!r} is empty in {table}, so the divergence "
        "from the model's own prediction is "
        "explained. Fill the column in to explain the loss."
    )


def _options(
    request: ExplainRequest, model: Any, data: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the run's positive class, or None, and the arguments that do not depend on
    how rows are read.
    """
    method, options = _method_options(request)
    donors: int | str = "auto"
    if request.donors is not None:
        if reads(find_method(method)[0], "n_repeats", request.scope):
            donors = request.donors
        else:
            _tell_of_unread_repeats(method)
    options |= {"method": method, "n_repeats": donors, "random_state": request.seed}
    if request.groups is not None:
        if str(request.groups) == NO_GROUPS:
            options["groups"] = {}
        else:
            options["groups"] = read_groups(request.groups)
    classes = getattr(model, "classes_", np.array([])).tolist()
    positive = []
    for label in classes:
        if canonical(label) == canonical(data.get("positive")):
            positive.append(label)
    return positive[0] if positive and len(classes) == 2 else None, options


def _tell_of_unread_repeats(method: Any) -> None:
    """Warn of --repeats for methods that draw none."""
    chosen_method, name = find_method(method)
    option = chosen_method.instead.get("n_repeats")
    hint = "Leave it out."
    if option is not None:
        hint = f"Pass {argument_typed(option, example='N')}."
    warn_user(f"--method {name} does not read --repeats. {hint}")


def explain_streamed(
    request: ExplainRequest, engine: Engine
) -> tuple[Explanation, bool]:
    """Explain a run's model on Parquet files in parts, into a folder.

    Return whether it was finished before.
    """
    folder = request.model_folder
    table = request.source
    y = request.y
    model, data_facts, opened = open_streamed(request, table, y)
    predicting.use_threads(request.threads)
    # Only a loss needs targets. Other explanations accept rows without one.
    if (
        y is None
        and not is_by_row(request.scope)
        and loss_game(methods.get(request.method)())
    ):
        target_name = str(
            data_facts.get("target")
        )  # where the table has at least one value of it
        if target_name in opened.columns and any_known(
            opened, target_name, plain(data_facts.get("na", ()))
        ):
            y = target_name
        else:
            y = None
        if y is None:
            tell_no_targets(data_facts, opened.columns, table, named=False)
    saved = saved_in(folder)
    written = request.folder / "explanation.json"
    if written.is_file():
        before = written.stat().st_mtime_ns
    else:
        before = None
    positive, options = _options(request, model, data_facts)
    options |= {"scope": request.scope}
    if not rows_in(model)[0]:
        features = predicting.features_of(model)
        first = next(iter(opened.batches(opened.parts[0], _READ_ROWS, features)))[1]
        options["background"] = _drawn(first, request.seed)
    options = _weighed(request, data_facts, opened.columns, request.scope) | options
    explain_arguments = Arguments(
        None,
        None,
        y,
        max_rows=request.max_rows,
        target=list(request.target) or None,
        **options,
    )
    explanation = stream(
        Model(model, positive=positive),
        opened,
        explain_arguments,
        model_folder=str(saved.absolute()),
        out=request.folder,
        overwrite=request.overwrite,
        na=plain(data_facts.get("na", ())),
        engine=engine,
    )
    return explanation, before == written.stat().st_mtime_ns


#: Arguments that have an option of their own, and those that the command fills in.
_OWN = OPTIONS["explain"] | FROM_FILES
_FILLED = {"model", "X", "background", "progress"}


def _method_options(request: ExplainRequest) -> tuple[Any, dict[str, Any]]:
    """Return the method with its options, and the arguments that ``--option`` makes.

    Refuse what neither has.

    ``y`` and ``scope`` are not among them: the request has them.
    """
    method_type: Any = methods.get(request.method)
    choices = {*inspect.signature(explain).parameters, *method_type.options}
    options: dict[str, Any] = {}
    for option_text in request.further:
        option_name, equals_sign, value = option_text.partition("=")
        option_name = option_name.strip().replace("-", "_")
        if not equals_sign:
            problem = f"--option must have the form NAME=VALUE, got {option_text!r}"
            raise InputError(
                problem,
                hint="For example: --option max_permutations=4000.",
                code="PG001",
            )
        if option_name in _OWN:
            raise InputError(
                f"--option {option_name} has an option of its own",
                hint=f"Use {_OWN[option_name]}.",
                code="PG006",
            )
        check_choice("--option", option_name, sorted(choices - _FILLED - {*_OWN}))
        try:
            options[option_name] = json.loads(
                value
            )  # JSON where the text is such, else text
        except ValueError:
            options[option_name] = value
    check_choice("scope", options.pop("scope", "auto"), (AUTO, *scopes))
    options.pop("y", None)
    method = method_type(
        **{
            method_option: options.pop(method_option)
            for method_option in method_type.options
            if method_option in options
        }
    )
    return method, options
