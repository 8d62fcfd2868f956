"""The replacement engine as back end of a game: what a hybrid network shows in its paths is recomputed where touched.

The repeats of one player are played together: equal replacements of a row are computed once.
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
from permgrad.attribution.replace.conditional import ConditionalSampler, conditional_sampler, sampler_facts
from permgrad.attribution.replace.donors import MarginalSampler
from permgrad.attribution.replace.finite import finite_rows
from permgrad.attribution.replace.moments import NO_DONOR
from permgrad.attribution.replace.plays import Effects, Floats, Integers, Play
from permgrad.base.random import content_keys
from permgrad.models.batches import halved, in_batches
from permgrad.models.devices import rows_at_once
from permgrad.models.fast.replacement import Block, ReplacementEngine

Encoded = npt.NDArray[np.float32]
Columns = npt.NDArray[np.intp]

#: How much the caches of one block of receivers may take.
_BLOCK_BYTES = 512 * 2**20
#: Pairs per forward: more fall out of a processor's cache where a convolution follows, fewer leave accelerators idle.
_BATCH_IMAGE, _BATCH_TABLE, _BATCH_ACCELERATOR = 256, 2048, 16384
#: Numbers that the draws of one player may take at once, and those that a pair needs beside its columns.
_MOST_NUMBERS, _NUMBERS_PER_PAIR = 2**23, 16


class Replacement:
    """Answers plays of single players, each in any set of paths; ``fixed`` as for ``Game``."""

    evaluations: int | None = None

    def __init__(self, request: Request, fixed: Sequence[Tensor] | None = None) -> None:
        self.request, self.subject = request, request.subject
        self.encoded, self.columns = request.encoded, list(request.players.values())
        self.fixed = None if fixed is None else fixed[0][0].cpu().numpy()
        self.sampler = _make_sampler(request) if fixed is None else None
        self.donors = request.count if self.sampler is None else self.sampler.donors
        self.shared = True if self.sampler is None else self.sampler.shared
        self.workers = int(request.options.get("workers", 1))
        self.engine = ReplacementEngine(self.subject.module, incremental=bool(request.options.get("incremental", True)))
        cached = _BATCH_IMAGE if "image" in self.subject.paths else _BATCH_TABLE
        automatic = rows_at_once(self.subject.device, on_processor=cached, on_accelerator=_BATCH_ACCELERATOR)
        self._batch = automatic if request.batch_size == "auto" else int(request.batch_size)
        self._ready: tuple[slice, Block] | None = None
        self._light: Block | None = None

    def noise(self) -> float | None:
        """Return None: rounding is that of outputs around 1."""
        return None

    @property
    def facts(self) -> dict[str, Any]:
        """What the draws say of features, for ``meta``."""
        return {"not_identifiable": [], **sampler_facts(self.sampler)}

    def mode(self) -> AbstractContextManager[Any]:
        """Return the context in which no gradient is followed."""
        return torch.inference_mode()

    # ---- rows as they are --------------------------------------------------------------------------------------------

    def blocks(self, span: slice | None = None) -> list[slice]:
        """Return the receivers, or those of a span, in blocks whose caches fit in memory."""
        first, last = (0, len(self.encoded)) if span is None else (span.start, span.stop)
        size = max(1000, _BLOCK_BYTES // max(1, self.engine.bytes_per_row()))
        starts = range(first - first % size, last, size)
        return [slice(max(first, start), min(start + size, last)) for start in starts]

    def block(self, rows: slice) -> Block:
        """Return the block's cache; the last one is kept, so that rounds of repeats over one block pay once."""
        if self._ready is None or self._ready[0] != rows:
            self._ready = None
            self._ready = rows, self._computed(self.encoded[rows], light=False)
        return self._ready[1]

    def unchanged(self, rows: slice) -> Tensor:
        """Return the outputs of one block's rows as they are, and get ready for playing it."""
        return self.block(rows).outputs

    def checked(self, span: slice | None = None) -> Tensor:
        """Return the network's own outputs for all rows, or those of a span, ``(rows, K)``; all of them finite."""
        blocks = self.blocks(span)
        if len(blocks) == 1:
            outputs = self.unchanged(blocks[0])
        elif self._small and span is None:
            outputs = self.light(self.encoded).outputs
        else:
            outputs = torch.cat([self._computed(self.encoded[rows], light=True).outputs for rows in blocks])
        return finite_rows(outputs)

    def light(self, encoded: Encoded) -> Block:
        """Return what rows bring to the head and their outputs, without the maps that only replacements need.

        What was computed of the rows explained is not computed again.
        """
        if encoded is not self.encoded:
            return self._computed(encoded, light=True)
        if self._ready is not None and self._ready[0] == slice(0, len(encoded)):
            return self._ready[1]
        if self._light is not None:
            return self._light
        block = self._computed(encoded, light=True)
        if self._small:
            self._light = block
        return block

    @property
    def _small(self) -> bool:
        """Whether what all rows bring to the head may be kept."""
        return len(self.encoded) * self.engine.bytes_per_row(light=True) <= _BLOCK_BYTES

    def _computed(self, encoded: Encoded, *, light: bool) -> Block:
        tensor = torch.as_tensor(np.ascontiguousarray(encoded), device=self.subject.device).to(self.subject.dtype)
        block: Block = self.with_smaller_batches(
            lambda batch: self.engine.prepare(tensor, batch_size=batch, light=light)
        )
        return block

    def with_smaller_batches(self, work: Callable[[int], Any]) -> Any:
        """Run ``work(batch size)``; where memory does not suffice, halve the batch and try again."""
        while True:
            try:
                return work(self._batch)
            except (RuntimeError, MemoryError) as error:
                self._batch = halved(self._batch, error)

    # ---- rows replaced -----------------------------------------------------------------------------------------------

    def answers(
        self, play: Play, repeats: Sequence[int], rows: slice, measure: Effects
    ) -> Iterator[tuple[Integers, Integers, Floats]]:
        """Yield rows, their donors and effects, repeat by repeat; distinct replacements are computed once."""
        block, numbers = self.block(rows), np.arange(rows.start, rows.stop, dtype=np.int64)
        columns = np.concatenate([self.columns[player] for player in play.players])
        together = max(1, _MOST_NUMBERS // (len(numbers) * max(len(columns), _NUMBERS_PER_PAIR)))
        for first in range(0, len(repeats), together):
            draws = [self._draw(play.key, columns, numbers, repeat) for repeat in repeats[first : first + together]]
            receivers, values, places = distinct_pairs(self.encoded[rows][:, columns], [values for _, values in draws])
            effects = self._effects(play, columns, (receivers, values), block, measure)
            for (donors, _), places_of_draw in zip(draws, places, strict=True):
                yield numbers, donors, effects[:, places_of_draw]

    def with_columns(self, block: Block, columns: Columns, values: Tensor) -> Tensor:
        """Return the outputs of a block's rows, with columns replaced in every path by values ``(rows, columns)``."""
        everywhere, outputs = frozenset(self.subject.paths), torch.empty_like(block.outputs)

        def some_rows(part: slice) -> None:
            replaced = self.engine.replace(block, part.start, part.stop, columns, values[part], [everywhere])
            outputs[part] = replaced[everywhere]

        self._batch = in_batches(len(values), self._batch, some_rows)
        return outputs

    def _draw(self, key: str, columns: Columns, rows: Integers, repeat: int) -> tuple[Integers, Encoded]:
        """Return donor numbers ``(rows,)`` (−1: none) and the new values ``(rows, columns)``."""
        if self.sampler is not None:
            return self.sampler.draw(key, columns, rows, repeat)
        assert self.fixed is not None
        return np.full(len(rows), NO_DONOR, dtype=np.int64), np.tile(self.fixed[columns], (len(rows), 1))

    def _effects(
        self, play: Play, columns: Columns, pairs: tuple[Integers, Encoded], block: Block, measure: Effects
    ) -> Floats:
        """Return the effects of each distinct replacement; the last line stands for all that change nothing."""
        rows, values = pairs[0], torch.as_tensor(pairs[1], device=self.subject.device).to(block.encoded.dtype)
        effects = measure.nothing(len(rows) + 1)
        channels: npt.NDArray[np.bool_] = np.asarray(play.mask.any(axis=1))
        coalitions = [
            frozenset(path for path, taken in zip(self.subject.paths, mask, strict=True) if taken) for mask in channels
        ]

        def some_pairs(part: slice) -> None:
            receivers = rows[part]
            start, stop = int(receivers[0]), int(receivers[-1]) + 1
            in_order = bool((np.diff(receivers) == 1).all())
            places = None if in_order else torch.as_tensor(receivers - start, device=self.subject.device)
            outputs = self.engine.replace(block, start, stop, columns, values[part], coalitions, places)
            unchanged = block.outputs[start:stop] if places is None else block.outputs[start:stop][places]
            effects[:, part] = measure([outputs[one] for one in coalitions], unchanged, receivers + measure.start)

        self._batch = in_batches(len(rows), self._batch, some_pairs)
        return effects


def _make_sampler(request: Request) -> MarginalSampler | ConditionalSampler:
    """Return where replacement values of a table come from, as asked for by ``sampling`` and ``background``."""
    if request.sampling == "conditional":
        return conditional_sampler(request)
    background = request.encoded if request.background is None else request.background
    return MarginalSampler(background, request.seed, shared=request.shared, row_offset=request.row_offset)


def distinct_pairs(current: Encoded, drawn: Sequence[Encoded]) -> tuple[Integers, Encoded, tuple[Integers, ...]]:
    """Find the distinct replacements among draws ``(rows, columns)`` for the same rows, whose values are ``current``.

    What a network answers to equal questions is equal, so that it is asked once. Returned are the row of each, rising
    ``(pairs,)``; its new values ``(pairs, columns)``; per draw each row's pair ``(rows,)``, −1 where nothing changes.
    """
    values = np.stack(drawn, axis=1)  # one row's draws next to each other
    count, repeats, columns = values.shape
    flat = values.reshape(-1, columns)
    new = np.flatnonzero((values != current[:, None]).any(axis=2))
    rows = new // repeats
    order = np.arange(len(new))
    if repeats > 1 and len(new):
        keys = flat[new, 0].view(np.uint32).astype(np.uint64) if columns == 1 else content_keys([flat[new]])
        order = np.lexsort((keys, rows))
    sorted_rows, sorted_values = rows[order], flat[new[order]]
    first = np.ones(len(new), dtype=bool)
    # Neighbours are compared by their values: the keys only bring equal ones together.
    first[1:] = (sorted_rows[1:] != sorted_rows[:-1]) | (sorted_values[1:] != sorted_values[:-1]).any(axis=1)
    places = np.full(count * repeats, -1, dtype=np.int64)
    places[new[order]] = np.cumsum(first) - 1
    return sorted_rows[first], sorted_values[first], tuple(places.reshape(count, repeats).T)
