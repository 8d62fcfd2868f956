"""Effects that no drawn pair showed: whether the output can change at all, and how large such an effect may be.

A player that moved no pair is not thereby without effect. If an output can change, the interval reaches as far as the
rule of three says (Hanley & Lippman-Hand 1983): what is in none of n rows is, at 95 %, in at most 3/n of all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

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
        self._scale: float | None = None
        self._tried: tuple[CoalitionGame, bool] | None = None

    def tell(self, player: str, moments: PairMoments) -> None:
        """Set how large the effect of a pair may be where the sums of all rows, or of a class, show none."""
        groups = [None, *range(moments.classes)] if moments.classes > 1 else [None]
        quiet = [group for group in groups if moments.is_quiet(group)]
        if player in self.request.space.names and quiet and (quiet[0] is not None or self.can_change(player)):
            moments.possible = self.scale

    @property
    def scale(self) -> float:
        """Mean size of the effects of those rows that have one where the output is another row's."""
        if self._scale is None:
            outputs, rows = self.outputs(), slice(0, self.request.count)
            other = torch.from_numpy(generator(self.request.seed, "unseen").permutation(len(outputs)))
            measured = (self.value(each, rows, outputs) for each in (outputs[other.to(outputs.device)], outputs))
            sizes = np.abs(np.subtract(*measured))
            self._scale = float(sizes[sizes > 0].mean()) if (sizes > 0).any() else 0.0
        return self._scale

    def can_change(self, player: str) -> bool:
        """Whether any output changes with a player: in the rows, and for a table also in rows drawn beyond them."""
        if not self._varies(player):
            return False
        with warning_filters, warnings.catch_warnings(), self.request.subject.open(), torch.no_grad():
            warnings.simplefilter("ignore")
            for wide in (True, False):
                try:
                    return self._moved(player, wide=wide)
                except InputError:  # the model refuses such values
                    continue
        return True

    def _varies(self, player: str) -> bool:
        """Whether a player has different values in the rows or the background."""
        place = self.request.space.names.index(player)
        owned = self.request.space.owners(torch.device("cpu"))
        for rows, donors, owners in zip(self.request.inputs, self.request.donors, owned, strict=True):
            spots = (owners == place).nonzero().flatten()
            for own in (tensor.flatten(1)[:, spots.to(tensor.device)] for tensor in (rows, donors)):
                if (own != rows[:1].flatten(1)[:, spots.to(rows.device)].to(own)).any():
                    return True
        return False

    def _moved(self, player: str, *, wide: bool) -> bool:
        if self._tried is None or self._tried[1] != wide:
            inputs, values = zip(*(self._drawn(at, wide=wide) for at in range(len(self.request.inputs))), strict=True)
            self._tried = CoalitionGame(replace(self.request, inputs=inputs, donors=values)), wide
        game = self._tried[0]
        rows, lenders = np.repeat(np.arange(game.request.count), _VALUES), len(game.request.donors[0])
        donors = generator(self.request.seed, "unseen values", player).integers(0, lenders, len(rows))
        before = game.base()[torch.from_numpy(rows)]
        chosen = np.array(self.request.space.names) == player
        return not torch.equal(settle(game.predict_one(rows, donors, chosen), before, game.noise), before)

    def _drawn(self, at: int, *, wide: bool) -> tuple[Tensor, Tensor]:
        """Return rows of an input to be tried, and rows whose values replace a player's."""
        request, draw = self.request, generator(self.request.seed, "unseen rows", at)
        rows, donors = request.inputs[at], request.donors[at]
        some = rows[torch.from_numpy(draw.permutation(len(rows))[:_ROWS]).to(rows.device)]
        lent = donors[torch.from_numpy(draw.permutation(len(donors))[:_ROWS]).to(donors.device)]
        if not wide or not request.subject.travels or rows.ndim != 2:
            return some, lent
        # A predictor's table: each column by itself, and numbers also beyond those seen and between them.
        table = torch.cat([rows, donors.to(rows)])
        scale = request.subject.on_a_scale(at, table.shape[1:])
        drawn = [_values(table[:, column].numpy(), draw, wide=bool(scale[column])) for column in range(table.shape[1])]
        further = torch.from_numpy(np.stack(drawn, axis=1)).to(rows)
        return torch.cat([some, further[: len(further) // 2]]), torch.cat([lent, further[len(further) // 2 :]])


def _values(seen: Floats, draw: np.random.Generator, *, wide: bool) -> Floats:
    """Return values of a column to be tried, ``(2 * _ROWS,)``."""
    values = seen[draw.integers(0, len(seen), 2 * _ROWS)].copy()
    finite = seen[np.isfinite(seen)]
    if wide and len(finite):
        low, high = finite.min(), finite.max()
        span = max(high - low, 1.0) if (finite == np.rint(finite)).all() else high - low
        further = draw.uniform(low - span, high + span, 2 * _ROWS)
        whole = (finite == np.rint(finite)).all()
        values = np.where(draw.random(2 * _ROWS) < 0.5, values, np.rint(further) if whole else further)
    return values
