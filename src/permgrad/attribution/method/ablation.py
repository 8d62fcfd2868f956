"""Ablation: every row's feature is set to one fixed value, in all paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch

from permgrad.attribution.build import explain_plays
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods, refuse_conditional
from permgrad.attribution.replace.donors import need_background
from permgrad.attribution.replace.game import GAME_OPTIONS
from permgrad.attribution.replace.plays import Plays, path_plays, single_plays
from permgrad.base.checks import check_choice

#: What a feature can be set to.
BASELINES = ("typical", "zeros")


@methods.register("ablation")
class Ablation:
    """What setting a feature to its typical value (or to encoded zero) does.

    Options:
        baseline: ``"typical"``: median of a number, most frequent level of a category, over the background;
            ``"zeros"``: encoded 0.
        incremental, workers: as for ``permgrad``.

    One value stands for "absent" here, which is why ``permgrad`` draws donors instead.
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("global", "local")
    options: ClassVar[Mapping[str, Any]] = {**GAME_OPTIONS, "baseline": "typical"}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        return explain_plays("ablation", *self.game(request))

    @staticmethod
    def game(request: Request) -> tuple[Request, Plays]:
        """Return the request as it is played, once, and what is played with the fixed values."""
        refuse_conditional(request, "ablation", "sets one value and draws none", "leave sampling out")
        value = request.options["baseline"]
        check_choice("baseline", value, BASELINES)
        fixed = tuple(torch.zeros_like(tensor[:1]) for tensor in request.donors)
        if value == "typical":
            if request.subject.preprocessor is None:
                need_background(request.count, shared=request.shared)
            fixed = request.subject.typical(request.donors)
        paths = request.subject.paths
        plays = path_plays(request.space, paths) if paths else single_plays(request.space)
        words = "median of numbers, most frequent whole number" if value == "typical" else "zeros"
        facts = {"baseline": words} if request.subject.preprocessor is None else {}
        request = replace(request, n_repeats=1, options={**request.options, "tolerance": None})
        return request, replace(plays, fixed=fixed, facts=facts)
