"""Accumulated local effects (ALE): how the output changes along a column, over rows
that have such values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, combinations, product
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import independent, shared_errors
from permgrad.attribution.method.ale_effects import (
    Axis,
    Curve,
    Sampled,
    accumulated,
    make_axes,
    read_columns,
)
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.request import Configured, Request, Scope, methods, setting
from permgrad.attribution.request.related_rows import tell_of_dependence
from permgrad.attribution.request.result import build, named, output_unit
from permgrad.attribution.scopes import GLOBAL
from permgrad.attribution.subject.scales import LOGIT, Scale
from permgrad.attribution.subject.soundness import settle
from permgrad.attribution.subject.subject import numbers_by_row
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_choice, check_whole
from permgrad.base.errors import InputError, listed, shown, warn_user
from permgrad.base.sequences import values_at

#: Most bins along each axis of a pair, and most pairs.
_BINS_OF_PAIRS = 10
_MOST_PAIRS = 300
#: Roundings that may be left where a column has no effect, or where those of two
#: columns add up.
_ROUNDING = 16

Pair = tuple[int, ...]


@methods.register("ale")
class Ale(Configured):
    """How the mean output changes along a column, added up from small changes of rows
    that have such values.

    Setting a column to one value in all rows makes rows that do not exist where columns
    are correlated. Here a row is moved only over the bin in which its own value lies,
    so that predictions stay where the data are. The mean changes of the bins are added
    up, and the curve is centred. ``explanation.effects()`` is a frame of changes with
    intervals, with ``curves=True`` of all points, and ``explanation.plot.direction()``
    draws them.

    The importance of a column is the standard deviation of its curve over the rows, in
    units of the output, less what chance adds to it. It is 0 where effects of opposite
    signs cancel: these show in ``pairs``. Neither y nor a background is used.

    Levels without an order are ordered by how alike the other columns of their rows
    are. Missing cells and rare levels stay as they are, and are counted in
    ``meta["left_out"]``. Players of several columns or pixels get NaN.

    Options:
        bins: most bins of a number, cut at its quantiles.
        pairs: ``"all"``, or pairs such as ``[("age", "income")]``, that follow the
            columns: what two columns do only together (second-order ALE). None: none.

    A bin or a level has at least 10 rows (where rows are few, a level needs one in
    eight of them).

    Source: Apley & Zhu (2020). NOTE[DIFF]: curves are centred over the rows at their
    own values. The R package takes the middle of each row's bin, by which a long tail
    moves the curve. Single numbers with few values are levels too.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(500, 3))
        >>> explanation = pg.explain(
        ...     lambda rows: rows @ [2.0, 1.0, 0.0], X, method="ale", progress=False
        ... )
        >>> explanation.values[:, 0].round(1).tolist(), len(explanation.effects())
        ([2.0, 1.0, 0.0], 3)
    """

    scopes: ClassVar[tuple[Scope, ...]] = (GLOBAL,)
    scales: ClassVar[Mapping[Scope, Scale]] = {GLOBAL: LOGIT}
    bins: int = 40
    pairs: Literal["all"] | Iterable[Sequence[str]] | None = None
    least_rows: int = setting(default=10)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        pairs = _pairs(request, self.pairs)
        bin_count = check_whole("bins", self.bins, "Pass for example 10.")
        least = check_whole("least_rows", self.least_rows, "Pass for example 10.")
        columns = read_columns(request)
        _refuse_no_columns(request, columns)
        weights = request.sample_weight
        if weights is None:
            weights = np.ones(request.count)
        sampled = Sampled(weights, request.units, request.confidence)
        singles = make_axes(columns, columns, sampled, bin_count, least)
        fewer = max(
            1, min(bin_count, _BINS_OF_PAIRS, int((request.count / least) ** 0.5))
        )
        coarse = make_axes(
            set(chain.from_iterable(pairs)) & set(singles),
            columns,
            sampled,
            fewer,
            least,
        )
        work = _curves_to_measure(singles, coarse, pairs)
        coalition_game = Blend(request)
        curves = dict[Pair, Curve]()
        with (
            request.bar(len(work), "ale") as progress,
            request.subject.open(),
        ):
            if request.y is not None:
                tell_of_dependence(request, coalition_game.base())
            for players, pair_axes in work.items():
                curves[players] = accumulated(
                    pair_axes, *_moved(coalition_game, players, pair_axes), sampled
                )
                progress.advance(1)
        _tell_of_without(request, columns, singles)
        facts: dict[str, Any] = {
            "quantity": "standard deviation of the accumulated local effect",
            "unit": output_unit(request),
            "direction_label": "local effect",
            "model_rows": coalition_game.evaluations,
            "left_out": _left_out(singles),
        }
        if pairs:
            facts["interactions"] = {
                "order": 2,
                "kind": "output",
                "index": "ALE",
                "candidates": len(pairs),
            }
        return build(
            request,
            "ale",
            facts=facts,
            **_fields(request, pairs, curves, work, sampled),
        )


def _pairs(request: Request, requested_pairs: Any) -> list[Pair]:
    """Return the pairs of players that are asked for."""
    names = request.space.names
    if requested_pairs is None:
        return []
    pairs: list[Pair] = list(combinations(range(len(names)), 2))
    if not (isinstance(requested_pairs, str) and requested_pairs == "all"):
        if isinstance(requested_pairs, (list, tuple)):
            pair_list = list(requested_pairs)
        else:
            pair_list = [requested_pairs]
        if not all(
            isinstance(player_pair, (list, tuple))
            and len({*map(str, player_pair)}) == len(player_pair) == 2
            for player_pair in pair_list
        ):
            hint = f"Pass {as_typed(Ale, pairs=[tuple(names[:2])])}."
            raise InputError(
                f"pairs must be a list of two names each, got {shown(requested_pairs)}",
                hint=hint,
                code="PG001",
            )
        for feature_name in chain.from_iterable(pair_list):
            check_choice("feature", feature_name, names)
        selected_pairs = set()
        for player_pair in pair_list:
            selected_pairs.add(tuple(sorted(set(map(names.index, player_pair)))))
        pairs = [player_pair for player_pair in pairs if player_pair in selected_pairs]
    if len(pairs) > _MOST_PAIRS:
        raise InputError(
            f"ale computes at most {_MOST_PAIRS} pairs, and {len(names)} features have "
            f"{len(pairs):,}",
            hint="Pass those that you want, such as "
            f"{as_typed(Ale, pairs=[tuple(names[:2])])}.",
            code="PG002",
        )
    return pairs


class _Moves(NamedTuple):
    """Moves of rows over steps of axes.

    Attributes:
        rows: The row of each, ``(moves,)``.
        steps: For each axis the step, ``(moves,)``.
        effects: The difference of the outputs over it, ``(moves, outputs)``.
    """

    rows: Integers
    steps: list[Integers]
    effects: Floats


def _moved(game: Blend, players: Pair, axes: Sequence[Axis]) -> _Moves:
    """Return moves: the row, the step of each axis, and the difference of the outputs
    over it ``(moves, outputs)``.

    Of two axes it is the second difference. A row at a point is predicted once.
    """
    request = game.request
    step_choices = np.meshgrid(
        *(np.arange(axis.steps.shape[1]) for axis in axes), indexing="ij"
    )
    axis_steps = [
        axis.steps[:, step_choice.ravel()]
        for axis, step_choice in zip(axes, step_choices, strict=True)
    ]  # (rows, moves of a row)
    moved_rows, which = np.nonzero(np.all(np.array(axis_steps) >= 0, axis=0))
    steps = [row_steps[moved_rows, which] for row_steps in axis_steps]
    if not len(moved_rows):
        return _Moves(moved_rows, steps, np.zeros((0, len(request.targets))))
    outputs = _at_corners(game, players, axes, moved_rows, steps)
    of_targets = []
    for raw_outputs in outputs:
        scaled = request.scale.read(request.subject.outputs, raw_outputs)
        of_targets.append(scaled[:, list(request.targets)].cpu().double().numpy())
    point_values = np.array(of_targets)
    effects = point_values
    for _ in axes:
        effects = effects[len(effects) // 2 :] - effects[: len(effects) // 2]
    # Small effects add up, so that they are rounding only if those of all rows are.
    rounding = (
        _ROUNDING * torch.finfo(outputs[0].dtype).eps * np.abs(point_values).sum(axis=0)
    )
    quiet = (np.abs(effects[0]) <= rounding).all(axis=0)
    output_pairs = zip(outputs, outputs[len(outputs) // 2 :], strict=False)
    quiet |= all(
        torch.equal(settle(lower_outputs, upper_outputs, game.noise), upper_outputs)
        for lower_outputs, upper_outputs in output_pairs
    )
    return _Moves(moved_rows, steps, np.where(quiet, 0.0, effects[0]))


def _at_corners(
    game: Blend,
    players: Pair,
    axes: Sequence[Axis],
    rows: Integers,
    steps: Sequence[Integers],
) -> list[Tensor]:
    """Return the outputs of rows at both ends of their steps, ``(moves, outputs)`` for
    each corner, the last axis first.
    """
    shape = [len(axis.points) for axis in axes]
    count = int(np.prod(shape))
    codes = []
    for corner in product((0, 1), repeat=len(axes)):
        ends = [
            axis_steps + corner_offset
            for axis_steps, corner_offset in zip(steps, corner, strict=True)
        ]
        codes.append(rows * count + np.ravel_multi_index(ends, shape))
    unique_codes, code_indices = np.unique(np.concatenate(codes), return_inverse=True)
    predictions = game.predict_one(
        unique_codes // count,
        unique_codes % count,
        np.isin(np.arange(len(game.request.space)), players),
        _lent(game.request, players, axes),
    )
    in_order = predictions[torch.from_numpy(code_indices).to(predictions.device)]
    return list(in_order.chunk(len(codes)))


def _lent(request: Request, players: Pair, axes: Sequence[Axis]) -> list[Tensor]:
    """Return rows that have the values of each point, or of each pair of points, of the
    inputs.
    """
    lenders = np.meshgrid(*(axis.donors for axis in axes), indexing="ij")
    points = []
    for tensor, segments in zip(request.inputs, request.space.segments, strict=True):
        lent_rows = []
        for lender in lenders:
            lent_rows.append(
                numbers_by_row(tensor)[
                    torch.from_numpy(lender.ravel()).to(tensor.device)
                ]
            )
        player_positions = (
            (segments.reshape(-1) == players[-1]).nonzero().flatten().to(tensor.device)
        )
        lent_rows[0][:, player_positions] = lent_rows[-1][:, player_positions]
        points.append(lent_rows[0].reshape(-1, *tensor.shape[1:]))
    return points


def _fields(
    request: Request,
    pairs: list[Pair],
    curves: dict[Pair, Curve],
    axes: dict[Pair, list[Axis]],
    sampled: Sampled,
) -> dict[str, Any]:
    """Return the fields of the explanation of curves and surfaces."""
    members: list[Pair] = [*((player,) for player in range(len(request.space))), *pairs]
    fields: dict[str, Any]
    if pairs:
        fields = named(request, members)
    else:
        fields = {}
    names = fields.get("names", request.space.names)
    unknown = np.full((5, len(request.targets)), np.nan)
    numbers = np.stack(
        [
            curves[player_set].importance if player_set in curves else unknown
            for player_set in members
        ],
        axis=1,
    )
    fields |= zip(
        ("values", "std_error", "low", "high", "p_values"), numbers, strict=True
    )
    nothing = np.zeros((len(request.targets), request.count))
    scores = []
    for player_set in members[: len(request.space)]:
        if player_set in curves:
            scores.append(curves[player_set].scores)
        else:
            scores.append(nothing)
    every = np.array(scores).swapaxes(0, 1)
    if request.units is None:
        apart = list(every)
    else:
        apart = [independent(output_scores, request.units) for output_scores in every]
    fields["correlation"] = shared_errors(
        len(scores), range(len(every)), lambda of: apart[0 if of is None else of + 1]
    )
    direction = {}
    for name, member_set in zip(names, members, strict=True):
        if member_set in curves:
            direction[name] = _effects_of(
                curves[member_set], axes[member_set], output_unit(request), sampled
            )
    return {**fields, "direction": direction}


def _effects_of(
    curve: Curve, axes: Sequence[Axis], unit: str, sampled: Sampled
) -> dict[str, Any]:
    """Return the points of a curve or surface, and its effects there. A curve has its
    changes, too.
    """
    names = ("mean", "std_error", "low", "high")
    effects = dict(zip(names, curve.effects.tolist(), strict=True))
    points = list(map(_points, axes))
    if len(points) == 1:
        compared = axes[0].compared(sampled)
        changes = compared.entry(curve.changes, unit, sampled.units)
        return {**points[0], **effects, "changes": changes}
    return {"kind": "pair", "axes": points, **effects}


def _refuse_no_columns(request: Request, columns: Mapping[int, Any]) -> None:
    """Refuse players none of which is a column, and a single row."""
    if not columns:
        raise InputError(
            "ale needs features that are single columns of a table, and here none is",
            hint="Leave groups and segments out, or choose method='permutation'.",
            code="PG004",
        )
    if request.count < 2:
        raise InputError(
            "ale follows the prediction along the values of a column, "
            "which one row does not have",
            hint="Pass more rows, or choose method='shapley' for single rows.",
            code="PG007",
        )


def _tell_of_without(
    request: Request, columns: Collection[int], singles: Collection[int]
) -> None:
    """Warn of players that have no accumulated local effects, and say why."""
    without = []
    rare = []
    for player, name in enumerate(request.space.names):
        if player not in columns:
            without.append(name)
        elif player not in singles:
            rare.append(name)
    if rare:
        warn_user(
            "These have no value that enough rows have, and no accumulated local "
            f"effects: {listed(rare, 8)}",
            "Their importance is NaN. Choose method='permutation' for them.",
        )
    if without:
        warn_user(
            "These are not one column with values, and have no accumulated local "
            f"effects: {listed(without, 8)}",
            "Their importance is NaN. Choose method='permutation' for them.",
        )


def _points(axis: Axis) -> dict[str, Any]:
    """Return the points of an axis, and how many rows are nearest to each."""
    numeric = not (axis.levels or axis.column.dates or axis.column.words)
    nearest = np.rint(axis.positions[np.isfinite(axis.positions)]).astype(np.int64)
    return {
        "kind": "numeric" if numeric else "levels",
        "at": axis.points.tolist() if numeric else list(range(len(axis.points))),
        "label": list(map(axis.column.written, axis.points)),
        "levels": len(axis.points),
        "rows": np.bincount(nearest, minlength=len(axis.points)).tolist(),
    }


def _curves_to_measure(
    singles: Mapping[int, Axis], coarse: Mapping[int, Axis], pairs: Iterable[Pair]
) -> dict[Pair, list[Axis]]:
    """Return the axes of each curve and of each surface."""
    work: dict[Pair, list[Axis]] = {}
    for player, axis in singles.items():
        work[(player,)] = [axis]
    for pair in pairs:
        if set(pair) <= set(coarse):
            work[pair] = values_at(coarse, pair)
    return work


def _left_out(singles: Mapping[int, Axis]) -> dict[str, Any]:
    """Return how many rows each curve leaves out, if any."""
    left_out: dict[str, Any] = {}
    for axis in singles.values():
        if any(axis.left_out.values()):
            left_out[axis.column.name] = axis.left_out
    return left_out
