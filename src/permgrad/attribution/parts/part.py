"""``explain_part``: what one part of a table adds to its explanation. A pure function: any process gives the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from permgrad.attribution.build import global_explanation
from permgrad.attribution.explanation import OF_ROWS, Explanation
from permgrad.attribution.method import LossGame, Request, loss_game, methods
from permgrad.attribution.parts.plan import Batch, Integers, StreamPlan
from permgrad.attribution.parts.sums import Arrays, SummedMoments, TargetSums, ValueSums, merge_all, pack, unpack
from permgrad.attribution.replace.branch_weights import branch_moments
from permgrad.attribution.replace.importance import LossTable, Played, play_losses
from permgrad.attribution.replace.plays import Plays
from permgrad.base.errors import keeping_warnings
from permgrad.base.files import atomic_path, plain
from permgrad.data.parts.partitions import Part, PartitionedTable
from permgrad.models.batches import halved, sparing
from permgrad.models.devices import full_float32

#: Name of the sums of whole branches, which are one player.
BRANCHES = "branches"
#: Name of the largest gap of completeness, among the sums and among an explanation's facts.
GAP = "completeness_gap"
#: Messages kept of the warnings of one part.
_WARNINGS = 5


@dataclass(frozen=True)
class PartResult:
    """What one part adds to an explanation.

    Attributes:
        number: of the part.
        rows: how many of its rows were explained.
        sums: float64 and whole numbers that merge, see ``sums``; their size does not depend on the rows.
        header: everything else that an explanation says, alike for all parts; None where no row was explained.
        file: name of the file of local explanations that was written, or None.
        warnings: what was said, at most a few.
        seconds: that it took.
    """

    number: int
    rows: int
    sums: Arrays = field(default_factory=dict)
    header: dict[str, Any] | None = None
    file: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def part_name(number: int) -> str:
    """Return the name that a part's files have, without an ending.

    Examples:
        >>> part_name(12)
        'part-00012'
    """
    return f"part-{number:05d}"


def explain_part(
    model: Any,
    plan: StreamPlan,
    table: PartitionedTable,
    part: Part,
    *,
    folder: Path | None = None,
    kept: dict[str, Any] | None = None,
) -> PartResult:
    """Explain the rows of one part, a batch at a time.

    Args:
        model: the fitted estimator.
        plan: what is explained and how.
        table: the whole table.
        part: one of its parts.
        folder: where local explanations are written as Parquet; None: only their sums are kept.
        kept: what was fitted on the background for other parts of the same plan, and is here for those to come; it
            spares work and changes no number.

    Raises:
        InputError: a cell cannot be used, or a file has changed.
        EnvironmentProblem: a file cannot be read or written.
    """
    started = time.perf_counter()
    kept = {} if kept is None else kept
    with sparing(), full_float32(), keeping_warnings() as said:
        game = loss_game(plan.method) if plan.scope == "global" else None
        while True:
            try:
                if game is not None:
                    result = _losses(game, model, plan, table, part, kept)
                else:
                    result = _rows(model, plan, table, part, folder, kept)
            except (RuntimeError, MemoryError) as error:
                # Rows are read and encoded before a method can take fewer of them at a time.
                plan = replace(plan, batch_rows=halved(plan.batch_rows, error))
            else:
                break
    found = tuple(dict.fromkeys(said))[:_WARNINGS]
    return PartResult(
        part.number, result.rows, result.sums, result.header, result.file, found, time.perf_counter() - started
    )


def _chosen(plan: StreamPlan, table: PartitionedTable, part: Part) -> Iterator[Batch]:
    """Yield the rows explained, in batches of at most ``batch_rows``; few are put together."""
    kept: list[Batch] = []
    count = 0
    for batch in plan.batches(table, part):
        own = batch
        if plan.weight is not None:
            # A row of weight 0 is no receiver.
            own = own.take(np.flatnonzero(own.frame[plan.weight].to_numpy() != 0))
        if plan.sample is not None:
            own = own.take(np.flatnonzero(plan.is_chosen(own.places)))
        if count + len(own.numbers) > plan.batch_rows:
            yield Batch.joined(kept)
            kept, count = [], 0
        if len(own.numbers):
            kept.append(own)
            count += len(own.numbers)
    if kept:
        yield Batch.joined(kept)


# ---- global ----------------------------------------------------------------------------------------------------------


def _losses(
    game: LossGame, model: Any, plan: StreamPlan, table: PartitionedTable, part: Part, kept: dict[str, Any]
) -> PartResult:
    """Play the loss game over a part and keep its sums."""
    rows = 0
    effects: dict[str, SummedMoments] = {}
    branches: dict[str, SummedMoments] = {}
    target: TargetSums | None = None
    header: dict[str, Any] | None = None
    for batch in _chosen(plan, table, part):
        request, plays = game.game(plan.request(model, table, batch, kept))
        played = play_losses(request, plays, plan.method)
        merge_all(effects, {name: SummedMoments.of(own) for name, own in played.collector.moments.items()})
        engine = played.game.engine
        if engine is not None and _weighs_branches(plan, request):
            merge_all(branches, {BRANCHES: SummedMoments.of(branch_moments(request, engine))})
        if request.y is not None:
            own = TargetSums.of(request.y, len(request.subject.class_names), request.sample_weight)
            target = own if target is None else target.merge(own)
        if header is None:
            header = _loss_header(request, plan, played, plays)
        rows += len(batch.numbers)
    sums = pack(effects, "effects") | pack(branches, BRANCHES)
    if target is not None:
        sums |= {"target/weight": target.weight, "target/mean": target.mean, "target/spread": target.spread}
    return PartResult(part.number, rows, sums, header)


def _weighs_branches(plan: StreamPlan, request: Request) -> bool:
    asked = plan.method == "permgrad" and request.options.get("branches", True)
    return bool(asked) and len(request.subject.paths) == 2


def _loss_header(request: Request, plan: StreamPlan, played: Played, plays: Plays) -> dict[str, Any]:
    """Return what an explanation of the part says beside its numbers."""
    missing = np.full((len(request.players), len(played.outputs), len(plays.names)), np.nan)
    facts = {**played.game.back_end.facts, **plays.facts}
    empty = LossTable(missing, missing, missing, missing, missing, played.outputs, played.repeats, 0.0, 0, facts)
    shown = global_explanation(plan.method, request, plays, empty)
    header: dict[str, Any] = plain(
        {
            "names": shown.names,
            "modality": shown.modality,
            "outputs": shown.outputs,
            "level": shown.level,
            "groups": shown.groups,
            "meta": shown.meta,
            "all_outputs": played.outputs,
            "quantities": plays.names,
            "played": [name for name in request.players if name in played.collector.moments],
            "repeats": played.repeats,
            "coalitions": plays.coalitions,
            "loss": shown.meta["loss"],
            "paths": request.subject.paths,
        }
    )
    return header


# ---- local -----------------------------------------------------------------------------------------------------------


def _rows(
    model: Any, plan: StreamPlan, table: PartitionedTable, part: Part, folder: Path | None, kept: dict[str, Any]
) -> PartResult:
    """Explain every row of a part; the rows go to a file while they are made."""
    sums: ValueSums | None = None
    header: dict[str, Any] | None = None
    rows, gap = 0, 0.0
    name = f"{part_name(part.number)}.parquet"
    with _file(None if folder is None else folder / name, plan, part) as write:
        for batch in _chosen(plan, table, part):
            explanation = methods.get(plan.method)()(plan.request(model, table, batch, kept))
            own = ValueSums.of(explanation.values)
            sums = own if sums is None else sums.merge(own)
            gap = max(gap, float(explanation.meta.get(GAP) or 0.0))
            header = header or _row_header(explanation)
            write(local_table(explanation, batch.numbers, plan.form))
            rows += len(batch.numbers)
    if sums is None:
        return PartResult(part.number, 0)
    arrays = {"values/count": sums.count, "values/mean": sums.mean, "values/spread": sums.spread, GAP: np.array([gap])}
    return PartResult(part.number, rows, arrays, header, None if folder is None else name)


def _row_header(explanation: Explanation) -> dict[str, Any]:
    header: dict[str, Any] = plain(
        {
            "names": explanation.names,
            "modality": explanation.modality,
            "outputs": explanation.outputs,
            "level": explanation.level,
            "groups": explanation.groups,
            "meta": {name: value for name, value in explanation.meta.items() if name not in OF_ROWS},
        }
    )
    return header


@contextmanager
def _file(path: Path | None, plan: StreamPlan, part: Part) -> Iterator[Callable[[pa.Table], None]]:
    """Give a function that adds lines to a Parquet file, which takes its name when all of them are there.

    Where no line was added there is no file.
    """
    with ExitStack() as stack:
        opened: list[pq.ParquetWriter] = []

        def write(lines: pa.Table) -> None:
            if path is None:
                return
            if not opened:
                temporary = stack.enter_context(atomic_path(path))
                facts = json.dumps({"plan": plan.key, "part": part.number}).encode()
                schema = lines.schema.with_metadata({b"permgrad": facts})
                opened.append(stack.enter_context(pq.ParquetWriter(temporary, schema, compression="zstd")))
            opened[0].write_table(lines)

        yield write


def local_table(explanation: Explanation, numbers: Integers, form: str) -> pa.Table:
    """Return the rows of a local explanation as they are written.

    ``"tidy"``: the columns of ``Explanation.to_frame``. ``"wide"``: ``row, class, prediction, base`` and one column for
    each feature.
    """
    rows, names, outputs = explanation.values.shape
    if form == "wide":
        flat = explanation.values.transpose(0, 2, 1).reshape(-1, names)
        columns: dict[str, Any] = {
            "row": np.repeat(numbers, outputs),
            "class": _repeated(explanation.outputs, 1, rows),
            "prediction": _per_output(explanation.predictions, rows, outputs),
            "base": _per_output(explanation.base_values, rows, outputs),
        }
        columns |= {name: flat[:, place] for place, name in enumerate(explanation.names)}
        return pa.table(columns)
    size = explanation.values.size
    low, high = explanation.ci()
    undefined = np.full(size, np.nan)

    def numbers_of(values: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        return undefined if values is None else values.reshape(-1)

    columns = {
        "row": np.repeat(numbers, names * outputs),
        "feature": _repeated(explanation.names, outputs, rows),
        "modality": _repeated(explanation.modality, outputs, rows),
        "class": _repeated(explanation.outputs, 1, rows * names),
        "importance": explanation.values.reshape(-1),
        "std": numbers_of(explanation.std),
        "ci_low": low.reshape(-1),
        "ci_high": high.reshape(-1),
        "p_value": numbers_of(explanation.p_values),
        "p_adjusted": numbers_of(explanation.p_adjusted),
    }
    columns |= {name: part.reshape(-1) for name, part in explanation.parts.items()}
    return pa.table(columns)


def _repeated(names: tuple[str, ...], each: int, times: int) -> pa.DictionaryArray:
    """Return names as codes: each name ``each`` times, and all of that ``times`` times."""
    distinct = list(dict.fromkeys(names))
    codes = np.array([distinct.index(name) for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(np.tile(np.repeat(codes, each), times), pa.array(distinct, pa.string()))


def _per_output(values: npt.NDArray[Any] | None, rows: int, outputs: int) -> npt.NDArray[np.float64]:
    if values is None:
        return np.full(rows * outputs, np.nan)
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (rows, outputs)).reshape(-1)


def unpack_effects(sums: Arrays, header: dict[str, Any]) -> dict[str, SummedMoments]:
    """Return the sums of each player of a part."""
    return unpack(sums, header["played"], "effects")


def unpack_branches(sums: Arrays) -> dict[str, SummedMoments]:
    """Return the sums of whole branches of a part; empty where they were not played."""
    return unpack(sums, (BRANCHES,), BRANCHES)
