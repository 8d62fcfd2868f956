"""PermGrad, the default: the path game of DESIGN section 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from permgrad.attribution.build import explain_plays, global_explanation
from permgrad.attribution.direction import direction
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.replace.branch_weights import branch_weights, weigh_modalities
from permgrad.attribution.replace.game import GAME_OPTIONS, play_losses
from permgrad.attribution.replace.plays import (
    Plays,
    path_plays,
    plays_beside_others,
    shapley_plays,
    single_plays,
    with_total,
)


@methods.register("permgrad")
class PermGrad:
    """The path game, with intervals and p-values, per class and overall.

    On any other network modalities stand in the place of paths. ``level="modality"``: the exact Shapley value of the
    game of replacing whole modalities (sampled above 12), with each modality's effect ``alone`` and ``last`` beside it.
    Other levels: the total effect of each player, and ``others_replaced``: its effect while all other modalities are
    replaced as well; with one modality it is plain permutation.

    Options:
        tolerance: stop repeating a feature once its interval's half-width is below this share of the loss scale; widths
            alone decide.
        branches: also weigh the branches (``Explanation.branches``).
        direction: also trace the mean prediction by quantile or level (``Explanation.direction``).
        incremental: recompute only what a replacement touches; False is the dense reference.
        workers: threads over features; results do not depend on it beyond rounding.

    Source: DESIGN.md section 3; marginal replacement as in Breiman (2001) and Fisher, Rudin & Dominici (2019).
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("global", "local")
    options: ClassVar[Mapping[str, Any]] = {**GAME_OPTIONS, "branches": True, "direction": True}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        request, plays = self.game(request)
        if request.scope == "local":
            return explain_plays("permgrad", request, plays)
        if plays.names[1:] == ("alone", "last"):
            played = play_losses(request, with_total(plays), "permgrad")
            weights: dict[str, Any] | None = weigh_modalities(played, request)
        else:
            played = play_losses(request, plays, "permgrad")
            weights = branch_weights(request, played.game) if request.options["branches"] else None
        trends = None
        if played.game.engine is not None and request.options["direction"]:
            trends = direction(request, played.game.engine)
        return global_explanation("permgrad", request, plays, played, branches=weights, direction=trends)

    @staticmethod
    def game(request: Request) -> tuple[Request, Plays]:
        """Return the request as it is played, and what is played."""
        if request.subject.paths:
            return request, path_plays(request.space, request.subject.paths)
        if request.level == "modality" and len(request.space) > 1:
            return request, shapley_plays(request.space, request.seed)
        several = len(set(request.space.modality)) > 1 and request.scoring is None
        return request, plays_beside_others(request.space) if several else single_plays(request.space)
