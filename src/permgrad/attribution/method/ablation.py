"""Ablation: set a feature of every row to one fixed value, in all paths."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.replace.donors import need_background
from permgrad.attribution.replace.game import explain_plays
from permgrad.attribution.replace.plays import Plays, path_plays, single_plays
from permgrad.attribution.request import PlayedMethod, Request, Scope, methods, setting
from permgrad.attribution.request.method_registry import GAME
from permgrad.attribution.scopes import GLOBAL, LOCAL

#: How many times as many rows weights may make of the background.
_REPEATED = 16


@methods.register("ablation")
class Ablation(PlayedMethod):
    """Effect of setting a feature to its typical value (or to encoded zero).

    Options:
        baseline: ``"typical"``: the median of a number or the most frequent level of a
            category, over the background, by ``sample_weight`` where that is the rows
            explained. ``"zeros"``: encoded 0.

    A single value represents "absent". ``permgrad`` avoids that choice by drawing
    donors.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(50, 3))
        >>> model = lambda rows: rows @ [2.0, 1.0, 0.0]
        >>> explanation = pg.explain(model, X, model(X), method="ablation")
        >>> explanation.ranking()
        ['x0', 'x1', 'x2']
    """

    scopes: ClassVar[tuple[Scope, ...]] = (GLOBAL, LOCAL)
    takes: ClassVar[frozenset[str]] = GAME
    baseline: Literal["typical", "zeros"] = "typical"
    tolerance: float | None = setting(default=None)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        return explain_plays("ablation", *self.game(request))

    def game(self, request: Request) -> tuple[Request, Plays]:
        """Return the request to play once, and its plays with the fixed values."""
        fixed = tuple(torch.zeros_like(tensor[:1]) for tensor in request.donors)
        if self.baseline == "typical":
            if request.subject.preprocessor is None:
                need_background(request.count, shared=request.shared)
            fixed = request.subject.typical(_by_weight(request))
        paths = request.subject.paths
        if paths:
            plays = path_plays(request.space, paths)
        else:
            plays = single_plays(request.space)
        if self.baseline == "typical":
            words = "median of numbers, most frequent whole number"
        else:
            words = "zeros"
        if request.subject.preprocessor is None:
            facts = {"baseline": words}
        else:
            facts = {}
        request = replace(request, n_repeats=1, automatic=False, tolerance=None)
        return request, replace(plays, fixed=fixed, facts=facts)


def _by_weight(request: Request) -> tuple[torch.Tensor, ...]:
    """Return the donors, each as often as it weighs: whole weights repeat rows, others
    do so to a part in many.
    """
    weights = request.sample_weight
    if weights is None or not request.shared:
        return request.donors
    total = weights.sum()
    row_limit = _REPEATED * len(weights)
    if total <= row_limit and not np.mod(weights, 1).any():
        count = int(total)
    else:
        count = row_limit
    donor_rows = np.searchsorted(
        np.cumsum(weights) / total, (np.arange(count) + 0.5) / count
    )
    return tuple(tensor[torch.from_numpy(donor_rows)] for tensor in request.donors)
