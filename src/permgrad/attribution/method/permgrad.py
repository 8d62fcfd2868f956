"""PermGrad, the default: the path game."""

from __future__ import annotations

from typing import Any, ClassVar

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.interactions import (
    check_interactions,
    with_interactions,
)
from permgrad.attribution.replace.branch_weights import branch_weights, weigh_modalities
from permgrad.attribution.replace.direction import direction
from permgrad.attribution.replace.game import (
    explain_plays,
    global_explanation,
    play_losses,
)
from permgrad.attribution.replace.plays import (
    EXACT_PLAYERS,
    Plays,
    path_plays,
    plays_beside_others,
    shapley_plays,
    single_plays,
    with_total,
)
from permgrad.attribution.request import PairedMethod, Request, Scope, methods, setting
from permgrad.attribution.scopes import GLOBAL, LOCAL
from permgrad.base.errors import InputError


@methods.register("permgrad")
class PermGrad(PairedMethod):
    """The path game, with intervals and p-values, per class and overall.

    ``groups="modality"`` gives the exact Shapley value of the game of replacing whole
    modalities (up to 12), and each modality's effect ``alone`` and ``last``: the inputs
    of a network, or the kinds of columns of an estimator (``table``, ``text``,
    ``photo``, each in all paths). For any other network, modalities take the role of
    paths. Other levels give the total effect of each player, and ``others_replaced``,
    its effect while all other modalities are replaced as well. With one modality this
    is plain permutation.

    Options:
        sampling: ``"marginal"`` or ``"conditional"``. Conditional replacement values
            fit the rest of the row: for estimators, for torch networks with one input
            ``(rows, columns)``, and for predictors on tables whose columns have at most
            100 levels. ``meta["residuals_dependent"]`` lists features for which the
            drawn values do not fit.
        order: 2 adds the interactions of pairs after the features: what replacing both
            does to the loss beyond each alone. It is negative where features work
            together, and positive where one can stand in for the other. 3 also adds
            those of three, and so on.
        pairs: how many pairs are measured on all rows: ``"all"``, or a number that a
            pilot on some rows chooses. ``"auto"``: all of them if they are few.
            ``meta["interactions"]`` has the share that was looked at, and a bound on
            all others.
        tolerance: stop repeating a feature when the half-width of its interval is below
            this share of the loss scale. Only the width decides. ``"auto"`` and None:
            all repeats.

    The definition is in docs/methods.md. Marginal replacement as in Breiman (2001) and
    Fisher, Rudin & Dominici (2019).

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(50, 3))
        >>> model = lambda rows: rows @ [2.0, 1.0, 0.0]
        >>> explanation = pg.explain(model, X, model(X), method="permgrad")
        >>> explanation.ranking()
        ['x0', 'x1', 'x2']
    """

    scopes: ClassVar[tuple[Scope, ...]] = (GLOBAL, LOCAL)
    branches: bool = setting(default=True)
    direction: bool = setting(default=True)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        if self.order > 1:
            check_interactions(request, self.order)
        request, plays = self.game(request)
        if request.scope.by_row:
            return explain_plays("permgrad", request, plays)
        if plays.names[1:] == ("alone", "last"):
            loss_game = play_losses(request, with_total(plays), "permgrad")
            weights: dict[str, Any] | None = weigh_modalities(loss_game, request)
        else:
            loss_game = play_losses(request, plays, "permgrad")
            several = (
                loss_game.engine is not None or len(set(request.space.modality)) > 1
            )
            if several and self.branches:
                weights = branch_weights(request, loss_game)
            else:
                weights = None
        trends = None
        if loss_game.engine is not None and self.direction:
            trends = direction(request, loss_game.engine)
        explanation = global_explanation(
            "permgrad", request, plays, loss_game, branches=weights, direction=trends
        )
        if self.order == 1:
            return explanation
        return with_interactions(request, plays, explanation, self)

    def game(self, request: Request) -> tuple[Request, Plays]:
        """Return the request to play and its plays."""
        paths = request.subject.paths
        if request.level.of_modalities and len(request.space) > 1:
            if len(request.space) > EXACT_PLAYERS:
                problem = (
                    f"permgrad measures all subsets of up to {EXACT_PLAYERS} "
                    f"modalities, got {len(request.space)}"
                )
                raise InputError(
                    problem,
                    hint="Join some with groups=, or choose method='shapley'.",
                    code="PG002",
                )
            return request, shapley_plays(request.space, paths)
        if paths:
            return request, path_plays(request.space, paths)
        several = len(set(request.space.modality)) > 1 and request.scoring is None
        several &= (
            request.subject.preprocessor is None
        )  # the kinds of columns of a table are weighed as wholes
        return request, plays_beside_others(request.space) if several else single_plays(
            request.space
        )
