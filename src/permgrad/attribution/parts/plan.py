"""``StreamPlan``: one explanation of a long table, described once, so that any process can compute any part of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from permgrad import __version__
from permgrad.attribution.method import Request, loss_game, loss_games, methods
from permgrad.attribution.replace.donors import RowNumbers
from permgrad.attribution.request import (
    Arguments,
    EncodedBackground,
    build_request,
    encode_background,
    resolve_options,
    resolve_scope,
)
from permgrad.base.checks import check_choice, check_whole
from permgrad.base.errors import InputError, counted, keeping_warnings, suggest
from permgrad.base.files import plain
from permgrad.base.random import resolve_seed, uniform
from permgrad.data.parts.known_rows import Integers, KnownRows, RowBatch, find_known, numbered
from permgrad.data.parts.partitions import Part, PartitionedTable
from permgrad.data.read.cells import CellError, CodesArgument, MissingCodes, canonical
from permgrad.data.weights import read_weights
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor

Form = Literal["tidy", "wide"]
#: Columns that the wide form has beside those of the features.
WIDE = ("row", "class", "prediction", "base")
#: Arguments of ``pg.explain`` that hold for a table in parts too; what a plan's facts name otherwise comes last.
_ELSEWHERE = ("background", "scoring", "sample_weight", "random_state")
_SHARED = (
    "target",
    "output",
    "level",
    "groups",
    "sampling",
    "loss",
    "confidence",
    "n_repeats",
    "batch_size",
    "positive",
)
#: Cells of a frame that are held at a time, numbers of a local explanation, and rows whatever the cells.
_CELLS, _NUMBERS = 2_000_000, 2_000_000
_FEWEST_ROWS, _MOST_ROWS = 256, 50_000
#: Row numbers looked at together while a sample is drawn.
_DRAWN = 2**20


@dataclass(frozen=True)
class StreamPlan:
    """What is explained, how, and by which random numbers. Picklable; holds no rows but the background.

    Of the ``arguments`` of ``pg.explain`` ``y`` and ``sample_weight`` name columns, the background is encoded and
    ``random_state`` is the seed; model and rows are put in by ``request``. Rows are explained whose random number is at
    most ``threshold``, ``sample`` in all (None: all rows); ``batch_rows`` are in memory at a time. ``known`` are
    those that have a target, where some have none. ``model`` and ``table`` are hashes.
    """

    arguments: Arguments
    na_codes: CodesArgument
    features: tuple[str, ...]
    form: Form
    sample: int | None
    threshold: float
    batch_rows: int
    model: str
    table: str
    known: KnownRows | None = None
    model_folder: str | None = None

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.arguments.method)

    @property
    def is_local(self) -> bool:
        """Whether each row gets an explanation."""
        return bool(self.arguments.scope == "local")

    def facts(self) -> dict[str, Any]:
        """Return what identifies the explanation, as JSON: equal facts give equal numbers."""
        arguments = self.arguments
        donors = np.ascontiguousarray(arguments.background.rows)
        facts: dict[str, Any] = plain(
            {
                "permgrad": __version__,
                "method": arguments.method,
                "scope": arguments.scope,
                "arguments": {name: getattr(arguments, name) for name in _SHARED},
                "options": _identified(arguments.options),
                "seed": arguments.random_state,
                "y": arguments.y,
                "na_codes": self.na_codes,
                "weight": arguments.sample_weight,
                "background": [list(donors.shape), hashlib.sha256(donors.tobytes()).hexdigest()],
                "form": self.form if self.is_local else None,
                "sample": self.sample,
                "model": self.model,
                "table": self.table,
            }
        )
        return facts

    @property
    def key(self) -> str:
        """Hash of ``facts``."""
        return json_hash(self.facts())

    def batches(self, table: PartitionedTable, part: Part) -> Iterator[RowBatch]:
        """Yield the rows of a part that can be explained: all, or those that have a target; a batch may be empty."""
        names = dict.fromkeys([*self.features, self.arguments.y, self.arguments.sample_weight])
        columns = [name for name in names if name is not None]
        return numbered(table, part, self.batch_rows, columns, self.known)

    def chosen(self, table: PartitionedTable, part: Part) -> Iterator[RowBatch]:
        """Yield the rows of a part that are explained, at most ``batch_rows`` at a time; few are put together."""
        waiting: list[RowBatch] = []
        for batch in self.batches(table, part):
            chosen = self.is_chosen(batch.places)
            if self.arguments.sample_weight is not None:
                # A row of weight 0 is no receiver.
                chosen &= batch.frame[self.arguments.sample_weight].to_numpy() != 0
            if sum(map(len, waiting)) + chosen.sum() > self.batch_rows:
                yield RowBatch.joined(waiting)
                waiting = []
            if chosen.any():
                waiting.append(batch.take(chosen))
        if waiting:
            yield RowBatch.joined(waiting)

    def is_chosen(self, places: Integers) -> npt.NDArray[np.bool_]:
        """Return which of the rows in these places are explained: those with the smallest random numbers."""
        if self.sample is None:
            return np.ones(len(places), dtype=bool)
        return uniform(self.arguments.random_state, ("receivers",), places) <= self.threshold

    def request(
        self, model: Any, table: PartitionedTable, batch: RowBatch, kept: dict[str, Any] | None = None
    ) -> Request:
        """Return the request for some rows of the table; ``kept``: what earlier batches left for later ones."""
        y, weight = None if self.is_local else self.arguments.y, self.arguments.sample_weight
        with table.cells_of(batch.numbers):
            arguments = replace(
                self.arguments,
                model=model,
                inputs=batch.frame[list(self.features)].reset_index(drop=True),
                y=None if y is None else read_targets(batch.frame[y], model, self.na_codes),
                sample_weight=None if weight is None else read_weights(batch.frame[weight]),
            )
            request = build_request(arguments, methods.get(self.method)(), self.method)
        return replace(request, row_offset=RowNumbers(batch.places), kept=kept)


# ---- rows --------------------------------------------------------------------------------------------------------


def read_targets(values: pd.Series[Any], model: Any, na_codes: CodesArgument = ()) -> npt.NDArray[Any]:
    """Return known targets as ``pg.explain`` takes them; classes are compared as text, as a file may hold 1 for 1.0."""
    if hasattr(model, "classes_"):
        return _match_classes(values, model.classes_)
    name, numbers = str(values.name), values
    if MissingCodes.of(na_codes).labels and not pd.api.types.is_numeric_dtype(values.dtype):
        # A code such as "?" kept the column from being numbers; the rows that have it are gone.
        numbers = pd.to_numeric(values.astype(object), errors="coerce")
        numbers = values if numbers.isna().any() else numbers
    if numbers.dtype == object and all(isinstance(cell, Decimal) for cell in numbers):
        numbers = numbers.astype(np.float64)
    if not pd.api.types.is_numeric_dtype(numbers.dtype):
        cell = numbers.iloc[0]
        what = "text" if isinstance(cell, str) else "dates" if isinstance(cell, dt.date) else type(cell).__name__
        raise InputError(
            f"y must hold numbers as in training, however: column {name!r} holds {what}; correct it, or leave y out"
        )
    targets = numbers.to_numpy(dtype=np.float64)
    if not np.isfinite(targets).all():
        row = int(np.argmin(np.isfinite(targets)))
        fact = f"y must hold finite numbers, however: column {name!r} holds {targets[row]} in "
        raise CellError.at(row, values.index, fact, "; correct it, or leave such rows out")
    return targets


def _match_classes(values: pd.Series[Any], classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    labels = {canonical(label): place for place, label in enumerate(classes.tolist())}
    codes, distinct = pd.factorize(values)
    places = np.array([labels.get(canonical(cell), -1) for cell in distinct.tolist()], dtype=np.int64)[codes]
    if (places < 0).any():
        row = int(np.argmax(places < 0))
        cell = values.iloc[row]
        shown = cell.item() if isinstance(cell, np.generic) else cell
        fact = f"y must hold classes of the model ({', '.join(map(str, classes.tolist()[:10]))}), however: "
        fix = f" has {shown!r} in {str(values.name)!r}; leave such rows out, or leave y out"
        raise CellError.at(row, values.index, fact, fix)
    return np.asarray(classes)[places]


# ---- plans -----------------------------------------------------------------------------------------------------------


def make_plan(
    model: Any,
    table: PartitionedTable,
    y: str | None = None,
    *,
    method: Any = "permgrad",
    scope: Literal["auto", "global", "local"] = "auto",
    rows: int | None = None,
    form: Form = "tidy",
    na_codes: CodesArgument = (),
    **options: Any,
) -> StreamPlan:
    """Check every argument of ``explain_stream`` and describe the explanation; nothing is explained yet."""
    import permgrad.attribution as _registered  # noqa: F401 — importing the package registers every method

    _check_model(model)
    if not isinstance(method, str):
        raise InputError(
            f"a table that is read in parts is explained by a registered method, however: method is a "
            f"{type(method).__name__}; pass a name, such as method='permgrad'"
        )
    chosen = methods.get(method)
    scope = resolve_scope(chosen(), method, scope)
    further = {name: options.pop(name) for name in (*_SHARED, *_ELSEWHERE) if name in options}
    arguments = Arguments(y=y, method=method, scope=scope, progress=False, options=options, **further)
    check_choice("form", form, ("tidy", "wide"))
    _check_streamable(arguments, form, resolve_options(chosen(), method, options))
    features = tuple(str(name) for name in model.preprocessor_.feature_names_in_)
    _check_table(table, features, {"y": y, "sample_weight": arguments.sample_weight})
    known = None
    if y is not None and scope == "global":
        known = find_known(
            table,
            y,
            na_codes,
            none=f"y must be known for some row, however: no row of {table.path!r} has {y!r}; name another column, or "
            "(in Python) y=None explains the model's own predictions",
            note=" where the loss is explained; leave the target's column out to explain all of them",
        )
    available = table.rows if known is None else known.rows
    wanted = available if rows is None else check_whole("rows", rows, "pass how many to explain")
    background = _donors(model, arguments.background)
    seed = resolve_seed(arguments.random_state)
    plan = StreamPlan(
        arguments=replace(arguments, random_state=seed, background=background),
        na_codes=na_codes,
        features=features,
        form=form,
        sample=wanted if wanted < available else None,
        threshold=1.0,
        batch_rows=max(_FEWEST_ROWS, min(_MOST_ROWS, _CELLS // max(1, len(features), background.rows.shape[1]))),
        model=model_digest(model),
        table=table_digest(table),
        known=known,
    )
    with keeping_warnings():
        plan = _checked(plan, model, table)
    return plan if plan.sample is None else replace(plan, threshold=_threshold(seed, plan.sample, available))


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_model(model: Any) -> None:
    is_ours = isinstance(model, (HyNNClassifier, HyNNRegressor))
    if not is_ours or not hasattr(model, "module_"):
        raise InputError(
            "a table that is read in parts is explained for a fitted HyNNClassifier or HyNNRegressor, however: model "
            f"is {'not fitted' if is_ours else f'a {type(model).__name__}'}; for any other model read rows into "
            "memory (pg.read_table) and pass them to pg.explain"
        )


def _check_streamable(arguments: Arguments, form: Form, options: Mapping[str, Any]) -> None:
    """Refuse what needs all rows at once."""
    method, scope, weight = arguments.method, arguments.scope, arguments.sample_weight
    if arguments.scoring is not None:
        raise InputError(
            "a score needs all predictions at once, however: the table is read in parts and scoring= is given; leave "
            "it out, or read a sample of the rows into memory (permgrad.read_table) and pass it to permgrad.explain"
        )
    if weight is not None and scope == "local":
        raise InputError(
            "sample_weight weighs rows in a mean over them, however: a local explanation that is written while it is "
            f"made has none, and sample_weight={weight!r}; leave it out, or pass scope='global'"
        )
    if scope == "global" and loss_game(method) is None:
        also = "; or pass scope='local'" if "local" in methods.get(method).scopes else ""
        raise InputError(
            f"global explanations of a table that is read in parts are given by {', '.join(loss_games())}, however: "
            f"method={method!r}; choose one of these{also}"
        )
    if scope == "global" and options.get("tolerance") is not None:
        raise InputError(
            "tolerance stops when intervals over all rows are narrow, however: the table is read in parts, each played "
            f"once; leave tolerance={options['tolerance']!r} out, or read a sample of the rows into memory "
            "(permgrad.read_table) and pass it to permgrad.explain"
        )
    if scope == "global" and form == "wide":
        raise InputError(
            f"form says how explanations of single rows are written, however: method={method!r} is global "
            "here; leave form='wide' out, or choose a method for rows"
        )


def _check_table(table: PartitionedTable, features: tuple[str, ...], roles: Mapping[str, Any]) -> None:
    missing = [name for name in features if name not in table.columns]
    if missing:
        further = sorted(set(table.columns) - set(features))
        raise InputError(
            f"a table must have all columns of training, however: {table.path!r} lacks {len(missing)} of them, such as "
            f"{missing[0]!r}{suggest(missing[0], further)}; add or rename them"
        )
    table.check_cells(features, "write its values as columns of their own, as in training")
    for role, name in roles.items():
        if name is None:
            continue
        if not isinstance(name, str):
            raise InputError(
                f"{role} must name a column where the table is read from a file, however: it is a "
                f"{type(name).__name__}; pass the column's name"
            )
        table.check_columns([name])
        table.check_cells([name], f"name another column, or leave {role} out")
        count = table.null_counts.get(name, 0)
        if count and role == "sample_weight":
            raise InputError(
                f"{role} must be known for every row explained, however: {counted(count, 'row')} of "
                f"{table.path!r} {'has' if count == 1 else 'have'} no {name!r}; fill them in, or leave {role} out"
            )


def _donors(model: Any, background: Any) -> EncodedBackground:
    """Return the encoded rows that donors and baselines come from; never the rows explained, which are not at hand."""
    if isinstance(background, (str, os.PathLike)):
        raise InputError(
            f"background must be rows in memory like the model's inputs, however: background={os.fspath(background)!r} "
            "is a path; read some of its rows with pandas and pass them"
        )
    if background is None:
        return EncodedBackground(model.background_, "training rows")
    return EncodedBackground(encode_background(model, background), "given")


def _checked(plan: StreamPlan, model: Any, table: PartitionedTable) -> StreamPlan:
    """Build one request from the first rows, so that a wrong argument is told before the work begins."""
    few = replace(plan, batch_rows=_FEWEST_ROWS)
    first = next(batch for part in table.parts for batch in few.batches(table, part) if len(batch))
    first = first.take(np.arange(len(first)) < 64)
    if plan.arguments.sample_weight is not None:
        with table.cells_of(first.numbers):
            read_weights(first.frame[plan.arguments.sample_weight])
    # The first rows' weights may all be 0, which is no fault of theirs.
    request = replace(plan, arguments=replace(plan.arguments, sample_weight=None)).request(model, table, first)
    taken = [name for name in request.players if name in WIDE]
    if plan.is_local and plan.form == "wide" and taken:
        raise InputError(
            f"the wide form has columns of its own named {', '.join(WIDE)}, however: a feature is named {taken[0]!r}; "
            "choose the tidy form"
        )
    game = None if plan.is_local else loss_game(plan.method)
    if game is not None:
        game.game(request)
        return plan
    numbers = max(1, len(request.targets) * max(1, len(request.players)))
    return replace(plan, batch_rows=max(16, min(plan.batch_rows, _NUMBERS // 4 // numbers)))


def _threshold(seed: int, wanted: int, rows: int) -> float:
    """Return the ``wanted``-th smallest random number of all rows; memory holds a few times as many as are wanted."""
    smallest = np.zeros(0)
    for start in range(0, rows, _DRAWN):
        places = np.arange(start, min(start + _DRAWN, rows), dtype=np.int64)
        smallest = np.concatenate([smallest, uniform(seed, ("receivers",), places)])
        if len(smallest) > wanted:
            smallest = np.partition(smallest, wanted - 1)[:wanted]
    return float(smallest.max())


# ---- hashes ----------------------------------------------------------------------------------------------------------


def json_hash(facts: Any) -> str:
    """Return the hash of what JSON can hold."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _identified(value: Any) -> Any:
    """Return options with hashes of all cells in the place of tables and tensors, whose text leaves most out."""
    if isinstance(value, Mapping):
        return {name: _identified(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_identified(item) for item in value]
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
    total = hashlib.sha256()
    for name, tensor in sorted(model.module_.state_dict().items()):
        total.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        total.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    module, renderer, calibration = model.module_, model.renderer_, getattr(model, "calibration_", None)
    facts = [model.preprocessor_.to_dict(), plain(getattr(model, "classes_", None)), module.options.to_dict()]
    facts += [list(module.paths), *(None if part is None else part.to_dict() for part in (renderer, calibration))]
    facts += [float(getattr(model, name, 0.0)) for name in ("target_mean_", "target_scale_")]
    total.update(json.dumps(plain(facts), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def table_digest(table: PartitionedTable) -> str:
    """Return the hash of a table's files and of how it is cut into parts."""
    return json_hash(
        [table.fingerprint, [[part.file, part.row_group_start, part.row_group_stop] for part in table.parts]]
    )
