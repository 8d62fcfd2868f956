"""Effects that no drawn pair showed: whether the output can change at all, and how large such an effect may be.

A player that moved no pair is not thereby without effect. If an output can change, the interval reaches as far as the
rule of three says (Hanley & Lippman-Hand 1983): what is in none of n rows is, at 95 %, in at most 3/n of all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.replace.coalitions import CoalitionGame
from permgrad.attribution.replace.moments import PairMoments
from permgrad.attribution.replace.plays import Value
from permgrad.attribution.request import Request
from permgrad.attribution.subject.finite import settle
from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.random import generator
from permgrad.base.threads import warning_filters

#: Rows that are tried, as they are and drawn, and new values of the player for each.
_ROWS, _VALUES = 128, 4


class Unseen:
    """What may be where nothing was seen. Both parts are computed only where they are needed."""

    def __init__(self, request: Request, outputs: Callable[[], Tensor], value: Value) -> None:
        self.request, self.outputs, self.value = request, outputs, value
        self._games: dict[bool, CoalitionGame] = {}

    def tell(self, player: str, moments: PairMoments) -> None:
        """Set how large the effect of a pair may be where the sums of all rows, or of a class, show none."""
        groups = [None, *range(moments.classes)] if moments.classes > 1 else [None]
        quiet = [group for group in groups if moments.is_quiet(group).all()]
        if player in self.request.space.names and quiet and (quiet[0] is not None or self.can_change(player)):
            moments.possible = self.scale

    @cached_property
    def scale(self) -> float:
        """Mean size of the effects of those rows that have one where the output is another row's."""
        outputs, rows = self.outputs(), slice(0, self.request.count)
        other = torch.from_numpy(generator(self.request.seed, "unseen").permutation(len(outputs)))
        measured = (self.value(each, rows, outputs) for each in (outputs[other.to(outputs.device)], outputs))
        sizes = np.abs(np.subtract(*measured))
        return float(sizes[sizes > 0].mean()) if (sizes > 0).any() else 0.0

    def can_change(self, player: str) -> bool:
        """Whether any output changes with a player: in the rows, and for a table also in rows drawn beyond them."""
        with warning_filters, warnings.catch_warnings(), self.request.subject.open(), torch.no_grad():
            warnings.simplefilter("ignore")
            for wide in (self.request.subject.travels, False):
                try:
                    return self._moves(player, self._tried(wide=wide))
                except InputError:  # the model refuses such values
                    continue
        return True

    def _moves(self, player: str, game: CoalitionGame) -> bool:
        rows, lenders = np.repeat(np.arange(game.request.count), _VALUES), len(game.request.donors[0])
        donors = generator(self.request.seed, "unseen values", player).integers(0, lenders, len(rows))
        before = game.base()[torch.from_numpy(rows)]
        after = game.predict_one(rows, donors, np.array(self.request.space.names) == player)
        return not torch.equal(settle(after, before, game.noise), before)

    def _tried(self, *, wide: bool) -> CoalitionGame:
        """Return a game of rows that are tried, and of rows whose values replace a player's."""
        if wide not in self._games:
            draw, some = generator(self.request.seed, "unseen rows"), []
            for at, (rows, donors) in enumerate(zip(self.request.inputs, self.request.donors, strict=True)):
                pair = [
                    each[torch.from_numpy(draw.permutation(len(each))[:_ROWS]).to(each.device)]
                    for each in (rows, donors)
                ]
                if wide:
                    table = torch.cat([rows, donors]).numpy()
                    scale = self.request.subject.on_a_scale(at, rows.shape[1:])
                    columns = [_values(cells, draw, wide=bool(on)) for cells, on in zip(table.T, scale, strict=True)]
                    drawn = torch.from_numpy(np.stack(columns, axis=1)).split(_ROWS)
                    pair = [torch.cat(both) for both in zip(pair, drawn, strict=True)]
                some.append(pair)
            inputs, values = zip(*some, strict=True)
            self._games[wide] = CoalitionGame(replace(self.request, inputs=inputs, donors=values))
        return self._games[wide]


def _values(seen: Floats, draw: np.random.Generator, *, wide: bool) -> Floats:
    """Return values of a column, ``(2 * _ROWS,)``: those seen, and of numbers half of them beyond and between these."""
    values, finite = draw.choice(seen, 2 * _ROWS), seen[np.isfinite(seen)]
    if not wide or not len(finite):
        return values
    low, span = finite.min(), np.ptp(finite)
    further = draw.uniform(low - 3 * span, low + 4 * span, 2 * _ROWS)
    further = np.rint(further) if (finite == np.rint(finite)).all() else further
    return np.where(draw.random(2 * _ROWS) < 0.5, values, further)
