"""The replacement engine as back end of a game: only the affected parts of a hybrid
network are computed again.

The repeats of one player are played together: equal replacements of a row are computed
once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.moments import NO_DONOR
from permgrad.attribution.replace.plays import EffectsOf, Play
from permgrad.attribution.request import Request
from permgrad.attribution.subject.soundness import finite
from permgrad.base.arrays import Booleans, Floats, Floats32, Indexes, Integers
from permgrad.base.progress import Progress
from permgrad.base.random import content_keys
from permgrad.base.sequences import values_at
from permgrad.models.batches import halved
from permgrad.models.fast.replacement import Block, ReplacementEngine

Encoded = Floats32

#: How much the caches of one block of receivers may take.
_BLOCK_BYTES = 512 * 2**20
#: Pairs per forward: more fall out of a processor's cache, fewer leave accelerators
#: idle.
_BATCH_IMAGE = 256
_BATCH_TABLE = 1024
_BATCH_ACCELERATOR = 16384
#: Numbers that the draws of one player may take at once, and those that a pair needs
#: beside its columns.
_MOST_NUMBERS = 2**23
_NUMBERS_PER_PAIR = 16


class Replacement:
    """Answers plays of single players, each in any set of paths.

    ``fixed`` as for ``Game``.
    """

    evaluations = (
        0  # pairs that were asked for so far, of which equal ones are computed once
    )
    noise: float | None = None  # rounding is that of outputs around 1
    mode = staticmethod(torch.inference_mode)

    def __init__(
        self,
        request: Request,
        fixed: Sequence[Tensor] | None,
        lenders: Lenders | None,
        sampler: ConditionalSampler | None,
    ) -> None:
        self.lenders = lenders
        self.sampler = sampler
        self.request = request
        self.subject = request.subject
        self.encoded = request.encoded
        self.columns = list(request.space.columns.values())
        if request.shared:
            self.background = self.encoded
        else:
            self.background = request.donors[0].detach().cpu().numpy()
        if fixed is None:
            self.fixed = None
        else:
            self.fixed = fixed[0][0].cpu().numpy()
        self.engine = ReplacementEngine(
            self.subject.module,
            incremental=request.incremental,
        )
        if self.subject.makes_images:
            cached = _BATCH_IMAGE
        else:
            cached = _BATCH_TABLE
        if self.subject.device.type == "cpu":
            automatic = cached
        else:
            automatic = _BATCH_ACCELERATOR
        if request.batch_size == "auto":
            self._batch = automatic
        else:
            self._batch = int(request.batch_size)
        self._ready: tuple[slice, Block] | None = None
        self._light: Block | None = None

    @property
    def _small(self) -> bool:
        """Whether the inputs of the head for all rows fit in memory."""
        return len(self.encoded) * self.engine.bytes_per_row(light=True) <= _BLOCK_BYTES

    # ---- rows as they are ------------------------------------------------------------
    def watch(self, progress: Progress | None, steps: float, rows: float) -> None:
        """Leave a bar to the game: a block takes no longer than a step of it."""

    def blocks(self, span: slice | None) -> Iterator[tuple[slice, Tensor]]:
        """Yield the receivers, or those of a span, in blocks whose caches fit in
        memory, and their unchanged outputs.

        The cache of the last block is stored: rounds of repeats over it share it.
        """
        for block_rows in self._spans(span):
            if self._ready is None or self._ready[0] != block_rows:
                self._ready = None
                self._ready = block_rows, self.computed(self.encoded[block_rows])
            yield block_rows, self._ready[1].outputs

    def _spans(self, span: slice | None) -> list[slice]:
        first, last_row = (
            (0, len(self.encoded)) if span is None else (span.start, span.stop)
        )
        rows_per_block = max(1000, _BLOCK_BYTES // max(1, self.engine.bytes_per_row()))
        starts = range(first - first % rows_per_block, last_row, rows_per_block)
        spans: list[slice] = []
        for start in starts:
            spans.append(
                slice(max(first, start), min(start + rows_per_block, last_row))
            )
        return spans

    def explained(self, span: slice | None = None) -> Tensor:
        """Return the network's outputs for all rows or for a span, ``(rows, K)``.

        Refuse those that are not finite.
        """
        with self.subject.open(), self.mode():
            spans = self._spans(span)
            if len(spans) == 1:
                ((_, outputs),) = self.blocks(span)
            elif self._small and span is None:
                outputs = self.light(self.encoded).outputs
            else:
                outputs = torch.cat(
                    [
                        self.computed(self.encoded[span_rows], light=True).outputs
                        for span_rows in spans
                    ]
                )
        return finite(outputs)

    def light(self, encoded: Encoded) -> Block:
        """Return the inputs of the head for rows and their outputs, without the maps
        that only replacements need.

        Results of the rows explained are not computed again.
        """
        if encoded is not self.encoded:
            return self.computed(encoded, light=True)
        if self._ready is not None and self._ready[0] == slice(0, len(encoded)):
            return self._ready[1]
        if self._light is None:
            block = self.computed(encoded, light=True)
        else:
            block = self._light
        if self._small:
            self._light = block
        else:
            self._light = None
        return block

    def computed(self, encoded: Encoded, *, light: bool = False) -> Block:
        """Return what replacements in rows need.

        If memory does not suffice, the batch is halved.
        """
        tensor = torch.as_tensor(
            np.ascontiguousarray(encoded), device=self.subject.device
        ).to(self.subject.dtype)
        while True:
            try:
                return self.engine.prepare(tensor, batch_size=self._batch, light=light)
            except (RuntimeError, MemoryError) as error:
                self._batch = halved(self._batch, error)

    # ---- rows replaced ---------------------------------------------------------------
    def packs(self, plays: Sequence[Play], *_: Any) -> list[list[Play]]:
        """Return each play alone: what is replaced decides which parts are computed
        again.
        """
        return [[play] for play in plays]

    def _drawn(
        self, play: Play, columns: Integers, numbers: Integers, repeat: int
    ) -> tuple[Integers, Encoded]:
        """Return the donors of rows in a repeat, and the values that take the place of
        theirs.
        """
        if self.fixed is not None:
            nobody = np.full(len(numbers), NO_DONOR, dtype=np.int64)
            return nobody, np.tile(self.fixed[columns], (len(numbers), 1))
        if self.sampler is not None:
            return self.sampler.draw(play.key, columns, numbers, repeat)
        assert self.lenders is not None, "a game has lenders"
        shifted = numbers + self.request.row_offset
        donors = self.lenders.draw(self.request.seed, play.key, repeat, shifted)
        return donors, self.background[donors[:, None], columns]

    def answers(
        self,
        pack: Sequence[Play],
        repeats: Sequence[int],
        rows: slice,
        effects_of: EffectsOf,
        width: int,
    ) -> Iterator[tuple[Play, Integers, Integers, Floats]]:
        """Yield plays, rows, their donors and effects, repeat by repeat.

        Distinct replacements are computed once.
        """
        (play,) = pack
        assert self._ready is not None, (
            "the block was prepared with its unchanged outputs"
        )
        block = self._ready[1]
        numbers = np.arange(rows.start, rows.stop, dtype=np.int64)
        columns = np.concatenate(values_at(self.columns, play.players))
        channels: Booleans = np.asarray(play.mask.any(axis=1))
        self.evaluations += len(repeats) * len(numbers) * len(play.mask)
        together = max(
            1, _MOST_NUMBERS // (len(numbers) * max(len(columns), _NUMBERS_PER_PAIR))
        )
        for first in range(0, len(repeats), together):
            draws = []
            for repeat in repeats[first : first + together]:
                draws.append(self._drawn(play, columns, numbers, repeat))
            receivers, values, pair_indices = distinct_pairs(
                self.encoded[rows][:, columns], [values for _, values in draws]
            )
            # The last line stands for all draws that change nothing.
            effects = np.zeros(
                (len(play.names), len(receivers) + 1, play.quantities, width)
            )
            for pair_slice, outputs, unchanged in self.replaced(
                block, columns, receivers, values, channels
            ):
                effects[:, pair_slice] = effects_of(
                    play, outputs, unchanged, receivers[pair_slice] + rows.start
                )
            for (donors, _), places_of_draw in zip(draws, pair_indices, strict=True):
                yield play, numbers, donors, effects[:, places_of_draw]

    def replaced(
        self,
        block: Block,
        columns: Indexes,
        rows: Integers,
        values: Encoded,
        channels: Booleans,
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield which pairs, their outputs ``(coalitions, b, K)`` and unchanged outputs
        ``(b, K)``, batch by batch.

        A pair is a row of the block, in rising order, and new values of its columns. A
        coalition is a set of paths.
        """
        new_values = torch.as_tensor(values, device=self.subject.device).to(
            block.encoded.dtype
        )
        coalitions = []
        for mask in channels:
            coalitions.append(frozenset(compress(self.subject.paths, mask)))
        pairs_done = 0
        while pairs_done < len(rows):
            pair_slice = slice(pairs_done, min(pairs_done + self._batch, len(rows)))
            start = int(rows[pair_slice][0])
            stop = int(rows[pair_slice][-1]) + 1
            in_order = bool((np.diff(rows[pair_slice]) == 1).all())
            try:
                if in_order:
                    row_positions = None
                else:
                    row_positions = torch.as_tensor(
                        rows[pair_slice] - start, device=self.subject.device
                    )
                outputs = self.engine.replace(
                    block,
                    start,
                    stop,
                    columns,
                    new_values[pair_slice],
                    coalitions,
                    row_positions,
                )
                together = torch.stack(values_at(outputs, coalitions))
                if row_positions is None:
                    unchanged = block.outputs[start:stop]
                else:
                    unchanged = block.outputs[start:stop][row_positions]
            except (RuntimeError, MemoryError) as error:
                self._batch = halved(pair_slice.stop - pairs_done, error)
                continue
            yield pair_slice, together, unchanged
            pairs_done = pair_slice.stop


class DistinctPairs(NamedTuple):
    """The distinct replacements among several draws.

    Attributes:
        rows: The row of each, rising, ``(pairs,)``.
        values: Its new values, ``(pairs, columns)``.
        pair_indices: For each draw the pair of each row, ``(rows,)``. −1: nothing
            changes.
    """

    rows: Integers
    values: Encoded
    pair_indices: tuple[Integers, ...]


def distinct_pairs(current: Encoded, drawn: Sequence[Encoded]) -> DistinctPairs:
    """Find the distinct replacements among draws ``(rows, columns)`` for the same rows,
    whose values are ``current``.

    Equal inputs give equal outputs, so each is computed once. Returned are the row of
    each, rising ``(pairs,)``, its new values ``(pairs, columns)``, and per draw each
    row's pair ``(rows,)``, −1 where nothing changes.
    """
    values = np.stack(drawn, axis=1)  # one row's draws next to each other
    count, repeats, columns = values.shape
    flat_values = values.reshape(
        count * repeats, columns
    )  # a constant column has no encoded ones
    changed_indices = np.flatnonzero((values != current[:, None]).any(axis=2))
    changed_rows = changed_indices // repeats
    order = np.arange(len(changed_indices))
    if repeats > 1 and len(changed_indices):
        if columns == 1:
            value_keys = (
                flat_values[changed_indices, 0].view(np.uint32).astype(np.uint64)
            )
        else:
            value_keys = content_keys([flat_values[changed_indices]])
        order = np.lexsort((value_keys, changed_rows))
    sorted_rows = changed_rows[order]
    sorted_values = flat_values[changed_indices[order]]
    first = np.ones(len(changed_indices), dtype=bool)
    # Neighbours are compared by their values: the keys only bring equal ones together.
    first[1:] = (sorted_rows[1:] != sorted_rows[:-1]) | (
        sorted_values[1:] != sorted_values[:-1]
    ).any(axis=1)
    pair_indices = np.full(count * repeats, -1, dtype=np.int64)
    pair_indices[changed_indices[order]] = np.cumsum(first) - 1
    return DistinctPairs(
        sorted_rows[first],
        sorted_values[first],
        tuple(pair_indices.reshape(count, repeats).T),
    )
