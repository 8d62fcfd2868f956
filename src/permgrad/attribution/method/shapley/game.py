"""The games that Shapley values share out: what a coalition of players is worth for each row explained.

The players of a coalition keep the row's own values; all others come from background rows. What is measured then is
the output, or minus a loss, so that a player's value is what it adds to the output or takes off the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.method.shapley.grid import CoalitionGrid
from permgrad.attribution.replace.coalitions import CoalitionGame
from permgrad.attribution.replace.finite import finite_rows
from permgrad.attribution.replace.rounding import is_half, rounding_size
from permgrad.models.losses import losses

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

#: Network rows, and bytes of their masks, that are laid out at once.
_CHUNK_ROWS, _CHUNK_BYTES = 2**17, 2**25
#: How much steeper a measure may be elsewhere than at the two ends of the game.
_STEEPER = 4


class Measure(Protocol):
    """What a coalition is worth, given the network's outputs with each of several donors."""

    @property
    def width(self) -> int:
        """V: how many numbers it gives for each row."""
        ...

    def __call__(self, outputs: Tensor, rows: Integers) -> Floats:
        """Return ``(m, V)`` for outputs ``(m, donors, K)`` of the receivers ``rows`` ``(m,)``."""
        ...


@dataclass(frozen=True)
class OutputMeasure:
    """The mean output over the donors: logits, probabilities, or y's units."""

    request: Request

    @property
    def width(self) -> int:
        """Number of outputs explained."""
        return len(self.request.targets)

    def __call__(self, outputs: Tensor, rows: Integers) -> Floats:  # noqa: ARG002 — part of the protocol
        """Return the mean outputs asked for, ``(m, targets)``."""
        flat = self.request.subject.readout(outputs.flatten(0, 1).double(), self.request.output)
        chosen = flat[:, list(self.request.targets)].reshape(*outputs.shape[:2], -1)
        values: Floats = chosen.mean(dim=1).cpu().numpy()
        return values


@dataclass(frozen=True)
class ExpectedLoss:
    """Minus the mean, over the donors, of the loss of each prediction; without y the divergence from the row's own."""

    request: Request
    base: Tensor
    width: int = 1

    def __call__(self, outputs: Tensor, rows: Integers) -> Floats:
        """Return minus the mean losses, ``(m, 1)``."""
        subject, donors = self.request.subject, outputs.shape[1]
        flat, repeated = outputs.flatten(0, 1).double(), np.repeat(rows, donors)
        if self.request.y is None:
            lost = subject.divergence_rows(flat, self.base[_index(repeated)].double())
        else:
            lost = subject.loss_rows(flat, self.request.y[repeated], subject.resolve_loss(self.request.loss))
        mean: Floats = lost.reshape(-1, donors).mean(axis=1, keepdims=True)
        return -mean


@dataclass(frozen=True)
class LossOfMean:
    """Minus the loss of the prediction averaged over the donors (SAGE: Covert, Lundberg & Lee 2020, equation 2).

    A classifier's probabilities are averaged. Without y it is minus the divergence from the row's own prediction.
    """

    request: Request
    base: Tensor
    width: int = 1

    def __call__(self, outputs: Tensor, rows: Integers) -> Floats:
        """Return minus the losses, ``(m, 1)``."""
        subject, y = self.request.subject, self.request.y
        wide = outputs.double()
        if subject.task == "regression":
            mean = wide.mean(dim=1)
            unchanged = self.base[_index(rows)].double()
            loss = subject.resolve_loss(self.request.loss)
            lost = subject.divergence_rows(mean, unchanged) if y is None else subject.loss_rows(mean, y[rows], loss)
            return -lost[:, None]
        averaged = subject.probabilities(wide.flatten(0, 1)).reshape(*wide.shape[:2], -1).mean(dim=1)
        # The softmax of log-probabilities are the probabilities, so that every loss of logits can be used.
        logarithm = averaged.clamp_min(torch.finfo(torch.float64).tiny).log()
        if y is not None:
            target = torch.as_tensor(y[rows], device=logarithm.device)
            rows_lost = losses.get(subject.resolve_loss(self.request.loss))(logarithm, target)
        else:
            unchanged = subject.probabilities(self.base[_index(rows)].double())
            logarithm_own = unchanged.clamp_min(torch.finfo(torch.float64).tiny).log()
            rows_lost = (unchanged * (logarithm_own - logarithm)).sum(dim=1).clamp_min(0)
        negative: Floats = -rows_lost.cpu().numpy()[:, None]
        return negative


class ShapleyGame:
    """What coalitions are worth, for the rows of one call.

    Args:
        request: the call.
        measured: ``"output"``, or for a loss game ``"prediction"`` or ``"expected"``.
    """

    def __init__(self, request: Request, measured: str) -> None:
        self.request = request
        self._network, self._grid = CoalitionGame(request), CoalitionGrid(request)
        self.base = finite_rows(self._network.base()).cpu()
        self.donor_outputs = self._network.donor_outputs().cpu()
        self._noise = self._network.noise()
        self.measure: Measure = _make_measure(request, measured, self.base)
        self.players = len(request.space.names)
        self._elsewhere = 0
        #: Without players only the background is left; else what belongs to nobody stays as it is in the row.
        self.covered = request.space.covers()

    def full(self, rows: Integers) -> Floats:
        """Return what the coalition of all players is worth, ``(n, V)``: the row as it is."""
        return self.measure(self.base[_index(rows)][:, None], rows)

    def empty(self, rows: Integers, donors: Integers) -> Floats:
        """Return what nobody is worth, ``(n, V)``, with the donors of each row, ``(n, donors)``."""
        if not self.covered:
            return self.values(rows, donors, np.zeros((len(rows), 1, self.players), dtype=bool))[:, 0]
        worths = [
            self.measure(self.donor_outputs[_index(donors[part])], rows[part])
            for part in slices(len(rows), max(1, _CHUNK_ROWS // max(donors.shape[1], 1)))
        ]
        return np.concatenate(worths)

    def values(self, rows: Integers, donors: Integers, keeps: Booleans) -> Floats:
        """Return what coalitions are worth.

        Args:
            rows: receivers, ``(n,)``.
            donors: donors of each receiver, ``(n, donors)``.
            keeps: which players keep their own values: ``(n, coalitions, players)``.

        Returns:
            ``(n, coalitions, V)``.
        """
        count, coalitions, width = len(rows), keeps.shape[1], donors.shape[1]
        worths = np.empty((count, coalitions, self.measure.width))
        wide = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(self.players, 1)) // max(width, 1))
        for columns in slices(coalitions, wide):
            size = columns.stop - columns.start
            for part in slices(count, wide // size):
                outputs = self._outputs(rows[part], donors[part], keeps[part, columns])
                measured = self.measure(outputs.flatten(0, 1), np.repeat(rows[part], size))
                worths[part, columns] = measured.reshape(-1, size, measured.shape[1])
        return worths

    def _outputs(self, rows: Integers, donors: Integers, keeps: Booleans) -> Tensor:
        """Return raw outputs ``(n, coalitions, donors, K)``, in the way that costs least.

        With several inputs the coalition game runs each branch once per row, wherever whole inputs are kept or
        replaced; with one there is no such branch, and laying everything out by broadcasting is faster.
        """
        if len(self.request.inputs) == 1:
            return self._grid.outputs(rows, donors, keeps)
        shape = (len(rows), keeps.shape[1], donors.shape[1])
        receivers = np.broadcast_to(rows[:, None, None], shape).flatten()
        lenders = np.broadcast_to(donors[:, None], shape).flatten()
        replaced = ~np.broadcast_to(keeps[:, :, None], (*shape, self.players)).reshape(-1, self.players)
        return self._network.predict(receivers, lenders, replaced).cpu().reshape(*shape, -1)

    def differs(self, rows: Integers, donors: Integers) -> Booleans:
        """Return which players are not the same in a row and in all its donors, ``(n, players)``."""
        return self._grid.differs(rows, donors)

    @property
    def evaluations(self) -> int:
        """Rows of the network evaluated so far."""
        return self._network.evaluations + self._grid.evaluations + self._elsewhere

    def count(self, evaluations: int) -> None:
        """Count rows of the network that were evaluated for this game in another way."""
        self._elsewhere += evaluations

    def rounding(self, rows: Integers, donors: int) -> Floats:
        """Return the difference of values below which it is the network's rounding, ``(n, V)``.

        Found by moving each output by its rounding, at the row's own prediction and at the background's mean. In half
        precision real effects are as small: there the roundings of several donors' outputs are taken to average out.

        Args:
            rows: receivers, ``(n,)``.
            donors: how many donors a value is taken over.
        """
        unchanged = self.base[_index(rows)]
        mean = self.donor_outputs.double().mean(dim=0).expand(len(rows), -1)
        largest = np.zeros((len(rows), self.measure.width))
        for point in (unchanged.double(), mean):
            size = rounding_size(point.to(self.base.dtype), self._noise)[:, 0].double()
            at_point = self.measure(point[:, None], rows)
            moved = np.zeros_like(largest)
            for column in range(unchanged.shape[1]):
                shifted = point.clone()
                shifted[:, column] += size
                moved += np.abs(self.measure(shifted[:, None], rows) - at_point)
            largest = np.maximum(largest, moved)
        return largest / np.sqrt(donors) if is_half(self.base.dtype) else _STEEPER * largest


def _make_measure(request: Request, measured: str, base: Tensor) -> Measure:
    makers: dict[str, Any] = {
        "output": lambda: OutputMeasure(request),
        "prediction": lambda: LossOfMean(request, base),
        "expected": lambda: ExpectedLoss(request, base),
    }
    measure: Measure = makers[measured]()
    return measure


def _index(numbers: Integers) -> Tensor:
    """Return row numbers as a tensor of its own: views of broadcast arrays cannot be written to."""
    return torch.from_numpy(np.array(numbers))


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of ``range(count)``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
