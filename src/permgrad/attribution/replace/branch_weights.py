"""Measure how much each branch contributes: the game of branches, or of modalities if a network has no paths.

A branch's embedding is taken from a donor row, not set to zero, and the Shapley value shares out the loss of losing
all. Shares are undefined unless the interval of the total lies above 0: where losing both does not make the loss larger
there is nothing to share out, and two negative effects are no parts of a whole.
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

_PAIRS = 4096
#: Keys of an entry.
_NUMBERS = ("importance", "std_error", "ci_low", "ci_high", "p_value")


def branch_weights(request: Request, game: Game) -> dict[str, Any] | None:
    """Return the weight of each branch, as written to ``branches.json``, or None for one path, or too many modalities.

    Keys: for each path (or modality) ``importance, std, ci_low, ci_high, p_value, share, alone, last``, for paths also
    the interval of the share, ``share_low`` and ``share_high``, then ``total`` (for paths with the interval of the
    interaction) and ``interaction``. ``alone`` is the effect of replacing this branch only, ``last`` that of replacing
    it after the others.
    """
    if game.engine is not None:
        if len(request.subject.paths) < 2:
            return None
        moments = branch_moments(game)
        quantity = "divergence" if request.y is None else "loss"
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
    """Return an entry for each name and the total, of ``_NUMBERS`` ``(5,)`` and of the effects alone and last."""
    entries = {
        name: dict(zip(_NUMBERS, each.tolist(), strict=True))
        for name, each in numbers.items()
    }
    total = entries.pop(TOTAL)
    for name, entry in entries.items():
        share = (
            entry["importance"] / total["importance"] if total["ci_low"] > 0 else None
        )
        entry |= {
            "share": share,
            "alone": float(ends[name][0]),
            "last": float(ends[name][1]),
        }
    del total["p_value"]
    return {**entries, "total": total}


def weigh_modalities(game: Game, request: Request) -> dict[str, Any]:
    """Return the result of ``branch_weights`` from the game of all modalities and their total."""
    names = (*request.space.names, TOTAL)
    numbers = {
        name: estimated(game.moments[name], request.confidence) for name in names
    }
    ends = {name: (each[0, 1], each[0, 2]) for name, each in numbers.items()}
    result = _weights({name: each[:, 0] for name, each in numbers.items()}, ends)
    for name in request.space.names:
        result[name]["share"] = result[name].pop(
            "share"
        )  # last, as in saved explanations
    return {**result, "quantity": "divergence" if request.y is None else "loss"}


def weigh_branches(
    moments: Estimable, paths: Sequence[str], confidence: float, quantity: str
) -> dict[str, Any]:
    """Return the result of ``branch_weights`` from the sums over pairs of rows with replaced branches."""
    numbers, count = estimated(moments, confidence), len(paths)
    total, shares, (interaction, alone, last, joint) = (
        numbers[:, 0],
        numbers[:, 1 : 1 + count],
        _beside(numbers, count),
    )
    ends = {name: (alone[0, k], last[0, k]) for k, name in enumerate(paths)}
    result = _weights(
        {TOTAL: total, **{name: shares[:, k] for k, name in enumerate(paths)}}, ends
    )
    for place, name in enumerate(paths):
        known = result[name]["share"] is not None
        low, high = (
            _share_interval(shares[:, place], total, joint[1, place])
            if known
            else (None, None)
        )
        result[name] |= {"share_low": low, "share_high": high}
    about = {
        "interaction_low": float(interaction[2, 0]),
        "interaction_high": float(interaction[3, 0]),
    }
    whole = result.pop("total") | about
    return {
        **result,
        "interaction": float(interaction[0, 0]),
        "total": whole,
        "quantity": quantity,
    }


def _beside(numbers: Floats, count: int) -> list[Floats]:
    """Return what the branch game keeps beside the total and the shares: see ``_branch_play``."""
    return np.split(numbers[:, 1 + count :], [1, 1 + count, 1 + 2 * count], axis=1)


def _share_interval(
    part: Floats, total: Floats, error_of_sum: float
) -> tuple[float | None, float | None]:
    """Return the interval of a branch's share of the total (Fieller 1954), from the errors of both and of their sum.

    Its shares s are those for which part − s · total is not told from 0. None where the errors are not known.
    """
    (value, error, low, high, _), (whole, error_of_total, *_) = part, total
    if not error > 0 or not np.isfinite(error_of_sum):
        share = float(value / whole)
        return (share, share) if error == 0 else (None, None)
    together = (error_of_sum**2 - error**2 - error_of_total**2) / 2
    found: list[float | None] = []
    for sign, times in ((-1, (value - low) / error), (1, (high - value) / error)):
        square = whole**2 - times**2 * error_of_total**2
        middle = whole * value - times**2 * together
        rest = middle**2 - square * (value**2 - times**2 * error**2)
        found.append(
            float((middle + sign * max(rest, 0.0) ** 0.5) / square)
            if square > 0
            else None
        )
    return found[0], found[1]


def _branch_play(paths: Sequence[str]) -> Play:
    """Return the path game of whole branches.

    It keeps the total effect, the shares of all paths, and the interaction. Then each path's effect alone, its effect
    behind all others, and the sum of its share and the total, whose error tells how the two vary together.
    """
    game, count = PathGame.of(len(paths)), len(paths)
    total, shares = game.combine[:1], game.combine[1 : 1 + count]
    alone = np.eye(count, len(game.channels))
    last = total - np.array(
        [
            (game.channels == (np.arange(count) != path)).all(axis=1)
            for path in range(count)
        ]
    )
    combine = np.concatenate([game.combine, alone, last, shares + total])
    return Play(
        "branches",
        tuple(paths),
        np.arange(1),
        game.channels[:, None],
        combine[None],
        game.within,
    )


def branch_moments(game: Game) -> PairMoments:
    """Replace branches of rows by those of their donors, and store the sums over the pairs."""
    request, engine = game.request, game.engine
    assert engine is not None, "branches are those of a hybrid network"
    paths, device = request.subject.paths, request.subject.device
    play = _branch_play(paths)
    coalitions = [frozenset(compress(paths, mask)) for mask in play.mask[:, 0]]
    rows, donors = request.count, len(request.donors[0])
    numbers = np.arange(rows, dtype=np.int64)
    moments = PairMoments(
        rows, donors, request.shared, 1, play.quantities, request.units
    )
    lenders = Lenders.of(request)
    with torch.inference_mode(), request.subject.open():
        cache = engine.light(engine.encoded)
        donor_cache = cache if request.shared else engine.light(engine.background)
        base = game.value(cache.outputs, slice(0, rows), cache.outputs)
        for repeat in range(request.n_repeats):
            shifted = numbers + request.row_offset
            drawn = lenders.draw(request.seed, play.key, repeat, shifted)
            effects = np.empty((rows, play.quantities))
            for start in range(0, rows, _PAIRS):
                part = slice(start, min(start + _PAIRS, rows))
                index, donor = (
                    torch.as_tensor(each[part], device=device)
                    for each in (numbers, drawn)
                )
                outputs = engine.engine.exchange(
                    cache, index, donor, donor_cache, coalitions
                )
                together = torch.stack([outputs[one] for one in coalitions])
                found = game.effects(
                    base, 0, play, together, cache.outputs[part], numbers[part]
                )
                effects[part] = found[0, :, :, 0]
            moments.add(numbers, drawn, effects, weights=request.sample_weight)
    return moments
