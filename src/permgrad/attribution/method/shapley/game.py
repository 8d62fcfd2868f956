"""The games that Shapley values share out: players of a coalition keep the row's values, others come from donors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.method.shapley.owen import Booleans, Floats, Integers, Tree
from permgrad.attribution.replace.coalitions import CoalitionGame, forward_batch_size
from permgrad.attribution.replace.finite import finite_between_rows, finite_rows, is_half, rounding_size
from permgrad.models.batches import halved
from permgrad.models.losses import losses

#: Bytes, and batches, of the network's inputs that are laid out at once.
_LAID_OUT_BYTES, _LAID_OUT_BATCHES = 2**20, 16
#: Integers as wide as numbers of so many bytes.
_SAME_WIDTH = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def select(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return ``torch.where(mask, one, other)``, several times faster on a processor: bits are combined as integers."""
    width = _SAME_WIDTH.get(one.element_size())
    if width is None or one.device.type != "cpu" or one.dtype != other.dtype:
        return torch.where(mask, one, other)
    first, second = one.view(width), other.view(width)
    # Its shape is that of all three together, so that the last step needs no further tensor.
    chosen = torch.bitwise_and(mask.to(width).neg_(), first ^ second)
    return chosen.bitwise_xor_(second).view(one.dtype)


class CoalitionGrid:
    """Predicts every row with all its coalitions and donors, laid out by broadcasting: inputs are written once."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.evaluations = 0
        self._batch = forward_batch_size(request)
        numbers = sum(tensor[0].numel() * tensor.element_size() for tensor in request.inputs)
        self._laid_out = min(_LAID_OUT_BYTES // max(numbers, 1), _LAID_OUT_BATCHES * self._batch)
        players, device = len(request.space.names), request.subject.device
        # Positions that nobody owns always keep the row's own value: player number `players`, never replaced.
        self._owners = [tensor.to(device).reshape(-1).remainder(players + 1) for tensor in request.space.segments]
        straight = torch.arange(players, device=device)
        self._straight = [torch.equal(tensor, straight) for tensor in self._owners]

    def outputs(self, rows: Integers, donors: Integers, keeps: Booleans) -> Tensor:
        """Return raw outputs ``(n, coalitions, donors, K)`` for ``donors`` ``(n, donors)``, in batches that fit."""
        # Copies: views of broadcast arrays cannot be shared with torch.
        return self._outputs(*(torch.from_numpy(np.array(array)) for array in (rows, donors, keeps)))

    def differs(self, rows: Integers, donors: Integers) -> Booleans:
        """Return which players are not the same in a row and in all its donors, ``(n, players)``."""
        request, players = self.request, len(self.request.space.names)
        differing = torch.zeros(len(rows), players + 1, dtype=torch.int32)
        own_rows, lenders = torch.from_numpy(np.array(rows)), torch.from_numpy(np.array(donors))
        for tensor, donor, owners in zip(request.inputs, request.donors, self._owners, strict=True):
            receiving = tensor[own_rows.to(tensor.device)]
            other = torch.zeros(receiving.shape, dtype=torch.bool, device=receiving.device)
            for column in lenders.unbind(dim=1):
                other |= receiving != donor[column.to(donor.device)].to(receiving.device)
            differing.index_add_(1, owners.cpu(), other.reshape(len(other), -1).cpu().to(torch.int32))
        return (differing[:, :-1] > 0).numpy()

    def _outputs(self, rows: Tensor, donors: Tensor, keeps: Tensor) -> Tensor:
        shape = (len(rows), keeps.shape[1], donors.shape[1])
        total, most = shape[0] * shape[1] * shape[2], max(self._batch, self._laid_out)
        if total <= most:
            try:
                return self._forward(rows, donors, keeps, shape)
            except (RuntimeError, MemoryError) as error:
                self._batch = halved(min(self._batch, total), error)
                self._laid_out = 0
                return self._outputs(rows, donors, keeps)
        axis = next(axis for axis in range(3) if shape[axis] > 1)
        parts, size = [], max(1, most * shape[axis] // total)
        for start in range(0, shape[axis], size):
            cut = [slice(None)] * 3
            cut[axis] = slice(start, start + size)
            parts.append(self._outputs(rows[cut[0]], donors[cut[0], cut[2]], keeps[cut[0], cut[1]]))
        return torch.cat(parts, dim=axis)

    def _forward(self, rows: Tensor, donors: Tensor, keeps: Tensor, shape: tuple[int, int, int]) -> Tensor:
        request, device = self.request, self.request.subject.device
        here = keeps.to(device)
        padded = None if all(self._straight) else torch.nn.functional.pad(here, (0, 1), value=True)
        placed = []
        for tensor, background, owners, straight in zip(
            request.inputs, request.donors, self._owners, self._straight, strict=True
        ):
            receiving = tensor.index_select(0, rows.to(tensor.device)).to(device)[:, None, None]
            picked = donors.to(background.device)
            other = background.index_select(0, picked.reshape(-1)).unflatten(0, picked.shape).to(device)[:, None]
            mask = here if straight or padded is None else padded[:, :, owners]
            mask = mask.reshape(*mask.shape[:2], 1, *tensor.shape[1:])
            placed.append(select(mask, receiving, other).expand(*shape, *tensor.shape[1:]).flatten(0, 2))
        # Whole batches: a network that is read in parts meets few different numbers of rows.
        with torch.no_grad():
            batches = zip(*(receiving.split(self._batch) for receiving in placed), strict=True)
            predicted = [request.subject.predict(part) for part in batches]
        outputs = torch.cat(predicted) if len(predicted) > 1 else predicted[0]
        self.evaluations += len(outputs)
        return finite_between_rows(outputs).cpu().reshape(*shape, -1)


# ---- what coalitions are worth ---------------------------------------------------------------------------------------


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

        ``"output"``: their mean. ``"expected"``: minus the mean loss of each; ``"prediction"``: minus the loss of their
        mean (SAGE: Covert, Lundberg & Lee 2020, equation 2); without y the divergence from the row's own prediction.
        """
        subject, y, donors = self.request.subject, self.request.y, outputs.shape[1]
        flat = outputs.flatten(0, 1).double()
        if self.measured == "output":
            chosen = subject.readout(flat, self.request.output)[:, list(self.request.targets)]
            values: Floats = chosen.reshape(*outputs.shape[:2], -1).mean(dim=1).cpu().numpy()
            return values
        base, loss = self.base[_index(rows)].double(), self.request.loss
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
        """Return what coalitions are worth, ``(n, coalitions, V)``, that keep players ``(n, coalitions, players)``."""
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
        """Return raw outputs ``(n, coalitions, donors, K)``: of several inputs each branch runs once per row."""
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
        """Return the values' difference that is the network's rounding, ``(n, V)``: each output is moved by its own."""
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


# ---- every coalition, for a few players ------------------------------------------------------------------------------


#: Numbers kept for the rows of one block.
_BLOCK_NUMBERS = 2**21


class Enumeration:
    """Exact values of a tree's ``active`` players; the others are the same in the rows and in all their donors."""

    def __init__(self, game: ShapleyGame, tree: Tree, active: Booleans | None = None) -> None:
        self.game = game
        self.active = np.ones(tree.players, dtype=bool) if active is None else active
        tree = tree if active is None else tree.among(active)
        self.coalitions = tree.coalitions()
        sizes = self.coalitions.kept.sum(axis=1)
        self._nobody, self._everybody = int(np.argmin(sizes)), int(np.argmax(sizes))
        self._between = np.flatnonzero((sizes > 0) & (sizes < tree.players))

    def blocks(self, rows: int) -> Iterator[slice]:
        """Yield the rows in blocks whose coalitions fit in memory."""
        numbers = self.game.width * (len(self.coalitions.kept) + len(self.coalitions.joined))
        return slices(rows, max(1, min(8192, _BLOCK_NUMBERS // max(1, numbers))))

    def __call__(self, rows: Integers, donors: Integers) -> Floats:
        """Return exact values ``(n, players, V)``, 0 for players that change nothing beyond rounding anywhere."""
        keeps = self.coalitions.kept
        worth = np.empty((len(rows), len(keeps), self.game.width))
        worth[:, self._nobody] = self.game.empty(rows, donors)
        worth[:, self._everybody] = self.game.full(rows)
        if len(self._between):
            shown = np.ones((len(self._between), len(self.active)), dtype=bool)
            shown[:, self.active] = keeps[self._between]
            worth[:, self._between] = self.game.values(rows, donors, np.broadcast_to(shown, (len(rows), *shown.shape)))
        shares: Floats = np.einsum("pc,ncv->npv", self.coalitions.weights, worth, optimize=True)
        owner, before, after = self.coalitions.joined.T
        starts = np.searchsorted(owner, np.arange(len(self.coalitions.weights)))
        largest = np.maximum.reduceat(np.abs(worth[:, after] - worth[:, before]), starts, axis=1)
        shares[largest <= self.game.rounding(rows, donors.shape[1])[:, None]] = 0.0
        values = np.zeros((len(rows), len(self.active), worth.shape[2]))
        values[:, self.active] = shares
        return values
