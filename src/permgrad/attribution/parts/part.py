"""``explain_part``: the contribution of one part of a table to its explanation, the
same in any process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation_files import OF_ROWS
from permgrad.attribution.explanation.explanation_frames import frame_numbers
from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.parts.folder import part_name, written_lines
from permgrad.attribution.parts.plan import StreamPlan
from permgrad.attribution.parts.sums import (
    BRANCHES,
    EFFECTS,
    RowSums,
    SummedMoments,
    Sums,
    merge_sums,
)
from permgrad.attribution.replace.branch_weights import branch_moments, weigh_branches
from permgrad.attribution.replace.game import global_explanation, play_losses, tabulate
from permgrad.attribution.replace.moments import further_repeats
from permgrad.attribution.replace.plays import LossGame, loss_game
from permgrad.attribution.request import Request
from permgrad.attribution.request.arguments import REPEATS
from permgrad.attribution.request.result import by_quantity
from permgrad.attribution.scopes import GLOBAL, levels
from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError, keeping_warnings, warn_first
from permgrad.base.files import plain
from permgrad.base.sequences import values_at
from permgrad.data.partitions import Part, PartitionedTable
from permgrad.models.batches import sparing, with_fewer
from permgrad.models.devices import full_float32

#: Name of the largest gap of completeness among an explanation's facts.
GAP = "completeness_gap"
#: Messages kept of the warnings of one part.
_WARNINGS = 5


@dataclass(frozen=True)
class PartResult:
    """The result of one part of an explanation: its number, and how many of its rows
    were explained.

    ``sums`` merge, and their size does not depend on the rows. ``header`` holds all
    other content of an explanation, the same for all parts (None if no row was
    explained). ``file`` holds local explanations. ``gap`` is the largest gap of
    completeness. ``warnings`` are some of those that were raised.
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
    table_part: Part,
    *,
    folder: Path | None = None,
    fitted_models: dict[str, Any] | None = None,
) -> PartResult:
    """Explain the rows of one part in batches.

    Local explanations go to a file in ``folder``, if there is one.

    ``fitted_models`` holds models fitted on the background for other parts. It changes
    no number.
    """
    started = time.perf_counter()
    if plan.is_local:
        played_game = None
    else:
        played_game = loss_game(plan.arguments.method)
    if folder is None:
        part_path = None
    else:
        part_path = folder / f"{part_name(table_part.number)}.parquet"
    if fitted_models is None:
        fitted_models = {}

    def work(batch_rows: int) -> PartResult:
        result = PartResult(table_part.number, 0)
        batches = replace(plan, batch_rows=batch_rows)
        with written_lines(
            part_path, {"plan": plan.key, "part": table_part.number}
        ) as write:
            for batch in batches.chosen(table, table_part):
                request = plan.request(model, table, batch, fitted_models)
                batch_gap = 0.0
                if played_game is not None:
                    batch_sums, header = _play(plan, played_game, request)
                else:
                    explanation = plan.arguments.method(request)
                    batch_sums = {"values": RowSums.of(np.abs(explanation.values))}
                    header = _header(explanation)
                    batch_gap = float(explanation.meta.get(GAP) or 0.0)
                    write(local_table(explanation, batch.numbers))
                result = replace(
                    result,
                    rows=result.rows + len(batch),
                    sums=merge_sums(result.sums, batch_sums),
                    header=result.header or header,
                    file=None if part_path is None else part_path.name,
                    gap=max(result.gap, batch_gap),
                )
        return result

    with sparing(), full_float32(), keeping_warnings() as notes:
        # Rows are read and encoded before a method can take fewer of them at a time.
        result = with_fewer(plan.batch_rows, work)
    return replace(
        result,
        warnings=tuple(dict.fromkeys(notes))[:_WARNINGS],
        seconds=time.perf_counter() - started,
    )


def _header(explanation: Explanation, **further: Any) -> dict[str, Any]:
    """Return the content of a part's explanation without its numbers, as JSON."""
    return plain(
        {
            "names": explanation.names,
            "modality": explanation.modality,
            "outputs": explanation.outputs,
            "level": explanation.level,
            "groups": explanation.groups,
            "meta": {
                fact_name: fact_value
                for fact_name, fact_value in explanation.meta.items()
                if fact_name not in OF_ROWS
            },
            **further,
        }
    )


def _play(
    plan: StreamPlan, game: LossGame, request: Request
) -> tuple[Sums, dict[str, Any]]:
    """Play a loss game over some rows. Return its sums and the header."""
    request, plays = game.game(request)
    goals = plan.goals
    first = plan.goals is None
    if request.automatic and first:
        goals = {}
        for play in plays.plays:
            for player_name in play.names:
                goals[player_name] = plan.first
    played = play_losses(request, plays, plan.method, goals)
    names = []
    for player_name in request.space.columns:
        if player_name in played.moments:
            names.append(player_name)
    part_sums: Sums
    if names:
        part_sums = {EFFECTS: SummedMoments.of(values_at(played.moments, names))}
    else:
        part_sums = {}
    engine = played.engine
    weighs = (
        getattr(plan.arguments.method, "branches", False)
        and len(request.subject.paths) > 1
    )
    if engine is not None and weighs and first:
        part_sums[BRANCHES] = SummedMoments.of([branch_moments(played)])
    if request.y is not None and first:
        part_sums["target"] = RowSums.of_targets(
            request.y, len(request.subject.outputs.class_names), request.sample_weight
        )
    outputs = ("all", *request.subject.outputs.class_names)
    missing = np.full(
        (5, len(request.space.columns), len(outputs), len(plays.names)), np.nan
    )
    shown = global_explanation(plan.method, request, plays, played, missing)
    return part_sums, _header(
        shown,
        all_outputs=outputs,
        quantities=plays.names,
        played=names,
        repeats=played.repeats,
        coalitions=plays.coalitions,
        loss=shown.meta["loss"],
        paths=request.subject.paths,
    )


def local_table(explanation: Explanation, numbers: Integers) -> pa.Table:
    """Return the rows of a local explanation as they are written: as ``to_frame``."""
    row_count, names, outputs = explanation.values.shape
    columns: dict[str, Any] = {
        "row": np.repeat(numbers, names * outputs),
        "feature": _repeated(explanation.names, outputs, row_count),
        "modality": _repeated(explanation.modality, outputs, row_count),
        "class": _repeated(explanation.outputs, 1, row_count * names),
    }
    return pa.table(columns | frame_numbers(explanation))


def _repeated(
    names: tuple[str, ...], repeats_each: int, times: int
) -> pa.DictionaryArray:
    """Return names as codes: each name ``repeats_each`` times, and all of that
    ``times`` times.
    """
    distinct = list(dict.fromkeys(names))
    codes = np.array(list(map(distinct.index, names)), dtype=np.int32)
    return pa.DictionaryArray.from_arrays(
        np.tile(np.repeat(codes, repeats_each), times), pa.array(distinct, pa.string())
    )


# ---- all parts -----------------------------------------------------------------------
@dataclass(frozen=True)
class Merged:
    """The sums of all parts: ``total`` as if they were one, how many they are, and the
    first part with each warning.
    """

    total: PartResult
    parts: int
    notes: Mapping[str, int]

    @classmethod
    def of(cls, results: Iterable[PartResult]) -> Merged:
        """Merge parts in any order up to rounding, with one part in memory at a
        time.
        """
        total = PartResult(-1, 0)
        part_count = 0
        notes = dict[str, int]()
        for result in results:
            part_count += 1
            for warning_text in result.warnings:
                notes.setdefault(warning_text, result.number)
            total = PartResult(
                -1,
                total.rows + result.rows,
                merge_sums(total.sums, result.sums),
                total.header or result.header,
                gap=max(total.gap, result.gap),
                seconds=total.seconds + result.seconds,
            )
        return cls(total, part_count, notes)

    def players(self) -> dict[str, SummedMoments]:
        """Return the sums of each player that was played."""
        effects: Any = self.total.sums.get(EFFECTS)
        return {
            player_name: effects.player(player_index)
            for player_index, player_name in enumerate(self.total.header["played"])  # type: ignore[index]
        }

    def goals(self, plan: StreamPlan) -> dict[str, int]:
        """Return the donors a row of features for which more than were drawn pay."""
        header = self.total.header
        if header is None or plan.is_local or header["meta"]["n_repeats"] != "auto":
            return {}
        player_sums = {}
        for player_name, player_moments in self.players().items():
            player_sums[player_name] = (
                int(header["repeats"][player_name]),
                player_moments,
            )
        return further_repeats(
            player_sums, REPEATS, float(header["meta"]["confidence"])
        )

    def refined(self, further: Merged) -> Merged:
        """Return the sums with those of some players in the place of theirs by fewer
        donors.
        """
        header = self.total.header
        further_header = further.total.header
        assert header is not None, "rows were explained"
        assert further_header is not None, "they were explained again"
        players = self.players() | further.players()
        refined_sums = {
            **self.total.sums,
            EFFECTS: SummedMoments.stacked(values_at(players, header["played"])),
        }
        repeats = header["repeats"] | {
            player_name: further_header["repeats"][player_name]
            for player_name in further_header["played"]
        }
        total = replace(
            self.total, sums=refined_sums, header={**header, "repeats": repeats}
        )
        return replace(
            self, total=replace(total, seconds=total.seconds + further.total.seconds)
        )


def merge(plan: StreamPlan, merged: Merged) -> Explanation:
    """Return the explanation of all parts."""
    total = merged.total
    notes = merged.notes
    weight = plan.arguments.sample_weight
    if total.header is None and weight is None:
        raise InputError(
            "No part of the table has a row", hint="Check the table", code="PG013"
        )
    if total.header is None:
        drawn, remedy = (
            ("drawn", "Draw more rows")
            if plan.sample is not None
            else ("explained", "Name another column")
        )
        problem = f"sample_weight {weight!r} is 0 in every row {drawn}"
        raise InputError(problem, hint=f"{remedy}, or leave it out", code="PG020")
    warn_first(notes, f"In part {next(iter(notes.values()), 0)} of the table: ")
    facts = {
        "parts": merged.parts,
        "sample": plan.sample,
        "table": plan.table,
        "key": plan.key,
    }
    about = {"rows_explained": total.rows, "seconds": total.seconds, "streamed": facts}
    if not plan.is_local:
        about |= {"repeats": total.header["repeats"]}
    header = {**total.header, "meta": {**total.header["meta"], **about}}
    if plan.is_local:
        shown = _of_rows(total, header)
    else:
        shown = _of_losses(total, header)
    return Explanation(
        names=tuple(header["names"]),
        modality=tuple(header["modality"]),
        outputs=tuple(header["outputs"]),
        method=plan.method,
        scope=GLOBAL,
        level=levels.get(header["level"]),
        groups=header["groups"],
        **shown,
    )


def _of_losses(total: PartResult, header: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an explanation that hold the numbers of a loss game."""
    outputs = tuple(header["all_outputs"])
    quantities = header["quantities"]
    confidence = header["meta"]["confidence"]
    effects: Any = total.sums.get(EFFECTS)
    moments = {}
    for player_index, player_name in enumerate(header["played"]):
        moments[player_name] = effects.player(player_index)
    repeats = {}
    for feature_name in header["names"]:
        repeats[feature_name] = header["repeats"][feature_name]
    tables = tabulate(repeats, moments, len(outputs), len(quantities), confidence)
    # The first output stands for all rows. A class may have its name.
    columns = [
        0,
        *(1 + outputs[1:].index(output_name) for output_name in header["outputs"][1:]),
    ]
    target: Any = total.sums.get("target")
    branches: Any = total.sums.get(BRANCHES)
    if branches is not None:
        if target is None:
            quantity = "divergence"
        else:
            quantity = "loss"
        branches = weigh_branches(
            branches.player(0), header["paths"], confidence, quantity
        )
    return {
        **by_quantity(quantities, *(table[:, columns] for table in tables)),
        "branches": branches,
        "meta": header["meta"]
        | {
            "loss_scale": float("nan")
            if target is None
            else target.scale(header["loss"]),
            "model_rows": sum(header["repeats"].values())
            * total.rows
            * header["coalitions"],
        },
    }


def _of_rows(total: PartResult, header: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the summary over rows that
    ``Explanation.to_global("mean_abs")`` gives.
    """
    values: Any = total.sums["values"]
    lower_bounds, upper_bounds, p_values = interval(
        values.mean, values.std(), total.rows, float(header["meta"]["confidence"])
    )
    summary_meta = header["meta"] | {
        "summary": "mean_abs",
        "rows_summarised": total.rows,
    }
    return {
        "values": values.mean,
        "std_error": values.std(),
        # A mean of absolute values is not below 0, whatever its error.
        "low": np.maximum(lower_bounds, 0.0),
        "high": upper_bounds,
        "p_values": p_values,
        "meta": summary_meta | ({GAP: total.gap} if GAP in summary_meta else {}),
    }
