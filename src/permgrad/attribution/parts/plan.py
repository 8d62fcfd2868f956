"""``StreamPlan``: one explanation of a long table, described once, so that any process can compute any part of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from permgrad import __version__
from permgrad.attribution.arguments import (
    Arguments,
    check_groups,
    check_numbers,
    level_of,
    resolve_options,
    resolve_scope,
)
from permgrad.attribution.method import Request, Scope, loss_game, loss_games, methods
from permgrad.attribution.parts.targets import read_targets
from permgrad.attribution.replace.donors import RowNumbers
from permgrad.attribution.request import EncodedBackground, build_request, encode_background
from permgrad.base.checks import check_choice, check_whole
from permgrad.base.errors import InputError, counted, keeping_warnings, suggest, warn_user
from permgrad.base.files import plain
from permgrad.base.random import resolve_seed, uniform
from permgrad.data.parts.known_rows import KnownRows, find_known
from permgrad.data.parts.partitions import Part, PartitionedTable
from permgrad.data.read.cells import CodesArgument
from permgrad.data.weights import read_weights

Form = Literal["tidy", "wide"]
#: Columns that the wide form has beside those of the features.
WIDE = ("row", "class", "prediction", "base")
Integers = npt.NDArray[np.int64]

#: Cells of a frame that are held at a time, numbers of a local explanation, and rows whatever the cells.
_CELLS, _NUMBERS = 2_000_000, 2_000_000
_FEWEST_ROWS, _MOST_ROWS = 256, 50_000
#: Row numbers looked at together while a sample is drawn.
_DRAWN = 2**20


@dataclass(frozen=True)
class Batch:
    """Some rows of a table.

    Attributes:
        numbers: of the rows in the table, by which they are written.
        places: among the rows that can be explained, by which donors and samples are drawn.
        frame: their cells.
    """

    numbers: Integers
    places: Integers
    frame: pd.DataFrame

    def take(self, kept: npt.NDArray[Any]) -> Batch:
        """Return some of the rows."""
        return Batch(self.numbers[kept], self.places[kept], self.frame.iloc[kept])

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """Put batches together."""
        if len(batches) == 1:
            return batches[0]
        return cls(
            np.concatenate([one.numbers for one in batches]),
            np.concatenate([one.places for one in batches]),
            pd.concat([one.frame for one in batches], ignore_index=True),
        )


@dataclass(frozen=True)
class StreamPlan:
    """What is explained, how, and by which random numbers. Picklable; holds no rows but the background.

    Attributes:
        method: registered name.
        scope: ``"global"`` or ``"local"``.
        arguments: further arguments of ``pg.explain``.
        options: the method's own options.
        seed: of all draws.
        y: name of the column of targets; None: the divergence from the model's own prediction is explained.
        na_codes: values of that column that stand for missing.
        weight: name of the column of weights, or None.
        background, background_kind: encoded rows that donors and baselines come from.
        features: the model's columns, in its order.
        form: how rows of a local explanation are written.
        sample: how many rows of the table are explained; None: all.
        threshold: a row is explained if its random number is at most this.
        batch_rows: rows in memory at a time; results do not depend on it beyond rounding.
        model: hash of the model.
        table: hash of the table and of how it is cut.
        model_folder: where a process that does not have the model finds it.
        known: the rows that have a target, where some have none: the others are as if they were not in the table.
    """

    method: str
    scope: Scope
    arguments: dict[str, Any]
    options: dict[str, Any]
    seed: int
    y: str | None
    na_codes: CodesArgument
    weight: str | None
    background: npt.NDArray[np.float32]
    background_kind: str
    features: tuple[str, ...]
    form: Form
    sample: int | None
    threshold: float
    batch_rows: int
    model: str
    table: str
    model_folder: str | None = None
    known: KnownRows | None = None

    @property
    def columns(self) -> list[str]:
        """The columns of the table that are read."""
        extra = [name for name in (self.y, self.weight) if name is not None and name not in self.features]
        return [*self.features, *dict.fromkeys(extra)]

    def facts(self) -> dict[str, Any]:
        """Return what identifies the explanation, as JSON: equal facts give equal numbers."""
        donors = np.ascontiguousarray(self.background)
        return cast(
            "dict[str, Any]",
            plain(
                {
                    "permgrad": __version__,
                    "method": self.method,
                    "scope": self.scope,
                    "arguments": self.arguments,
                    "options": _identified(self.options),
                    "seed": self.seed,
                    "y": self.y,
                    "na_codes": self.na_codes,
                    "weight": self.weight,
                    "background": [list(donors.shape), hashlib.sha256(donors.tobytes()).hexdigest()],
                    "form": self.form if self.scope == "local" else None,
                    "sample": self.sample,
                    "model": self.model,
                    "table": self.table,
                }
            ),
        )

    @property
    def key(self) -> str:
        """Hash of ``facts``."""
        return hashlib.sha256(
            json.dumps(self.facts(), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
        ).hexdigest()

    def batches(self, table: PartitionedTable, part: Part) -> Iterator[Batch]:
        """Yield the rows of a part that can be explained: all, or those that have a target; a batch may be empty."""
        first_place = part.first_row if self.known is None else self.known.before[part.number]
        for first, frame in table.batches(part, self.batch_rows, self.columns):
            numbers = np.arange(first, first + len(frame), dtype=np.int64)
            own = frame
            if self.known is not None:
                kept = self.known.mask(frame)
                own, numbers = frame.loc[kept].reset_index(drop=True), numbers[kept]
            yield Batch(numbers, np.arange(first_place, first_place + len(own), dtype=np.int64), own)
            first_place += len(own)

    def is_chosen(self, places: Integers) -> npt.NDArray[np.bool_]:
        """Return which of the rows in these places are explained."""
        return np.ones(len(places), dtype=bool) if self.sample is None else _lots(self.seed, places) <= self.threshold

    def request(self, model: Any, table: PartitionedTable, batch: Batch, kept: dict[str, Any] | None = None) -> Request:
        """Return the request for some rows of the table.

        Args:
            model: the fitted estimator.
            table: where they stand.
            batch: the rows, with ``columns``.
            kept: what earlier batches of the same plan left for later ones.

        Raises:
            InputError: a cell cannot be read, a target is no class of the model, a weight is no weight.
        """
        with table.cells_of(batch.numbers):
            return replace(self._request(model, batch.frame, batch.places), kept=kept)

    def _request(self, model: Any, frame: pd.DataFrame, places: Integers) -> Request:
        y = None
        if self.y is not None and self.scope == "global":
            y = read_targets(frame[self.y], model, self.na_codes)
        weights = None if self.weight is None else read_weights(frame[self.weight])
        arguments = Arguments(
            model=model,
            inputs=frame[list(self.features)].reset_index(drop=True),
            y=y,
            method=self.method,
            scope=self.scope,
            background=EncodedBackground(self.background, self.background_kind),
            scoring=None,
            sample_weight=weights,
            random_state=self.seed,
            progress=False,
            options=self.options,
            **self.arguments,
        )
        request = build_request(arguments, methods.get(self.method)(), self.method)
        return replace(request, row_offset=RowNumbers(places))


def make_plan(
    model: Any,
    table: PartitionedTable,
    y: str | None = None,
    *,
    method: Any = "permgrad",
    scope: Literal["auto", "global", "local"] = "auto",
    background: Any = None,
    sample_weight: str | None = None,
    confidence: float = 0.95,
    n_repeats: int = 10,
    batch_size: int | Literal["auto"] = "auto",
    random_state: Any = None,
    scoring: Any = None,
    rows: int | None = None,
    form: Form = "tidy",
    na_codes: CodesArgument = (),
    model_folder: str | None = None,
    options: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> StreamPlan:
    """Check every argument and describe the explanation; nothing is computed but the sample's threshold.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``.
        table: the rows.
        y: name of the column of targets.
        background: rows like the model's inputs; None: the training rows kept in the model. Never the rows explained:
            they are not all in memory.
        sample_weight: name of a column of weights.
        rows: explain this many rows, drawn without replacement; the draw of a row depends on the seed and on its
            number alone.
        form: of local explanations. ``"tidy"``: a line for each row, feature and output; ``"wide"``: for each row and
            output, with a column for each feature.
        na_codes: values of ``y`` that stand for missing.
        model_folder: where the model is saved, for other processes.
        method: as for ``pg.explain``, and so are the following.
        scope: global or local.
        confidence: of the intervals.
        n_repeats: donors per row and feature.
        batch_size: rows per forward.
        random_state: seed.
        scoring: must be None.
        options: the method's own.
        **arguments: ``target, output, level, groups, sampling, loss, positive``.

    Raises:
        InputError: an argument cannot be used for a table that is read in parts.
    """
    import permgrad.attribution as _registered  # noqa: F401 — importing the package registers every method

    _check_model(model)
    _check_method(method)
    chosen = methods.get(method)
    resolved = resolve_scope(chosen(), method, scope)
    given = {**ARGUMENTS, **arguments}
    check_numbers(confidence, n_repeats, batch_size)
    check_groups(given["groups"], given["level"])
    given["level"] = level_of(given["level"], given["groups"])
    own_options = dict(options or {})
    _check_streamable(method, resolved, scoring, resolve_options(chosen(), method, own_options))
    _check_weight(sample_weight, resolved)
    _check_form(form, method, resolved)
    features = tuple(str(name) for name in model.preprocessor_.feature_names_in_)
    _check_table(table, features, y, sample_weight)
    known = None if y is None or resolved == "local" else _known_targets(table, y, na_codes)
    available = table.rows if known is None else known.rows
    seed = resolve_seed(random_state)
    donors, kind = _donors(model, background)
    plan = StreamPlan(
        method=method,
        scope=resolved,
        arguments={**given, "confidence": confidence, "n_repeats": n_repeats, "batch_size": batch_size},
        options=own_options,
        seed=seed,
        y=y,
        na_codes=na_codes,
        weight=sample_weight,
        background=np.ascontiguousarray(donors, dtype=np.float32),
        background_kind=kind,
        features=features,
        form=form,
        sample=_check_sample(rows, available),
        threshold=1.0,
        batch_rows=max(_FEWEST_ROWS, min(_MOST_ROWS, _CELLS // max(1, len(features), donors.shape[1]))),
        model=model_digest(model),
        table=table_digest(table),
        model_folder=model_folder,
        known=known,
    )
    with keeping_warnings():
        plan = _checked(plan, model, table)
    return plan if plan.sample is None else replace(plan, threshold=_threshold(seed, plan.sample, available))


#: Further arguments of ``pg.explain`` with their defaults.
ARGUMENTS: dict[str, Any] = {
    "target": None,
    "output": "logit",
    "level": "feature",
    "groups": None,
    "sampling": "marginal",
    "loss": "auto",
    "positive": None,
}


def _identified(value: Any) -> Any:
    """Return options with the hash of all cells in the place of tables and tensors, whose text leaves most of them out.

    Examples:
        >>> rows = pd.DataFrame({"a": np.arange(100.0)})
        >>> other = rows.assign(a=rows["a"].replace(50.0, 51.0))
        >>> _identified({"baseline": rows}) == _identified({"baseline": rows.copy()})
        True
        >>> _identified({"baseline": rows}) == _identified({"baseline": other})
        False
    """
    if isinstance(value, Mapping):
        return {name: _identified(own) for name, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_identified(own) for own in value]
    cells: Any
    if isinstance(value, pd.DataFrame):
        cells = [[name, value.iloc[:, place].tolist()] for place, name in enumerate(value.columns)]
    elif isinstance(value, pd.Series):
        cells = [[name, own] for name, own in value.items()]
    elif isinstance(value, torch.Tensor):
        own = value.detach().cpu()
        cells = [list(own.shape), (own.float() if own.dtype == torch.bfloat16 else own).numpy()]
    else:
        return value
    text = json.dumps([type(value).__name__, plain(cells)], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _check_model(model: Any) -> None:
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor

    if not isinstance(model, (HyNNClassifier, HyNNRegressor)) or not hasattr(model, "module_"):
        what = "not fitted" if isinstance(model, (HyNNClassifier, HyNNRegressor)) else f"a {type(model).__name__}"
        raise InputError(
            "a table that is read in parts is explained for a fitted HyNNClassifier or HyNNRegressor, however: model "
            f"is {what}; for any other network read rows into memory and pass them to pg.explain"
        )


def _check_method(method: Any) -> None:
    if not isinstance(method, str):
        raise InputError(
            f"a table that is read in parts is explained by a registered method, however: method is a "
            f"{type(method).__name__}; pass a name, such as method='permgrad'"
        )


def _check_weight(weight: str | None, scope: Scope) -> None:
    if weight is not None and scope == "local":
        raise InputError(
            "sample_weight weighs rows in a mean over them, however: a local explanation that is written while it is "
            f"made has none, and sample_weight={weight!r}; leave it out, or pass scope='global'"
        )


def _check_form(form: Any, method: str, scope: Scope) -> None:
    check_choice("form", form, ("tidy", "wide"))
    if form == "wide" and scope == "global":
        raise InputError(
            f"form says how explanations of single rows are written, however: method={method!r} is global here; leave "
            "form='wide' out, or choose a method for rows"
        )


def _donors(model: Any, background: Any) -> tuple[npt.NDArray[np.float32], str]:
    """Return the encoded rows that donors and baselines come from, and what they are."""
    if background is None:
        return model.background_, "training rows"
    if isinstance(background, (str, os.PathLike)):
        raise InputError(
            f"background must be rows in memory like the model's inputs, however: background={os.fspath(background)!r} "
            "is a path; read some of its rows with pandas and pass them"
        )
    return encode_background(model, background), "given"


def _check_streamable(method: str, scope: Scope, scoring: Any, options: Mapping[str, Any]) -> None:
    if scoring is not None:
        raise InputError(
            "a score needs all predictions at once, however: the table is read in parts and scoring= is given; leave "
            "it out, or read a sample of the rows into memory (permgrad.read_table) and pass it to permgrad.explain"
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


def _check_table(table: PartitionedTable, features: tuple[str, ...], y: str | None, weight: str | None) -> None:
    known = set(table.columns)
    missing = [name for name in features if name not in known]
    if missing:
        raise InputError(
            f"a table must have all columns of training, however: {table.path!r} lacks {len(missing)} of them, such as "
            f"{missing[0]!r}{suggest(missing[0], sorted(known - set(features)))}; add or rename them"
        )
    table.check_cells(features, "write its values as columns of their own, as in training")
    for role, name in (("y", y), ("sample_weight", weight)):
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


def _known_targets(table: PartitionedTable, y: str, na_codes: CodesArgument) -> KnownRows | None:
    """Return which rows have a target, and say how many have none; None if all have one."""
    known = find_known(table, y, na_codes)
    if known is None:
        return None
    if known.rows == 0:
        raise InputError(
            f"y must be known for some row, however: no row of {table.path!r} has {y!r}; name another column, or (in "
            "Python) y=None explains the model's own predictions"
        )
    warn_user(
        f"{known.left_out(table.path)} where the loss is explained; leave the target's column out to explain all of "
        "them"
    )
    return known


def _check_sample(rows: int | None, available: int) -> int | None:
    if rows is None:
        return None
    wanted = check_whole("rows", rows, "pass how many to explain")
    return wanted if wanted < available else None


def _checked(plan: StreamPlan, model: Any, table: PartitionedTable) -> StreamPlan:
    """Build one request from the first rows, so that a wrong argument is told before the work begins."""
    batch = next(
        Batch(own.numbers[:64], own.places[:64], own.frame[:64])
        for part in table.parts
        for own in replace(plan, batch_rows=_FEWEST_ROWS).batches(table, part)
        if len(own.numbers)
    )
    if plan.weight is not None:
        with table.cells_of(batch.numbers):
            read_weights(batch.frame[plan.weight])
    # The first rows' weights may all be 0, which is no fault of theirs.
    request = replace(plan, weight=None).request(model, table, batch)
    _check_wide(plan, request.players)
    played = loss_game(plan.method) if plan.scope == "global" else None
    if played is not None:
        played.game(request)
        return plan
    outputs = max(1, len(request.targets) * max(1, len(request.players)))
    return replace(plan, batch_rows=max(16, min(plan.batch_rows, _NUMBERS // 4 // outputs)))


def _check_wide(plan: StreamPlan, players: Iterable[str]) -> None:
    taken = [name for name in players if name in WIDE]
    if plan.scope == "local" and plan.form == "wide" and taken:
        raise InputError(
            f"the wide form has columns of its own named {', '.join(WIDE)}, however: a feature is named {taken[0]!r}; "
            "choose the tidy form"
        )


def _lots(seed: int, numbers: Integers) -> npt.NDArray[np.float64]:
    """Return each row's random number: the rows with the smallest ones are the sample."""
    return uniform(seed, ("receivers",), numbers)


def _threshold(seed: int, wanted: int, rows: int) -> float:
    """Return the ``wanted``-th smallest random number of all rows; memory holds a few times as many as are wanted."""
    smallest = np.zeros(0)
    for start in range(0, rows, _DRAWN):
        lots = _lots(seed, np.arange(start, min(start + _DRAWN, rows), dtype=np.int64))
        if len(smallest) == wanted:
            lots = lots[lots < smallest.max()]
        smallest = np.concatenate([smallest, lots])
        if len(smallest) > wanted:
            smallest = np.partition(smallest, wanted - 1)[:wanted]
    return float(smallest.max())


def model_digest(model: Any) -> str:
    """Return the hash of all that a fitted model computes with."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.module_.state_dict().items()):
        total.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        total.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    module, renderer, calibration = model.module_, model.renderer_, getattr(model, "calibration_", None)
    facts = [model.preprocessor_.to_dict(), plain(getattr(model, "classes_", None)), module.options.to_dict()]
    facts += [list(module.paths), *(None if own is None else own.to_dict() for own in (renderer, calibration))]
    facts += [float(getattr(model, name, 0.0)) for name in ("target_mean_", "target_scale_")]
    total.update(json.dumps(plain(facts), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def table_digest(table: PartitionedTable) -> str:
    """Return the hash of a table's files and of how it is cut into parts."""
    cut = [[part.file, part.row_group_start, part.row_group_stop] for part in table.parts]
    return hashlib.sha256(json.dumps([table.fingerprint, cut]).encode("utf-8", "surrogatepass")).hexdigest()
