"""``StreamPlan``: one explanation of a long table, described once, so that any process
can compute any part of it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import pickle
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import torch

from permgrad.attribution.explain import find_method
from permgrad.attribution.model import Model, described
from permgrad.attribution.replace.moments import FEWEST_REPEATS, first_repeats
from permgrad.attribution.replace.plays import loss_game
from permgrad.attribution.request import Request, name_of
from permgrad.attribution.request.arguments import Arguments, EncodedBackground
from permgrad.attribution.request.method_call import resolve_method
from permgrad.attribution.request.method_registry import changed_options
from permgrad.attribution.request.read_estimator import encode_background
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.request import RowNumbers
from permgrad.attribution.request.takes import refuse_apart, said_of, without_unread
from permgrad.attribution.subject.calls import find_call
from permgrad.base import __version__
from permgrad.base.arrays import Array, Booleans, Integers
from permgrad.base.checks import check_kind
from permgrad.base.errors import (
    Fault,
    InputError,
    counted,
    did_you_mean,
    keeping_warnings,
    refusing,
)
from permgrad.base.files import plain
from permgrad.base.folders import json_hash
from permgrad.base.random import resolve_seed, uniform
from permgrad.data.known_rows import KnownRows, RowBatch, find_known, numbered
from permgrad.data.partitions import Part, PartitionedTable
from permgrad.data.read.cells import CellError, CodesArgument, MissingCodes, canonical
from permgrad.data.weights import read_weights
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.kept_rows import (
    PASSED_ROWS,
    TRAINING_ROWS,
    kept_rows,
)

#: Arguments of ``pg.explain`` that a plan's facts have under their own names.
_SHARED = ("target", "scale", "groups", "loss", "confidence", "n_repeats")
#: Cells of a frame that are held at a time, numbers of a local explanation, and rows
#: whatever the cells.
_CELLS = 2_000_000
_NUMBERS = 2_000_000
_FEWEST_ROWS = 256
_MOST_ROWS = 50_000
#: Row numbers looked at together while a sample is drawn.
_DRAWN = 2**20


@dataclass(frozen=True)
class StreamPlan:
    """All choices of an explanation, and its random numbers.

    Picklable, without rows but the background.

    Of the ``arguments`` of ``pg.explain``, ``y`` and ``sample_weight`` name columns,
    the background is encoded and ``random_state`` is the seed. ``request`` adds model
    and rows. Rows are explained whose random number is at most ``threshold``,
    ``sample`` in all (None: all rows). ``batch_rows`` are in memory at a time.
    ``known`` are the rows with a target, if some have none. ``first``: the donors a row
    of ``n_repeats="auto"``, and ``goals`` those of features that get more, which alone
    are then explained. ``model`` and ``table`` are hashes.
    """

    arguments: Arguments
    na: CodesArgument
    features: tuple[str, ...]
    sample: int | None
    threshold: float
    batch_rows: int
    model: str
    table: str
    known: KnownRows | None = None
    first: int = FEWEST_REPEATS
    goals: Mapping[str, int] | None = None
    model_folder: str | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return name_of(self.arguments.method)

    def described(self, model: Any) -> Model:
        """Return a model that is read as the plan says."""
        return replace(self.arguments.model, model=model)

    @property
    def is_local(self) -> bool:
        """Whether each row gets an explanation."""
        return bool(self.arguments.scope.by_row)

    def facts(self) -> dict[str, Any]:
        """Return what identifies the explanation, as JSON: equal facts give equal
        numbers.
        """
        arguments = self.arguments
        background = self.arguments.background
        if isinstance(background, EncodedBackground):
            donors = np.ascontiguousarray(background.rows)
            background = [
                list(donors.shape),
                hashlib.sha256(donors.tobytes()).hexdigest(),
            ]
        return plain(
            {
                "permgrad": __version__,
                "method": self.method,
                "scope": arguments.scope,
                "arguments": {
                    argument_name: getattr(arguments, argument_name)
                    for argument_name in _SHARED
                },
                "options": _identified(changed_options(arguments.method)),
                "described": _identified(described(arguments.model)),
                "seed": arguments.random_state,
                "y": arguments.y,
                "na": self.na,
                "weight": arguments.sample_weight,
                "background": _identified(background),
                "sample": self.sample,
                "model": self.model,
                "table": self.table,
            }
        )

    @property
    def key(self) -> str:
        """Hash of ``facts``."""
        return json_hash(self.facts())

    def batches(self, table: PartitionedTable, table_part: Part) -> Iterator[RowBatch]:
        """Yield the rows of a part that can be explained: all, or those with a target.

        A batch may be empty.
        """
        names = dict.fromkeys(
            [*self.features, self.arguments.y, self.arguments.sample_weight]
        )
        columns = [column_name for column_name in names if column_name is not None]
        return numbered(table, table_part, self.batch_rows, columns, self.known)

    def chosen(self, table: PartitionedTable, table_part: Part) -> Iterator[RowBatch]:
        """Yield the rows of a part that are explained, at most ``batch_rows`` at a
        time. Small batches are joined.
        """
        waiting: list[RowBatch] = []
        for batch in self.batches(table, table_part):
            chosen_mask = self.is_chosen(batch.places)
            if self.arguments.sample_weight is not None:
                # A row of weight 0 is no receiver.
                chosen_mask &= batch.frame[self.arguments.sample_weight].to_numpy() != 0
            if sum(map(len, waiting)) + chosen_mask.sum() > self.batch_rows:
                yield RowBatch.joined(waiting)
                waiting = []
            if chosen_mask.any():
                waiting.append(batch.take(chosen_mask))
        if waiting:
            yield RowBatch.joined(waiting)

    def is_chosen(self, row_numbers: Integers) -> Booleans:
        """Return which of the rows in these places are explained: those with the
        smallest random numbers.
        """
        if self.sample is None:
            return np.ones(len(row_numbers), dtype=bool)
        return (
            uniform(self.arguments.random_state, ("receivers",), row_numbers)
            <= self.threshold
        )

    def request(
        self,
        model: Model,
        table: PartitionedTable,
        batch: RowBatch,
        fitted_models: dict[str, Any] | None = None,
    ) -> Request:
        """Return the request for some rows of the table.

        ``fitted_models``: models that earlier batches left for later ones.
        """
        if self.is_local:
            y = None
        else:
            y = self.arguments.y
        weight = self.arguments.sample_weight
        with table.cells_of(batch.numbers):
            arguments = replace(
                self.arguments,
                model=model,
                X=_as_in(
                    self.arguments.background,
                    batch.frame[list(self.features)].reset_index(drop=True),
                ),
                y=None
                if y is None
                else read_targets(batch.frame[y], model.model, self.na),
                sample_weight=None
                if weight is None
                else read_weights(batch.frame[weight]),
            )
            chosen_method = self.arguments.method
            request = build_request(
                without_unread(arguments, chosen_method),
                chosen_method,
                self.method,
                caller_name="files",
            )
        return replace(request, row_offset=RowNumbers(batch.places), kept=fitted_models)


# ---- rows ----------------------------------------------------------------------------
def read_targets(values: pd.Series[Any], model: Any, na: CodesArgument = ()) -> Array:
    """Return targets as ``pg.explain`` takes them.

    Classes are compared as text, since a file may hold 1 for 1.0.
    """
    if hasattr(model, "classes_"):
        return _match_classes(values, model.classes_)
    column_name = str(values.name)
    numbers = values
    if MissingCodes.of(na).labels and not pd.api.types.is_numeric_dtype(values.dtype):
        # A code such as "?" made the column text. The rows with the code are left out
        # already.
        numbers = pd.to_numeric(values.astype(object), errors="coerce")
        if numbers.isna().any():
            numbers = values
    if numbers.dtype == object and all(
        isinstance(cell_value, Decimal) for cell_value in numbers
    ):
        numbers = numbers.astype(np.float64)
    if not pd.api.types.is_numeric_dtype(numbers.dtype) and not isinstance(
        model, (HyNNClassifier, HyNNRegressor)
    ):
        return numbers.to_numpy()
    if not pd.api.types.is_numeric_dtype(numbers.dtype):
        first_cell = numbers.iloc[0]
        if isinstance(first_cell, str):
            cell_type = "text"
        elif isinstance(first_cell, dt.date):
            cell_type = "dates"
        else:
            cell_type = type(first_cell).__name__
        problem = (
            f"y must hold numbers as in training, and column {column_name!r} "
            f"holds {cell_type}"
        )
        raise InputError(problem, hint="Correct it, or leave y out", code="PG015")
    targets = numbers.to_numpy(dtype=np.float64)
    if not np.isfinite(targets).all():
        row_index = int(np.argmin(np.isfinite(targets)))
        problem_text = (
            f"y must be finite, but column {column_name!r} holds {targets[row_index]}"
        )
        raise CellError.at(
            row_index, values.index, problem_text, "Correct it, or leave such rows out."
        )
    return targets


def _match_classes(values: pd.Series[Any], classes: Array) -> Array:
    labels = {}
    for class_index, label in enumerate(classes.tolist()):
        labels[canonical(label)] = class_index
    codes, distinct = pd.factorize(values)
    class_indices = np.array(
        [labels.get(canonical(cell_value), -1) for cell_value in distinct.tolist()],
        dtype=np.int64,
    )[codes]
    if (class_indices < 0).any():
        row_index = int(np.argmax(class_indices < 0))
        unknown_cell = values.iloc[row_index]
        if isinstance(unknown_cell, np.generic):
            shown = unknown_cell.item()
        else:
            shown = unknown_cell
        names = ", ".join(map(str, classes.tolist()[:10]))
        problem_text = (
            f"y must hold classes of the model ({names}), but column "
            f"{str(values.name)!r} holds {shown!r}"
        )
        raise CellError.at(
            row_index,
            values.index,
            problem_text,
            "Leave such rows out, or leave y out.",
            code="PG015",
        )
    return np.asarray(classes)[class_indices]


# ---- plans ---------------------------------------------------------------------------
def _known_rows(table: PartitionedTable, y: str, na: CodesArgument) -> KnownRows | None:
    """Return the rows of a table with a value of y."""
    none = InputError(
        f"No row of {table.path!r} has a value of y in column {y!r}",
        hint="Name another column, or leave y out "
        "to explain the model's own predictions.",
        code="PG015",
    )
    note = (
        " where the loss is explained; leave the target's column out "
        "to explain all of them"
    )
    return find_known(table, y, na, none=none, note=note)


def _check_background(background: Any) -> None:
    """Refuse a predictor on a table in parts whose background is no frame of rows."""
    if not isinstance(background, pd.DataFrame) or not len(background):
        raise InputError(
            "A predictor on a table in parts needs a background",
            hint="Pass background= a pandas frame of some rows, "
            "with the columns and types that the predictor takes",
            code="PG005",
        )


def make_plan(
    model: Model,
    table: PartitionedTable,
    arguments: Arguments,
    *,
    na: CodesArgument = (),
) -> StreamPlan:
    """Check every argument of ``explain_stream`` and describe the explanation, without
    explaining yet.
    """
    raw_model = model.model
    is_ours = _check_model(raw_model)
    y = arguments.y
    selected_method, _ = method_in_parts(arguments, "files")
    scope, _ = resolve_method(selected_method, arguments.scope)
    arguments = replace(
        arguments,
        model=replace(model, model=None),
        method=selected_method,
        scope=scope,
        progress=False,
    )
    if is_ours:
        features = tuple(map(str, raw_model.preprocessor_.feature_names_in_))
    else:
        _check_background(arguments.background)
        features = tuple(map(str, arguments.background.columns))
    _check_table(table, features, {"y": y, "sample_weight": arguments.sample_weight})
    known_rows = None
    if y is not None and not scope.by_row:
        known_rows = _known_rows(table, y, na)
    if known_rows is None:
        available = table.rows
    else:
        available = known_rows.rows
    if arguments.max_rows is None:
        row_limit = available
    else:
        row_limit = arguments.max_rows
    if is_ours:
        background = _donors(raw_model, arguments.background)
    else:
        background = arguments.background
    if is_ours:
        width = background.rows.shape[1]
    else:
        width = 1
    seed = resolve_seed(arguments.random_state)
    stream_plan = StreamPlan(
        arguments=replace(
            arguments, random_state=seed, background=background, max_rows=None
        ),
        na=na,
        features=features,
        sample=row_limit if row_limit < available else None,
        threshold=1.0,
        first=first_repeats(min(row_limit, available)),
        batch_rows=max(
            _FEWEST_ROWS, min(_MOST_ROWS, _CELLS // max(1, len(features), width))
        ),
        model=model_digest(raw_model) if is_ours else _pickle_digest(raw_model),
        table=table_digest(table),
        known=known_rows,
    )
    with keeping_warnings():
        stream_plan = _checked(stream_plan, model, table)
    if stream_plan.sample is None:
        return stream_plan
    return replace(
        stream_plan, threshold=_threshold(seed, stream_plan.sample, available)
    )


# ---- checks --------------------------------------------------------------------------
def _check_model(model: Any) -> bool:
    """Return whether the model is an estimator of permgrad.

    Refuse networks of torch, and objects without predict.
    """
    is_ours = isinstance(model, (HyNNClassifier, HyNNRegressor))
    if isinstance(model, torch.nn.Module) or (
        is_ours and not hasattr(model, "module_")
    ):
        raise InputError(
            "A table in parts needs a fitted estimator or any other predictor of "
            "tables, and model is "
            f"{'not fitted' if is_ours else f'a {type(model).__name__}'}",
            hint="Call fit first"
            if is_ours
            else "For a network read rows into memory (pg.read_table) and pass them to "
            "pg.explain",
            code="PG030" if is_ours else "PG031",
        )
    if not is_ours:
        find_call(model)
    return is_ours


def _as_in(background: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in the types of a predictor's background, or unchanged for an
    estimator.
    """
    if not isinstance(background, pd.DataFrame):
        return rows
    for column_name, column_type in background.dtypes.items():
        column = rows[column_name]
        if (
            isinstance(column_type, pd.CategoricalDtype)
            and not (column.isna() | column.isin(column_type.categories)).all()
        ):
            problem = (
                f"Column {column_name!r} has levels that are not among its "
                "categories in the background"
            )
            raise InputError(problem, hint="Add them to its categories", code="PG038")
        try:
            rows[column_name] = column.astype(column_type)
        except (TypeError, ValueError) as error:
            hint = "Pass a background whose columns have the types of the table's"
            raise InputError(
                f"Column {column_name!r} cannot be read as {column_type}: {error}",
                hint=hint,
                code="PG038",
            ) from error
    return rows


def method_in_parts(arguments: Arguments, divided_by: str) -> tuple[Any, str]:
    """Return the method and its name.

    Refuse what needs all rows at once. ``divided_by``: ``"files"`` or ``"engine"``.
    """
    several = isinstance(arguments.method, Mapping)
    selected_method, method_name = (
        (None, "") if several else find_method(arguments.method)
    )
    refuse_apart(
        selected_method,
        method_name,
        said_of(
            arguments, *resolve_method(selected_method, arguments.scope), divided_by
        ),
    )
    return selected_method, method_name


@refusing
def _check_table(
    table: PartitionedTable, features: tuple[str, ...], roles: Mapping[str, Any]
) -> Iterator[Fault]:
    table.check_even(features)
    missing = []
    for feature_name in features:
        if feature_name not in table.columns:
            missing.append(feature_name)
    if missing:
        further = sorted(set(table.columns) - set(features))
        problem = (
            f"{table.path!r} lacks {counted(len(missing), 'column')} of "
            f"training, such as {missing[0]!r}"
        )
        yield problem, did_you_mean(missing[0], further, "Add or rename them"), "PG017"
    table.check_cells(features, "write its values as separate columns, as in training")
    for argument_name, column_name in roles.items():
        if column_name is None:
            continue
        check_kind(
            argument_name,
            column_name,
            str,
            "the name of a column for a table in a file",
            "Pass the column's name",
        )
        table.check_columns([column_name])
        table.check_cells(
            [column_name], f"name another column, or leave {argument_name} out"
        )
        count = table.null_counts.get(column_name, 0)
        if count and argument_name == "sample_weight":
            problem = (
                f"{counted(count, 'row')} of {table.path!r} "
                f"{'has' if count == 1 else 'have'} no {argument_name} in "
                f"{column_name!r}"
            )
            yield (
                problem,
                f"Fill in the missing values, or leave {argument_name} out",
                "PG020",
            )


def _donors(model: Any, background: Any) -> EncodedBackground:
    """Return the encoded rows that donors and references come from, never the rows
    explained.
    """
    if isinstance(background, (str, os.PathLike)):
        problem = (
            f"background must be rows in memory, got the path {os.fspath(background)!r}"
        )
        raise InputError(
            problem,
            hint="Read some of its rows with pandas and pass them",
            code="PG038",
        )
    if background is None:
        return EncodedBackground(kept_rows(model), TRAINING_ROWS)
    return EncodedBackground(encode_background(model, background), PASSED_ROWS)


def _checked(plan: StreamPlan, model: Model, table: PartitionedTable) -> StreamPlan:
    """Build one request from the first rows, so that wrong arguments are refused before
    the work begins.
    """
    small_plan = replace(plan, batch_rows=_FEWEST_ROWS)
    first = next(
        batch
        for table_part in table.parts
        for batch in small_plan.batches(table, table_part)
        if len(batch)
    )
    first = first.take(np.arange(len(first)) < 64)
    if plan.arguments.sample_weight is not None:
        with table.cells_of(first.numbers):
            read_weights(first.frame[plan.arguments.sample_weight])
    # The first rows' weights may all be 0, which is allowed.
    request = replace(
        plan, arguments=replace(plan.arguments, sample_weight=None)
    ).request(model, table, first)
    if plan.is_local:
        played_game = None
    else:
        played_game = loss_game(plan.arguments.method)
    if played_game is not None:
        played_game.game(request)
        return plan
    numbers = max(1, len(request.targets) * max(1, len(request.space.columns)))
    return replace(
        plan, batch_rows=max(16, min(plan.batch_rows, _NUMBERS // 4 // numbers))
    )


def _threshold(seed: int, sample_size: int, rows: int) -> float:
    """Return the ``sample_size``-th smallest random number of all rows.

    Memory holds a few times as many as are wanted.
    """
    smallest = np.zeros(0)
    for start in range(0, rows, _DRAWN):
        row_numbers = np.arange(start, min(start + _DRAWN, rows), dtype=np.int64)
        smallest = np.concatenate(
            [smallest, uniform(seed, ("receivers",), row_numbers)]
        )
        if len(smallest) > sample_size:
            smallest = np.partition(smallest, sample_size - 1)[:sample_size]
    return float(smallest.max())


# ---- hashes --------------------------------------------------------------------------
def _identified(value: Any) -> Any:
    """Return options with hashes of all cells in the place of tables and tensors, whose
    text leaves most out.
    """
    if isinstance(value, Mapping):
        return {
            option_name: _identified(option_value)
            for option_name, option_value in value.items()
        }
    if isinstance(value, (list, tuple)):
        return list(map(_identified, value))
    if isinstance(value, pd.Series):
        cells: Any = [value.index.tolist(), value.tolist()]
    elif isinstance(value, pd.DataFrame):
        cells = [list(value.columns), value.to_numpy(dtype=object)]
    elif isinstance(value, torch.Tensor):
        cells = value.detach().cpu().double().numpy()
    else:
        return value
    return json_hash(plain([type(value).__name__, cells]))


def model_digest(model: Any) -> str:
    """Return the hash of all that a fitted model computes with."""
    if not hasattr(model, "module_"):  # of another library
        return _pickle_digest(model)
    total = hashlib.sha256()
    for tensor_name, tensor in sorted(model.module_.state_dict().items()):
        total.update(f"{tensor_name}\0{tuple(tensor.shape)}\0".encode())
        total.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    module = model.module_
    renderer = model.renderer_
    calibration = getattr(model, "calibration_", None)
    facts = [
        model.preprocessor_.to_dict(),
        plain(getattr(model, "classes_", None)),
        module.options.to_dict(),
    ]
    facts += [
        list(module.paths),
        *(
            None if component is None else component.to_dict()
            for component in (renderer, calibration)
        ),
    ]
    for attribute_name in ("target_mean_", "target_scale_"):
        facts.append(float(getattr(model, attribute_name, 0.0)))
    total.update(
        json.dumps(plain(facts), sort_keys=True, ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
    )
    return total.hexdigest()


def _pickle_digest(model: Any) -> str:
    """Return the hash of a predictor, or a unique number if it cannot be pickled: its
    work is never resumed.
    """
    try:
        return hashlib.sha256(pickle.dumps(model)).hexdigest()
    except Exception:  # noqa: BLE001 — whatever a user's class raises
        return uuid.uuid4().hex


def table_digest(table: PartitionedTable) -> str:
    """Return the hash of a table's files and of how it is cut into parts."""
    return json_hash(
        [
            table.fingerprint,
            [
                [table_part.file, table_part.row_group_start, table_part.row_group_stop]
                for table_part in table.parts
            ],
        ]
    )
