"""``permgrad predict`` and ``permgrad explain`` on tables that need not fit in memory: Parquet files, read in parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from permgrad import __version__
from permgrad.attribution.parts.folder import (
    RECORD,
    SCHEMA_VERSION,
    began_here,
    check_folder,
    empty,
    held,
    refuse_inside,
    writable,
)
from permgrad.attribution.parts.notes import say_once
from permgrad.attribution.parts.part import part_name
from permgrad.attribution.parts.plan import model_digest, table_digest
from permgrad.base.errors import InputError, counted, keeping_warnings, warn_user
from permgrad.base.files import atomic_path, plain, write_json_atomic
from permgrad.base.progress import Progress
from permgrad.base.stored import parse_json
from permgrad.data.encode.encoding import align_columns
from permgrad.data.parts.known_rows import any_known
from permgrad.data.parts.partitions import Part, PartitionedTable, is_partitioned, open_partitioned
from permgrad.data.read.cells import canonical
from permgrad.data.types.positive import find_positive
from permgrad.models.batches import halved, sparing
from permgrad.runs.commands.trained import known_columns, open_model
from permgrad.runs.folder.outputs import refuse_input, refuse_run_file
from permgrad.runs.requests import ExplainRequest, Outcome, PredictRequest, table_name
from permgrad.runs.run.images import is_image_model
from permgrad.runs.run.stages import identifier_names, prediction_table, predictions_of, use_threads

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
    """Return the model, what its run says of its data, and the table, whose columns are checked.

    Args:
        folder: a run's folder, or the model folder in it.
        table: a Parquet file, or a folder of them.
        y: column of targets, if it is not the run's.

    Raises:
        InputError: no model, a model of images, or a table without the model's columns.
    """
    opened = open_partitioned(table)
    model, data = open_model(folder)
    if is_image_model(model):
        raise InputError(
            f"a model that reads images takes its rows from one table in memory, however: {table} is to be read in "
            "parts; pass one file, with --no-stream"
        )
    data = with_target(model, data, y)
    silent = set(known_columns(data))
    features = [str(name) for name in model.preprocessor_.feature_names_in_]
    shown = [name for name in opened.columns if name in features or name not in silent]
    align_columns(pd.DataFrame(columns=shown), features)
    return model, data, opened


# ---- predict ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Predictions:
    """What is predicted, and into which folder."""

    model: Any
    table: PartitionedTable
    identifiers: list[str]
    folder: Path
    key: str

    @property
    def features(self) -> list[str]:
        return [str(name) for name in self.model.preprocessor_.feature_names_in_]

    def path(self, part: Part) -> Path:
        return self.folder / f"{part_name(part.number)}.parquet"

    def is_finished(self, part: Part) -> bool:
        """Whether a part's file is there and whole."""
        try:
            footer = pq.read_metadata(self.path(part))
            facts = parse_json((footer.metadata or {}).get(b"permgrad", b"{}"))
        except (OSError, ValueError, pa.ArrowException):
            return False
        return bool(footer.num_rows == part.rows and facts == self._facts(part))

    def _facts(self, part: Part) -> dict[str, Any]:
        return {"key": self.key, "part": part.number}

    def write(self, part: Part) -> list[str]:
        """Predict a part, a batch at a time, into its file; return what was warned of."""
        columns = list(dict.fromkeys([*self.features, *self.identifiers]))
        size = max(256, min(_MOST_ROWS, _CELLS // max(1, len(columns), len(self.model.preprocessor_.encoded_names_))))
        with sparing(), keeping_warnings() as warned:
            while True:
                try:
                    self._write(part, size, columns)
                except (RuntimeError, MemoryError) as error:
                    # Rows are read and encoded before the network can take fewer of them at a time.
                    size = halved(size, error)
                else:
                    return warned

    def _write(self, part: Part, size: int, columns: list[str]) -> None:
        """Predict a part, so many rows at a time, into its file."""
        writer: pq.ParquetWriter | None = None
        with atomic_path(self.path(part)) as temporary:
            try:
                for first, frame in self.table.batches(part, size, columns):
                    with self.table.cells_of(range(first, first + len(frame))):
                        lines = self._lines(first, frame)
                    if writer is None:
                        schema = lines.schema.with_metadata({b"permgrad": json.dumps(self._facts(part)).encode()})
                        writer = pq.ParquetWriter(temporary, schema, compression="zstd")
                    writer.write_table(lines)
            finally:
                if writer is not None:
                    writer.close()

    def _lines(self, first: int, frame: pd.DataFrame) -> pa.Table:
        predicted = predictions_of(self.model, frame[self.features])
        rows = np.arange(first, first + len(frame), dtype=np.int64)
        result = prediction_table(rows, frame[self.identifiers], predicted, self.model)
        lines = pa.Table.from_pandas(result, preserve_index=False).replace_schema_metadata(None)
        for name, shown in identifier_names(self.identifiers, self.model).items():
            # The type of the whole table, also where all cells of a batch are missing.
            kind = self.table.schema.field(name).type if name in self.table.schema.names else pa.int64()
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            place = lines.schema.get_field_index(shown)
            lines = lines.set_column(place, shown, pa.array(frame[name].astype(object), type=kind, from_pandas=True))
        return lines


def predict_stream(request: PredictRequest, *, progress: Any = "auto") -> Outcome:
    """Predict the rows of Parquet files in parts; writes a folder of Parquet files, one for each part.

    The same command goes on with the parts that are not finished, and does nothing when all are there.
    """
    folder, table, out, overwrite = request.model_folder, request.table, request.out, request.overwrite
    target = Path(f"{table_name(table)}-predictions") if out is None else out
    if target.suffix.lower() in (".csv", ".gz", ".txt", ".parquet", ".pq") or str(target) == "-":
        raise InputError(
            f"predictions of a table that is read in parts are written to a folder, however: --out {target} names a "
            "file; name a folder, such as --out predictions"
        )
    model, data, opened = open_streamed(folder, table)
    refuse_inside(target, table)
    refuse_input(target, {"table": table})
    refuse_run_file(target, folder)
    use_threads(request.threads)
    identifiers = [name for name in data.get("identifiers", ()) if name in opened.columns]
    facts: dict[str, Any] = {
        "permgrad": __version__,
        "model": model_digest(model),
        "table": table_digest(opened),
        "identifiers": identifiers,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    check_folder(target, key, facts, overwrite=overwrite, kind="prediction")
    work = _Predictions(model, opened, identifiers, target, key)
    begun = False
    with held(target), writable(target):
        # Looked at again: another process may have begun in between.
        if check_folder(target, key, facts, overwrite=overwrite, kind="prediction") is None:
            left = [entry.name for entry in target.glob("part-*.parquet")] if target.is_dir() else []
            empty(target, [*left, RECORD])
            about = {"schema_version": SCHEMA_VERSION, "kind": "prediction", "key": key, "facts": facts}
            write_json_atomic(target / RECORD, about)
            begun = True
        todo = [part for part in opened.parts if not work.is_finished(part)]
        with began_here(begun, lambda: empty(target, [*(work.path(part).name for part in opened.parts), RECORD])):
            _in_turn(todo, work.write, "predict", progress)
    result: dict[str, Any] = {
        "rows": opened.rows,
        "out": str(target),
        "parts": len(opened.parts),
        "computed": len(todo),
    }
    if hasattr(model, "classes_"):
        result["classes"] = model.classes_.tolist()
    was = "" if todo else ", finished before"
    parts = counted(len(opened.parts), "part")
    return Outcome(result, f"{counted(opened.rows, 'row')} predicted in {parts}{was}: {target}")


def _in_turn(todo: Sequence[Part], work: Callable[[Part], list[str]], label: str, progress: Any) -> None:
    """Do the parts one after the other; what they warn of is said once."""
    warned: dict[str, int] = {}
    with Progress(sum(part.rows for part in todo), label, progress) as bar:
        for part in todo:
            for text in work(part):
                warned.setdefault(text, part.number)
            bar.advance(part.rows)
    say_once(warned)


# ---- explain ---------------------------------------------------------------------------------------------------------


def target_column(data: Mapping[str, Any], table: PartitionedTable) -> str | None:
    """Return the run's target if the table has it, and not for missing cells alone."""
    name = data.get("target")
    if name is None or name not in table.columns or not any_known(table, str(name), plain(data.get("na_codes", ()))):
        return None
    return str(name)


def tell_no_targets(data: Mapping[str, Any], columns: Iterable[str], table: Path, *, named: bool) -> None:
    """Tell that a table's column of targets holds none, so that no loss can be explained; without the column, nothing.

    Args:
        data: what the run says of its data.
        columns: names of the table's columns.
        table: its path.
        named: whether the user named the column.

    Raises:
        InputError: the column was named.
    """
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
    """Explain a run's model on Parquet files in parts, into a folder; see ``pg.explain_stream``."""
    from permgrad.attribution.method import loss_game
    from permgrad.attribution.parts.stream import explain_stream

    folder, table, out, y = request.model_folder, request.source, request.folder, request.y
    model, data, opened = open_streamed(folder, table, y)
    use_threads(request.threads)
    # Only a loss needs targets: rows without one are no reason to refuse another explanation.
    if y is None and request.scope != "local" and loss_game(request.method) is not None:
        y = target_column(data, opened)
        if y is None:
            tell_no_targets(data, opened.columns, table, named=False)
    saved = folder / "model" if (folder / "model").is_dir() else folder
    before = _written(out)
    options: dict[str, Any] = {"scope": request.scope, "form": request.form}
    options |= {} if request.baseline is None else {"baseline": request.baseline}
    explanation = explain_stream(
        model,
        opened,
        y,
        model_folder=str(saved.absolute()),
        out=out,
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
    return explanation, before is not None and before == _written(out)


def _written(folder: Path) -> int | None:
    """Return when the explanation in a folder was written, in nanoseconds; None where there is none."""
    try:
        return (folder / "explanation.json").stat().st_mtime_ns
    except OSError:
        return None
