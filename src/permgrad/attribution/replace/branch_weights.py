"""How much each branch carries: the game of whole branches, or of whole modalities where a network has no paths.

A branch's embedding is taken from a donor row, not set to zero, and the Shapley value shares out the loss of losing
all. Shares are undefined unless the interval of the total lies above 0: where losing both does not make the loss larger
there is nothing to share out, and two negative effects are no parts of a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from permgrad.attribution.method import Request
from permgrad.attribution.replace.donors import donor_rows
from permgrad.attribution.replace.engine import Replacement
from permgrad.attribution.replace.game import Effects, Game, LossValue
from permgrad.attribution.replace.importance import Estimable, Played, play_losses
from permgrad.attribution.replace.moments import PairMoments, interval
from permgrad.attribution.replace.plays import SHARES, TOTAL, Play, shapley_plays, with_total

_PAIRS = 4096


def branch_weights(request: Request, game: Game) -> dict[str, Any] | None:
    """Return the weight of each branch, as written to ``branches.json``; None for a network with one branch."""
    quantity = quantity_of(request)
    if game.engine is not None:
        paths = request.subject.paths
        if len(paths) != 2:
            return None
        return weigh_branches(branch_moments(request, game.engine), paths, request.confidence, quantity)
    modalities = request.space.modalities()
    if len(modalities) < 2:
        return None
    request = replace(request, space=modalities)
    return weigh_modalities(
        play_losses(request, with_total(shapley_plays(modalities, request.seed)), "modalities"), request
    )


def quantity_of(request: Request) -> str:
    """Return what is shared out: ``"loss"``, or without y ``"divergence"``."""
    return "divergence" if request.y is None else "loss"


def _weights(
    names: Sequence[str],
    estimate: Callable[[str], dict[str, float]],
    alone_and_last: Callable[[str], tuple[float, float]],
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return an entry for each name, and that of the total; a share where the total is certainly above 0."""
    total = estimate(TOTAL)
    result: dict[str, Any] = {}
    for name in names:
        entry = estimate(name)
        share = entry["importance"] / total["importance"] if total["ci_low"] > 0 else None
        alone, last = alone_and_last(name)
        result[name] = {**entry, "share": share, "alone": alone, "last": last}
    return result, {key: number for key, number in total.items() if key != "p_value"}


def _entry(mean: Any, std: Any, low: Any, high: Any, p_value: Any) -> dict[str, float]:
    numbers = {"importance": mean, "std": std, "ci_low": low, "ci_high": high, "p_value": p_value}
    return {key: float(number) for key, number in numbers.items()}


def weigh_modalities(played: Played, request: Request) -> dict[str, Any]:
    """Return what ``branch_weights`` does, from the played game of all modalities and their total."""
    estimates = {}
    for name in (*request.space.names, TOTAL):
        mean, std, count = played.collector.moments[name].estimate()
        estimates[name] = mean, std, *interval(mean, std, count, request.confidence)

    def alone_and_last(name: str) -> tuple[float, float]:
        mean = estimates[name][0]
        return float(mean[1]), float(mean[2])

    result, total = _weights(
        request.space.names, lambda name: _entry(*(array[0] for array in estimates[name])), alone_and_last
    )
    for entry in result.values():
        entry["share"] = entry.pop("share")  # last, as in saved explanations
    return {**result, "total": total, "quantity": quantity_of(request)}


def weigh_branches(moments: Estimable, paths: Sequence[str], confidence: float, quantity: str) -> dict[str, Any]:
    """Return what ``branch_weights`` does, from the sums over pairs of rows that exchanged their branches."""
    mean, std, count = moments.estimate()
    low, high, p_values = interval(mean, std, count, confidence)
    place = {TOTAL: 0, **{path: index for index, path in enumerate(paths, start=1)}}
    half = mean[3] / 2

    def alone_and_last(path: str) -> tuple[float, float]:
        return float(mean[place[path]] - half), float(mean[place[path]] + half)

    result, total = _weights(
        paths,
        lambda name: _entry(*(array[place[name]] for array in (mean, std, low, high, p_values))),
        alone_and_last,
    )
    total |= {"interaction_low": float(low[3]), "interaction_high": float(high[3])}
    return {**result, "interaction": float(mean[3]), "total": total, "quantity": quantity}


def branch_moments(request: Request, engine: Replacement) -> PairMoments:
    """Exchange whole branches between rows and their donors, and keep the sums over the pairs."""
    value, paths = LossValue(request), request.subject.paths
    channels = np.array([[True, False], [False, True], [True, True]])
    play = Play("branches", paths, np.arange(1), channels[:, None], SHARES[None], within=((), (), (0, 1)))
    coalitions = (frozenset(paths[:1]), frozenset(paths[1:]), frozenset(paths))
    rows, donors = request.count, len(request.donors[0])
    moments = PairMoments(rows, donors, request.shared, 1, len(SHARES))
    with torch.inference_mode(), request.subject.open():
        cache = engine.light(engine.encoded)
        donor_cache = cache if request.background is None else engine.light(request.background)
        base = value(cache.outputs, slice(0, rows), cache.outputs)
        measure = Effects(play, value, base, 0, engine.noise)
        for repeat in range(request.n_repeats):
            numbers = np.arange(rows, dtype=np.int64)
            shifted = numbers + request.row_offset
            drawn = donor_rows(request.seed, play.key, repeat, shifted, donors, shared=request.shared)
            effects = np.empty((rows, len(SHARES)))
            for start in range(0, rows, _PAIRS):
                part = slice(start, min(start + _PAIRS, rows))
                index, donor = (torch.as_tensor(n[part], device=request.subject.device) for n in (numbers, drawn))
                outputs = [engine.engine.exchange(cache, index, donor, donor_cache, one) for one in coalitions]
                effects[part] = measure(outputs, cache.outputs[part], numbers[part])[0, :, :, 0]
            moments.add(numbers, drawn, effects, weights=request.sample_weight)
    return moments
