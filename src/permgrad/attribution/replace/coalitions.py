"""Playing coalitions on any network: predictions for rows in which any set of players comes from a donor row.

``predictions(coalition)`` is all that is here; what is measured on them is the method's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.method import Request
from permgrad.attribution.replace.conditional import conditional_sampler, sampler_facts
from permgrad.attribution.replace.donors import donor_rows, need_background
from permgrad.attribution.replace.finite import finite_background, finite_between_rows, finite_rows
from permgrad.attribution.replace.moments import NO_DONOR
from permgrad.attribution.replace.plays import Booleans, Effects, Floats, Integers, Play
from permgrad.attribution.subject.branches import BranchCut, Embedding
from permgrad.attribution.subject.network import ForwardError
from permgrad.base.errors import InputError
from permgrad.models.batches import in_batches

#: Rows on which the network's rounding is looked at, and by how much it may be larger elsewhere.
_PROBE_ROWS, _ALONE, _SAFETY = 16, 2, 8
#: Rows per forward on a processor: a batch's activations should stay in its cache.
_BATCH_IMAGE, _BATCH_TABLE, _BATCH_ACCELERATOR = 256, 1024, 16384
#: So many coalitions are predicted one by one: the same positions are then replaced in all rows.
_ONE_BY_ONE = 8
#: Pairs that are held at once.
_CHUNK = 65_536

Numbers = Integers | Tensor
Edit = Callable[[slice], tuple[Tensor, ...]]


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
        self.request, self.subject, self.space = request, request.subject, request.space
        self.evaluations = 0  # rows of the network so far
        self._batch = forward_batch_size(request)
        self._base: Tensor | None = None
        self._donor_outputs: Tensor | None = None
        self._cache: BranchCache | None = None
        self._uncut = False
        self._noise: float | None = None

    def base(self) -> Tensor:
        """Return the outputs of the rows explained, ``(rows, K)``; computed once."""
        if self._base is None:
            self._base = self._outputs(self.request.inputs)
        return self._base

    def donor_outputs(self) -> Tensor:
        """Return the outputs of the background rows, ``(donors, K)``; computed once."""
        if self._donor_outputs is None and self.request.shared:
            self._donor_outputs = self.base()
        elif self._donor_outputs is None:
            try:
                self._donor_outputs = finite_background(self._outputs(self.request.donors))
            except ForwardError as error:
                raise InputError(
                    f"the network must accept the background, however: it raised {error.words}; check the rows of "
                    "background="
                ) from error.__cause__
        return self._donor_outputs

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
            again = self._outputs(tensors)
            single = [self._outputs([tensor[[row]] for tensor in tensors]) for row in range(min(count, _ALONE))]
            apart = (again - outputs[:count].flip(0)).abs().max()
            alone = (torch.cat(single) - again[: len(single)]).abs().max()
            largest, precision = float(outputs.abs().max()), torch.finfo(outputs.dtype).eps
            # A network whose rows depend on their neighbours moves by more than rounding, and was named already.
            most = min(1024 * precision, 0.02) * largest
            self._noise = max(precision * largest, min(_SAFETY * max(float(apart), float(alone)), most))
        return self._noise

    # ---- rows replaced -----------------------------------------------------------------------------------------------

    def predict(self, receivers: Numbers, donors: Numbers, replaced: Booleans | Tensor) -> Tensor:
        """Return the outputs ``(b, K)`` of receivers whose replaced players, bool ``(b, players)``, come from donors.

        Receivers and donors are row numbers in ``request.inputs`` and ``request.donors``, ``(b,)`` each.
        """
        rows, lenders, chosen = (torch.as_tensor(each) for each in (receivers, donors, replaced))
        cache = self._branches(len(rows))

        def blended(position: int, part: slice | Tensor) -> Tensor:
            # Gathered where the tensors are; only a batch at a time goes to the network's device.
            receiving, lending = self.request.inputs[position], self.request.donors[position]
            row = receiving[rows[part].to(receiving.device)].to(self.subject.device)
            other = lending[lenders[part].to(lending.device)].to(self.subject.device)
            return self.space.blend_one(position, row, other, chosen[part])

        if cache is None:
            places = range(len(self.request.inputs))
            return self._edited(len(rows), lambda part: tuple(blended(position, part) for position in places))
        untouched, taken = self._touched(chosen)

        def fused(part: slice) -> Tensor:
            return cache.predict(
                rows[part],
                lenders[part],
                lambda position, pairs: blended(position, pairs + part.start),
                untouched[:, part],
                taken[:, part],
            )

        return finite_between_rows(self._gather(len(rows), fused))

    def predict_one(
        self, receivers: Numbers, donors: Numbers, replaced: Booleans, source: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Return the outputs of pairs in which the same players, bool ``(players,)``, are replaced: quicker.

        ``source``: where donors' values stand; None: ``request.donors``.
        """
        rows, lenders = torch.as_tensor(receivers), torch.as_tensor(donors)
        chosen = torch.as_tensor(np.append(replaced, False))
        spots = [
            chosen[segments.cpu().reshape(-1).remainder(len(chosen))].nonzero().flatten()
            for segments in self.space.segments
        ]

        def edited(part: slice) -> tuple[Tensor, ...]:
            edits = []
            for tensor, other, spot in zip(self.request.inputs, source or self.request.donors, spots, strict=True):
                donor = lenders[part].to(other.device)
                if len(spot) == tensor[0].numel():
                    edits.append(other[donor].to(self.subject.device))
                    continue
                row = tensor[rows[part].to(tensor.device)]
                if len(spot):
                    values = other.reshape(len(other), -1)[donor[:, None], spot.to(other.device)]
                    row.view(len(row), -1)[:, spot.to(tensor.device)] = values.to(tensor.device)
                edits.append(row.to(self.subject.device))
            return tuple(edits)

        return self._edited(len(rows), edited)

    def with_values(self, receivers: Integers, columns: npt.NDArray[np.intp], values: Tensor) -> Tensor:
        """Return the outputs of rows ``(b,)`` of a table in which some columns hold values ``(b, columns)``."""
        rows, spot = torch.as_tensor(receivers), torch.as_tensor(columns)
        (table,) = self.request.inputs

        def edited(part: slice) -> tuple[Tensor, ...]:
            edit = table[rows[part].to(table.device)]
            edit[:, spot.to(table.device)] = values[part].to(edit)
            return (edit.to(self.subject.device),)

        return self._edited(len(rows), edited)

    def _branches(self, pairs: int) -> BranchCache | None:
        """Return the embeddings of every branch where the network has branches and there is enough to save.

        That is so when more rows have been asked for than the branches of all rows cost.
        """
        request = self.request
        if not self._uncut and self.evaluations + pairs > 2 * (request.count + len(request.donors[0])):
            self._uncut = True
            cut = self.subject.branches(request.inputs) if request.options.get("incremental", True) else None
            if cut is not None:
                self._cache = BranchCache(cut, request.inputs, request.donors, self._in_batches)
        return self._cache

    def _touched(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return per input and pair whether nothing of the input is replaced, and whether all of it is."""
        untouched, taken = [], []
        for segments in self.space.segments:
            owners = torch.unique(segments)
            replaced = chosen[:, owners[owners >= 0]]
            untouched.append(~replaced.any(dim=1))
            owned = bool((owners >= 0).all()) and len(owners) > 0
            taken.append(replaced.all(dim=1) & ~untouched[-1] if owned else torch.zeros_like(untouched[-1]))
        return torch.stack(untouched), torch.stack(taken)

    def _outputs(self, tensors: Sequence[Tensor]) -> Tensor:
        return self._gather(len(tensors[0]), lambda part: self.subject.predict([tensor[part] for tensor in tensors]))

    def _edited(self, count: int, edit: Edit) -> Tensor:
        return finite_between_rows(self._gather(count, lambda part: self.subject.predict(edit(part))))

    def _in_batches(self, count: int, work: Callable[[slice], None]) -> None:
        self._batch = in_batches(count, self._batch, work)

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
    """Embeddings of all rows explained and of the background, and predictions for coalitions made from them.

    ``run(count, work)`` calls ``work`` with slices of the rows, in batches that fit in memory.
    """

    def __init__(
        self,
        cut: BranchCut,
        inputs: Sequence[Tensor],
        donors: Sequence[Tensor],
        run: Callable[[int, Callable[[slice], None]], None],
    ) -> None:
        self.cut, self._run = cut, run
        self.rows = [self._embed(position, tensor) for position, tensor in enumerate(inputs)]
        self.donor_rows = self.rows
        if donors is not inputs:
            self.donor_rows = [self._embed(position, tensor) for position, tensor in enumerate(donors)]

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
        untouched: Tensor,
        taken: Tensor,
    ) -> Tensor:
        """Return outputs for pairs ``(b,)``; untouched and taken: of which inputs nothing or all is replaced.

        ``blended(input, pairs)`` gives rows of one input with its replaced players' values, for some pairs.
        """
        embeddings = []
        for position, (rows, lenders) in enumerate(zip(self.rows, self.donor_rows, strict=True)):
            replaced = taken[position]
            partly = torch.nonzero(~(untouched[position] | replaced)).flatten()
            some = self.cut.embed(position, blended(position, partly)) if len(partly) else None
            parts = []
            for index, (row, other) in enumerate(zip(rows, lenders, strict=True)):
                joined = row[receivers.to(row.device)]
                if bool(replaced.any()):
                    where = replaced.to(row.device).reshape(-1, *[1] * (row.ndim - 1))
                    joined = torch.where(where, other[donors.to(row.device)], joined)
                if some is not None:
                    joined[partly.to(row.device)] = some[index]
                parts.append(joined)
            embeddings.append(tuple(parts))
        return self.cut.fuse(embeddings)


class Blend(CoalitionGame):
    """The network itself as back end of a game: it answers plays of any players, whose values are blended into rows.

    ``fixed``: what replaces in the place of donors, ``(1, *)`` per input; None: donors.
    """

    workers = 1

    def __init__(self, request: Request, fixed: Sequence[Tensor] | None = None) -> None:
        super().__init__(request)
        self.fixed = fixed
        donors = len(request.donors[0])
        if fixed is None:
            need_background(donors, shared=request.shared)
        self.donors = donors if fixed is None else request.count
        self.shared = request.shared or fixed is not None
        conditional = request.sampling == "conditional" and fixed is None
        self._sampler = conditional_sampler(request) if conditional else None

    @property
    def facts(self) -> dict[str, Any]:
        """What the draws say of features, for ``meta``."""
        return sampler_facts(self._sampler)

    def mode(self) -> AbstractContextManager[Any]:
        """Return the context in which no gradient is followed."""
        return torch.no_grad()

    def checked(self, span: slice | None = None) -> Tensor:
        """Return the outputs of the rows explained; not finite ones are refused, of the background too."""
        outputs = self.base()
        if self.fixed is None:
            self.donor_outputs()
        return finite_rows(outputs if span is None else outputs[span])

    def blocks(self, span: slice | None = None) -> list[slice]:
        """Return all rows, or those of a span."""
        return [slice(0, self.request.count) if span is None else span]

    def unchanged(self, rows: slice) -> Tensor:
        """Return the outputs of one block's rows as they are."""
        return self.base()[rows]

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
                donors, outputs = self._answer(play.key, coalitions, receivers, some)
                effects = measure(list(outputs), self.base()[torch.as_tensor(receivers)], receivers)
                for at in range(0, len(receivers), len(numbers)):
                    part = slice(at, at + len(numbers))
                    yield numbers, donors[part], effects[:, part]

    def _answer(
        self, key: str, coalitions: Booleans, receivers: Integers, repeats: Sequence[int]
    ) -> tuple[Integers, Tensor]:
        """Return donors ``(b,)`` and outputs ``(coalitions, b, K)`` for receivers that occur once in each repeat."""
        request, count, width = self.request, len(receivers), len(coalitions)
        rows = receivers[: count // len(repeats)]
        if self._sampler is not None:
            columns = request.players[key]
            drawn = [self._sampler.draw(key, columns, rows, repeat) for repeat in repeats]
            values = torch.from_numpy(np.concatenate([values for _, values in drawn]))
            outputs = self.with_values(receivers, columns, values)
            return np.concatenate([donors for donors, _ in drawn]), outputs[None]
        if self.fixed is not None:
            first = np.zeros(count, dtype=np.int64)
            fixed = [self.predict_one(receivers, first, coalition, self.fixed) for coalition in coalitions]
            return np.full(count, NO_DONOR, dtype=np.int64), torch.stack(fixed)
        shifted = rows + request.row_offset
        draws = [
            donor_rows(request.seed, key, repeat, shifted, self.donors, shared=request.shared) for repeat in repeats
        ]
        donors = np.concatenate(draws)
        if width <= _ONE_BY_ONE and self._branches(count) is None:
            return donors, torch.stack([self.predict_one(receivers, donors, coalition) for coalition in coalitions])
        replaced = torch.as_tensor(coalitions).repeat_interleave(count, dim=0)
        outputs = self.predict(np.tile(receivers, width), np.tile(donors, width), replaced)
        return donors, outputs.unflatten(0, (width, count))
