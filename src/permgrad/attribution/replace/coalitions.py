"""Play coalitions on any network: predict rows in which any set of players comes from a
donor row.

Only predictions are made here. The methods measure them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.moments import NO_DONOR
from permgrad.attribution.replace.plays import EffectsOf, Play
from permgrad.attribution.request import Request
from permgrad.attribution.subject.network import ForwardError
from permgrad.attribution.subject.soundness import finite
from permgrad.attribution.subject.subject import numbers_by_row
from permgrad.attribution.subject.traced_branches import BranchCut
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.errors import InputError
from permgrad.base.progress import Progress
from permgrad.base.sequences import values_at
from permgrad.models.batches import halved, in_batches

#: Rows on which the network's rounding is looked at, and by how much it may be larger
#: elsewhere.
_PROBE_ROWS = 16
_ALONE = 2
_SAFETY = 8
#: Rows per forward on a processor: a batch's activations should stay in its cache.
_BATCH_IMAGE = 256
_BATCH_ACCELERATOR = 16384
#: Coalitions of so many rows, or so few coalitions, are written one after the other:
#: each replaces the same places in all rows.
_ROWS_EACH = 32
_ONE_BY_ONE = 8
#: Weights of coalitions that cancel each other sum up to less.
_ROUNDING = 1e-12
#: Pairs that are held at once.
_CHUNK = 65_536
#: Players of pairs that are masked at once.
_MASKED = 2**24
#: Numbers of outputs at a time: fewer pairs of a model of many classes.
_OUTPUTS = 2**20
#: Bytes, and batches, of the network's inputs that are laid out at once.
_LAID_OUT_BYTES = 2**20
_LAID_OUT_BATCHES = 16
#: Bytes of an input that are laid out at a time on a processor, so that they stay in
#: its cache.
_BLOCK_BYTES = 2**19
#: Integers as wide as numbers of so many bytes.
_SAME_WIDTH = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Numbers = Integers | Tensor


def forward_batch_size(request: Request) -> int:
    """Return the rows per forward pass, ``"auto"`` resolved: as many as are fast, and
    whose activations are bounded.
    """
    if request.batch_size != "auto":
        return int(request.batch_size)
    subject = request.subject
    if subject.device.type != "cpu":
        return min(_BATCH_ACCELERATOR, subject.most_rows())
    images = subject.makes_images or any(tensor.ndim > 2 for tensor in request.inputs)
    return min(_BATCH_IMAGE if images else subject.table_batch, subject.most_rows())


def select(mask: Tensor, true_values: Tensor, false_values: Tensor) -> Tensor:
    """Return ``torch.where(mask, true_values, false_values)``, several times faster on
    a processor: bits are combined as integers.

    Args:
        mask: ``(*)``.
        true_values: ``(*)``.
        false_values: ``(*)``, of the same type.
    """
    width = _SAME_WIDTH.get(true_values.element_size())
    if (
        width is None
        or true_values.device.type != "cpu"
        or true_values.dtype != false_values.dtype
    ):
        return torch.where(mask, true_values, false_values)
    first = true_values.view(width)
    second = false_values.view(width)
    mask_bits = mask.to(width).neg_()
    differing = first ^ second
    # The shape of all three together, so that the last step needs no further tensor.
    # Often the mask has it.
    has_full_shape = np.broadcast_shapes(mask_bits.shape, differing.shape) == tuple(
        mask_bits.shape
    )
    if has_full_shape:
        selected_bits = mask_bits.bitwise_and_(differing)
    else:
        selected_bits = torch.bitwise_and(mask_bits, differing)
    return selected_bits.bitwise_xor_(second).view(true_values.dtype)


class Blend:
    """Predictions of the network for pairs of a receiver and a donor row and any
    coalition of replaced players.

    It answers plays as the back end of a game.

    Args:
        request: The call.
        fixed: The row that replaces players, ``(1, *)`` per input. None: donors do.
        lenders: Which donors each row has. A game needs them.
        sampler: Fits replaced values to the rest of the row. None: values are those of
            the donors.
    """

    mode = staticmethod(torch.no_grad)

    def __init__(
        self,
        request: Request,
        fixed: Sequence[Tensor] | None = None,
        lenders: Lenders | None = None,
        sampler: ConditionalSampler | None = None,
    ) -> None:
        self.lenders = lenders
        self.sampler = sampler
        self.request = request
        self.subject = request.subject
        self.space = request.space
        self.fixed = fixed
        self.evaluations = 0  # rows of the network so far
        self.progress: Progress | None = None
        self._left = self._share = 0.0  # steps that a bar may move, and those of a row
        self._batch = forward_batch_size(request)
        numbers = sum(
            tensor[0].numel() * tensor.element_size() for tensor in request.inputs
        )
        self._laid_out = min(
            _LAID_OUT_BYTES // max(numbers, 1), _LAID_OUT_BATCHES * self._batch
        )
        players = torch.arange(len(request.space), device=self.subject.device)
        self._owners = request.space.owners(self.subject.device)
        #: the players of each input, nobody included: it is never replaced
        self._players = [owners.unique().cpu() for owners in self._owners]
        self._straight = [torch.equal(owners, players) for owners in self._owners]
        #: whether one player owns a whole input: no mask of the input's size is needed
        #: then
        self._whole = [len(owners.unique()) == 1 for owners in self._owners]
        self._base: Tensor | None = None
        self._chunk = _CHUNK  # pairs that are held at once, fewer of many outputs
        self._donor_outputs: Tensor | None = None
        self._cut: BranchCut | None = None
        self._uncut = False

    def base(self) -> Tensor:
        """Return the outputs of the rows explained, ``(rows, K)`` (computed once)."""
        if self._base is None:
            self._base = self._outputs(self.request.inputs)
            self._chunk = max(min(_CHUNK, _OUTPUTS // self._base.shape[1]), 1)
        return self._base

    def donor_outputs(self) -> Tensor:
        """Return the outputs of the background rows, ``(donors, K)`` (computed
        once).
        """
        if self._donor_outputs is None and self.request.shared:
            self._donor_outputs = self.base()
        elif self._donor_outputs is None:
            try:
                self._donor_outputs = finite(
                    self._outputs(self.request.donors), "background"
                )
            except ForwardError as error:
                problem = (
                    "The network failed on the background rows: it raised "
                    f"{error.words}"
                )
                raise InputError(
                    problem, hint="Check the rows of background=", code="PG038"
                ) from error.__cause__
        return self._donor_outputs

    @cached_property
    def noise(self) -> float | None:
        """How far rounding moves the outputs, or None for a hybrid network, whose
        outputs are around 1.
        """
        if self.subject.standardised:
            return None
        outputs = self.donor_outputs()
        moved = self.subject.moved
        largest = float(outputs.abs().max())
        precision = torch.finfo(outputs.dtype).eps
        # A network whose rows depend on their neighbours moves by more than rounding,
        # and was named already.
        noise_limit = min(1024 * precision, 0.02) * largest
        return max(
            precision * largest,
            min(
                _SAFETY * (self._moved(outputs) if moved is None else moved),
                noise_limit,
            ),
        )

    def _moved(self, outputs: Tensor) -> float:
        """Return by how much outputs of background rows move one by one and in another
        order.

        Sums are then taken in another order too. Terms that nearly cancel make this
        larger than the size of the outputs suggests.
        """
        count = min(_PROBE_ROWS, len(outputs))
        tensors = [tensor[:count].flip(0) for tensor in self.request.donors]
        again = self._outputs(tensors)
        single = []
        for row_index in range(min(count, _ALONE)):
            single.append(self._outputs([tensor[[row_index]] for tensor in tensors]))
        apart = (again - outputs[:count].flip(0)).abs().max()
        alone = (torch.cat(single) - again[: len(single)]).abs().max()
        return max(float(apart), float(alone))

    # ---- pairs of rows, each with a coalition ----------------------------------------
    def predict(
        self,
        receivers: Numbers,
        donors: Numbers,
        replaced: Booleans | Tensor,
        source: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return the outputs ``(b, K)`` of receivers whose replaced players come from
        donors.

        Args:
            receivers: Numbers of rows in ``request.inputs``, ``(b,)``.
            donors: Numbers of rows in ``source``, ``(b,)``.
            replaced: Which players come from the donors, bool ``(b, players)``.
            source: The donors' values, ``(rows, *)`` per input. None:
                ``request.donors``.
        """
        request = self.request
        device = self.subject.device
        lending_tensors = source or self.request.donors
        receiver_rows = torch.as_tensor(receivers)
        lenders = torch.as_tensor(donors)
        padded = torch.nn.functional.pad(torch.as_tensor(replaced), (0, 1))

        def blended(position: int, row_selection: slice | Tensor) -> Tensor:
            # Gathered on the device of the tensors. Only a batch at a time goes to the
            # network's device.
            receiving = request.inputs[position]
            lending = lending_tensors[position]
            receiver_values = receiving[
                receiver_rows[row_selection].to(receiving.device)
            ].to(device)
            donor_values = lending[lenders[row_selection].to(lending.device)].to(device)
            return select(
                self._mask(position, padded[row_selection].to(device)),
                donor_values,
                receiver_values,
            )

        if source is None:
            branch_cut = self._branches(len(receiver_rows))
        else:
            branch_cut = None
        if branch_cut is None:
            input_indices = range(len(request.inputs))
            return self._gather(
                len(receiver_rows),
                lambda row_slice: self.subject.predict(
                    [blended(input_index, row_slice) for input_index in input_indices]
                ),
            )
        with branch_cut.subject.theirs(request.inputs):
            return self._gather(
                len(receiver_rows),
                lambda batch_slice: branch_cut.predict(
                    receiver_rows[batch_slice],
                    lenders[batch_slice],
                    lambda position, pairs: blended(
                        position, pairs + batch_slice.start
                    ),
                    padded[batch_slice],
                    self._players,
                ),
            )

    def _mask(self, position: int, padded: Tensor) -> Tensor:
        """Return which numbers of an input belong to chosen players ``(b, players +
        1)``: ``(b, *)``, to broadcast.
        """
        owners = self._owners[position]
        shape = self.request.inputs[position].shape[1:]
        if self._whole[position]:
            return padded[:, owners[:1]].reshape(-1, *[1] * len(shape))
        return (
            padded[:, :-1] if self._straight[position] else padded[:, owners]
        ).reshape(len(padded), *shape)

    def predict_one(
        self,
        receivers: Numbers,
        donors: Numbers,
        replaced: Booleans,
        source: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return the outputs ``(b, K)`` of pairs in which the same players are replaced
        (quicker).

        Args:
            receivers: Numbers of rows in ``request.inputs``, ``(b,)``.
            donors: Numbers of rows in ``source``, ``(b,)``.
            replaced: Which players come from the donors, in all pairs, bool
                ``(players,)``.
            source: The donors' values, ``(rows, *)`` per input. None:
                ``request.donors``.
        """
        return self.predict_each(receivers, [donors], replaced[None], source)[0]

    def predict_each(
        self,
        receivers: Numbers,
        donors: Sequence[Numbers],
        replaced: Booleans,
        source: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return the outputs ``(coalitions, b, K)`` of receivers in coalitions.

        Only the columns that it
        replaces are written.

        Args:
            receivers: Numbers of rows in ``request.inputs``, ``(b,)``.
            donors: Of each coalition the numbers of rows in ``source``, ``(b,)``.
            replaced: Which players come from the donors, bool ``(coalitions,
                players)``.
            source: The donors' values, ``(rows, *)`` per input. None:
                ``request.donors``.
        """
        padded_coalitions = torch.as_tensor(
            np.append(replaced, np.zeros((len(replaced), 1), dtype=bool), axis=1)
        )
        owned = [owners.cpu() for owners in self._owners]
        spots = []
        for coalition in padded_coalitions:
            spots.append([coalition[owners].nonzero().flatten() for owners in owned])
        receiver_rows = torch.as_tensor(receivers)
        lenders = list(map(torch.as_tensor, donors))
        count = len(receiver_rows)
        lending_tensors = source or self.request.donors

        def edited(row_slice: slice) -> Tensor:
            edits = []
            for position, (tensor, lending) in enumerate(
                zip(self.request.inputs, lending_tensors, strict=True)
            ):
                edited_input = tensor.new_empty(
                    (row_slice.stop - row_slice.start, *tensor.shape[1:])
                )
                for coalition_index in range(
                    row_slice.start // count, -(-row_slice.stop // count)
                ):
                    offset = coalition_index * count
                    first = max(row_slice.start, offset)
                    last_row = min(row_slice.stop, offset + count)
                    block_slice = slice(first - offset, last_row - offset)
                    _write(
                        edited_input[
                            first - row_slice.start : last_row - row_slice.start
                        ],
                        (tensor, receiver_rows[block_slice]),
                        (lending, lenders[coalition_index][block_slice]),
                        spots[coalition_index][position],
                    )
                edits.append(edited_input.to(self.subject.device))
            return self.subject.predict(edits)

        return self._gather(count * len(spots), edited).unflatten(
            0, (len(spots), count)
        )

    def _branches(self, pairs: int) -> BranchCut | None:
        """Return the network cut into branches, with the embeddings of all rows, where
        there is enough to save.

        That is so when more rows have been asked for than the branches of all rows
        cost.
        """
        request = self.request
        if not self._uncut and self.evaluations + pairs > 2 * (
            request.count + len(request.donors[0])
        ):
            self._uncut = True
            if request.incremental:
                probe_rows = request.inputs
                if request.count == 1:
                    # One row alone does not tell whether branches can be put together
                    # anew.
                    probe_rows = tuple(
                        torch.cat([input_tensor, donor_tensor[:1].to(input_tensor)])
                        for input_tensor, donor_tensor in zip(
                            probe_rows, request.donors, strict=True
                        )
                    )
                # Inputs without own players: whoever owns one also owns places of an
                # input before it.
                before = {len(self.space)}
                followers = set[int]()
                for position, players in enumerate(
                    set(owners.tolist()) for owners in self._players
                ):
                    if players <= before:
                        followers.add(position)
                    before |= players
                self._cut = self.subject.branches(probe_rows, frozenset(followers))
            if self._cut is not None:
                self._cut.remember(request.inputs, request.donors, self._in_batches)
        return self._cut

    def _outputs(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the outputs of rows as they are, finite or not."""
        predict = self.subject.predict
        return self._gather(
            len(tensors[0]),
            lambda row_slice: predict(
                [input_tensor[row_slice] for input_tensor in tensors]
            ),
            checked=False,
        )

    def _in_batches(self, count: int, work: Callable[[slice], None]) -> None:
        self._batch = in_batches(count, self._batch, work)

    def _add(self, batches: list[Tensor], outputs: Tensor) -> None:
        """Add the outputs of a batch, and let the bar move by its share of the
        steps.
        """
        batches.append(outputs)
        if self.progress is not None:
            steps = min(self._left, len(outputs) * self._share)
            self.progress.ahead(steps)
            self._left -= steps

    def watch(self, progress: Progress | None, steps: float, rows: float) -> None:
        """Let a bar move by batch, as far as ``steps`` for so many rows of the
        model.

        Args:
            progress: The bar. None: none moves.
            steps: How far it moves in all.
            rows: For how many rows of the model.
        """
        self.progress = progress
        self._left = steps
        self._share = steps / max(rows, 1)

    def _gather(
        self, count: int, predict: Callable[[slice], Tensor], *, checked: bool = True
    ) -> Tensor:
        """Return the outputs of all rows, predicted batch by batch.

        ``checked``: refuse rows between two others.
        """
        batches: list[Tensor] = []
        with torch.no_grad():
            self._batch = in_batches(
                count,
                self._batch,
                lambda row_slice: self._add(batches, predict(row_slice)),
            )
        self.evaluations += count
        if batches:
            outputs = torch.cat(batches)
        else:
            outputs = torch.empty(0, 0, device=self.subject.device)
        if checked:
            return finite(outputs, "between")
        return outputs

    # ---- every row with all its coalitions and donors, laid out by broadcasting: input
    def grid(self, rows: Any, donors: Any, keeps: Any) -> Tensor:
        """Return raw outputs ``(n, coalitions, donors, K)`` of rows with the donors of
        each.

        All arguments are arrays or tensors.

        Args:
            rows: Numbers of rows explained, ``(n,)``.
            donors: Numbers of the donors of each, ``(n, donors)``.
            keeps: The players of each coalition, who keep the row's values, bool ``(n,
                coalitions, players)``.
        """
        # Copies: views of broadcast arrays cannot be shared with torch.
        index_arrays = (rows, donors, keeps)
        rows, donors, keeps = (
            index_array
            if isinstance(index_array, Tensor)
            else torch.from_numpy(np.array(index_array))
            for index_array in index_arrays
        )
        shape = (len(rows), keeps.shape[1], donors.shape[1])
        total = shape[0] * shape[1] * shape[2]
        most_rows = max(self._batch, self._laid_out)
        if total <= most_rows:
            try:
                return self._lay_out(rows, donors, keeps, shape)
            except (RuntimeError, MemoryError) as error:
                self._batch = halved(min(self._batch, total), error)
                self._laid_out = 0
                return self.grid(rows, donors, keeps)
        axis = next(axis for axis in range(3) if shape[axis] > 1)
        output_blocks = []
        block_size = max(1, most_rows * shape[axis] // total)
        for start in range(0, shape[axis], block_size):
            axis_slices = [slice(None)] * 3
            axis_slices[axis] = slice(start, start + block_size)
            output_blocks.append(
                self.grid(
                    rows[axis_slices[0]],
                    donors[axis_slices[0], axis_slices[2]],
                    keeps[axis_slices[0], axis_slices[1]],
                )
            )
        return torch.cat(output_blocks, dim=axis)

    def _lay_out(
        self, rows: Tensor, donors: Tensor, keeps: Tensor, shape: tuple[int, int, int]
    ) -> Tensor:
        # Positions that nobody owns always keep the row's own value.
        padded = torch.nn.functional.pad(
            keeps.to(self.subject.device), (0, 1), value=True
        )
        placed = []
        for position, tensor in enumerate(self.request.inputs):
            bytes_per_row = (
                shape[1] * shape[2] * tensor[0].numel() * tensor.element_size()
            )
            if (
                self.subject.device.type != "cpu"
                or bytes_per_row * shape[0] <= 4 * _BLOCK_BYTES
            ):
                placed.append(
                    self._placed(position, rows, donors, padded).flatten(0, 2)
                )
                continue
            expanded_input = torch.empty(*shape, *tensor.shape[1:], dtype=tensor.dtype)
            for start in range(
                0, shape[0], rows_per_block := max(1, _BLOCK_BYTES // bytes_per_row)
            ):
                row_slice = slice(start, start + rows_per_block)
                expanded_input[row_slice] = self._placed(
                    position, rows[row_slice], donors[row_slice], padded[row_slice]
                )
            placed.append(expanded_input.flatten(0, 2))
        # Whole batches, so that a network that is read in parts gets few different
        # numbers of rows.
        with torch.no_grad():
            batches = zip(
                *(receiving.split(self._batch) for receiving in placed), strict=True
            )
            predicted = []
            for batch_tensors in batches:
                predicted.append(self.subject.predict(batch_tensors))
        if len(predicted) > 1:
            outputs = torch.cat(predicted)
        else:
            outputs = predicted[0]
        self.evaluations += len(outputs)
        return finite(outputs, "between").cpu().reshape(*shape, -1)

    def _placed(
        self, position: int, rows: Tensor, donors: Tensor, padded: Tensor
    ) -> Tensor:
        """Return an input of rows in coalitions ``(n, coalitions, donors, *)``: where
        ``padded``, of the row itself.
        """
        tensor = self.request.inputs[position]
        background = self.request.donors[position]
        device = self.subject.device
        receiving = tensor.index_select(0, rows.to(tensor.device)).to(device)[
            :, None, None
        ]
        picked = donors.to(background.device)
        donor_values = (
            background.index_select(0, picked.reshape(-1))
            .unflatten(0, picked.shape)
            .to(device)[:, None]
        )
        mask = self._mask(position, padded.flatten(0, 1)).unflatten(
            0, padded.shape[:2]
        )[:, :, None]
        shape = (*padded.shape[:2], donors.shape[1], *tensor.shape[1:])
        return select(mask, receiving, donor_values).expand(shape)

    def differs(self, rows: Integers, donors: Integers) -> Booleans:
        """Return which players are not the same in a row and in all its donors, ``(n,
        players)``.

        Args:
            rows: Numbers of rows explained, ``(n,)``.
            donors: Numbers of the donors of each, ``(n, donors)``.
        """
        differing = torch.zeros(len(rows), len(self.space) + 1, dtype=torch.int32)
        receivers = torch.from_numpy(np.array(rows))
        lenders = torch.from_numpy(np.array(donors))
        for tensor, donor, owners in zip(
            self.request.inputs, self.request.donors, self._owners, strict=True
        ):
            receiving = tensor[receivers.to(tensor.device)]
            is_different = torch.zeros(
                receiving.shape, dtype=torch.bool, device=receiving.device
            )
            for column in lenders.unbind(dim=1):
                is_different |= receiving != donor[column.to(donor.device)].to(
                    receiving.device
                )
            differing.index_add_(
                1,
                owners.cpu(),
                is_different.reshape(len(is_different), -1).cpu().to(torch.int32),
            )
        return (differing[:, :-1] > 0).numpy()

    # ---- as back end of a game -------------------------------------------------------
    def explained(self, span: slice | None = None) -> Tensor:
        """Return the outputs of the rows explained.

        Refuse those that are not finite, also of the background.
        """
        with self.subject.open(), self.mode():
            outputs = self.base()
            if self.fixed is None:
                self.donor_outputs()
            return finite(outputs if span is None else outputs[span])

    def blocks(self, span: slice | None) -> Iterator[tuple[slice, Tensor]]:
        """Yield all rows, or those of a span, as one block, and their outputs as they
        are.
        """
        if span is None:
            block_rows = slice(0, self.request.count)
        else:
            block_rows = span
        yield block_rows, self.base()[block_rows]

    def packs(
        self, plays: Sequence[Play], repeats: int, rows: slice
    ) -> list[list[Play]]:
        """Return which plays go through the model together: as many as are held at
        once, where calls are few.

        Args:
            plays: The plays, in their order.
            repeats: How often each is repeated.
            rows: The rows explained.
        """
        most_pairs = 0
        packs = list[list[Play]]()
        pair_count = 0
        if self.subject.plays_together and self.sampler is None:
            most_pairs = min(self._chunk, _MASKED // max(len(self.space), 1))
        for play in plays:
            pairs = len(play.mask) * repeats * (rows.stop - rows.start)
            if not packs or pair_count + pairs > most_pairs:
                packs = [*packs, []]
                pair_count = 0
            packs[-1].append(play)
            pair_count += pairs
        return packs

    def answers(
        self,
        pack: Sequence[Play],
        repeats: Sequence[int],
        rows: slice,
        effects_of: EffectsOf,
        width: int,  # noqa: ARG002 — as of the engine
    ) -> Iterator[tuple[Play, Integers, Integers, Floats]]:
        """Yield plays, rows, their donors and effects.

        Several repeats of few rows go through the network together.

        Args:
            pack: Plays that go through the model together.
            repeats: Numbers of the repeats.
            rows: The rows explained.
            effects_of: Turns outputs into effects.
            width: How many numbers an effect has.
        """
        masks = sum(len(play.mask) for play in pack)
        together = max(1, self._chunk // (masks * (rows.stop - rows.start)))
        rows_per_step = max(1, self._chunk // masks)
        for first in range(0, len(repeats), together):
            repeat_chunk = repeats[first : first + together]
            for start in range(rows.start, rows.stop, rows_per_step):
                numbers = np.arange(
                    start, min(start + rows_per_step, rows.stop), dtype=np.int64
                )
                receivers = np.tile(numbers, len(repeat_chunk))
                unchanged = self.base()[torch.as_tensor(receivers)]
                steps = len(pack) * len(receivers)
                self.watch(self.progress, steps, masks * len(receivers))
                for play, (donors, outputs) in zip(
                    pack, self._answer(pack, receivers, repeat_chunk), strict=True
                ):
                    effects = effects_of(play, outputs, unchanged, receivers)
                    for repeat_start in range(0, len(receivers), len(numbers)):
                        repeat_slice = slice(repeat_start, repeat_start + len(numbers))
                        yield (
                            play,
                            numbers,
                            donors[repeat_slice],
                            effects[:, repeat_slice],
                        )

    def _answer(
        self, plays: Sequence[Play], receivers: Integers, repeats: Sequence[int]
    ) -> list[tuple[Integers, Tensor]]:
        """Return each play's donors ``(b,)`` and outputs ``(coalitions, b, K)`` for
        receivers once in each repeat.
        """
        count = len(receivers)
        if self.sampler is not None:
            answer: list[tuple[Integers, Tensor]] = []
            for play in plays:
                answer.append(
                    self._with_drawn(self.sampler, play.key, receivers, repeats)
                )
            return answer
        coalitions = list(map(self._replaced, plays))
        if self.fixed is not None:
            donors = [np.full(count, NO_DONOR, dtype=np.int64)] * len(plays)
            lenders = [np.zeros(count, dtype=np.int64)] * len(plays)
        else:
            assert self.lenders is not None, "a game has lenders"
            numbers = receivers[: count // len(repeats)] + self.request.row_offset
            draw = partial(self.lenders.draw, self.request.seed)
            donors = lenders = [
                np.concatenate([draw(play.key, repeat, numbers) for repeat in repeats])
                for play in plays
            ]
        widths = list(map(len, coalitions))
        lending = []
        for lender_rows, width in zip(lenders, widths, strict=True):
            for _ in range(width):
                lending.append(lender_rows)
        coalitions_together = np.concatenate(coalitions)
        asked_indices, output_positions = self._asked(coalitions_together, plays)
        outputs = self._ask(
            receivers,
            values_at(lending, asked_indices),
            coalitions_together[asked_indices] & self._live,
        )
        if len(asked_indices) < len(output_positions):
            unchanged = self.base()[torch.as_tensor(receivers)][None]
            outputs = torch.cat([outputs, unchanged])[torch.as_tensor(output_positions)]
        return list(zip(donors, outputs.split(widths), strict=True))

    @cached_property
    def _live(self) -> Booleans:
        """Which players own numbers that the network reads, ``(players,)``."""
        live = np.zeros(len(self.space) + 1, dtype=bool)
        unread = self.subject.unread(self.request.inputs)
        sources = [self.request.inputs, self.request.donors]
        if self.fixed is not None:
            sources.append(tuple(self.fixed))
        unread_positions = unread.in_rows(*sources)
        for position, players in enumerate(self._players):
            if position not in unread_positions:
                live[players.numpy()] = True
        return live[:-1]

    def _asked(
        self, coalitions: Booleans, plays: Sequence[Play]
    ) -> tuple[list[int], list[int]]:
        """Return which of the coalitions of plays ``(coalitions, players)`` the network
        is asked for, and for each coalition which of these has its outputs.

        Of a play, those that differ in what nobody reads are one. Where nothing else is
        replaced, outputs are those of the rows as they are, behind all others. So are
        those of a play whose effects are 0 whatever the others say.
        """
        if self._live.all():
            every = list(range(len(coalitions)))
            return every, every
        read = coalitions & self._live
        play_numbers = list[int]()
        is_still = list[bool]()
        for number, play in enumerate(plays):
            start = len(play_numbers)
            play_numbers += [number] * len(play.mask)
            of_play = read[start : start + len(play.mask)]
            is_still.append(_stands_still(play, of_play))
        asked_indices = list[int]()
        positions: dict[tuple[int, bytes], int] = {}
        output_positions = list[int]()
        for index, coalition in enumerate(read):
            number = play_numbers[index]
            key = number, coalition.tobytes()
            if is_still[number]:
                output_positions.append(-1)
                continue
            if coalition.any() and key not in positions:
                positions[key] = len(asked_indices)
                asked_indices.append(index)
            output_positions.append(positions.get(key, -1))
        of_asked = np.array(output_positions)
        return asked_indices, np.where(
            of_asked < 0, len(asked_indices), of_asked
        ).tolist()

    def _ask(
        self, receivers: Integers, lending: Sequence[Integers], coalitions: Booleans
    ) -> Tensor:
        """Return outputs ``(coalitions, b, K)`` of receivers, each coalition with
        donors of its own, ``(b,)``.
        """
        count = len(receivers)
        if not lending:
            return self.base()[torch.as_tensor(receivers)][None][:0]
        is_separate = count >= _ROWS_EACH or len(lending) <= _ONE_BY_ONE
        if self.fixed is not None or (
            is_separate and self._branches(count * len(lending)) is None
        ):
            return self.predict_each(receivers, lending, coalitions, self.fixed)
        replaced = torch.as_tensor(coalitions).repeat_interleave(count, dim=0)
        pairs = np.tile(receivers, len(lending)), np.concatenate(lending)
        return self.predict(*pairs, replaced).unflatten(0, (len(lending), count))

    def _with_drawn(
        self,
        sampler: ConditionalSampler,
        key: str,
        receivers: Integers,
        repeats: Sequence[int],
    ) -> tuple[Integers, Tensor]:
        """Return donors and outputs ``(1, b, K)`` of values that are drawn given the
        rest of the row.
        """
        columns = self.request.space.columns[key]
        repeat_rows = receivers[: len(receivers) // len(repeats)]
        drawn = [sampler.draw(key, columns, repeat_rows, repeat) for repeat in repeats]
        values = torch.from_numpy(np.concatenate([values for _, values in drawn]))

        def edited(row_slice: slice) -> Tensor:
            edits = [
                tensor[receivers[row_slice]] for tensor in self.request.inputs
            ]  # further inputs stay with their row
            edits[0][:, columns] = values[row_slice].to(edits[0])
            return self.subject.predict(
                [edited_tensor.to(self.subject.device) for edited_tensor in edits]
            )

        return np.concatenate([donors for donors, _ in drawn]), self._gather(
            len(receivers), edited
        )[None]

    def _replaced(self, play: Play) -> Booleans:
        """Return the players that each coalition of a play replaces, bool
        ``(coalitions, players)``.
        """
        coalitions = np.zeros((len(play.mask), len(self.request.space)), dtype=bool)
        coalitions[:, play.players] = play.mask.any(axis=2)
        return coalitions

    def edited(
        self, play: Play, coalition_index: int, receivers: Integers, donors: Integers
    ) -> tuple[Tensor, ...]:
        """Return the rows of pairs as the coalition at a place of a play was predicted,
        ``(pairs, *)`` per input.

        Pairs are in the order of ``answers``: the receivers of one repeat after those
        of another.

        Args:
            play: The play.
            coalition_index: Position of the coalition in it.
            receivers: Numbers of the rows explained, ``(pairs,)``.
            donors: Numbers of their donors, ``(pairs,)``.
        """
        receiver_rows = torch.as_tensor(receivers)
        replaced = torch.as_tensor(
            np.append(self._replaced(play)[coalition_index], False)
        )
        if self.sampler is not None:
            columns = self.request.space.columns[play.key]
            edited = self.request.inputs[0][receiver_rows]
            # Each row occurs once in each repeat.
            order = np.argsort(receivers, kind="stable")
            times = np.arange(len(order)) - np.searchsorted(
                receivers[order], receivers[order]
            )
            for repeat in range(int(times.max()) + 1):
                those = order[times == repeat]
                values = torch.from_numpy(
                    self.sampler.draw(play.key, columns, receivers[those], repeat)[1]
                )
                edited[torch.from_numpy(those)[:, None], torch.as_tensor(columns)] = (
                    values.to(edited)
                )
            return edited, *(
                tensor[receiver_rows] for tensor in self.request.inputs[1:]
            )
        if self.fixed is not None:
            lenders = torch.zeros(len(receiver_rows), dtype=torch.int64)
        else:
            lenders = torch.as_tensor(donors)
        source = self.request.donors if self.fixed is None else self.fixed
        return tuple(
            select(
                replaced[owners.cpu()].reshape(tensor.shape[1:]),
                donor_tensor[lenders],
                tensor[receiver_rows],
            )
            for tensor, donor_tensor, owners in zip(
                self.request.inputs, source, self._owners, strict=True
            )
        )


def _stands_still(play: Play, read: Booleans) -> bool:
    """Return whether effects of a play are 0 whatever the network says, because its
    coalitions differ only in players that the network does not read.

    Args:
        play: The play.
        read: Who of the others is replaced, ``(coalitions, players)``.
    """
    if play.combine is None:
        return False
    _, inverse = np.unique(read, axis=0, return_inverse=True)
    same = inverse.reshape(-1)  # NumPy 2.0 gives it a second axis
    for coalition in set(same[read.any(axis=1)].tolist()):
        weights = play.combine[:, :, same == coalition].sum(axis=2)
        if (np.abs(weights) > _ROUNDING).any():
            return False
    return True


def _write(
    output_rows: Tensor,
    receivers: tuple[Tensor, Tensor],
    donors: tuple[Tensor, Tensor],
    replaced: Tensor,
) -> None:
    """Write rows of one tensor, with the positions ``replaced`` of rows of another.

    Args:
        output_rows: What is written into, ``(b, *)``.
        receivers: A tensor, and the numbers of its rows, ``(b,)``.
        donors: The same of the other.
        replaced: Positions of flat rows.
    """
    tensor, receiver_rows = receivers
    lending, donor_rows = donors
    donor_rows = donor_rows.to(lending.device)
    if len(replaced) == tensor[0].numel():
        output_rows.copy_(lending[donor_rows])
        return
    torch.index_select(tensor, 0, receiver_rows.to(tensor.device), out=output_rows)
    if len(replaced):
        values = numbers_by_row(lending)[
            donor_rows[:, None], replaced.to(lending.device)
        ]
        flat_rows = output_rows.view(len(output_rows), -1)
        flat_rows[:, replaced.to(tensor.device)] = values.to(tensor)
