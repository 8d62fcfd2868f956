"""Measure how much each branch contributes: the game of branches, or of modalities if a
network has no paths.

A branch's embedding is taken from a donor row, not set to zero, and the Shapley value
shares out the loss of losing all. Shares are undefined unless the interval of the total
lies above 0: where losing both does not make the loss larger there is nothing to share
out, and two negative effects are no parts of a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
import torch

from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.game import Game, play_losses
from permgrad.attribution.replace.moments import Estimable, PairMoments, estimated
from permgrad.attribution.replace.plays import (
    EXACT_PLAYERS,
    TOTAL,
    PathGame,
    Play,
    shapley_plays,
    with_total,
)
from permgrad.attribution.request import Request
from permgrad.base.arrays import Floats
from permgrad.base.sequences import values_at

_PAIRS = 4096
#: Keys of an entry.
_NUMBERS = ("importance", "std_error", "ci_low", "ci_high", "p_value")


def branch_weights(request: Request, game: Game) -> dict[str, Any] | None:
    """Return the weight of each branch, as written to ``branches.json``, or None for
    one path, or too many modalities.

    Keys: for each path (or modality) ``importance, std, ci_low, ci_high, p_value,
    share, alone, last``, for paths also the interval of the share, ``share_low`` and
    ``share_high``, then ``total`` (for paths with the interval of the interaction) and
    ``interaction``. ``alone`` is the effect of replacing this branch only, ``last``
    that of replacing it after the others.

    Args:
        request: The call.
        game: The sums over its pairs.
    """
    if game.engine is not None:
        if len(request.subject.paths) < 2:
            return None
        moments = branch_moments(game)
        if request.y is None:
            quantity = "divergence"
        else:
            quantity = "loss"
        return weigh_branches(
            moments, request.subject.paths, request.confidence, quantity
        )
    if len(set(request.space.modality)) > EXACT_PLAYERS:
        return None
    request = replace(request, space=request.space.modalities())
    plays = with_total(shapley_plays(request.space))
    return weigh_modalities(play_losses(request, plays, "modalities"), request)


def _weights(
    numbers: Mapping[str, Floats], ends: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """Return an entry for each name and the total, of ``_NUMBERS`` ``(5,)`` and of the
    effects alone and last.
    """
    entries = {}
    for branch_name, branch_numbers in numbers.items():
        entries[branch_name] = dict(zip(_NUMBERS, branch_numbers.tolist(), strict=True))
    total = entries.pop(TOTAL)
    for entry_name, entry in entries.items():
        if total["ci_low"] > 0:
            share = entry["importance"] / total["importance"]
        else:
            share = None
        entry |= {
            "share": share,
            "alone": float(ends[entry_name][0]),
            "last": float(ends[entry_name][1]),
        }
    del total["p_value"]
    return {**entries, "total": total}


def weigh_modalities(game: Game, request: Request) -> dict[str, Any]:
    """Return the result of ``branch_weights`` from the game of all modalities and their
    total.

    Args:
        game: The sums over its pairs.
        request: The call, of all modalities and their total.
    """
    names = (*request.space.names, TOTAL)
    numbers = {}
    for modality_name in names:
        numbers[modality_name] = estimated(
            game.moments[modality_name], request.confidence
        )
    outer_effects = {}
    for modality_name, effect_numbers in numbers.items():
        outer_effects[modality_name] = (effect_numbers[0, 1], effect_numbers[0, 2])
    result = _weights(
        {
            modality_name: effect_numbers[:, 0]
            for modality_name, effect_numbers in numbers.items()
        },
        outer_effects,
    )
    for modality in request.space.names:
        result[modality]["share"] = result[modality].pop(
            "share"
        )  # last, as in saved explanations
    return {**result, "quantity": "divergence" if request.y is None else "loss"}


def weigh_branches(
    moments: Estimable, paths: Sequence[str], confidence: float, quantity: str
) -> dict[str, Any]:
    """Return the result of ``branch_weights`` from sums over pairs.

    Args:
        moments: The sums over pairs of rows with replaced branches.
        paths: The names of the branches.
        confidence: The level of the intervals.
        quantity: What is measured.
    """
    numbers = estimated(moments, confidence)
    count = len(paths)
    total, shares, (interaction, alone, last_effects, joint) = (
        numbers[:, 0],
        numbers[:, 1 : 1 + count],
        _beside(numbers, count),
    )
    outer_effects = {}
    for k, branch_name in enumerate(paths):
        outer_effects[branch_name] = (alone[0, k], last_effects[0, k])
    result = _weights(
        {
            TOTAL: total,
            **{branch_name: shares[:, k] for k, branch_name in enumerate(paths)},
        },
        outer_effects,
    )
    for branch_index, path_name in enumerate(paths):
        is_known = result[path_name]["share"] is not None
        lower_bound, upper_bound = (
            _share_interval(shares[:, branch_index], total, joint[1, branch_index])
            if is_known
            else (None, None)
        )
        result[path_name] |= {"share_low": lower_bound, "share_high": upper_bound}
    about = {
        "interaction_low": float(interaction[2, 0]),
        "interaction_high": float(interaction[3, 0]),
    }
    total_entry = result.pop("total") | about
    return {
        **result,
        "interaction": float(interaction[0, 0]),
        "total": total_entry,
        "quantity": quantity,
    }


def _beside(numbers: Floats, count: int) -> list[Floats]:
    """Return what the branch game keeps beside the total and the shares: see
    ``_branch_play``.
    """
    return np.split(numbers[:, 1 + count :], [1, 1 + count, 1 + 2 * count], axis=1)


def _share_interval(
    branch_numbers: Floats, total: Floats, error_of_sum: float
) -> tuple[float | None, float | None]:
    """Return the interval of a branch's share of the total (Fieller 1954), from the
    errors of both and of their sum.

    Its shares s are those for which part − s · total is not told from 0. None where the
    errors are not known.
    """
    (value, error, lower_bound, upper_bound, _), (total_value, error_of_total, *_) = (
        branch_numbers,
        total,
    )
    if not error > 0 or not np.isfinite(error_of_sum):
        share = float(value / total_value)
        if error == 0:
            return (share, share)
        return (None, None)
    together = (error_of_sum**2 - error**2 - error_of_total**2) / 2
    share_bounds: list[float | None] = []
    for sign, times in (
        (-1, (value - lower_bound) / error),
        (1, (upper_bound - value) / error),
    ):
        square = total_value**2 - times**2 * error_of_total**2
        middle = total_value * value - times**2 * together
        discriminant = middle**2 - square * (value**2 - times**2 * error**2)
        share_bounds.append(
            float((middle + sign * max(discriminant, 0.0) ** 0.5) / square)
            if square > 0
            else None
        )
    return share_bounds[0], share_bounds[1]


def _branch_play(paths: Sequence[str]) -> Play:
    """Return the path game of whole branches.

    It keeps the total effect, the shares of all paths, and the interaction. Then each
    path's effect alone, its effect behind all others, and the sum of its share and the
    total, whose error tells how the two vary together.
    """
    path_game = PathGame.of(len(paths))
    count = len(paths)
    total = path_game.combine[:1]
    shares = path_game.combine[1 : 1 + count]
    alone = np.eye(count, len(path_game.channels))
    last_effects = total - np.array(
        [
            (path_game.channels == (np.arange(count) != path_index)).all(axis=1)
            for path_index in range(count)
        ]
    )
    combine = np.concatenate([path_game.combine, alone, last_effects, shares + total])
    return Play(
        "branches",
        tuple(paths),
        np.arange(1),
        path_game.channels[:, None],
        combine[None],
        path_game.within,
    )


def branch_moments(game: Game) -> PairMoments:
    """Replace branches of rows by those of their donors, and store the sums over the
    pairs.
    """
    request = game.request
    engine = game.engine
    assert engine is not None, "branches are those of a hybrid network"
    paths = request.subject.paths
    device = request.subject.device
    branch_play = _branch_play(paths)
    coalitions = [frozenset(compress(paths, mask)) for mask in branch_play.mask[:, 0]]
    row_count = request.count
    donors = len(request.donors[0])
    numbers = np.arange(row_count, dtype=np.int64)
    moments = PairMoments(
        row_count, donors, request.shared, 1, branch_play.quantities, request.units
    )
    lenders = Lenders.of(request)
    with torch.inference_mode(), request.subject.open():
        cache = engine.light(engine.encoded)
        if request.shared:
            donor_cache = cache
        else:
            donor_cache = engine.light(engine.background)
        base_values = game.value(cache.outputs, slice(0, row_count), cache.outputs)
        for repeat in range(request.n_repeats):
            shifted = numbers + request.row_offset
            drawn = lenders.draw(request.seed, branch_play.key, repeat, shifted)
            effects = np.empty((row_count, branch_play.quantities))
            for start in range(0, row_count, _PAIRS):
                pair_slice = slice(start, min(start + _PAIRS, row_count))
                index = torch.as_tensor(numbers[pair_slice], device=device)
                donor = torch.as_tensor(drawn[pair_slice], device=device)
                outputs = engine.engine.exchange(
                    cache, index, donor, donor_cache, coalitions
                )
                together = torch.stack(values_at(outputs, coalitions))
                pair_effects = game.effects(
                    base_values,
                    0,
                    branch_play,
                    together,
                    cache.outputs[pair_slice],
                    numbers[pair_slice],
                )
                effects[pair_slice] = pair_effects[0, :, :, 0]
            moments.add(numbers, drawn, effects, weights=request.sample_weight)
    return moments
