"""How much each branch carries: the path game on whole branches.

A branch's embedding is taken from a donor row, not set to zero, and the two-player Shapley value shares out the loss of
losing both. Shares are undefined unless the interval of the total lies above 0: where losing both does not make the
loss larger there is nothing to share out, and two negative effects are no parts of a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from permgrad.attribution.method import Request
from permgrad.attribution.replace.donors import donor_rows
from permgrad.attribution.replace.game import Floats, Game, path_quantities, settle
from permgrad.attribution.replace.importance import Estimable, make_value
from permgrad.attribution.replace.moments import PairMoments, interval

_PAIRS = 4096


def branch_weights(request: Request, game: Game) -> dict[str, Any] | None:
    """Return the weight of each branch, as written to ``branches.json``; None for a network with one branch.

    Keys: for each path ``importance, std, ci_low, ci_high, share, alone, last``; then ``interaction``, and ``total``,
    which holds the interval of the interaction too.
    ``alone`` is the effect of exchanging this branch only, ``last`` that of exchanging it after the other.
    """
    if len(request.subject.paths) != 2:
        return None
    quantity: Literal["loss", "divergence"] = "divergence" if request.y is None else "loss"
    return weigh_branches(branch_moments(request, game), request.subject.paths, request.confidence, quantity)


def weigh_branches(
    moments: Estimable, paths: Sequence[str], confidence: float, quantity: Literal["loss", "divergence"]
) -> dict[str, Any]:
    """Return what ``branch_weights`` does, from the sums over pairs of rows that exchanged their branches."""
    mean, std, count = moments.estimate()
    low, high, p_values = interval(mean, std, count, confidence)
    certain = bool(low[0] > 0)
    result: dict[str, Any] = {}
    for index, path in enumerate(paths, start=1):
        half = mean[3] / 2
        result[path] = {
            "importance": float(mean[index]),
            "std": float(std[index]),
            "ci_low": float(low[index]),
            "ci_high": float(high[index]),
            "p_value": float(p_values[index]),
            "share": float(mean[index] / mean[0]) if certain else None,
            "alone": float(mean[index] - half),
            "last": float(mean[index] + half),
        }
    result["interaction"] = float(mean[3])
    result["total"] = {
        "importance": float(mean[0]),
        "std": float(std[0]),
        "ci_low": float(low[0]),
        "ci_high": float(high[0]),
        "interaction_low": float(low[3]),
        "interaction_high": float(high[3]),
    }
    result["quantity"] = quantity
    return result


def branch_moments(request: Request, game: Game) -> PairMoments:
    """Exchange whole branches between rows and their donors, and keep the sums over the pairs."""
    value = make_value(request)
    quantities = path_quantities(request.subject.paths)
    shared = request.background is None
    rows = len(request.encoded)
    donors = rows if request.background is None else len(request.background)
    moments = PairMoments(rows, donors, shared, 1, len(quantities.names))
    with torch.inference_mode(), request.subject.open():
        cache = game.light(game.encoded)
        donor_cache = cache if request.background is None else game.light(request.background)
        base = value(cache.outputs, slice(0, rows), cache.outputs)
        for repeat in range(request.n_repeats):
            numbers = np.arange(rows, dtype=np.int64)
            drawn = donor_rows(request.seed, "branches", repeat, numbers + request.row_offset, donors, shared=shared)
            effects = np.empty((rows, len(quantities.names)))
            for start in range(0, rows, _PAIRS):
                part = slice(start, min(start + _PAIRS, rows))
                index, donor_index = (torch.as_tensor(n[part], device=request.subject.device) for n in (numbers, drawn))
                changes: list[Floats] = []
                for coalition in quantities.coalitions:
                    outputs = game.engine.exchange(cache, index, donor_index, donor_cache, coalition)
                    kept = cache.outputs[part]
                    changes.append(value(settle(outputs, kept), part, kept)[:, 0] - base[part, 0])
                effects[part] = np.stack(changes, axis=1) @ quantities.combine.T
            moments.add(numbers, drawn, effects, weights=request.sample_weight)
    return moments
