"""Explain rows in memory in parts by an engine: each worker has all rows, and explains
some parts.

For a loss game, whose donors may be the rows themselves, the sums over pairs are
merged, each receiver with the donors of its number in the complete table. Rows of a
local explanation are joined.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.parts.engines.engine import Engine, settle_model
from permgrad.attribution.replace.game import (
    Game,
    loss_scale,
    loss_value,
    receiver_classes,
    rounds,
)
from permgrad.attribution.replace.moments import PairMoments
from permgrad.attribution.replace.plays import Play, Plays
from permgrad.attribution.request import Configured, Request, name_of
from permgrad.attribution.subject.encoded import HybridSubject
from permgrad.base.arrays import Array
from permgrad.base.errors import InputError, keeping_warnings, warn_first
from permgrad.base.progress import Progress
from permgrad.base.sequences import values_at
from permgrad.models.devices import full_float32

#: Parts that the rows are cut into, and the fewest and most rows of a part.
_PARTS = 32
_FEWEST = 500
_MOST = 20_000


def spans(rows: int) -> list[slice]:
    """Cut rows into parts."""
    part_rows = min(_MOST, max(_FEWEST, -(-rows // _PARTS)))
    return [
        slice(start, min(start + part_rows, rows))
        for start in range(0, rows, part_rows)
    ]


def explain_on(engine: Engine, request: Request, method: Configured) -> Explanation:
    """Explain the rows of a request in parts, by a method with its options.

    ``InputError``: the model or the method does not work in parts.

    Args:
        engine: Runs the parts.
        request: The call.
        method: With its options.
    """
    if request.subject.model is None and not request.subject.travels:
        problem = (
            "engine= needs an estimator of permgrad or a predictor on a table, got a "
            f"{type(request.subject.module).__name__}"
        )
        raise InputError(problem, hint="Leave engine= out", code="PG006")
    if not request.scope.by_row:
        explanation = method(replace(request, engine=partial(_play_parts, engine)))
    else:
        if request.shared:
            problem = "engine= needs a separate background"
            raise InputError(
                problem, hint="Pass background=, or leave engine= out", code="PG006"
            )
        work = OnRows(request, name_of(method), method=method)
        explanation = join_rows(_run(engine, work, request.progress))
    return replace(explanation, meta={**explanation.meta, "engine": engine.facts})


class ExplainedPart(NamedTuple):
    """What is found out about some rows.

    Attributes:
        rows: Which ones.
        result: Their explanation, or the sums of a loss game.
        notes: Warnings to be passed on.
    """

    rows: slice
    result: Any
    notes: list[str]


class OnRows:
    """The work of each worker: the model, all rows, and how a part of them is
    explained. ``opened`` is not sent.
    """

    def __init__(
        self,
        request: Request,
        label: str,
        plays: Plays | None = None,
        steps: Mapping[range, list[Play]] | None = None,
        *,
        method: Configured | None = None,
    ) -> None:
        self.model = request.subject.model
        self.encoded = request.encoded
        self.background = (
            None if request.shared else request.donors[0].detach().cpu().numpy()
        )
        # What is not sent: tensors that show the same rows again, and the subject where
        # it is made anew of the model.
        subject: Any = request.subject.to_send() if request.subject.travels else None
        self.request = replace(
            request,
            subject=subject,
            engine=None,
            progress=False,
            inputs=(),
            donors=(),
            raw=None,
        )
        self.raw = request.raw if plays is None else None
        self.label = label
        self.method = method
        self.plays = plays
        self.steps = {} if steps is None else steps
        self.opened: tuple[Request, Game | None] | None = None

    @property
    def store_bytes(self) -> int:
        """Bytes of shared memory for the rows."""
        if self.background is None:
            background = 0
        else:
            background = self.background.nbytes
        if self.raw is None:
            raw_bytes = 0
        else:
            raw_bytes = int(self.raw.memory_usage(deep=True).sum())
        return self.encoded.nbytes + background + raw_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    def __call__(self, rows: slice) -> ExplainedPart:
        """Return a part, its explanation (or the sums of a loss game), and the warnings
        to be passed on.
        """
        with full_float32(), keeping_warnings() as notes:
            request, loss_game = self.opened = self.opened or self._open()
            return ExplainedPart(
                rows,
                self._explained(request, rows)
                if loss_game is None
                else self._played(request, loss_game, rows),
                notes,
            )

    def _open(self) -> tuple[Request, Game | None]:
        subject = self.request.subject
        if subject is None:
            settle_model(self.model)
            subject = HybridSubject(self.model)
        # Arrays in shared memory cannot be written to, which PyTorch warns of.
        inputs = (torch.from_numpy(np.array(self.encoded)),)
        if self.background is None:
            donors = inputs
        else:
            donors = (torch.from_numpy(np.array(self.background)),)
        request = replace(
            self.request, subject=subject, inputs=inputs, donors=donors, raw=self.raw
        )
        plays = self.plays
        if plays is None:
            return request, None
        return request, Game(
            request, loss_value(request), plays.fixed, joint=plays.joint
        )

    def _explained(self, request: Request, rows: slice) -> Explanation:
        y = request.y
        weight = request.sample_weight
        offset = request.row_offset
        part_request = replace(
            request,
            raw=None
            if self.raw is None
            else self.raw.iloc[rows].reset_index(drop=True),
            y=None if y is None else y[rows],
            sample_weight=None if weight is None else weight[rows],
            units=None
            if request.units is None
            else replace(request.units, codes=request.units.codes[rows]),
            inputs=(request.inputs[0][rows],),
            row_offset=offset + rows.start,
            started=time.perf_counter(),
        )
        assert self.method is not None, "rows are explained by a method"
        return self.method(part_request)

    def _played(
        self, request: Request, game: Game, rows: slice
    ) -> dict[str, dict[str, Any]]:
        """Return the sums of every player over the pairs of a part's receivers."""
        assert self.plays is not None
        if request.y is None:
            y = None
        else:
            y = request.y[rows]
        classes, count = receiver_classes(
            replace(request, y=y), game.back_end.explained(rows)
        )
        if classes is not None:
            everywhere = np.zeros(request.count, dtype=np.int64)
            everywhere[rows] = classes
            classes = everywhere
        game.moments = {}
        game.classes = classes
        game.class_count = count
        with Progress(0, "part", mode=False) as progress:
            for numbers, step_plays in self.steps.items():
                game.play(step_plays, numbers, game.add, progress, rows)
        played: dict[str, dict[str, Any]] = {}
        for player_name, moments in game.moments.items():
            played[player_name] = packed(moments)
        return played


def _run(engine: Engine, work: OnRows, mode: Any) -> list[Any]:
    """Return the parts' results in the order of the rows.

    Repeat their warnings once.
    """
    results: dict[int, Any] = {}
    notes: list[str] = []
    row_slices = spans(len(work.encoded))
    with Progress(len(work.encoded), work.label, mode) as progress:
        for row_slice, result, warned in engine.run(row_slices, work):
            results[row_slice.start] = result
            notes += warned
            progress.advance(row_slice.stop - row_slice.start)
    warn_first(notes, "In a part of the rows: " if len(row_slices) > 1 else "")
    return [results[part_slice.start] for part_slice in row_slices]


def _play_parts(engine: Engine, request: Request, plays: Plays, label: str) -> Game:
    """Play a loss game for all players in parts, as ``play_losses`` does in one
    piece.
    """
    loss_game = Game(request, loss_value(request), plays.fixed, joint=plays.joint)
    loss_game.loss_scale = loss_scale(request)
    moments = loss_game.moments
    for steps in rounds(request, plays, loss_game):
        # Merged in the order of the rows, so that the last digits do not depend on who
        # was first.
        for result in _run(
            engine, OnRows(request, label, plays, steps), request.progress
        ):
            for player_name, arrays in result.items():
                part_moments = unpacked(arrays)
                part_moments.units = request.units
                if player_name in moments:
                    moments[player_name] = moments[player_name].merge(part_moments)
                else:
                    moments[player_name] = part_moments
    loss_game.back_end.evaluations = (
        sum(loss_game.repeats.values()) * request.count * plays.coalitions
    )
    return loss_game


def packed(moments: PairMoments) -> dict[str, Any]:
    """Return the sums of a part's pairs without the rows and donors that are in none,
    which have zeros.
    """
    sparse: dict[str, Any] = {}
    for array_name, array in moments.to_arrays().items():
        nonzero_positions = np.flatnonzero(array)
        sparse[array_name] = (
            array.shape,
            nonzero_positions,
            array.flat[nonzero_positions],
        )
    return sparse


def unpacked(arrays: dict[str, Any]) -> PairMoments:
    """Return the moments from the arrays of ``packed``."""
    full_arrays: dict[str, Array] = {}
    for array_name, (shape, nonzero_positions, values) in arrays.items():
        full_arrays[array_name] = np.zeros(shape, dtype=values.dtype)
        full_arrays[array_name].flat[nonzero_positions] = values
    return PairMoments.from_arrays(full_arrays)


# ---- local ---------------------------------------------------------------------------

#: Fields of a local explanation with one entry for each row.
_BY_ROW = ("values", "std_error", "low", "high", "p_values", "predictions")


def join_rows(part_explanations: Sequence[Explanation]) -> Explanation:
    """Join local explanations of neighbouring rows."""
    first = part_explanations[0]
    weights = []
    for part_explanation in part_explanations:
        weights.append(float(len(part_explanation.values)))
    fields: dict[str, Any] = {}
    for field_name in _BY_ROW:
        arrays = []
        for part_explanation in part_explanations:
            arrays.append(getattr(part_explanation, field_name))
        fields[field_name] = None if arrays[0] is None else np.concatenate(arrays)
    for field_name in ("parts", "part_std", "maps"):
        mappings = []
        for part_explanation in part_explanations:
            mappings.append(getattr(part_explanation, field_name))
        fields[field_name] = {
            array_key: np.concatenate([mapping[array_key] for mapping in mappings])
            for array_key in mappings[0]
        }
    if first.base_values is not None:
        bases = []
        for part_explanation in part_explanations:
            bases.append(np.asarray(part_explanation.base_values))
        by_row = bases[0].ndim == 2
        fields["base_values"] = (
            np.concatenate(bases)
            if by_row
            else np.average(bases, axis=0, weights=weights)
        )
    if first.feature_values is not None:
        fields["feature_values"] = pd.concat(
            [part_explanation.feature_values for part_explanation in part_explanations],
            ignore_index=True,
        )
    joined_meta = {}
    for fact_name in first.meta:
        joined_meta[fact_name] = join_fact(
            fact_name,
            [
                part_explanation.meta.get(fact_name)
                for part_explanation in part_explanations
            ],
            weights,
        )
    return replace(first, **fields, meta=joined_meta)


#: Facts about rows that add up over parts, that are averaged over rows, and of which
#: the largest counts.
_SUMMED = {
    "rows_explained",
    "seconds",
    "model_rows",
    "gradient_evaluations",
    "empty_maps",
}
_AVERAGED = {"mean_steps", "mean_permutations", "local_r2_mean", "background_share"}
_LARGEST = {"completeness_gap", "quadrature_error", "steps", "permutations"}
#: Facts that are a list with one entry for each row.
_LISTED = {"local_r2", "sample_weight", "row_groups", "row_time"}


def join_fact(name: str, values: Sequence[Any], weights: Sequence[float]) -> Any:
    """Return one entry of ``meta``, merged from several parts."""
    first = values[0]
    if name in _LISTED:
        return list(chain.from_iterable(values))
    if name not in _SUMMED | _AVERAGED | _LARGEST:
        return first
    if isinstance(first, dict):
        return {
            fact_key: join_fact(name, [value[fact_key] for value in values], weights)
            for fact_key in first
        }
    numbers = {}
    for part_index, value in enumerate(values):
        if value is not None:
            numbers[part_index] = value
    if not numbers:
        return None
    if name in _AVERAGED:
        total = sum(values_at(weights, numbers))
        return (
            sum(value * weights[part_index] for part_index, value in numbers.items())
            / total
        )
    return sum(numbers.values()) if name in _SUMMED else max(numbers.values())
