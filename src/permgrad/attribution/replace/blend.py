"""The network itself as back end of a game: it predicts rows into which values of other rows are blended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.coalitions import CoalitionGame
from permgrad.attribution.replace.conditional import conditional_sampler, sampler_facts
from permgrad.attribution.replace.donors import donor_rows, need_background
from permgrad.attribution.replace.finite import finite_rows
from permgrad.attribution.replace.moments import NO_DONOR
from permgrad.attribution.replace.plays import Booleans, Floats, Integers, Play

if TYPE_CHECKING:
    from permgrad.attribution.replace.game import Effects

#: So many coalitions are predicted one by one: the same positions are then replaced in all rows.
_ONE_BY_ONE = 8
#: DistinctPairs that are held at once.
_CHUNK = 65_536


class Blend:
    """Answers plays of any players of any network."""

    workers = 1

    def __init__(self, request: Request, fixed: Sequence[Tensor] | None = None) -> None:
        self.request, self.fixed = request, fixed
        self.game = CoalitionGame(request)
        donors = len(request.donors[0])
        if fixed is None:
            need_background(donors, shared=request.shared)
        self.donors = donors if fixed is None else request.count
        self.shared = request.shared or fixed is not None
        conditional = request.sampling == "conditional" and fixed is None
        self._sampler = conditional_sampler(request) if conditional else None

    @property
    def evaluations(self) -> int | None:
        """Rows of the network evaluated so far."""
        return self.game.evaluations

    @cached_property
    def noise(self) -> float | None:
        """How far rounding moves the outputs."""
        return self.game.noise()

    @property
    def facts(self) -> dict[str, Any]:
        """What the draws say of features, for ``meta``."""
        return sampler_facts(self._sampler)

    def mode(self) -> AbstractContextManager[Any]:
        """Return the context in which no gradient is followed."""
        return torch.no_grad()

    def outputs(self, span: slice | None = None) -> Tensor:
        """Return the outputs of the rows explained; not finite ones are refused, of the background too."""
        outputs = self.game.base()
        if self.fixed is None:
            self.game.donor_outputs()
        return finite_rows(outputs if span is None else outputs[span])

    def blocks(self, span: slice | None = None) -> list[slice]:
        """Return all rows, or those of a span."""
        return [slice(0, self.request.count) if span is None else span]

    def base(self, rows: slice) -> Tensor:
        """Return the outputs of rows as they are."""
        return self.game.base()[rows]

    def answers(
        self, play: Play, repeats: Sequence[int], rows: slice, measure: Effects
    ) -> Iterator[tuple[Integers, Integers, Floats]]:
        """Yield rows, their donors and effects; where rows are few, several repeats go through the network together."""
        coalitions = np.zeros((len(play.mask), len(self.request.space)), dtype=bool)
        coalitions[:, play.players] = play.mask.any(axis=2)
        together = max(1, _CHUNK // (len(coalitions) * (rows.stop - rows.start)))
        size = max(1, _CHUNK // len(coalitions))
        for first in range(0, len(repeats), together):
            some = repeats[first : first + together]
            for start in range(rows.start, rows.stop, size):
                numbers = np.arange(start, min(start + size, rows.stop), dtype=np.int64)
                receivers = np.tile(numbers, len(some))
                donors, outputs = self._predict(play.key, coalitions, receivers, some)
                effects = measure(list(outputs), self.game.base()[torch.as_tensor(receivers)], receivers)
                for at in range(0, len(receivers), len(numbers)):
                    part = slice(at, at + len(numbers))
                    yield numbers, donors[part], effects[:, part]

    def _predict(
        self, key: str, coalitions: Booleans, receivers: Integers, repeats: Sequence[int]
    ) -> tuple[Integers, Tensor]:
        """Return donors ``(b,)`` and outputs ``(coalitions, b, K)`` for receivers that occur once in each repeat."""
        request, count, width = self.request, len(receivers), len(coalitions)
        rows = receivers[: count // len(repeats)]
        if self._sampler is not None:
            columns = request.players[key]
            drawn = [self._sampler.draw(key, columns, rows, repeat) for repeat in repeats]
            values = torch.from_numpy(np.concatenate([values for _, values in drawn]))
            outputs = self.game.with_values(receivers, columns, values)
            return np.concatenate([donors for donors, _ in drawn]), outputs[None]
        if self.fixed is not None:
            first = np.zeros(count, dtype=np.int64)
            fixed = [self.game.predict_one(receivers, first, coalition, self.fixed) for coalition in coalitions]
            return np.full(count, NO_DONOR, dtype=np.int64), torch.stack(fixed)
        shifted = rows + request.row_offset
        draws = [
            donor_rows(request.seed, key, repeat, shifted, self.donors, shared=request.shared) for repeat in repeats
        ]
        donors = np.concatenate(draws)
        if width <= _ONE_BY_ONE and not self.game.has_branches(count):
            one_by_one = [self.game.predict_one(receivers, donors, coalition) for coalition in coalitions]
            return donors, torch.stack(one_by_one)
        replaced = torch.as_tensor(coalitions).repeat_interleave(count, dim=0)
        outputs = self.game.predict(np.tile(receivers, width), np.tile(donors, width), replaced)
        return donors, outputs.unflatten(0, (width, count))
