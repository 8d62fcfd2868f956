"""PermGrad, the default: the path game of DESIGN section 3.

For each feature, what replacing its raw column by a donor's does to the loss, in the table, in the image and in both;
the total effect is shared out between the paths by the two-player Shapley value. Nothing is rescaled, nothing is
weighted by a softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from permgrad.attribution.build import global_explanation, local_explanation, network_global, network_local
from permgrad.attribution.direction import direction
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.replace.branch_weights import branch_weights
from permgrad.attribution.replace.effects import (
    modality_weights,
    play_loss,
    play_modalities,
    play_rows,
    shapley_play,
    single_plays,
)
from permgrad.attribution.replace.game import Quantities, path_quantities
from permgrad.attribution.replace.importance import GAME_OPTIONS, play_loss_game, play_row_game


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
        if request.subject.kind == "network":
            return _on_network(request)
        request, quantities = self.game(request)
        if request.scope == "local":
            return local_explanation(request, "permgrad", quantities, *play_row_game(request, quantities, "permgrad"))
        table, game, sampler = play_loss_game(request, quantities, "permgrad")
        weights = branch_weights(request, game) if request.options.get("branches", True) else None
        trends = direction(request, game) if request.options.get("direction", True) else None
        return global_explanation(request, "permgrad", quantities, table, sampler, branches=weights, direction=trends)

    @staticmethod
    def game(request: Request) -> tuple[Request, Quantities]:
        """Return the request as it is played on a hybrid network, and what is kept."""
        return request, path_quantities(request.subject.paths)


def _on_network(request: Request) -> Explanation:
    whole = request.level == "modality" and len(request.space) > 1
    if whole and request.scope == "global":
        names, table, weights = play_modalities(request, "permgrad")
        return network_global(request, "permgrad", names, table, branches=weights)
    names, plays = shapley_play(request) if whole else single_plays(request, others=_several(request))
    if request.scope == "local":
        return network_local(request, "permgrad", names, play_rows(request, names, plays, "permgrad"))
    table = play_loss(request, names, plays, "permgrad")
    weighed = modality_weights(request) if request.options.get("branches", True) else None
    return network_global(request, "permgrad", names, table, branches=weighed)


def _several(request: Request) -> bool:
    return len(set(request.space.modality)) > 1
