"""Playing coalitions on any network: predictions for rows in which any set of players comes from a donor row.

``predictions(coalition)`` is all that is here; what is measured on them is the method's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.replace.finite import finite_background, finite_between_rows
from permgrad.attribution.subject.branches import BranchCut, Embedding
from permgrad.attribution.subject.network import ForwardError
from permgrad.base.errors import InputError
from permgrad.models.batches import in_batches

if TYPE_CHECKING:
    from permgrad.attribution.method import Request

Integers = npt.NDArray[np.int64]

#: Rows on which the network's rounding is looked at, and by how much it may be larger elsewhere.
_PROBE_ROWS, _ALONE, _SAFETY = 16, 2, 8

#: Rows per forward on a processor: a batch's activations should stay in its cache.
_BATCH_IMAGE, _BATCH_TABLE, _BATCH_ACCELERATOR = 256, 1024, 16384


def forward_batch_size(request: Request) -> int:
    """Return the rows per forward pass, ``"auto"`` resolved: as many as are fast, and whose activations are bounded."""
    if request.batch_size != "auto":
        return int(request.batch_size)
    subject = request.subject
    if subject.device.type != "cpu":
        return min(_BATCH_ACCELERATOR, subject.most_rows())
    images = subject.makes_images or any(tensor.ndim > 2 for tensor in request.inputs)
    return min(_BATCH_IMAGE if images else _BATCH_TABLE, subject.most_rows())


class CoalitionGame:
    """Predictions of the network for pairs of a receiver and a donor row and any coalition of replaced players."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.subject = request.subject
        self.space = request.space
        self.evaluations = 0
        self._batch = forward_batch_size(request)
        self._base: Tensor | None = None
        self._donors: Tensor | None = None
        self._cache: BranchCache | None = None
        self._uncut = False
        self._noise: float | None = None

    def outputs(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the network's raw outputs for rows, ``(rows, K)``, in batches."""
        return self._run(len(tensors[0]), lambda part: tuple(tensor[part] for tensor in tensors))

    def base(self) -> Tensor:
        """Return the outputs of the rows explained, ``(rows, K)``; computed once."""
        if self._base is None:
            self._base = self.outputs(self.request.inputs)
        return self._base

    def donor_outputs(self) -> Tensor:
        """Return the outputs of the background rows, ``(donors, K)``; computed once."""
        if self._donors is None:
            self._donors = self.base() if self.request.shared else self._background()
        return self._donors

    def _background(self) -> Tensor:
        try:
            outputs = self.outputs(self.request.donors)
        except ForwardError as error:
            raise InputError(
                f"the network must accept the background, however: it raised {error.words}; check the rows of "
                "background="
            ) from error.__cause__
        return finite_background(outputs)

    def noise(self) -> float | None:
        """Return how far rounding moves the outputs; None for a hybrid network, whose outputs are around 1.

        Some background rows go through the network once more, one by one and in another order: sums are then taken in
        another order too. Terms that nearly cancel make this larger than the outputs would let one expect.
        """
        if self.subject.standardised:
            return None
        if self._noise is None:
            outputs = self.donor_outputs()
            count = min(_PROBE_ROWS, len(outputs))
            tensors = [tensor[:count].flip(0) for tensor in self.request.donors]
            again = self.outputs(tensors)
            single = [self.outputs([tensor[[row]] for tensor in tensors]) for row in range(min(count, _ALONE))]
            apart = (again - outputs[:count].flip(0)).abs().max()
            alone = (torch.cat(single) - again[: len(single)]).abs().max()
            largest, precision = float(outputs.abs().max()), torch.finfo(outputs.dtype).eps
            # A network whose rows depend on their neighbours moves by more than rounding, and was named already.
            most = min(1024 * precision, 0.02) * largest
            self._noise = max(precision * largest, min(_SAFETY * max(float(apart), float(alone)), most))
        return self._noise

    def predict(
        self, receivers: Integers | Tensor, donors: Integers | Tensor, replaced: npt.NDArray[np.bool_] | Tensor
    ) -> Tensor:
        """Return the outputs of rows in which the replaced players' values come from donors."""
        rows, lenders = torch.as_tensor(receivers), torch.as_tensor(donors)
        chosen = torch.as_tensor(replaced)
        cache = self._branches(len(rows))
        if cache is not None:
            return finite_between_rows(self._predict_by_branches(cache, rows, lenders, chosen))

        def blended(part: slice) -> tuple[Tensor, ...]:
            # Gathered where the tensors are; only a batch at a time goes to the network's device.
            receiving = [tensor[rows[part].to(tensor.device)].to(self.subject.device) for tensor in self.request.inputs]
            other = [tensor[lenders[part].to(tensor.device)].to(self.subject.device) for tensor in self.request.donors]
            return self.space.blend(receiving, other, chosen[part])

        return finite_between_rows(self._run(len(rows), blended))

    def predict_one(
        self,
        receivers: Integers | Tensor,
        donors: Integers | Tensor,
        replaced: npt.NDArray[np.bool_] | Tensor,
        source: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return the outputs of pairs in which the same players are replaced: only their values are fetched."""
        rows, lenders = torch.as_tensor(receivers), torch.as_tensor(donors)
        chosen = torch.cat([torch.as_tensor(replaced), torch.zeros(1, dtype=torch.bool)])
        spots = [
            chosen[tensor.cpu().reshape(-1).remainder(len(self.space.names) + 1)].nonzero().flatten()
            for tensor in self.space.segments
        ]

        def edited(part: slice) -> tuple[Tensor, ...]:
            edits = []
            for tensor, other, spot in zip(self.request.inputs, source or self.request.donors, spots, strict=True):
                index, donor = rows[part].to(tensor.device), lenders[part].to(other.device)
                if len(spot) == tensor[0].numel():
                    edits.append(other[donor].to(self.subject.device))
                    continue
                mine = tensor[index]
                if len(spot):
                    here = spot.to(other.device)
                    values = other.reshape(len(other), -1)[donor[:, None], here]
                    mine.view(len(mine), -1)[:, spot.to(tensor.device)] = values.to(tensor.device)
                edits.append(mine.to(self.subject.device))
            return tuple(edits)

        return finite_between_rows(self._run(len(rows), edited))

    def with_values(self, receivers: Integers, columns: npt.NDArray[np.intp], values: Tensor) -> Tensor:
        """Return the outputs of rows of a table in which some columns hold values of their own."""
        rows, spot = torch.as_tensor(receivers), torch.as_tensor(columns)
        (table,) = self.request.inputs

        def edited(part: slice) -> tuple[Tensor, ...]:
            mine = table[rows[part].to(table.device)]
            mine[:, spot.to(table.device)] = values[part].to(mine)
            return (mine.to(self.subject.device),)

        return finite_between_rows(self._run(len(rows), edited))

    def has_branches(self, pairs: int) -> bool:
        """Return whether so many pairs are best put together from branches that run once per row."""
        return self._branches(pairs) is not None

    def _branches(self, pairs: int) -> BranchCache | None:
        """Return the embeddings of every branch where the network has branches and there is enough to save.

        That is known when more rows have been asked for than the branches of all rows cost.
        """
        request = self.request
        evaluated = self.evaluations + pairs
        if self._cache is None and not self._uncut and evaluated > 2 * (request.count + len(request.donors[0])):
            self._uncut = True
            cut = self.subject.branches(request.inputs) if request.options.get("incremental", True) else None
            if cut is not None:
                self._cache = BranchCache(cut, request.inputs, request.donors, self._in_batches)
        return self._cache

    def _in_batches(self, count: int, work: Callable[[slice], None]) -> None:
        self._batch = in_batches(count, self._batch, work)

    def _predict_by_branches(self, cache: BranchCache, rows: Tensor, lenders: Tensor, chosen: Tensor) -> Tensor:
        untouched, taken = self._whole_inputs(chosen)

        def work(part: slice) -> Tensor:
            def blended(position: int, pairs: Tensor) -> Tensor:
                receiving, other = self.request.inputs[position], self.request.donors[position]
                mine = receiving[rows[part][pairs].to(receiving.device)].to(self.subject.device)
                theirs = other[lenders[part][pairs].to(other.device)].to(self.subject.device)
                return self.space.blend_one(position, mine, theirs, chosen[part][pairs])

            return cache.predict(
                rows[part], lenders[part], blended, [one[part] for one in untouched], [one[part] for one in taken]
            )

        return self._gather(len(rows), work)

    def _whole_inputs(self, chosen: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return per input and pair whether nothing of the input is replaced, and whether all of it is."""
        untouched, taken = [], []
        for segments in self.space.segments:
            owners = torch.unique(segments)
            replaced = chosen[:, owners[owners >= 0]]
            untouched.append(~replaced.any(dim=1))
            owned = bool((owners >= 0).all()) and len(owners) > 0
            taken.append(replaced.all(dim=1) & ~untouched[-1] if owned else torch.zeros_like(untouched[-1]))
        return untouched, taken

    def _run(self, count: int, tensors: Callable[[slice], tuple[Tensor, ...]]) -> Tensor:
        return self._gather(count, lambda part: self.subject.predict(tensors(part)))

    def _gather(self, count: int, predict: Callable[[slice], Tensor]) -> Tensor:
        """Return the outputs of all rows, predicted batch by batch."""
        gathered: list[Tensor] = []

        def work(part: slice) -> None:
            with torch.no_grad():
                outputs = predict(part)
            if not gathered:
                gathered.append(torch.empty(count, outputs.shape[1], dtype=outputs.dtype, device=outputs.device))
            gathered[0][part] = outputs

        self._in_batches(count, work)
        self.evaluations += count
        return gathered[0] if gathered else torch.empty(0, 0, device=self.subject.device)


class BranchCache:
    """Embeddings of all rows explained and of the background, and predictions for coalitions made from them."""

    def __init__(
        self,
        cut: BranchCut,
        inputs: Sequence[Tensor],
        donors: Sequence[Tensor],
        run: Callable[[int, Callable[[slice], None]], None],
    ) -> None:
        self.cut = cut
        self.inputs, self.donors = inputs, donors
        self._run = run
        self.rows = [self._embed(position, tensor) for position, tensor in enumerate(inputs)]
        self.others = (
            self.rows if donors is inputs else [self._embed(position, tensor) for position, tensor in enumerate(donors)]
        )

    def _embed(self, position: int, tensor: Tensor) -> Embedding:
        embeddings: list[Tensor] = []

        def work(part: slice) -> None:
            with torch.no_grad():
                embedding = self.cut.embed(position, tensor[part])
            if not embeddings:
                embeddings.extend(one.new_empty(len(tensor), *one.shape[1:]) for one in embedding)
            for target, one in zip(embeddings, embedding, strict=True):
                target[part] = one

        self._run(len(tensor), work)
        return tuple(embeddings)

    def predict(
        self,
        receivers: Tensor,
        donors: Tensor,
        blended: Callable[[int, Tensor], Tensor],
        untouched: Sequence[Tensor],
        taken: Sequence[Tensor],
    ) -> Tensor:
        """Return outputs for pairs."""
        embeddings = []
        for position in range(len(self.inputs)):
            replaced = taken[position]
            partly = torch.nonzero(~(untouched[position] | replaced)).flatten()
            some = self.cut.embed(position, blended(position, partly)) if len(partly) else None
            parts = []
            for index, (row, other) in enumerate(zip(self.rows[position], self.others[position], strict=True)):
                where = replaced.to(row.device).reshape(-1, *[1] * (row.ndim - 1))
                if not bool(replaced.any()):
                    joined = row[receivers.to(row.device)]
                else:
                    joined = torch.where(where, other[donors.to(row.device)], row[receivers.to(row.device)])
                if some is not None:
                    joined[partly.to(row.device)] = some[index]
                parts.append(joined)
            embeddings.append(tuple(parts))
        return self.cut.fuse(embeddings)
