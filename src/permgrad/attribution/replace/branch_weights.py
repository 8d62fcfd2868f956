"""Measure how much each branch contributes: the game of branches, or of modalities if a network has no paths.

A branch's embedding is taken from a donor row, not set to zero, and the Shapley value shares out the loss of losing
all. Shares are undefined unless the interval of the total lies above 0: where losing both does not make the loss larger
there is nothing to share out, and two negative effects are no parts of a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.game import Game, play_losses
from permgrad.attribution.replace.moments import Estimable, PairMoments, estimated
from permgrad.attribution.replace.plays import EXACT_PLAYERS, SHARES, TOTAL, TWO_PATHS, Play, shapley_plays, with_total
from permgrad.attribution.request import Request
from permgrad.base.arrays import Floats

_PAIRS = 4096
#: Keys of an entry.
_NUMBERS = ("importance", "std_error", "ci_low", "ci_high", "p_value")


def branch_weights(request: Request, game: Game) -> dict[str, Any] | None:
    """Return the weight of each branch, as written to ``branches.json``, or None for one path, or too many modalities.

    Keys: for each path (or modality) ``importance, std, ci_low, ci_high, p_value, share, alone, last``, then ``total``
    (for paths with the interval of the interaction) and ``interaction``. ``alone`` is the effect of replacing this
    branch only, ``last`` that of replacing it after the others.
    """
    if game.engine is not None:
        if len(request.subject.paths) != 2:
            return None
        moments = branch_moments(game)
        quantity = "divergence" if request.y is None else "loss"
        return weigh_branches(moments, request.subject.paths, request.confidence, quantity)
    if len(set(request.space.modality)) > EXACT_PLAYERS:
        return None
    request = replace(request, space=request.space.modalities())
    plays = with_total(shapley_plays(request.space))
    return weigh_modalities(play_losses(request, plays, "modalities"), request)


def _weights(numbers: Mapping[str, Floats], ends: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Return an entry for each name and the total, of ``_NUMBERS`` ``(5,)`` and of the effects alone and last."""
    entries = {name: dict(zip(_NUMBERS, each.tolist(), strict=True)) for name, each in numbers.items()}
    total = entries.pop(TOTAL)
    for name, entry in entries.items():
        share = entry["importance"] / total["importance"] if total["ci_low"] > 0 else None
        entry |= {"share": share, "alone": float(ends[name][0]), "last": float(ends[name][1])}
    del total["p_value"]
    return {**entries, "total": total}


def weigh_modalities(game: Game, request: Request) -> dict[str, Any]:
    """Return the result of ``branch_weights`` from the game of all modalities and their total."""
    names = (*request.space.names, TOTAL)
    numbers = {name: estimated(game.moments[name], request.confidence) for name in names}
    ends = {name: (each[0, 1], each[0, 2]) for name, each in numbers.items()}
    result = _weights({name: each[:, 0] for name, each in numbers.items()}, ends)
    for name in request.space.names:
        result[name]["share"] = result[name].pop("share")  # last, as in saved explanations
    return {**result, "quantity": "divergence" if request.y is None else "loss"}


def weigh_branches(moments: Estimable, paths: Sequence[str], confidence: float, quantity: str) -> dict[str, Any]:
    """Return the result of ``branch_weights`` from the sums over pairs of rows with replaced branches."""
    numbers = estimated(moments, confidence)
    interaction = numbers[0, 3]
    places = dict(zip((TOTAL, *paths), range(3), strict=True))
    ends = {name: (numbers[0, k] - interaction / 2, numbers[0, k] + interaction / 2) for name, k in places.items()}
    result = _weights({name: numbers[:, k] for name, k in places.items()}, ends)
    total = result.pop("total") | {"interaction_low": float(numbers[2, 3]), "interaction_high": float(numbers[3, 3])}
    return {**result, "interaction": float(interaction), "total": total, "quantity": quantity}


def branch_moments(game: Game) -> PairMoments:
    """Replace branches of rows by those of their donors, and store the sums over the pairs."""
    request, engine = game.request, game.engine
    assert engine is not None, "branches are those of a hybrid network"
    paths, device = request.subject.paths, request.subject.device
    play = Play("branches", paths, np.arange(1), TWO_PATHS[:, None], SHARES[None], within=((), (), (0, 1)))
    coalitions = (frozenset(paths[:1]), frozenset(paths[1:]), frozenset(paths))
    rows, donors = request.count, len(request.donors[0])
    numbers = np.arange(rows, dtype=np.int64)
    moments, lenders = PairMoments(rows, donors, request.shared, 1, len(SHARES), request.units), Lenders.of(request)
    with torch.inference_mode(), request.subject.open():
        cache = engine.light(engine.encoded)
        donor_cache = cache if request.shared else engine.light(engine.background)
        base = game.value(cache.outputs, slice(0, rows), cache.outputs)
        for repeat in range(request.n_repeats):
            shifted = numbers + request.row_offset
            drawn = lenders.draw(request.seed, play.key, repeat, shifted)
            effects = np.empty((rows, len(SHARES)))
            for start in range(0, rows, _PAIRS):
                part = slice(start, min(start + _PAIRS, rows))
                index, donor = (torch.as_tensor(each[part], device=device) for each in (numbers, drawn))
                outputs = engine.engine.exchange(cache, index, donor, donor_cache, coalitions)
                together = torch.stack([outputs[one] for one in coalitions])
                found = game.effects(base, 0, play, together, cache.outputs[part], numbers[part])
                effects[part] = found[0, :, :, 0]
            moments.add(numbers, drawn, effects, weights=request.sample_weight)
    return moments
