"""Permutation importance: the total effect of replacing a raw column by a donor's, without the split between paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from permgrad.attribution.build import global_explanation, local_explanation, network_global, network_local
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.replace.effects import play_loss, play_rows, single_plays
from permgrad.attribution.replace.game import Quantities, total_quantity
from permgrad.attribution.replace.importance import GAME_OPTIONS, play_loss_game, play_row_game
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError


@methods.register("permutation")
class Permutation:
    """Plain permutation importance, by independent donors in place of a shuffle, with intervals and p-values.

    Options:
        paths: which paths the replacement reaches; None is all of them. ``("tabular",)`` alone is half of a
            permutation: the image still shows the feature.
        tolerance, incremental, workers: as for ``permgrad``.

    On any other network the players are columns, image segments, groups or whole modalities; with ``layer=`` they are
    the units of a named layer, so that importance can be followed through the depth of the network.

    Source: Breiman (2001); Fisher, Rudin & Dominici (2019).
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("global", "local")
    options: ClassVar[Mapping[str, Any]] = {**GAME_OPTIONS, "paths": None}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        if request.subject.kind == "network":
            return _on_network(request)
        request, quantities = self.game(request)
        if request.scope == "local":
            return local_explanation(
                request, "permutation", quantities, *play_row_game(request, quantities, "permutation")
            )
        table, _, sampler = play_loss_game(request, quantities, "permutation")
        return global_explanation(request, "permutation", quantities, table, sampler)

    @staticmethod
    def game(request: Request) -> tuple[Request, Quantities]:
        """Return the request as it is played on a hybrid network, and what is kept."""
        return request, total_quantity(_paths(request))


def _paths(request: Request) -> tuple[str, ...]:
    """Return the paths that are replaced in; None is all of them."""
    given, known = request.options.get("paths"), request.subject.paths
    if given is None:
        return known
    listed = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    paths = tuple(listed)
    for path in paths:
        check_choice("paths", path, known)
    if not paths:
        raise InputError("paths must name at least one path, however: it is empty; leave it out for all")
    return paths


def refuse_paths(request: Request) -> None:
    """Refuse ``paths=`` on a torch network, which has none."""
    if request.options.get("paths") is not None:
        raise InputError(
            "paths= names the paths of permgrad's own networks, however: model is a torch network; leave it out, and "
            "pass level='modality' to replace whole inputs"
        )


def _on_network(request: Request) -> Explanation:
    refuse_paths(request)
    names, plays = single_plays(request)
    if request.scope == "local":
        return network_local(request, "permutation", names, play_rows(request, names, plays, "permutation"))
    return network_global(request, "permutation", names, play_loss(request, names, plays, "permutation"))
