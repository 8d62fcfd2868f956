"""Permutation importance: the total effect of replacing a raw column by a donor's, not
split between paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.interactions import (
    check_interactions,
    with_interactions,
)
from permgrad.attribution.replace.game import explain_plays
from permgrad.attribution.replace.plays import Plays, single_plays
from permgrad.attribution.request import PairedMethod, Request, Scope, methods, setting
from permgrad.attribution.scopes import GLOBAL, LOCAL


@methods.register("permutation")
class Permutation(PairedMethod):
    """Plain permutation importance, with independent donors instead of a shuffle,
    intervals and p-values.

    Options:
        sampling, order, pairs, tolerance: as for ``permgrad``.

    For any other network the players are columns, image segments, groups or whole
    modalities. With ``pg.Model(net, layer=…)`` they are the units of a named layer, so
    importance can be compared between layers.

    Sources: Breiman (2001), and Fisher, Rudin & Dominici (2019).

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(50, 3))
        >>> y = X @ [2.0, 1.0, 0.0]
        >>> explanation = pg.explain(
        ...     lambda rows: rows @ [2.0, 1.0, 0.0], X, y, method="permutation"
        ... )
        >>> explanation.ranking()
        ['x0', 'x1', 'x2']
    """

    scopes: ClassVar[tuple[Scope, ...]] = (GLOBAL, LOCAL)
    paths: Any = setting(default=None)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        if self.order > 1:
            check_interactions(request, self.order)
        request, plays = self.game(request)
        explanation = explain_plays("permutation", request, plays)
        if self.order == 1:
            return explanation
        return with_interactions(request, plays, explanation, self)

    def game(self, request: Request) -> tuple[Request, Plays]:
        """Return the request to play and its plays."""
        paths = request.subject.paths
        if self.paths is None:
            return request, single_plays(request.space, paths)
        through = self.paths
        if isinstance(through, str) or not isinstance(through, Iterable):
            through = (through,)
        through = tuple(through)
        return request, single_plays(request.space, paths, through)
