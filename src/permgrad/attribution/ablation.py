"""Ablation: every row's feature is set to one fixed value, in all paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from permgrad._errors import InputError, unknown
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.game import path_quantities
from permgrad.attribution.importance import GAME_OPTIONS, play_loss_game, play_row_game
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.result import global_explanation, local_explanation


def typical_row(encoded: npt.NDArray[np.float32], players: list[npt.NDArray[np.intp]]) -> npt.NDArray[np.float32]:
    """Return, player by player, the median of a single column and the most frequent value of several.

    Several columns (a one-hot block) are kept together, so that the row stays one that can occur.

    Shape:
        encoded ``(rows, encoded)``; result ``(encoded,)``.
    """
    row = np.median(encoded, axis=0).astype(np.float32)
    for columns in players:
        if len(columns) > 1:
            values, counts = np.unique(encoded[:, columns], axis=0, return_counts=True)
            row[columns] = values[int(np.argmax(counts))]
    return row


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
            features = list(request.subject.preprocessor.features("feature").values())  # type: ignore[attr-defined]
            baseline = typical_row(background, features)
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
