"""Permutation importance: the total effect of replacing a raw column by a donor's, without the split between paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from permgrad.attribution.build import explain_plays
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.replace.game import GAME_OPTIONS
from permgrad.attribution.replace.plays import Plays, single_plays
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError


@methods.register("permutation")
class Permutation:
    """Plain permutation importance, by independent donors in place of a shuffle, with intervals and p-values.

    Options:
        paths: which paths of a hybrid network the replacement reaches; None is all of them. ``("tabular",)`` alone is
            half of a permutation: the image still shows the feature.
        tolerance, incremental, workers: as for ``permgrad``.

    On any other network the players are columns, image segments, groups or whole modalities; with ``layer=`` they are
    the units of a named layer, so that importance can be followed through the depth of the network.

    Source: Breiman (2001); Fisher, Rudin & Dominici (2019).
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("global", "local")
    options: ClassVar[Mapping[str, Any]] = {**GAME_OPTIONS, "paths": None}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        return explain_plays("permutation", *self.game(request))

    @staticmethod
    def game(request: Request) -> tuple[Request, Plays]:
        """Return the request as it is played, and what is played."""
        chosen, paths = request.options.get("paths"), request.subject.paths
        if chosen is None:
            return request, single_plays(request.space, paths)
        if not paths:
            raise InputError(
                "paths= names the paths of permgrad's own networks, however: model is a torch network; leave it out, "
                "and pass level='modality' to replace whole inputs"
            )
        through = tuple(chosen) if isinstance(chosen, Iterable) and not isinstance(chosen, str) else (chosen,)
        for path in through:
            check_choice("paths", path, paths)
        if not through:
            raise InputError("paths must name at least one path, however: it is empty; leave it out for all")
        return request, single_plays(request.space, paths, through)
