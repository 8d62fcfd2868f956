"""Ablation: every row's feature is set to one fixed value, in all paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from permgrad._errors import InputError, unknown
from permgrad.attribution.baselines import median_row
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.game import path_quantities
from permgrad.attribution.importance import GAME_OPTIONS, play_loss_game, play_row_game
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.result import global_explanation, local_explanation


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
        if request.sampling != "marginal":
            raise InputError(
                f"ablation sets one value and draws none, however: sampling={request.sampling!r}; leave sampling out"
            )
        background = request.encoded if request.background is None else request.background
        name = request.options.get("baseline", "typical")
        if name == "typical":
            encoder = request.subject.preprocessor  # type: ignore[attr-defined]
            baseline = median_row(background, encoder.kinds_, encoder.features("feature").values())
        elif name == "zeros":
            baseline = np.zeros(background.shape[1], dtype=np.float32)
        else:
            raise unknown("baseline", name, ("typical", "zeros"))
        request = replace(request, n_repeats=1, options={**request.options, "tolerance": None, "fixed": baseline})
        quantities = path_quantities(request.subject.paths)
        if request.scope == "local":
            return local_explanation(request, "ablation", quantities, *play_row_game(request, quantities, "ablation"))
        table, _, sampler = play_loss_game(request, quantities, "ablation")
        return global_explanation(request, "ablation", quantities, table, sampler)
