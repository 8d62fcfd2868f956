"""Ablation: every row's feature is set to one fixed value, in all paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.build import global_explanation, local_explanation, network_global, network_local
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.replace.donors import need_background
from permgrad.attribution.replace.effects import play_loss, play_rows, single_plays
from permgrad.attribution.replace.game import Quantities, path_quantities
from permgrad.attribution.replace.importance import GAME_OPTIONS, play_loss_game, play_row_game
from permgrad.attribution.slopes.baselines import median_row
from permgrad.attribution.slopes.tensor_baselines import typical_row
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError

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
        _refuse_sampling(request)
        if request.subject.kind == "network":
            return _on_network(request)
        request, quantities = self.game(request)
        if request.scope == "local":
            return local_explanation(request, "ablation", quantities, *play_row_game(request, quantities, "ablation"))
        table, _, sampler = play_loss_game(request, quantities, "ablation")
        return global_explanation(request, "ablation", quantities, table, sampler)

    @staticmethod
    def game(request: Request) -> tuple[Request, Quantities]:
        """Return the request as it is played on a hybrid network, with the fixed values, and what is kept."""
        _refuse_sampling(request)
        background = request.encoded if request.background is None else request.background
        name = request.options.get("baseline", "typical")
        check_choice("baseline", name, BASELINES)
        if name == "typical":
            encoder = request.subject.preprocessor
            baseline = median_row(background, encoder.kinds_, encoder.features("feature").values())
        else:
            baseline = np.zeros(background.shape[1], dtype=np.float32)
        request = replace(request, n_repeats=1, options={**request.options, "tolerance": None, "fixed": baseline})
        return request, path_quantities(request.subject.paths)


def _refuse_sampling(request: Request) -> None:
    if request.sampling != "marginal":
        raise InputError(
            f"ablation sets one value and draws none, however: sampling={request.sampling!r}; leave sampling out"
        )


def _on_network(request: Request) -> Explanation:
    name = request.options.get("baseline", "typical")
    fixed = fixed_rows(request)
    request = replace(request, n_repeats=1, options={**request.options, "tolerance": None})
    names, plays = single_plays(request)
    facts = {"baseline": "median of numbers, most frequent whole number" if name == "typical" else "zeros"}
    if request.scope == "local":
        found = play_rows(request, names, plays, "ablation", fixed)
        return network_local(request, "ablation", names, found, **facts)
    return network_global(request, "ablation", names, play_loss(request, names, plays, "ablation", fixed), facts=facts)


def fixed_rows(request: Request) -> list[Tensor]:
    """Return what replaces every row of a torch network, as ``baseline=`` asks for, ``(1, *)`` per input."""
    _refuse_sampling(request)
    name = request.options.get("baseline", "typical")
    check_choice("baseline", name, BASELINES)
    return typical_rows(request) if name == "typical" else [torch.zeros_like(tensor[:1]) for tensor in request.donors]


def typical_rows(request: Request) -> list[Tensor]:
    """Return the typical row of the background, ``(1, *)`` per input."""
    need_background(request.count, shared=request.shared)
    return [typical_row(tensor) for tensor in request.donors]
