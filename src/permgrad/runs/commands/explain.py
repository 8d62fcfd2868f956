"""``permgrad explain``: explain a trained model on the rows of a table, and write the result with plots."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.attribution.explain import explain
from permgrad.attribution.model import Model
from permgrad.attribution.parts.engines import Engine, make_engine
from permgrad.attribution.parts.stream import explain_by, stream
from permgrad.attribution.replace.plays import loss_game
from permgrad.attribution.request import methods
from permgrad.attribution.request.arguments import Arguments, RowsToCompare
from permgrad.base.arrays import Array, Integers
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, by_count, counted, warn_user
from permgrad.base.files import plain
from permgrad.base.locks import hold_name
from permgrad.base.random import generator
from permgrad.data.encode.groups import read_groups
from permgrad.data.parts.known_rows import any_known
from permgrad.data.read.cells import RowLines, canonical
from permgrad.data.read.reading import Written
from permgrad.data.read.table import blank_codes
from permgrad.data.types.positive import one_spelling, spelling
from permgrad.evaluation.baselines.file_model import FileModel, make_file_model
from permgrad.models.estimators.kept_rows import rows_in
from permgrad.models.onnx_model import check_onnx, read_onnx
from permgrad.runs.commands.explained import check_folder, draw_once, outcome_of, write
from permgrad.runs.commands.predict import is_streamed
from permgrad.runs.commands.predict_parts import open_streamed, with_target
from permgrad.runs.folder.documents import read_like
from permgrad.runs.folder.folder import read_record, refuse_input, refuse_run_file
from permgrad.runs.options import NO_GROUPS
from permgrad.runs.requests import ExplainRequest, Outcome, run_of
from permgrad.runs.run import predicting
from permgrad.runs.run.early import check_model, find_column, saved_in
from permgrad.runs.run.predicting import cache_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


#: Rows of a model file's table that are their own donors, and donors drawn for fewer rows. The same as for a network.
_OWN_DONORS, _BACKGROUND = 200, 1000
#: Rows of a long table that are read together.
_READ_ROWS = 50_000


def explain_table(request: ExplainRequest) -> Outcome:
    """Explain a model on the rows of a table: ``explanation.json, values.npz, importance.csv, plots/``.

    If the table has the run's target, global games measure the loss, else the divergence from the model's own
    prediction. For a single row, the explanation is local unless the scope says otherwise.
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
    model = request.model_folder if is_file else None
    refuse_input(
        request.folder,
        {"table": request.source, "model": model, "groups file": request.groups},
    )
    refuse_run_file(request.folder, request.model_folder)
    engine = make_engine(
        request.engine, workers=request.workers, address=request.address
    )
    # The test rows of a run, or a row, are some rows of a table that is read.
    some = is_file or request.test_rows is not None or request.row is not None
    if not some and is_streamed(request.source, None):
        explanation, finished = explain_streamed(request, engine)
        draw_once(request.folder, explanation)
        outcome, count = (
            outcome_of(request, explanation),
            explanation.meta["rows_explained"],
        )
        lines = [
            f"{counted(count, 'row')} in {counted(explanation.meta['streamed']['parts'], 'part')}."
        ]
        lines += ["It was already finished. Nothing was computed."] if finished else []
        return Outcome(
            {**outcome.facts, "rows_explained": count},
            "\n".join([*lines, outcome.text]),
        )
    check_folder(request)
    with hold_name(request.folder):
        check_folder(request)  # again, now that no other process can write it
        explanation, rows, lines_of_rows = _explain_in_memory(request, method, engine)
        write(request.folder, explanation, rows)
        return outcome_of(request, explanation, rows, lines_of_rows)


def located(request: ExplainRequest) -> ExplainRequest:
    """Return the request with a table: without one, with the test rows of the model's run.

    Refuse what is no model, and options that do not apply to model files.
    """
    if request.model_folder.is_file():
        check_onnx(request.model_folder)
        what = f"{request.model_folder.name} is a model file"
        if request.table is None:
            problem = f"Missing TABLE: {what}, which has no test rows"
            raise InputError(problem, hint="Name the table to explain.", code="PG005")
        if request.engine != "local":
            problem = f"--engine applies to models of permgrad, but {what}"
            raise InputError(problem, hint="Leave it out.", code="PG004")
        return request
    check_model(request.model_folder)
    if request.table is not None:
        return request
    table, rows, sheet = predicting.own_test_rows(request.model_folder)
    place = request.row
    if place is not None:
        if place not in rows:
            some = ", ".join(map(str, rows[:5].tolist()))
            problem = (
                f"Row {place} is not a test row of this run. The test rows are {some}, … (column 'row' of "
                "predictions.csv)"
            )
            raise InputError(
                problem, hint="Choose one of them, or name the TABLE.", code="PG003"
            )
        place = int(np.flatnonzero(rows == place)[0])
    return replace(
        request, table=table, sheet=sheet, row=place, test_rows=rows, out=request.folder
    )


# ---- in memory -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ReadRows:
    """Rows to explain in the model's form, their numbers and lines in the file, and which are chosen (None: all)."""

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
        model, rows, written = _file_read(request)
        data = {"target": request.y, "task": model.task}
    else:
        model, data = predicting.open_model(request.model_folder)
        data = with_target(model, data, request.y) | {"sheet": request.sheet}
        rows, written = predicting.read_rows(model, data, request.source)
    with written.lines.named():
        table, data = predicting.as_rates(written.frame, data)
    if len(table) < 2 and (isinstance(model, FileModel) or not rows_in(model)[0]):
        problem = "The table has one row, so there are no other rows to take replacements from"
        raise InputError(problem, hint="Add rows, and use --row.", code="PG013")
    columns = [str(column) for column in table.columns]
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
        rows, table = rows.take(numbers), table.take(numbers).reset_index(drop=True)
    place = None if request.row is None else np.array([request.row], dtype=np.int64)
    return ReadRows(model, data, columns, rows, table, numbers, place, written.lines)


def _file_read(request: ExplainRequest) -> tuple[FileModel, pd.DataFrame, Written]:
    """Return the model of a file, the rows of the request's table in its form, and the complete table as written."""
    predictor = read_onnx(request.model_folder)
    names, y = predictor.names or (), request.y
    written = read_like(
        request.source, {"texts": predictor.texts, "sheet": request.sheet}, names
    )
    table = written.frame
    table.columns = pd.Index([str(name) for name in table.columns])
    if y is not None:
        find_column(y, list(table.columns), "--option y=")
        if y in names:
            problem = f"Column {y!r} (target) is a feature of the model"
            raise InputError(
                problem, hint="Name the column that the model predicts.", code="PG006"
            )
    rows = predictor.table_for(table, y)
    return (
        make_file_model(predictor, rows, None if y is None else table[y]),
        rows,
        written,
    )


def _explain_in_memory(
    request: ExplainRequest, method: Any, engine: Engine
) -> tuple[Explanation, pd.DataFrame | None, Integers | None]:
    """Explain all rows of a table in memory, or a chosen one, which is also listed, with its line."""
    read = read_rows_of(request)
    predicting.use_threads(request.threads)
    scope = request.scope
    if read.places is not None and scope == "auto" and "local" in method.scopes:
        scope = "local"
    truth, measurable = _truth(read, request)
    # A local explanation is of the model's prediction. The true value is only shown with it.
    measured = (method.scopes[0] if scope == "auto" else scope) == "global"
    explained = np.arange(len(read.table)) if read.places is None else read.places
    if measured:
        if truth is None:
            tell_no_targets(
                read.data, read.columns, request.source, named=request.y is not None
            )
        explained = _with_targets(request, explained, measurable)
    explained = _at_most(request, explained)
    rows, numbers = read.rows.take(explained), read.numbers[explained]
    y = None if truth is None else truth[explained]
    if not isinstance(read.model, FileModel):
        with read.lines.named():
            read.model.preprocessor_.check_cells(
                rows[list(read.model.preprocessor_.feature_names_in_)]
            )
    explanation = _computed(
        request, read, explained, y if measured else None, engine, scope
    )
    if explanation.scope == "global":
        return explanation, None, None
    if not np.array_equal(numbers, np.arange(len(explained))):
        # The row number is that of the table in all files: importance.csv and rows.csv agree.
        explanation = replace(
            explanation, meta={**explanation.meta, "rows": numbers.tolist()}
        )
    if read.places is None:
        return explanation, None, None
    no_names = pd.DataFrame(index=range(len(numbers)))
    truth = None if y is None or pd.isna(y).all() else y
    predicted = read.model.predict_parts(rows)
    listed_rows = predicting.prediction_table(
        numbers, no_names, predicted, read.model, truth=truth
    )
    return explanation, listed_rows, read.lines.lines


def _with_targets(
    request: ExplainRequest, places: Integers, measurable: Integers
) -> Integers:
    """Return the rows whose loss can be explained, and warn of rows without a target. Refuse too few rows."""
    explained = np.intersect1d(places, measurable)
    if not len(explained):
        problem = "None of the chosen rows has a target, so no loss can be explained"
        raise InputError(
            problem,
            hint="Choose others, or leave the target's column out of the table.",
            code="PG015",
        )
    if left_out := len(places) - len(explained):
        warn_user(
            f"{left_out:,} of {counted(len(places), 'row')} of {request.source} "
            f"{by_count(left_out, 'has', 'have')} no target and {by_count(left_out, 'is', 'are')} left out. "
            "Leave the target's column out to explain all rows without a loss."
        )
    explained = _at_most(request, explained)
    if request.method == "permgrad_paper" and len(explained) == 1:
        row = "leave --row out and " if request.row is not None else ""
        problem = "permgrad_paper shuffles each feature among the explained rows and needs several, got 1"
        raise InputError(
            problem,
            hint=f"{row}choose more rows, or pass --method permgrad.",
            code="PG013",
        )
    return explained


def _at_most(request: ExplainRequest, places: Integers) -> Integers:
    """Return the rows, or as many of them as ``--max-rows`` says, drawn at random."""
    if request.max_rows is None or len(places) <= request.max_rows:
        return places
    order = generator(request.seed, "rows explained").permutation(len(places))
    return places[np.sort(order[: request.max_rows])]


def _computed(
    request: ExplainRequest,
    read: ReadRows,
    explained: Integers,
    y: Array | None,
    engine: Engine,
    scope: str,
) -> Explanation:
    """Return the explanation of some rows. For a run's model and tables it is cached."""
    rows = read.rows.take(explained)
    positive, options = _asked(request, read, explained, scope)
    # Few rows do not represent a feature well, so donors come from the complete table.
    few = len(rows) < min(_OWN_DONORS, len(read.rows))
    if isinstance(read.model, FileModel):
        if few:
            options["background"] = _background(read.rows, request, scope)
        return explain_by(
            engine,
            Arguments(
                Model(read.model.predictor, **read.model.options), rows, y, **options
            ),
        )
    model = Model(read.model, positive=positive)
    # Saved without rows, or by 0.1 with rows that are images and an encoded table.
    keeps = scope == "local" and getattr(read.model, "compared_", None) is not None
    if not keeps and (
        not rows_in(read.model)[0] or isinstance(read.model.background_, dict)
    ):
        drawn = _background(read.rows, request, scope) if few or y is None else None
        return explain_by(
            engine, Arguments(model, rows, y, background=drawn, **options)
        )

    # The engine changes the result only by rounding, so it is not part of the cache entry.
    def compute(model: Model, X: Any, y: Any = None, **asked: Any) -> Explanation:
        return explain_by(engine, Arguments(model, X, y, **asked))

    return cache_of(request.model_folder).explain(compute, model, rows, y, **options)


def _asked(
    request: ExplainRequest, read: ReadRows, explained: Integers, scope: str
) -> tuple[Any, dict[str, Any]]:
    """Return the positive class, and the options that the explanation is asked with."""
    names = [
        str(label)
        for label in getattr(read.model, "classes_", np.array(["all"])).tolist()
    ]
    target = [
        name if name in names or not name.isdigit() else int(name)
        for name in request.target
    ]
    positive, options = _options(request, read.model, read.data)
    options |= {"scope": scope, "target": target or None}
    if len(explained) > 1 and not {"row_groups", "row_time"} & {*options}:
        options |= _related(request, read)
    options = _weighed(request, read.data, read.columns, scope) | options
    for name in {"row_groups", "row_time", "sample_weight"} & {*options}:
        find_column(str(options[name]), [*read.table.columns], name)
        cells = read.table[str(options[name])].iloc[explained]
        # As in a run, rows without a label are one group.
        if name == "row_groups":
            cells = cells.astype(object).where(cells.notna(), "")
        options[name] = cells.tolist()
    if request.row is not None and scope == "local":
        # A single row draws the same donors as among all rows.
        options |= {"row_offset": request.row}
    return positive, options


def _related(request: ExplainRequest, read: ReadRows) -> dict[str, str]:
    """Return by which column rows depend on each other, as --row-group or --time told the model's run."""
    record = (
        None
        if isinstance(read.model, FileModel)
        else read_record(run_of(request.model_folder))
    )
    told = {} if record is None else record["configuration"]
    named = {"row_groups": told.get("row_group"), "row_time": told.get("time")}
    return dict(
        [
            (name, str(column))
            for name, column in named.items()
            if column in read.table.columns
        ][:1]
    )


def _weighed(
    request: ExplainRequest, data: Mapping[str, Any], columns: Iterable[str], scope: str
) -> dict[str, str]:
    """Return the column that weighs rows, as --weight told the model's run. Warn where the table lacks it."""
    weight = data.get("weight")
    if (
        weight is None
        or (methods.get(request.method).scopes[0] if scope == "auto" else scope)
        == "local"
    ):
        return {}
    if weight not in columns:
        warn_user(
            f"The run weighs rows by {weight!r}, which {request.source} lacks. Each of its rows counts once."
        )
        return {}
    return {"sample_weight": weight}


def _background(rows: pd.DataFrame, request: ExplainRequest, scope: str) -> Any:
    """Return the rows of a table that a model without rows of its own draws from."""
    if scope == "local":
        return RowsToCompare(_drawn(rows, request.seed), drawn_from=len(rows))
    return _drawn(rows, request.seed)


def _drawn(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return at most as many rows as permgrad's own models store of training."""
    places = generator(seed, "background").permutation(len(rows))[:_BACKGROUND]
    return rows.take(np.sort(places)).reset_index(drop=True)


# ---- targets ---------------------------------------------------------------------------------------------------------
def _truth(read: ReadRows, request: ExplainRequest) -> tuple[Array | None, Integers]:
    """Return the target of all rows, if any row has one, and the rows whose loss can be explained."""
    target, everywhere = (
        read.data.get("target"),
        np.arange(len(read.table), dtype=np.int64),
    )
    if target is None or target not in read.table.columns:
        return None, everywhere
    values = blank_codes(read.table[[target]], list(read.data.get("na", ())))[target]
    present = values.notna().to_numpy(dtype=bool)
    if not present.any():
        return None, everywhere
    if read.data["task"] == "regression":
        if not pd.api.types.is_numeric_dtype(values.dtype):
            problem = f"Column {target!r} of {request.source} holds text, but the target was numeric in training"
            raise InputError(
                problem, hint="Correct it, or leave the column out.", code="PG015"
            )
        return values.to_numpy(dtype=np.float64, na_value=np.nan), np.flatnonzero(
            present
        )
    # Classes are compared as text: a file may hold 1 where the model learned 1.0, or the reverse.
    classes = read.model.classes_.tolist()
    labels = {canonical(label): label for label in classes}
    # Of classes that differ by no more than their spelling, training has made one.
    near = (
        {}
        if one_spelling(dict.fromkeys(labels, 1))
        else {spelling(text): label for text, label in labels.items()}
    )
    names = map(canonical, values.tolist())
    y = np.array(
        [labels.get(name, near.get(spelling(name))) for name in names], dtype=object
    )
    strange = present & np.array([value is None for value in y])
    count = int(strange.sum())
    if count and request.test_rows is None:
        first = values.to_numpy()[strange].tolist()[0]
        problem = (
            f"{count:,} of {counted(len(y), 'row')} of {request.source} {by_count(count, 'has', 'have')} a class that "
            f"the model does not know, such as {first!r} (its classes: {', '.join(map(str, classes[:10]))})"
        )
        raise InputError(
            problem,
            hint="Correct or remove these rows, or leave the column out.",
            code="PG015",
        )
    if count:
        rows = f"{counted(count, 'test row')} {by_count(count, 'has', 'have')} a class that no training row has"
        warn_user(f"{rows}. {by_count(count, 'It is', 'They are')} left out.")
    return y, np.flatnonzero(present & ~strange)


# ---- in parts --------------------------------------------------------------------------------------------------------
def tell_no_targets(
    data: Mapping[str, Any], columns: Iterable[str], table: Path, *, named: bool
) -> None:
    """Warn that the column of targets is empty, or refuse it if the user ``named`` it. Without a column, do nothing."""
    name = data.get("target")
    if name is None or name not in columns:
        return
    if named:
        problem = f"Column {name!r} is empty in {table}"
        raise InputError(
            problem,
            hint="Name another column with --option y=, or leave it out.",
            code="PG015",
        )
    warn_user(
        f"The target's column {name!r} is empty in {table}, so the divergence from the model's own prediction is "
        "explained. Fill the column in to explain the loss."
    )


def _options(
    request: ExplainRequest, model: Any, data: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the run's positive class, or None, and the arguments that do not depend on how rows are read."""
    method, options = _method_options(request)
    donors = "auto" if request.donors is None else request.donors
    options |= {"method": method, "n_repeats": donors, "random_state": request.seed}
    if request.groups is not None:
        options["groups"] = (
            {} if str(request.groups) == NO_GROUPS else read_groups(request.groups)
        )
    classes = getattr(model, "classes_", np.array([])).tolist()
    positive = [
        label
        for label in classes
        if canonical(label) == canonical(data.get("positive"))
    ]
    return positive[0] if positive and len(classes) == 2 else None, options


def explain_streamed(
    request: ExplainRequest, engine: Engine
) -> tuple[Explanation, bool]:
    """Explain a run's model on Parquet files in parts, into a folder. Return whether it was finished before."""
    folder, table, y = request.model_folder, request.source, request.y
    model, data, opened = open_streamed(request, table, y)
    predicting.use_threads(request.threads)
    # Only a loss needs targets. Other explanations accept rows without one.
    if y is None and request.scope != "local" and loss_game(request.method) is not None:
        name = str(data.get("target"))  # where the table has at least one value of it
        y = (
            name
            if name in opened.columns
            and any_known(opened, name, plain(data.get("na", ())))
            else None
        )
        if y is None:
            tell_no_targets(data, opened.columns, table, named=False)
    saved = saved_in(folder)
    written = request.folder / "explanation.json"
    before = written.stat().st_mtime_ns if written.is_file() else None
    positive, options = _options(request, model, data)
    options |= {"scope": request.scope}
    if not rows_in(model)[0]:
        features = predicting.features_of(model)
        first = next(iter(opened.batches(opened.parts[0], _READ_ROWS, features)))[1]
        options["background"] = _drawn(first, request.seed)
    options = _weighed(request, data, opened.columns, request.scope) | options
    asked = Arguments(
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
        asked,
        model_folder=str(saved.absolute()),
        out=request.folder,
        overwrite=request.overwrite,
        na=plain(data.get("na", ())),
        engine=engine,
    )
    return explanation, before == written.stat().st_mtime_ns


#: Arguments that have an option of their own, and those that the command fills in.
_OWN = {
    "method": "--method",
    "target": "--target",
    "groups": "--groups",
    "n_repeats": "--repeats",
}
_OWN |= {"random_state": "--seed", "max_rows": "--max-rows"}
_FILLED = {"model", "X", "background", "progress"}


def _method_options(request: ExplainRequest) -> tuple[Any, dict[str, Any]]:
    """Return the method with its options, and the arguments that ``--option`` makes. Refuse what neither has.

    ``y`` and ``scope`` are not among them: the request has them.
    """
    kind: Any = methods.get(request.method)
    choices = {*inspect.signature(explain).parameters, *kind.options}
    options: dict[str, Any] = {}
    for text in request.further:
        name, sign, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not sign:
            problem = f"--option must have the form NAME=VALUE, got {text!r}"
            raise InputError(
                problem,
                hint="For example: --option max_permutations=4000.",
                code="PG001",
            )
        if name in _OWN:
            raise InputError(
                f"--option {name} has an option of its own",
                hint=f"Use {_OWN[name]}.",
                code="PG006",
            )
        check_choice("--option", name, sorted(choices - _FILLED - {*_OWN}))
        try:
            options[name] = json.loads(value)  # JSON where the text is such, else text
        except ValueError:
            options[name] = value
    check_choice("scope", options.pop("scope", "auto"), ("auto", "global", "local"))
    options.pop("y", None)
    method = kind(
        **{name: options.pop(name) for name in kind.options if name in options}
    )
    return method, options
