"""How much each row's loss grows without each feature, for questions about some of the
rows.
"""

from __future__ import annotations

import numpy as np

from permgrad.attribution.explain import find_method
from permgrad.attribution.method.permgrad import PermGrad
from permgrad.attribution.replace.game import play_losses
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.base.arrays import Floats
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32


def row_losses(arguments: Arguments) -> dict[str, Floats]:
    """Return by feature how much the loss of each row grows when it is replaced
    ``(rows,)``.

    The mean over rows is the importance that ``pg.explain`` returns by
    ``method="permgrad"``.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(60, 2))
        >>> options = {"scope": "global", "progress": False}
        >>> arguments = Arguments(lambda rows: rows[:, 0], X, X[:, 0], **options)
        >>> losses = row_losses(arguments)
        >>> losses["x0"].shape, bool(losses["x0"].mean() > 0), float(losses["x1"].max())
        ((60,), True, 0.0)
    """
    chosen_method, method_name = find_method(arguments.method)
    assert isinstance(chosen_method, PermGrad), "losses of rows are those of its game"
    with sparing(), full_float32():
        request = build_request(arguments, chosen_method, method_name)
        with request.subject.steady(request.inputs):
            request, plays = chosen_method.game(request)
            played_game = play_losses(request, plays, method_name)
    losses = {}
    for player in request.space.names:
        losses[player] = np.zeros(request.count)
        if player in played_game.moments:
            moments = played_game.moments[player]
            weight = moments.receiver_weight
            losses[player] = moments.receiver_sum[0] / np.where(weight > 0, weight, 1.0)
    return losses
