"""Outputs of many coalitions of the same rows with the same donors, without gathering a row for each of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.method.shapley.owen import Booleans, Integers
from permgrad.attribution.replace.coalitions import forward_batch_size
from permgrad.attribution.replace.finite import finite_between_rows
from permgrad.models.batches import halved

#: Bytes, and batches, of the network's inputs that are laid out at once.
_LAID_OUT_BYTES, _LAID_OUT_BATCHES = 2**20, 16
#: Integers as wide as numbers of so many bytes.
_SAME_WIDTH = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def select(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return ``one`` where ``mask``, else ``other``: ``torch.where``, several times faster on a processor.

    The bits are combined as integers, which is exact for every number and vectorised; all three broadcast.
    """
    width = _SAME_WIDTH.get(one.element_size())
    if width is None or one.device.type != "cpu" or one.dtype != other.dtype:
        return torch.where(mask, one, other)
    first, second = one.view(width), other.view(width)
    # Its shape is that of all three together, so that the last step needs no further tensor.
    chosen = torch.bitwise_and(mask.to(width).neg_(), first ^ second)
    return chosen.bitwise_xor_(second).view(one.dtype)


class CoalitionGrid:
    """Predicts every row with every one of its coalitions and every one of its donors.

    The same as ``CoalitionGame.predict`` for all combinations, but laid out by broadcasting: a forward's inputs are
    written once, which matters where the network is small.
    """

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
