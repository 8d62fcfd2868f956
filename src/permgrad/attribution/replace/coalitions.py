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
    """Predictions of the network for pairs of a receiver and a donor row and any coalition of replaced players.

    Args:
        request: the call; its ``inputs``, ``donors`` and ``space`` are played with.

    Attributes:
        evaluations: rows of the network evaluated so far.
    """

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
            known = self.donor_outputs()
            count = min(_PROBE_ROWS, len(known))
            tensors = [tensor[:count].flip(0) for tensor in self.request.donors]
            whole = self.outputs(tensors)
            single = [self.outputs([tensor[[row]] for tensor in tensors]) for row in range(min(count, _ALONE))]
            apart = (whole - known[:count].flip(0)).abs().max()
            alone = (torch.cat(single) - whole[: len(single)]).abs().max()
            largest, precision = float(known.abs().max()), torch.finfo(known.dtype).eps
            # A network whose rows depend on their neighbours moves by more than rounding, and was named already.
            most = min(1024 * precision, 0.02) * largest
            self._noise = max(precision * largest, min(_SAFETY * max(float(apart), float(alone)), most))
        return self._noise

    def predict(
        self, receivers: Integers | Tensor, donors: Integers | Tensor, replaced: npt.NDArray[np.bool_] | Tensor
    ) -> Tensor:
        """Return the outputs of rows in which the replaced players' values come from donors.

        Args:
            receivers: row numbers in ``request.inputs``, ``(b,)``.
            donors: row numbers in ``request.donors``, ``(b,)``.
            replaced: bool ``(b, players)``.

        Returns:
            ``(b, K)``, on the network's device.
        """
        rows, others = torch.as_tensor(receivers), torch.as_tensor(donors)
        chosen = torch.as_tensor(replaced)
        cache = self._branches(len(rows))
        if cache is not None:
            return finite_between_rows(self._predict_by_branches(cache, rows, others, chosen))

        def blended(part: slice) -> tuple[Tensor, ...]:
            # Gathered where the tensors are; only a batch at a time goes to the network's device.
            own = [tensor[rows[part].to(tensor.device)].to(self.subject.device) for tensor in self.request.inputs]
            other = [tensor[others[part].to(tensor.device)].to(self.subject.device) for tensor in self.request.donors]
            return self.space.blend(own, other, chosen[part])

        return finite_between_rows(self._run(len(rows), blended))

    def predict_one(
        self, receivers: Integers | Tensor, donors: Integers | Tensor, replaced: npt.NDArray[np.bool_] | Tensor
    ) -> Tensor:
        """Return the outputs of pairs in which the same players are replaced: only their values are fetched.

        Args:
            receivers: row numbers in ``request.inputs``, ``(b,)``.
            donors: row numbers in ``request.donors``, ``(b,)``.
            replaced: bool ``(players,)``.
        """
        rows, others = torch.as_tensor(receivers), torch.as_tensor(donors)
        chosen = torch.cat([torch.as_tensor(replaced), torch.zeros(1, dtype=torch.bool)])
        spots = [
            chosen[own.cpu().reshape(-1).remainder(len(self.space.names) + 1)].nonzero().flatten()
            for own in self.space.segments
        ]

        def edited(part: slice) -> tuple[Tensor, ...]:
            found = []
            for own, other, spot in zip(self.request.inputs, self.request.donors, spots, strict=True):
                index, donor = rows[part].to(own.device), others[part].to(other.device)
                if len(spot) == own[0].numel():
                    found.append(other[donor].to(self.subject.device))
                    continue
                mine = own[index]
                if len(spot):
                    here = spot.to(other.device)
                    values = other.reshape(len(other), -1)[donor[:, None], here]
                    mine.view(len(mine), -1)[:, spot.to(own.device)] = values.to(own.device)
                found.append(mine.to(self.subject.device))
            return tuple(found)

        return finite_between_rows(self._run(len(rows), edited))

    def with_values(self, receivers: Integers, columns: npt.NDArray[np.intp], values: Tensor) -> Tensor:
        """Return the outputs of rows of a table in which some columns hold values of their own.

        Args:
            receivers: row numbers in ``request.inputs``, ``(b,)``.
            columns: numbers of the columns.
            values: ``(b, columns)``.

        Returns:
            ``(b, K)``, on the network's device.
        """
        rows, spot = torch.as_tensor(receivers), torch.as_tensor(columns)
        (own,) = self.request.inputs

        def edited(part: slice) -> tuple[Tensor, ...]:
            mine = own[rows[part].to(own.device)]
            mine[:, spot.to(own.device)] = values[part].to(mine)
            return (mine.to(self.subject.device),)

        return finite_between_rows(self._run(len(rows), edited))

    def has_branches(self, pairs: int) -> bool:
        """Return whether so many pairs are best put together from branches that run once per row."""
        return self._branches(pairs) is not None

    def replace(
        self, receivers: Integers | Tensor, values: Sequence[Tensor], replaced: npt.NDArray[np.bool_] | Tensor
    ) -> Tensor:
        """Return the outputs of rows in which the replaced players hold fixed values.

        Args:
            receivers: row numbers in ``request.inputs``, ``(b,)``.
            values: per input ``(1, *shape)``.
            replaced: bool ``(b, players)``.
        """
        rows, chosen = torch.as_tensor(receivers), torch.as_tensor(replaced)
        fixed = [value.to(self.subject.device) for value in values]

        def blended(part: slice) -> tuple[Tensor, ...]:
            own = [tensor[rows[part].to(tensor.device)].to(self.subject.device) for tensor in self.request.inputs]
            wide = [value.expand(len(own[0]), *value.shape[1:]) for value in fixed]
            return self.space.blend(own, wide, chosen[part])

        return finite_between_rows(self._run(len(rows), blended))

    def _branches(self, pairs: int) -> BranchCache | None:
        """Return the embeddings of every branch where the network has branches and there is enough to save.

        That is known when more rows have been asked for than the branches of all rows cost.
        """
        request = self.request
        asked = self.evaluations + pairs
        if self._cache is None and not self._uncut and asked > 2 * (request.count + len(request.donors[0])):
            self._uncut = True
            cut = self.subject.branches(request.inputs) if request.options.get("incremental", True) else None
            if cut is not None:
                self._cache = BranchCache(cut, request.inputs, request.donors, self._in_batches)
        return self._cache

    def _in_batches(self, count: int, work: Callable[[slice], None]) -> None:
        self._batch = in_batches(count, self._batch, work)

    def _predict_by_branches(self, cache: BranchCache, rows: Tensor, others: Tensor, chosen: Tensor) -> Tensor:
        kept, taken = self._whole_inputs(chosen)
        found: list[Tensor] = []

        def work(part: slice) -> None:
            def blended(position: int, pairs: Tensor) -> Tensor:
                own, other = self.request.inputs[position], self.request.donors[position]
                mine = own[rows[part][pairs].to(own.device)].to(self.subject.device)
                theirs = other[others[part][pairs].to(other.device)].to(self.subject.device)
                return self.space.blend_one(position, mine, theirs, chosen[part][pairs])

            with torch.no_grad():
                outputs = cache.predict(
                    rows[part], others[part], blended, [one[part] for one in kept], [one[part] for one in taken]
                )
            if not found:
                found.append(torch.empty(len(rows), outputs.shape[1], dtype=outputs.dtype, device=outputs.device))
            found[0][part] = outputs

        self._in_batches(len(rows), work)
        self.evaluations += len(rows)
        return found[0]

    def _whole_inputs(self, chosen: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return per input and pair whether nothing of the input is replaced, and whether all of it is."""
        kept, taken = [], []
        for segments in self.space.segments:
            owners = torch.unique(segments)
            own = chosen[:, owners[owners >= 0]]
            kept.append(~own.any(dim=1))
            whole = bool((owners >= 0).all()) and len(owners) > 0
            taken.append(own.all(dim=1) & ~kept[-1] if whole else torch.zeros_like(kept[-1]))
        return kept, taken

    def _run(self, count: int, tensors: Callable[[slice], tuple[Tensor, ...]]) -> Tensor:
        found: list[Tensor] = []

        def work(part: slice) -> None:
            with torch.no_grad():
                outputs = self.subject.predict(tensors(part))
            if not found:
                found.append(torch.empty(count, outputs.shape[1], dtype=outputs.dtype, device=outputs.device))
            found[0][part] = outputs

        self._batch = in_batches(count, self._batch, work)
        self.evaluations += count
        return found[0] if found else torch.empty(0, 0, device=self.subject.device)


class BranchCache:
    """Embeddings of all rows explained and of the background, and predictions for coalitions made from them.

    Args:
        cut: the network in branches.
        inputs, donors: as in a ``Request``; the same object where they are shared.
        run: ``(rows, work) ``: calls ``work`` with slices of the rows, in batches that fit in memory.
    """

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
        found: list[Tensor] = []

        def work(part: slice) -> None:
            with torch.no_grad():
                embedding = self.cut.embed(position, tensor[part])
            if not found:
                found.extend(one.new_empty(len(tensor), *one.shape[1:]) for one in embedding)
            for whole, one in zip(found, embedding, strict=True):
                whole[part] = one

        self._run(len(tensor), work)
        return tuple(found)

    def predict(
        self,
        receivers: Tensor,
        donors: Tensor,
        blended: Callable[[int, Tensor], Tensor],
        kept: Sequence[Tensor],
        taken: Sequence[Tensor],
    ) -> Tensor:
        """Return outputs for pairs.

        Args:
            receivers: row numbers of the rows explained, ``(b,)``.
            donors: row numbers of the background, ``(b,)``.
            blended: ``(input, pairs) -> tensor``: rows of one input with its replaced players' values, for some pairs.
            kept: per input bool ``(b,)``: nothing of the input is replaced.
            taken: per input bool ``(b,)``: all of it is.
        """
        embeddings = []
        for position in range(len(self.inputs)):
            whole = taken[position]
            partly = torch.nonzero(~(kept[position] | whole)).flatten()
            some = self.cut.embed(position, blended(position, partly)) if len(partly) else None
            parts = []
            for index, (own, other) in enumerate(zip(self.rows[position], self.others[position], strict=True)):
                where = whole.to(own.device).reshape(-1, *[1] * (own.ndim - 1))
                if not bool(whole.any()):
                    joined = own[receivers.to(own.device)]
                else:
                    joined = torch.where(where, other[donors.to(own.device)], own[receivers.to(own.device)])
                if some is not None:
                    joined[partly.to(own.device)] = some[index]
                parts.append(joined)
            embeddings.append(tuple(parts))
        return self.cut.fuse(embeddings)
