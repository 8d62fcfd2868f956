"""``explain_part``: the contribution of one part of a table to its explanation, the same in any process.

It is sums, which merge and whose size does not grow with rows. Sums of squares are kept about the mean and moved when
parts merge (Chan, Golub & LeVeque 1983): a small spread of large effects is not lost in rounding.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.files import OF_ROWS
from permgrad.attribution.explanation.frames import frame_numbers
from permgrad.attribution.explanation.statistics import FEWEST_UNITS, freedom_of_ends, interval, with_donors
from permgrad.attribution.parts.folder import part_name, written_lines
from permgrad.attribution.parts.plan import StreamPlan
from permgrad.attribution.replace.branch_weights import branch_moments, weigh_branches
from permgrad.attribution.replace.game import global_explanation, play_losses, scale_of_shares, tabulate
from permgrad.attribution.replace.moments import PairMoments
from permgrad.attribution.replace.plays import LossGame, loss_game
from permgrad.attribution.request import Request, methods
from permgrad.attribution.request.result import by_quantity
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import InputError, keeping_warnings, warn_first
from permgrad.base.files import plain
from permgrad.data.parts.partitions import Part, PartitionedTable
from permgrad.models.batches import sparing, with_fewer
from permgrad.models.devices import full_float32
from permgrad.models.losses import FITS

#: Name of the largest gap of completeness among an explanation's facts.
GAP = "completeness_gap"
#: Messages kept of the warnings of one part.
_WARNINGS = 5


@dataclass(frozen=True)
class PartResult:
    """The result of one part of an explanation: its number, and how many of its rows were explained.

    ``sums`` merge, and their size does not depend on the rows. ``header`` holds all other content of an explanation,
    the same for all parts (None if no row was explained). ``file`` holds local explanations. ``gap`` is the largest
    gap of completeness. ``warnings`` are some of those that were raised.
    """

    number: int
    rows: int
    sums: Sums = field(default_factory=dict)
    header: dict[str, Any] | None = None
    file: str | None = None
    gap: float = 0.0
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def explain_part(
    model: Any,
    plan: StreamPlan,
    table: PartitionedTable,
    part: Part,
    *,
    folder: Path | None = None,
    kept: dict[str, Any] | None = None,
) -> PartResult:
    """Explain the rows of one part in batches. Local explanations go to a file in ``folder``, if there is one.

    ``kept`` holds models fitted on the background for other parts. It changes no number.
    """
    started = time.perf_counter()
    game = None if plan.is_local else loss_game(plan.method)
    path = None if folder is None else folder / f"{part_name(part.number)}.parquet"
    kept = {} if kept is None else kept

    def work(batch_rows: int) -> PartResult:
        result, batches = PartResult(part.number, 0), replace(plan, batch_rows=batch_rows)
        with written_lines(path, {"plan": plan.key, "part": part.number}) as write:
            for batch in batches.chosen(table, part):
                request, gap = plan.request(model, table, batch, kept), 0.0
                if game is not None:
                    sums, header = _play(plan, game, request)
                else:
                    explanation = methods.get(plan.method)()(request)
                    sums, header = {"values": RowSums.of(np.abs(explanation.values))}, _header(explanation)
                    gap = float(explanation.meta.get(GAP) or 0.0)
                    write(local_table(explanation, batch.numbers, plan.form))
                result = replace(
                    result,
                    rows=result.rows + len(batch),
                    sums=merge_sums(result.sums, sums),
                    header=result.header or header,
                    file=None if path is None else path.name,
                    gap=max(result.gap, gap),
                )
        return result

    with sparing(), full_float32(), keeping_warnings() as notes:
        # Rows are read and encoded before a method can take fewer of them at a time.
        result = with_fewer(plan.batch_rows, work)
    return replace(result, warnings=tuple(dict.fromkeys(notes))[:_WARNINGS], seconds=time.perf_counter() - started)


def _header(explanation: Explanation, **further: Any) -> dict[str, Any]:
    """Return the content of a part's explanation without its numbers, as JSON."""
    return plain(
        {
            "names": explanation.names,
            "modality": explanation.modality,
            "outputs": explanation.outputs,
            "level": explanation.level,
            "groups": explanation.groups,
            "meta": {name: fact for name, fact in explanation.meta.items() if name not in OF_ROWS},
            **further,
        }
    )


def _play(plan: StreamPlan, game: LossGame, request: Request) -> tuple[Sums, dict[str, Any]]:
    """Play a loss game over some rows. Return its sums and the header."""
    request, plays = game.game(request)
    played = play_losses(request, plays, plan.method)
    names = [name for name in request.space.columns if name in played.moments]
    sums: Sums = {EFFECTS: SummedMoments.of(played.moments[name] for name in names)} if names else {}
    engine = played.game.engine
    weighs = plan.method == "permgrad" and request.options.get("branches", True) and len(request.subject.paths) == 2
    if engine is not None and weighs:
        sums[BRANCHES] = SummedMoments.of([branch_moments(request, engine)])
    if request.y is not None:
        sums["target"] = RowSums.of_targets(request.y, len(request.subject.class_names), request.sample_weight)
    missing = np.full((len(request.space.columns), len(played.outputs), len(plays.names)), np.nan)
    unplayed = replace(played, model_rows=0)
    shown = global_explanation(plan.method, request, plays, unplayed, np.stack([missing] * 5))
    return sums, _header(
        shown,
        all_outputs=played.outputs,
        quantities=plays.names,
        played=names,
        repeats=played.repeats,
        coalitions=plays.coalitions,
        loss=shown.meta["loss"],
        paths=request.subject.paths,
    )


def local_table(explanation: Explanation, numbers: Integers, form: str) -> pa.Table:
    """Return the rows of a local explanation as they are written: as ``to_frame``, or a column for each feature."""
    rows, names, outputs = explanation.values.shape
    columns: dict[str, Any]
    if form == "wide":
        columns = {"row": np.repeat(numbers, outputs), "class": _repeated(explanation.outputs, 1, rows)}
        for name, values in (("prediction", explanation.predictions), ("base", explanation.base_values)):
            filled = np.asarray(np.nan if values is None else values, dtype=np.float64)
            columns[name] = np.broadcast_to(filled, (rows, outputs)).reshape(-1)
        by_output = explanation.values.transpose(0, 2, 1).reshape(-1, names)
        return pa.table(columns | dict(zip(explanation.names, by_output.T, strict=True)))
    columns = {
        "row": np.repeat(numbers, names * outputs),
        "feature": _repeated(explanation.names, outputs, rows),
        "modality": _repeated(explanation.modality, outputs, rows),
        "class": _repeated(explanation.outputs, 1, rows * names),
    }
    return pa.table(columns | frame_numbers(explanation))


def _repeated(names: tuple[str, ...], each: int, times: int) -> pa.DictionaryArray:
    """Return names as codes: each name ``each`` times, and all of that ``times`` times."""
    distinct = list(dict.fromkeys(names))
    codes = np.array([distinct.index(name) for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(np.tile(np.repeat(codes, each), times), pa.array(distinct, pa.string()))


# ---- all parts -------------------------------------------------------------------------------------------------------
def merge(plan: StreamPlan, results: Iterable[PartResult]) -> Explanation:
    """Merge the parts of one explanation, in any order up to rounding, with one part in memory at a time."""
    total, seconds, numbers, notes = PartResult(-1, 0), 0.0, set[int](), dict[str, int]()
    for result in results:
        if result.number in numbers:
            raise InputError(f"Part {result.number} occurs twice", hint="Pass each result once", code="PG008")
        numbers.add(result.number)
        seconds += result.seconds
        for text in result.warnings:
            notes.setdefault(text, result.number)
        total = PartResult(
            -1,
            total.rows + result.rows,
            merge_sums(total.sums, result.sums),
            total.header or result.header,
            gap=max(total.gap, result.gap),
        )
    weight = plan.arguments.sample_weight
    if total.header is None and weight is None:
        raise InputError("No part of the table has a row", hint="Check the table", code="PG013")
    if total.header is None:
        drawn, fix = ("drawn", "Draw more rows") if plan.sample is not None else ("explained", "Name another column")
        problem = f"sample_weight {weight!r} is 0 in every row {drawn}"
        raise InputError(problem, hint=f"{fix}, or leave it out", code="PG020")
    warn_first(notes, f"In part {next(iter(notes.values()), 0)} of the table: ")
    facts = {"parts": len(numbers), "sample": plan.sample, "table": plan.table, "key": plan.key}
    about = {"rows_explained": total.rows, "seconds": seconds, "streamed": facts}
    header = {**total.header, "meta": {**total.header["meta"], **about}}
    shown = _of_rows(total, header) if plan.is_local else _of_losses(total, header)
    return Explanation(
        names=tuple(header["names"]),
        modality=tuple(header["modality"]),
        outputs=tuple(header["outputs"]),
        method=plan.method,
        scope="global",
        level=header["level"],
        groups=header["groups"],
        **shown,
    )


def _of_losses(total: PartResult, header: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an explanation that hold the numbers of a loss game."""
    outputs, quantities, confidence = tuple(header["all_outputs"]), header["quantities"], header["meta"]["confidence"]
    effects: Any = total.sums.get(EFFECTS)
    moments = {name: effects.player(place) for place, name in enumerate(header["played"])}
    tables = tabulate(tuple(header["names"]), moments, outputs, header["repeats"], len(quantities), confidence)
    # The first output stands for all rows. A class may have its name.
    columns = [0, *(1 + outputs[1:].index(name) for name in header["outputs"][1:])]
    target: Any = total.sums.get("target")
    branches: Any = total.sums.get(BRANCHES)
    if branches is not None:
        quantity = "divergence" if target is None else "loss"
        branches = weigh_branches(branches.player(0), header["paths"], confidence, quantity)
    return {
        **by_quantity(quantities, *(table[:, columns] for table in tables)),
        "branches": branches,
        "meta": header["meta"]
        | {
            "loss_scale": float("nan") if target is None else target.scale(header["loss"]),
            "model_rows": sum(header["repeats"].values()) * total.rows * header["coalitions"],
        },
    }


def _of_rows(total: PartResult, header: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the summary over rows that ``Explanation.to_global("mean_abs")`` gives."""
    values: Any = total.sums["values"]
    low, high, p_values = interval(values.mean, values.std(), total.rows, float(header["meta"]["confidence"]))
    meta = header["meta"] | {"summary": "mean_abs", "rows_summarised": total.rows}
    return {
        "values": values.mean,
        "std": values.std(),
        # A mean of absolute values is not below 0, whatever its error.
        "low": np.maximum(low, 0.0),
        "high": high,
        "p_values": p_values,
        "meta": meta | ({GAP: total.gap} if GAP in meta else {}),
    }


# ---- sums that merge -------------------------------------------------------------------------------------------------
Arrays = dict[str, Array]


@dataclass(frozen=True)
class SummedMoments:
    """``PairMoments`` of a separate background, summed over the receivers of each class (players first if several).

    For receivers ``(classes,)``: their count, Σ w and Σ w², where w is a receiver's weight over all its pairs. For
    their sums of effects ``(classes, quantities)``: how many are not 0, Σ, spread Σ (received − m w)² and lean
    Σ (received − m w) w, where m is the mean effect of the class. ``cubes (classes, quantities, 4)`` are
    Σ (received − m w)^(3 − k) w^k for k = 0 … 3, and ``powers (classes, quantities, 5)`` those of degree 4. The others
    are as in ``PairMoments``.
    """

    count: Integers
    nonzero: Integers
    weight: Floats
    weight_squares: Floats
    total: Floats
    spread: Floats
    lean: Floats
    cubes: Floats
    powers: Floats
    donor_sum: Floats
    donor_weight: Floats
    square_sum: Floats
    square_cross: Floats
    pair_weights: Floats

    @classmethod
    def of(cls, players: Iterable[PairMoments]) -> SummedMoments:
        """Return sums over receivers. ``InputError``: they are donors too, so that each one's number is needed."""
        return cls(*map(np.stack, zip(*map(_over_receivers, players), strict=True)))

    def player(self, place: int) -> SummedMoments:
        """Return the sums of one of several players."""
        return SummedMoments(**{name: array[place] for name, array in vars(self).items()})

    def merge(self, other: SummedMoments) -> SummedMoments:
        """Return the sums over two parts. ``InputError``: they belong to different explanations."""
        for name, array in vars(self).items():
            if array.shape != (further := getattr(other, name)).shape:
                problem = (
                    "Two parts have different donors, classes or quantities: their "
                    f"{name} are {array.shape} and {further.shape}"
                )
                raise InputError(problem, hint="Start again with --overwrite (overwrite=True)", code="PG052")
        mean = _mean(self.total + other.total, self.weight + other.weight)
        one, two = self.about(mean), other.about(mean)
        return SummedMoments(**{name: array + getattr(two, name) for name, array in vars(one).items()})

    def about(self, mean: Floats) -> SummedMoments:
        """Return the sums with spread and lean about another mean of each class, ``(classes, quantities)``."""
        squares = self.weight_squares[..., None]
        moved = np.where(squares > 0, mean - _mean(self.total, self.weight), 0.0)
        spread = self.spread - 2 * moved * self.lean + moved**2 * squares
        cubes, powers = _moved(self.cubes, moved), _moved(self.powers, moved)
        return replace(self, spread=spread, lean=self.lean - moved * squares, cubes=cubes, powers=powers)

    def estimate(self, group: int | None = None) -> tuple[Floats, Floats, Floats]:
        """Return one player's mean, standard error and effective number of rows, as ``PairMoments.estimate`` does."""
        chosen = slice(None) if group is None else slice(group, group + 1)
        one = {name: array[chosen].sum(axis=0) for name, array in vars(self).items()}
        weight, quantities = float(one["weight"]), self.total.shape[1]
        if weight <= 0:
            missing = np.full(quantities, np.nan)
            return missing, missing.copy(), np.ones((2, quantities))
        size = weight**2 / float(one["weight_squares"])
        mean: Floats = one["total"] / weight
        if one["count"] < FEWEST_UNITS or size <= 1 + 1e-9:
            zero = (one["square_sum"] == 0) & (one["nonzero"] == 0)
            return mean, np.where(zero, 0.0, np.nan), np.ones((2, quantities))
        about = self.about(np.broadcast_to(mean, self.total.shape))
        spread, cubes, fourths = (
            values[chosen].sum(axis=0) for values in (about.spread, about.cubes[..., 0], about.powers[..., 0])
        )
        by_donor = one["donor_sum"] - mean[:, None] * one["donor_weight"]
        noise = np.maximum(one["square_sum"] - 2 * mean * one["square_cross"] + mean**2 * one["pair_weights"], 0.0)
        of_receivers = np.maximum(spread, 0.0) * size / (size - 1)
        received = freedom_of_ends(np.maximum(spread, 0.0), cubes, np.maximum(fourths, 0.0), size) + 1
        variance, effective = with_donors(of_receivers, received, by_donor, noise)
        return mean, np.sqrt(variance) / weight, effective


def _over_receivers(moments: PairMoments) -> tuple[Array, ...]:
    """Return the fields of ``SummedMoments`` for one player."""
    if moments.shared and moments.donor_weight.any():
        raise InputError("Rows in parts need donors from a separate background", hint="Pass background=", code="PG038")
    member = moments.receiver_weight > 0
    group, weight = moments.receiver_class[member], moments.receiver_weight[member]
    received = moments.receiver_sum[:, member]
    donors = slice(0, 0) if moments.shared else slice(None)

    def by_class(values: Array) -> Floats:
        rows = [np.bincount(group, weights=row, minlength=moments.classes) for row in np.atleast_2d(values)]
        return np.stack(rows, axis=1).astype(np.float64)

    lent = [moments.of_donors(group) for group in range(moments.classes)]
    total, by_weight, counts = by_class(received), by_class(weight)[:, 0], by_class(np.ones(len(group)))[:, 0]
    centred = received - _mean(total, by_weight)[group].T * weight
    return (
        counts.astype(np.int64),
        by_class(received != 0).astype(np.int64),
        by_weight,
        by_class(weight**2)[:, 0],
        total,
        by_class(centred**2),
        by_class(centred * weight),
        *(np.stack([by_class(centred ** (n - k) * weight**k) for k in range(n + 1)], axis=-1) for n in (3, 4)),
        np.stack([sums for sums, _ in lent])[:, :, donors],
        np.stack([weights for _, weights in lent])[:, donors],
        moments.square_sum,
        moments.square_cross,
        moments.weight_squares,
    )


def _moved(sums: Floats, moved: Floats) -> Floats:
    """Return Σ (score − moved w)^(n − k) w^k for k = 0 … n from the same sums with moved 0, ``(*, n + 1)``."""
    result, degree = sums.copy(), sums.shape[-1] - 1
    for k in range(degree):
        for j in range(1, degree + 1 - k):
            result[..., k] += comb(degree - k, j) * (-moved) ** j * sums[..., k + j]
    return result


def _mean(total: Floats, weight: Floats) -> Floats:
    """Return the mean of each class, 0 where it has no rows, ``(classes, quantities)``."""
    return np.divide(total, weight[..., None], out=np.zeros_like(total), where=weight[..., None] > 0)


@dataclass(frozen=True)
class RowSums:
    """Numbers of rows: their weight ``(1,)``, mean ``(*)`` and Σ w (value − mean)² ``(*)``."""

    weight: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats | None = None) -> RowSums:
        """Sum over at least one row, ``values (rows, *)``."""
        weight = float(len(values)) if weights is None else float(weights.sum())
        mean = np.average(values, axis=0, weights=weights)
        spread = np.average((values - mean) ** 2, axis=0, weights=weights) * weight
        return cls(np.array([weight]), mean, spread)

    @classmethod
    def of_targets(cls, y: Array, classes: int, weights: Floats | None) -> RowSums:
        """Sum over targets, of which ``scale`` needs the moments, or (``classes`` above 0) the share of each class."""
        if not classes:
            return cls.of(np.asarray(y, dtype=np.float64)[:, None], weights)
        counts = np.bincount(np.asarray(y, dtype=np.int64), weights=weights, minlength=classes)
        return cls(np.array([float(counts.sum())]), counts / counts.sum(), np.zeros(classes))

    def merge(self, other: RowSums) -> RowSums:
        """Return the sums over two parts (Chan, Golub & LeVeque 1983)."""
        weight, apart = self.weight + other.weight, other.mean - self.mean
        spread = self.spread + other.spread + apart**2 * (self.weight * other.weight / weight)
        return RowSums(weight, self.mean + apart * (other.weight / weight), spread)

    def scale(self, loss: str) -> float:
        """Return the mean loss of the constant predictor, or NaN if that needs more than a mean and a variance."""
        if loss not in ("squared_error", *FITS["classification"]):
            return float("nan")
        return float(self.spread[0] / self.weight[0]) if loss == "squared_error" else scale_of_shares(self.mean, loss)

    def std(self) -> Floats:
        """Return the standard error of the mean over rows of weight 1, NaN for a single row."""
        count = float(self.weight[0])
        return np.sqrt(self.spread / (count - 1) / count) if count > 1 else np.full(self.mean.shape, np.nan)


Sums = dict[str, SummedMoments | RowSums]
#: Names of the sums over pairs: of every player, and of whole branches, which are one.
EFFECTS, BRANCHES = "effects", "branches"


def merge_sums(one: Sums, other: Sums) -> Sums:
    """Return the sums over two parts, either of which may lack some."""
    both: dict[str, Any] = {name: sums.merge(other[name]) for name, sums in one.items() if name in other}  # type: ignore[arg-type]
    return {**one, **other, **both}


def pack(sums: Sums) -> Arrays:
    """Return sums as named arrays."""
    return {f"{name}/{field}": array for name, one in sums.items() for field, array in vars(one).items()}


def unpack(arrays: Mapping[str, Array]) -> Sums:
    """Return the sums from the arrays of ``pack``."""
    fields: dict[str, Arrays] = {}
    for path, array in arrays.items():
        name, _, field = path.partition("/")
        fields.setdefault(name, {})[field] = array
    return {name: (SummedMoments if name in (EFFECTS, BRANCHES) else RowSums)(**own) for name, own in fields.items()}
