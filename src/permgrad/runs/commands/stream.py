"""``permgrad predict`` and ``permgrad explain`` on tables that need not fit in memory: Parquet files, read in parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from permgrad import __version__
from permgrad.attribution.parts.folder import (
    StreamedWork,
    lines_in,
    part_name,
    refuse_inside,
    writable,
    written_lines,
)
from permgrad.attribution.parts.plan import json_hash, model_digest, table_digest
from permgrad.base.errors import InputError, counted, keeping_warnings, warn_first, warn_user
from permgrad.base.files import plain
from permgrad.base.progress import Progress
from permgrad.data.encode.encoding import align_columns
from permgrad.data.parts.known_rows import any_known
from permgrad.data.parts.partitions import Part, PartitionedTable, is_partitioned, open_partitioned
from permgrad.data.read.cells import canonical
from permgrad.data.types.positive import find_positive
from permgrad.models.batches import sparing, with_fewer
from permgrad.runs.commands.trained import known_columns, open_model
from permgrad.runs.folder.folder import refuse_input, refuse_run_file
from permgrad.runs.requests import ExplainRequest, Outcome, PredictRequest, table_name
from permgrad.runs.run.images import is_image_model
from permgrad.runs.run.predicting import identifier_names, prediction_table, predictions_of, use_threads

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.parts.engines import Engine

#: A single Parquet file is read in parts from this size of its unpacked values on.
LARGE_BYTES = 2**30
#: Cells of a frame that are held at a time.
_CELLS, _MOST_ROWS = 2_000_000, 50_000


def is_streamed(table: Path, wanted: bool | None) -> bool:
    """Whether a table is read in parts: a folder always, a Parquet file if it is asked for or is large."""
    if table.is_dir():
        if wanted is False:
            raise InputError(
                f"a folder is read in parts, however: {table} is a folder and --no-stream is given; name one file of it"
            )
        return True
    if not table.is_file() or not is_partitioned(table):
        if wanted and table.is_file():
            raise InputError(
                f"--stream reads Parquet in parts, however: {table} is not Parquet; write it as Parquet, or leave "
                "--stream out"
            )
        return False
    if wanted is None:
        return open_partitioned(table).bytes >= LARGE_BYTES
    return wanted


def with_target(model: Any, data: Mapping[str, Any], y: str | None) -> dict[str, Any]:
    """Return what a run says of its data, with another column of targets if one is named."""
    if y is None:
        return dict(data)
    return {**data, "target": y, "task": "classification" if hasattr(model, "classes_") else "regression"}


def open_streamed(folder: Path, table: Path, y: str | None = None) -> tuple[Any, dict[str, Any], PartitionedTable]:
    """Return the model, what its run says of its data (``y``: another column of targets), and the table."""
    opened = open_partitioned(table)
    model, data = open_model(folder)
    if is_image_model(model):
        raise InputError(
            f"a model that reads images takes its rows from one table in memory, however: {table} is to be read in "
            "parts; pass one file, with --no-stream"
        )
    data = with_target(model, data, y)
    silent, features = set(known_columns(data)), _features(model)
    shown = [name for name in opened.columns if name in features or name not in silent]
    align_columns(pd.DataFrame(columns=shown), features)
    return model, data, opened


def _features(model: Any) -> list[str]:
    return [str(name) for name in model.preprocessor_.feature_names_in_]


# ---- predict ---------------------------------------------------------------------------------------------------------


def predict_stream(request: PredictRequest, *, progress: Any = "auto") -> Outcome:
    """Predict the rows of Parquet files in parts, into a folder; the same command goes on with what is not finished."""
    target = Path(f"{table_name(request.table)}-predictions") if request.out is None else request.out
    if target.suffix.lower() in (".csv", ".gz", ".txt", ".parquet", ".pq") or str(target) == "-":
        raise InputError(
            f"predictions of a table that is read in parts are written to a folder, however: --out {target} names a "
            "file; name a folder, such as --out predictions"
        )
    model, data, table = open_streamed(request.model_folder, request.table)
    refuse_inside(target, request.table)
    refuse_input(target, {"table": request.table})
    refuse_run_file(target, request.model_folder)
    use_threads(request.threads)
    identifiers = [name for name in data.get("identifiers", ()) if name in table.columns]
    facts: dict[str, Any] = {
        "permgrad": __version__,
        "model": model_digest(model),
        "table": table_digest(table),
        "identifiers": identifiers,
    }
    work = StreamedWork(target, "prediction", json_hash(facts), facts)
    columns = list(dict.fromkeys([*_features(model), *identifiers]))
    most = max(256, min(_MOST_ROWS, _CELLS // max(1, len(columns), len(model.preprocessor_.encoded_names_))))
    notes: dict[str, int] = {}
    with work.hold(overwrite=request.overwrite), writable(target):
        files = {part: target / f"{part_name(part.number)}.parquet" for part in table.parts}
        facts_of = {part: {"key": work.key, "part": part.number} for part in table.parts}
        todo = [part for part in table.parts if lines_in(files[part]) != (part.rows, facts_of[part])]
        with Progress(sum(part.rows for part in todo), "predict", progress) as bar:
            for part in todo:

                def predict(rows: int, part: Part = part) -> None:
                    with written_lines(files[part], facts_of[part]) as write:
                        for first, frame in table.batches(part, rows, columns):
                            with table.cells_of(range(first, first + len(frame))):
                                write(_lines(model, table, identifiers, first, frame))

                with sparing(), keeping_warnings() as warned:
                    # Rows are read and encoded before the network can take fewer of them at a time.
                    with_fewer(most, predict)
                for text in warned:
                    notes.setdefault(text, part.number)
                bar.advance(part.rows)
        warn_first(notes, f"in part {next(iter(notes.values()), 0)} of the table: ")
    result: dict[str, Any] = {
        "rows": table.rows,
        "out": str(target),
        "parts": len(table.parts),
        "computed": len(todo),
    }
    if hasattr(model, "classes_"):
        result["classes"] = model.classes_.tolist()
    was = "" if todo else ", finished before"
    parts = counted(len(table.parts), "part")
    return Outcome(result, f"{counted(table.rows, 'row')} predicted in {parts}{was}: {target}")


def _lines(model: Any, table: PartitionedTable, identifiers: list[str], first: int, frame: pd.DataFrame) -> pa.Table:
    """Return the predictions of some rows as they are written; ``first`` is the number of the first row."""
    predicted = predictions_of(model, frame[_features(model)])
    result = prediction_table(np.arange(first, first + len(frame)), frame[identifiers], predicted, model)
    lines = pa.Table.from_pandas(result, preserve_index=False).replace_schema_metadata(None)
    for name, shown in identifier_names(identifiers, model).items():
        # The type of the whole table, also where all cells of a batch are missing.
        kind = table.schema.field(name).type if name in table.schema.names else pa.int64()
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        cells = pa.array(frame[name].astype(object), type=kind, from_pandas=True)
        lines = lines.set_column(lines.schema.get_field_index(shown), shown, cells)
    return lines


# ---- explain ---------------------------------------------------------------------------------------------------------


def target_column(data: Mapping[str, Any], table: PartitionedTable) -> str | None:
    """Return the run's target if the table has it, and not for missing cells alone."""
    name = data.get("target")
    if name is None or name not in table.columns or not any_known(table, str(name), plain(data.get("na_codes", ()))):
        return None
    return str(name)


def tell_no_targets(data: Mapping[str, Any], columns: Iterable[str], table: Path, *, named: bool) -> None:
    """Tell, or refuse where the user ``named`` it, that the column of targets holds none; without one, nothing."""
    name = data.get("target")
    if name is None or name not in columns:
        return
    if named:
        raise InputError(
            f"y must be known for some row, however: no row of {table} has {name!r}; name another column with --y, or "
            "leave it out"
        )
    warn_user(
        f"no row of {table} has a value in the target's column {name!r}, so that no loss can be explained, only the "
        "divergence from the model's own prediction; fill it in to explain the loss"
    )


def positive_option(model: Any, data: Mapping[str, Any], wanted: str | None) -> dict[str, Any]:
    """Return the positive class, as asked for or as the run has it; nothing where neither says."""
    classes = getattr(model, "classes_", np.array([])).tolist()
    if wanted is not None:
        return {"positive": classes[find_positive(classes, wanted)]}
    positive = [label for label in classes if canonical(label) == canonical(data.get("positive"))]
    return {"positive": positive[0]} if positive and len(classes) == 2 else {}


def explain_streamed(request: ExplainRequest, engine: Engine, *, progress: Any = "auto") -> tuple[Explanation, bool]:
    """Explain a run's model on Parquet files in parts, into a folder, and say whether it was finished before."""
    from permgrad.attribution.method import loss_game
    from permgrad.attribution.parts.stream import explain_stream

    folder, table, y = request.model_folder, request.source, request.y
    model, data, opened = open_streamed(folder, table, y)
    use_threads(request.threads)
    # Only a loss needs targets: rows without one are no reason to refuse another explanation.
    if y is None and request.scope != "local" and loss_game(request.method) is not None:
        y = target_column(data, opened)
        if y is None:
            tell_no_targets(data, opened.columns, table, named=False)
    saved = folder / "model" if (folder / "model").is_dir() else folder
    before = _written(request.folder)
    options: dict[str, Any] = {"scope": request.scope, "form": request.form}
    options |= {} if request.baseline is None else {"baseline": request.baseline}
    explanation = explain_stream(
        model,
        opened,
        y,
        model_folder=str(saved.absolute()),
        out=request.folder,
        overwrite=request.overwrite,
        progress=progress,
        na_codes=plain(data.get("na_codes", ())),
        method=request.method,
        rows=request.rows,
        engine=engine,
        target=list(request.target) or None,
        n_repeats=request.repeats,
        random_state=request.seed,
        **positive_option(model, data, request.positive),
        **options,
    )
    return explanation, before is not None and before == _written(request.folder)


def _written(folder: Path) -> int | None:
    """Return when the explanation in a folder was written, in nanoseconds; None where there is none."""
    try:
        return (folder / "explanation.json").stat().st_mtime_ns
    except OSError:
        return None
