"""Interactions of the loss: what replacing several players at once does beyond
replacing fewer of them.

With Δ_S the growth of the loss when the players S come from the donor row, the
interaction of a pair is ``Δ_ij − Δ_i − Δ_j``, and that of a larger set the Möbius
transform of Δ. All sets meet the same donors. The interaction is 0 for players whose
effects add up. Of squared errors it is also 0 if the model is a sum of functions of
independent features. It is negative where players work together (without one, the other
is worth little), and positive where one can stand in for the other. Errors, intervals
and p-values are those of all other effects (``PairMoments``).

With many players a pilot on a few rows looks at all pairs. Those that could be largest
are then measured on all rows.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.replace.game import Game, loss_value, receiver_classes
from permgrad.attribution.replace.moments import PairMoments, estimated
from permgrad.attribution.replace.plays import Play, Plays
from permgrad.attribution.request import PairedMethod, Request
from permgrad.attribution.request.request import RowNumbers
from permgrad.attribution.request.result import named, shown_outputs
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.errors import Fault, refusing
from permgrad.base.progress import Progress
from permgrad.base.sequences import values_at
from permgrad.base.significance import t_quantile
from permgrad.models.losses import TargetRows

Members = tuple[int, ...]
#: Most predictions for interactions without a pilot, of the pilot, and for the pairs
#: that it chooses.
_ALL = 4_000_000
_PILOT = 1_000_000
_CHOSEN = 1_000_000
#: Least rows of a pilot and least pairs that it chooses. Most sets of three or more
#: players.
_LEAST_ROWS = 100
_LEAST_PAIRS = 50
_MOST_SETS = 5000
#: Sets that are played together, so that blocks of rows are prepared once for all of
#: them.
_TOGETHER = 64
#: Level of the bound on what was left out.
_CERTAIN = 0.95


def with_interactions(
    request: Request, plays: Plays, explanation: Explanation, method: PairedMethod
) -> Explanation:
    """Return the explanation of a loss game with the interactions of its players after
    them.
    """
    order = int(method.order)
    players = len(request.space)
    channels: Booleans = np.asarray(plays.plays[0].mask.any(axis=(0, 1)))
    sizes = range(2, order + 1)
    candidates = list(
        chain.from_iterable(combinations(range(players), size) for size in sizes)
    )
    selected_sets = candidates
    about = {"bound": 0.0}
    set_count = _sets_to_measure(request, method, len(candidates))
    if set_count < len(candidates):
        selected_sets, about = _screened(request, channels, candidates, set_count)
    numbers, evaluations = _measured(request, channels, selected_sets)
    numbers = numbers[:, :, shown_outputs(request)]
    pilot_rows = int(about.pop("model_rows", 0))
    facts = {
        "order": order,
        "kind": "loss",
        "index": "Moebius",
        "candidates": len(candidates),
        "looked_at": len(selected_sets),
        "share": len(selected_sets) / len(candidates),
        "left_out": len(candidates) - len(selected_sets),
        **about,
    }
    measured = zip(
        ("values", "std_error", "low", "high", "p_values"), numbers, strict=True
    )
    fields: dict[str, Any] = {}
    for field_name, interaction_values in measured:
        fields[field_name] = np.concatenate(
            [getattr(explanation, field_name), interaction_values]
        )
    fields["parts"] = _with_nothing(explanation.parts, numbers[0].shape)
    fields["part_std"] = _with_nothing(explanation.part_std, numbers[0].shape)
    model_rows = int(explanation.meta["model_rows"]) + evaluations + pilot_rows
    explanation_meta = {
        **explanation.meta,
        "interactions": facts,
        "model_rows": model_rows,
    }
    explanation_meta["seconds"] = time.perf_counter() - request.started
    singles: list[Members] = [(player_index,) for player_index in range(players)]
    return replace(
        explanation,
        **fields,
        **named(request, [*singles, *selected_sets]),
        meta=explanation_meta,
    )


def _with_nothing(
    loss_parts: Mapping[str, Floats], shape: tuple[int, ...]
) -> dict[str, Floats]:
    """Return parts of players with NaN for the interactions, which have none."""
    nothing = np.full(shape, np.nan)
    with_nothing: dict[str, Floats] = {}
    for name, part_values in loss_parts.items():
        with_nothing[name] = np.concatenate([part_values, nothing])
    return with_nothing


def _sets_to_measure(request: Request, method: PairedMethod, candidates: int) -> int:
    """Return how many sets are measured on all rows."""
    predictions = request.count * request.n_repeats
    is_small = method.pairs == "auto" and candidates * predictions <= _ALL
    if method.pairs == "all" or method.order > 2 or is_small:
        return candidates
    if method.pairs == "auto":
        return max(_LEAST_PAIRS, _CHOSEN // predictions)
    return int(method.pairs)


@refusing
def check_interactions(request: Request, order: int) -> Iterator[Fault]:
    """Refuse interactions that cannot be measured, before any work starts."""
    players = len(request.space)
    if order > players:
        problem = f"order must be at most {players} here, got {order}"
        yield problem, f"Pass {as_typed(request.method, order=2)}.", "PG002"
    set_count = sum(comb(players, set_size) for set_size in range(2, order + 1))
    if order > 2 and set_count > _MOST_SETS:
        problem = (
            f"order={order} of {players} players are {set_count:,} sets, and at "
            f"most {_MOST_SETS:,} are measured"
        )
        pairs = as_typed(request.method, order=2)
        yield problem, f"Pass {pairs}, or join players with groups=.", "PG002"


def _smaller(members: Members) -> Iterator[Members]:
    """Yield the smaller sets of some of the members, single ones first."""
    for size in range(1, len(members)):
        yield from combinations(members, size)


def _play_of(name: str, members: Members, channels: Booleans) -> Play:
    """Return the play that replaces all members at once."""
    mask = np.broadcast_to(channels, (1, len(members), len(channels)))
    return Play("interactions", (name,), np.array(members), mask, np.ones((1, 1, 1)))


def _beyond(
    effects: Floats, inner: Sequence[Floats], eps: float, losses: Floats
) -> Floats:
    """Return what effects have beyond those of smaller sets.

    What rounding of the losses leaves where effects add up is 0.
    """
    value = effects + sum(inner)
    size = losses + np.abs(effects)
    value[np.abs(value) <= eps * (size + sum(map(np.abs, inner)))] = 0.0
    return value


def _estimates(request: Request, moments: PairMoments) -> Floats:
    """Return mean, error, interval and p-value of one set, ``(5, outputs)``."""
    groups = [None, *range(len(request.subject.outputs.class_names))]
    by_group = [estimated(moments, request.confidence, group)[:, 0] for group in groups]
    return np.stack(by_group, axis=1)


def _measured(
    request: Request, channels: Booleans, selected_sets: Sequence[Members]
) -> tuple[Floats, int]:
    """Return mean, error, interval and p-value of each set, ``(5, sets, outputs)``, and
    the predictions made.

    Sets are played over all rows and repeats, in the same order of pairs of a row and
    its donor.
    """
    loss_game = Game(request, loss_value(request))
    outputs = loss_game.back_end.explained()
    loss_game.classes, loss_game.class_count = receiver_classes(request, outputs)
    unchanged = np.abs(loss_game.value(outputs, slice(0, request.count), outputs)[:, 0])
    machine_epsilon = 16 * torch.finfo(outputs.dtype).eps
    largest = max(map(len, selected_sets))
    every = set(selected_sets).union(*map(_smaller, selected_sets))
    sets = sorted(every, key=lambda candidate_set: (len(candidate_set), candidate_set))
    known_effects: dict[Members, Floats] = {}
    numbers: dict[Members, Floats] = {}
    with request.bar(
        len(sets) * request.n_repeats * request.count, "interactions"
    ) as progress:
        for start in range(0, len(sets), _TOGETHER):
            set_chunk = sets[start : start + _TOGETHER]
            for current_set, played in _played(
                loss_game, set_chunk, channels, progress
            ):
                if len(current_set) < largest:
                    known_effects[current_set] = played.effects
                if len(current_set) == 1:
                    continue
                inner = []
                for members in _smaller(current_set):
                    inner.append(
                        (-1) ** (len(current_set) - len(members))
                        * known_effects[members]
                    )
                value = _beyond(
                    played.effects, inner, machine_epsilon, unchanged[played.rows]
                )
                set_name = str(current_set)
                loss_game.add(
                    set_name, played.rows, played.donors, value[:, None, None]
                )
                numbers[current_set] = _estimates(
                    request, loss_game.moments.pop(set_name)
                )
    return np.stack(
        values_at(numbers, selected_sets), axis=1
    ), loss_game.back_end.evaluations


class _Played(NamedTuple):
    """The effects of a set of members on all rows, ``(pairs,)``, and the row and donor
    of each.
    """

    rows: Integers
    donors: Integers
    effects: Floats


def _played(
    loss_game: Game, sets: Sequence[Members], channels: Booleans, progress: Progress
) -> Iterator[tuple[Members, _Played]]:
    """Play some sets over all rows and repeats, and yield the effects of each."""
    effect_parts: dict[str, list[tuple[Integers, Integers, Floats]]] = defaultdict(list)

    def collect(name: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        effect_parts[name].append((rows, donors, effects[:, 0, 0].copy()))

    plays = [_play_of(str(members), members, channels) for members in sets]
    loss_game.play(plays, range(loss_game.request.n_repeats), collect, progress)
    for members in sets:
        arrays = zip(*effect_parts.pop(str(members)), strict=True)
        yield members, _Played(*map(np.concatenate, arrays))


def _screened(
    request: Request, channels: Booleans, candidates: Sequence[Members], pair_limit: int
) -> tuple[list[Members], dict[str, Any]]:
    """Return the pairs that could be largest by a pilot on some rows, in their order,
    and facts of the pilot.

    A pair could be as large as its estimate and two standard errors. The bound holds
    for all pairs left out at once.
    """
    count = min(request.count, max(_LEAST_ROWS, _PILOT // len(candidates)))
    pilot_rows = (np.arange(count) * (request.count / count)).astype(np.int64)
    row_tensor = torch.from_numpy(pilot_rows)
    if request.y is None:
        y = None
    else:
        y = request.y[pilot_rows]
    pilot = replace(
        request,
        inputs=tuple(tensor[row_tensor.to(tensor.device)] for tensor in request.inputs),
        y=TargetRows(y, count) if isinstance(request.y, TargetRows) else y,
        classes=None if request.classes is None else request.classes[pilot_rows],
        sample_weight=None
        if request.sample_weight is None
        else request.sample_weight[pilot_rows],
        units=None if request.units is None else request.units.take(pilot_rows),
        row_offset=RowNumbers(pilot_rows + request.row_offset),
        n_repeats=1,
    )
    numbers, evaluations = _measured(pilot, channels, candidates)
    mean_effects = np.abs(numbers[0, :, 0])
    std_errors = numbers[1, :, 0]
    falling = np.argsort(-(mean_effects + 2 * std_errors), kind="stable")
    selected_indices = np.sort(falling[:pair_limit])
    remaining_indices = falling[pair_limit:]
    width = t_quantile(
        1 - (1 - _CERTAIN) / (2 * len(remaining_indices)), max(count - 1, 1)
    )
    about = {
        "bound": float((mean_effects + width * std_errors)[remaining_indices].max()),
        "pilot_rows": count,
        "model_rows": evaluations,
    }
    return values_at(candidates, selected_indices), about
