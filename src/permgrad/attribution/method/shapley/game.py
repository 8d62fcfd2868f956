"""The games that Shapley values share out: what a coalition of players is worth for each row explained.

The players of a coalition keep the row's own values; all others come from background rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.method.shapley.grid import CoalitionGrid
from permgrad.attribution.method.shapley.owen import Booleans, Floats, Integers
from permgrad.attribution.replace.coalitions import CoalitionGame
from permgrad.attribution.replace.finite import finite_rows
from permgrad.attribution.replace.rounding import is_half, rounding_size
from permgrad.models.losses import losses

#: Network rows, and bytes of their masks, that are laid out at once.
_CHUNK_ROWS, _CHUNK_BYTES = 2**17, 2**25
#: How much steeper a measure may be elsewhere than at the two ends of the game.
_STEEPER = 4
_TINY = torch.finfo(torch.float64).tiny


class ShapleyGame:
    """What coalitions are worth, for the rows of one call, in V numbers each: of the output, or of a loss."""

    def __init__(self, request: Request, measured: str) -> None:
        self.request = request
        self._network, self._grid = CoalitionGame(request), CoalitionGrid(request)
        self.base = finite_rows(self._network.base()).cpu()
        self.donor_outputs = self._network.donor_outputs().cpu()
        self._noise = self._network.noise()
        self.measured, self.width = measured, len(request.targets) if measured == "output" else 1
        self.players = len(request.space.names)
        #: Rows of the network evaluated in another way for this game.
        self.elsewhere = 0
        #: Without players only the background is left; else what belongs to nobody stays as it is in the row.
        self.covered = request.space.covers()

    def measure(self, outputs: Tensor, rows: Integers) -> Floats:
        """Return what outputs ``(m, donors, K)`` of the receivers ``rows`` ``(m,)`` are worth, ``(m, V)``.

        ``"output"``: their mean over the donors. Of a loss game ``"expected"``: minus the mean loss of each prediction,
        or ``"prediction"``: minus the loss of the mean prediction, where a classifier's probabilities are averaged
        (SAGE: Covert, Lundberg & Lee 2020, equation 2); without y the loss is the divergence from the row's own
        prediction.
        """
        subject, y, donors = self.request.subject, self.request.y, outputs.shape[1]
        flat = outputs.flatten(0, 1).double()
        if self.measured == "output":
            chosen = subject.readout(flat, self.request.output)[:, list(self.request.targets)]
            values: Floats = chosen.reshape(*outputs.shape[:2], -1).mean(dim=1).cpu().numpy()
            return values
        base, loss = self.base[_index(rows)].double(), "" if y is None else subject.resolve_loss(self.request.loss)
        if self.measured == "expected" or subject.task == "regression":
            if self.measured == "prediction":
                flat, donors = outputs.double().mean(dim=1), 1
            if y is None:
                lost = subject.divergence_rows(flat, base.repeat_interleave(donors, dim=0))
            else:
                lost = subject.loss_rows(flat, np.repeat(y[rows], donors), loss)
            mean: Floats = lost.reshape(-1, donors).mean(axis=1, keepdims=True)
            return -mean
        # The softmax of log-probabilities are the probabilities, so that every loss of logits can be used.
        averaged = subject.probabilities(flat).reshape(*outputs.shape[:2], -1).mean(dim=1)
        logarithm = averaged.clamp_min(_TINY).log()
        if y is not None:
            of_rows = losses.get(loss)(logarithm, torch.as_tensor(y[rows], device=logarithm.device))
        else:
            unchanged = subject.probabilities(base)
            of_rows = (unchanged * (unchanged.clamp_min(_TINY).log() - logarithm)).sum(dim=1).clamp_min(0)
        negative: Floats = -of_rows.cpu().numpy()[:, None]
        return negative

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
        """Return what coalitions are worth, ``(n, coalitions, V)``.

        ``keeps`` ``(n, coalitions, players)`` stay as in the row.
        """
        count, coalitions, width = len(rows), keeps.shape[1], donors.shape[1]
        worths = np.empty((count, coalitions, self.width))
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
        return self._network.evaluations + self._grid.evaluations + self.elsewhere

    def rounding(self, rows: Integers, donors: int) -> Floats:
        """Return the difference of values below which it is the network's rounding, ``(n, V)``, for so many donors.

        Found by moving each output by its rounding, at the row's own prediction and at the background's mean. In half
        precision real effects are as small: there the roundings of several donors' outputs are taken to average out.
        """
        unchanged = self.base[_index(rows)]
        mean = self.donor_outputs.double().mean(dim=0).expand(len(rows), -1)
        largest = np.zeros((len(rows), self.width))
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


def _index(numbers: Integers) -> Tensor:
    """Return row numbers as a tensor of its own: views of broadcast arrays cannot be written to."""
    return torch.from_numpy(np.array(numbers))


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of ``range(count)``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
