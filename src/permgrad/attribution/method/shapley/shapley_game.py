"""The games of Shapley values: players of a coalition keep the row's values, others
come from donors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method.shapley.indices import InteractionIndex
from permgrad.attribution.players.tree import Tree
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.request import Request
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.soundness import HALF, finite, rounding_size
from permgrad.base.arrays import Booleans, Floats, Integers

#: Network rows, and bytes of their masks, that are prepared at once.
_CHUNK_ROWS = 2**17
_CHUNK_BYTES = 2**25
#: How much steeper a measure may be elsewhere than at the two ends of the game.
_STEEPER = 4
_TINY = torch.finfo(torch.float64).tiny


class ShapleyGame(Blend):
    """Worth of coalitions for the rows of one call, V numbers each: of the output, or
    of a loss.
    """

    def __init__(self, request: Request, measured: str) -> None:
        super().__init__(request)
        self.row_outputs, self.background_outputs = (
            finite(self.base()).cpu(),
            self.donor_outputs().cpu(),
        )
        self._noise = self.noise
        self.measured = measured
        if measured == "output":
            self.width = len(request.targets)
        else:
            self.width = 1
        self.players = len(request.space.names)
        #: True if every position has a player. Positions without a player keep the
        #: row's values.
        self.covered = all(
            bool((segments >= 0).all()) for segments in request.space.segments
        )

    def same(self, request: Request, measured: str) -> ShapleyGame:
        """Return a game of the same kind on other rows and donors."""
        return ShapleyGame(request, measured)

    def measure(self, outputs: Tensor, rows: Integers) -> Floats:
        """Return the worth ``(m, V)`` of outputs ``(m, donors, K)`` of the receivers
        ``rows`` ``(m,)``.

        ``"output"``: their mean. ``"expected"``: minus the mean loss of each;
        ``"prediction"``: minus the loss of their mean (SAGE: Covert, Lundberg & Lee
        2020, equation 2); without y the divergence from the row's own prediction.
        """
        output_form = self.request.subject.outputs
        y = self.request.y
        donors = outputs.shape[1]
        flat_outputs = outputs.flatten(0, 1).double()
        if self.measured == "output":
            target_outputs = self.request.scale.read(output_form, flat_outputs)[
                :, list(self.request.targets)
            ]
            return (
                target_outputs.reshape(*outputs.shape[:2], -1).mean(dim=1).cpu().numpy()
            )
        base_outputs = self.row_outputs[torch.from_numpy(np.array(rows))].double()
        loss = self.request.loss
        if self.measured == "expected" or output_form.task.numeric or loss.returned:
            if self.measured == "prediction":
                flat_outputs = outputs.double().mean(dim=1)
                donors = 1
            if y is None:
                repeated = base_outputs.repeat_interleave(donors, dim=0)
                row_losses = output_form.divergence_rows(
                    flat_outputs, repeated, self.request.spread
                )
            else:
                row_losses = output_form.loss_rows(
                    flat_outputs, y[np.repeat(rows, donors)], loss
                )
            return -row_losses.reshape(-1, donors).mean(axis=1, keepdims=True)
        # The softmax of log-probabilities are the probabilities, so that every loss of
        # logits can be used.
        averaged = (
            output_form.probabilities(flat_outputs)
            .reshape(*outputs.shape[:2], -1)
            .mean(dim=1)
        )
        return self._of_mean(averaged, base_outputs, rows)

    def _of_mean(self, averaged: Tensor, base: Tensor, rows: Integers) -> Floats:
        """Return minus the loss of mean probabilities, or their divergence from the
        row's own.
        """
        form = self.request.subject.outputs
        y = self.request.y
        loss = self.request.loss
        if form.task.labels_overlap:
            names = form.output_names
            columns = form.loss_columns
            labels = OutputForm(
                form.task,
                "probabilities",
                form.count,
                (),
                names,
                loss_columns=columns,
            )
            if y is None:
                return -labels.divergence_rows(averaged, form.probabilities(base))[
                    :, None
                ]
            return -labels.loss_rows(averaged, y[rows], loss)[:, None]
        logarithm = averaged.clamp_min(_TINY).log()
        if loss.of_decision and form.decided is not None and y is not None:
            decided_classes = form.decided(form.raw_of(averaged))
            return -np.asarray(decided_classes != y[rows], dtype=np.float64)[:, None]
        if y is not None:
            of_rows = loss(logarithm, torch.as_tensor(y[rows], device=logarithm.device))
        else:
            unchanged = form.probabilities(base)
            of_rows = (
                (unchanged * (unchanged.clamp_min(_TINY).log() - logarithm))
                .sum(dim=1)
                .clamp_min(0)
            )
            if form.of_labels:  # the share of donors with another label
                of_rows = 1 - (unchanged * averaged).sum(dim=1)
        return -of_rows.cpu().numpy()[:, None]

    def full(self, rows: Integers) -> Floats:
        """Return the worth of the coalition of all players, ``(n, V)``: the unchanged
        row.
        """
        return self.measure(
            self.row_outputs[torch.from_numpy(np.array(rows))][:, None], rows
        )

    def empty(self, rows: Integers, donors: Integers) -> Floats:
        """Return the worth of the empty coalition, ``(n, V)``, with the donors of each
        row, ``(n, donors)``.
        """
        if not self.covered:
            return self.values(
                rows, donors, np.zeros((len(rows), 1, self.players), dtype=bool)
            )[:, 0]
        worths = []
        for row_slice in slices(
            len(rows), max(1, _CHUNK_ROWS // max(donors.shape[1], 1))
        ):
            worths.append(
                self.measure(
                    self.background_outputs[
                        torch.from_numpy(np.array(donors[row_slice]))
                    ],
                    rows[row_slice],
                )
            )
        return np.concatenate(worths)

    def values(self, rows: Integers, donors: Integers, keeps: Booleans) -> Floats:
        """Return the worth ``(n, coalitions, V)`` of coalitions that keep players ``(n,
        coalitions, players)``.
        """
        count = len(rows)
        coalitions = keeps.shape[1]
        width = donors.shape[1]
        worths = np.empty((count, coalitions, self.width))
        chunk_rows = max(
            1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(self.players, 1)) // max(width, 1)
        )
        for columns in slices(coalitions, chunk_rows):
            coalition_count = columns.stop - columns.start
            for row_slice in slices(count, chunk_rows // coalition_count):
                outputs = self.predicted(
                    rows[row_slice], donors[row_slice], keeps[row_slice, columns]
                )
                measured = self.measure(
                    outputs.flatten(0, 1), np.repeat(rows[row_slice], coalition_count)
                )
                worths[row_slice, columns] = measured.reshape(
                    -1, coalition_count, measured.shape[1]
                )
        return worths

    def predicted(self, rows: Integers, donors: Integers, keeps: Booleans) -> Tensor:
        """Return raw outputs ``(n, coalitions, donors, K)``.

        With several inputs, each branch runs once per row.
        """
        alone = (
            sum(bool((owners >= 0).any()) for owners in self.request.space.segments)
            == 1
        )
        if len(self.request.inputs) == 1 or (
            alone and self._branches(keeps[..., 0].size * donors.shape[1]) is None
        ):
            return self.grid(rows, donors, keeps)
        shape = (len(rows), keeps.shape[1], donors.shape[1])
        receivers = np.broadcast_to(rows[:, None, None], shape).flatten()
        lenders = np.broadcast_to(donors[:, None], shape).flatten()
        replaced = ~np.broadcast_to(keeps[:, :, None], (*shape, self.players)).reshape(
            -1, self.players
        )
        return self.predict(receivers, lenders, replaced).cpu().reshape(*shape, -1)

    def rounding(self, rows: Integers, donors: int) -> Floats:
        """Return the change of the values by the network's rounding, ``(n, V)``."""
        unchanged = self.row_outputs[torch.from_numpy(np.array(rows))]
        output_dtype = self.row_outputs.dtype
        mean_outputs = (
            self.background_outputs.double().mean(dim=0).expand(len(rows), -1)
        )
        largest = np.zeros((len(rows), self.width))
        for point in (unchanged.double(), mean_outputs):
            rounding_change = rounding_size(point.to(output_dtype), self._noise)[
                :, 0
            ].double()
            at_point = self.measure(point[:, None], rows)
            moved = np.zeros_like(largest)
            for column in range(unchanged.shape[1]):
                shifted = point.clone()
                shifted[:, column] += rounding_change
                moved += np.abs(self.measure(shifted[:, None], rows) - at_point)
            largest = np.maximum(largest, moved)
        if output_dtype in HALF:
            return largest / np.sqrt(donors)
        return _STEEPER * largest


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of ``range(count)``.

    Args:
        count: The length of the range.
        size: Of each slice but the last.
    """
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


# ---- every coalition, for a few players ----------------------------------------------
#: Numbers stored for the rows of one block.
_BLOCK_NUMBERS = 2**21


class Enumeration:
    """Exact values of a tree's ``active`` players.

    The others are the same in the rows and in all their donors.

    With ``interactions`` their numbers take the place of the players' values.
    """

    def __init__(
        self,
        game: ShapleyGame,
        tree: Tree,
        active: Booleans | None = None,
        interactions: InteractionIndex | None = None,
    ) -> None:
        self.game = game
        if active is None:
            self.active = np.ones(tree.players, dtype=bool)
        else:
            self.active = active
        if active is not None:
            tree = tree.among(active)
        self.coalitions = tree.coalitions()
        self._shown, self._further = (
            self.active,
            np.zeros((0, len(self.coalitions.keeps))),
        )
        if interactions is not None:
            active_index, self._shown = interactions.among(self.active)
            self._further = active_index.weights(self.coalitions.keeps)[tree.players :]
        sizes = self.coalitions.keeps.sum(axis=1)
        self._nobody = int(np.argmin(sizes))
        self._everybody = int(np.argmax(sizes))
        self._between = np.flatnonzero((sizes > 0) & (sizes < tree.players))

    def blocks(self, rows: int) -> Iterator[slice]:
        """Yield the rows in blocks whose coalitions fit in memory."""
        numbers = self.game.width * (
            len(self.coalitions.keeps) + len(self.coalitions.joined) + len(self._shown)
        )
        return slices(rows, max(1, min(8192, _BLOCK_NUMBERS // max(1, numbers))))

    def __call__(self, rows: Integers, donors: Integers) -> Floats:
        """Return exact values ``(n, players, V)``, 0 for players that never change more
        than rounding.
        """
        worth = self._worth(rows, donors)
        shares: Floats = np.einsum(
            "pc,ncv->npv", self.coalitions.weights, worth, optimize=True
        )
        owner, before, after = self.coalitions.joined.T
        starts = np.searchsorted(owner, np.arange(len(self.coalitions.weights)))
        largest = np.maximum.reduceat(
            np.abs(worth[:, after] - worth[:, before]), starts, axis=1
        )
        shares[largest <= self.game.rounding(rows, donors.shape[1])[:, None]] = 0.0
        further: Floats = np.einsum("pc,ncv->npv", self._further, worth, optimize=True)
        # An interaction of the size that rounding alone can give is 0.
        noise = (
            np.abs(self._further).sum(axis=1)[:, None]
            * self.game.rounding(rows, donors.shape[1])[:, None]
        )
        further[np.abs(further) <= noise] = 0.0
        values = np.zeros((len(rows), len(self._shown), worth.shape[2]))
        values[:, self._shown] = np.concatenate([shares, further], axis=1)
        return values

    def _worth(self, rows: Integers, donors: Integers) -> Floats:
        """Return the worth of all coalitions ``(n, coalitions, V)``."""
        keeps = self.coalitions.keeps
        worth = np.empty((len(rows), len(keeps), self.game.width))
        worth[:, self._nobody] = self.game.empty(rows, donors)
        worth[:, self._everybody] = self.game.full(rows)
        if len(self._between):
            shown = np.ones((len(self._between), len(self.active)), dtype=bool)
            shown[:, self.active] = keeps[self._between]
            worth[:, self._between] = self.game.values(
                rows, donors, np.broadcast_to(shown, (len(rows), *shown.shape))
            )
        return worth
